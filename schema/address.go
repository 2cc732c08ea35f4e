package schema

import (
	"bytes"
	"strings"
	"time"

	"github.com/go-json-experiment/json/jsontext"
)

// Addresses returns where the files of a result are: ResultURLs, and then every string in
// ResultJSON that is an http or https URL by its beginning, which richer results have beside or
// instead of those. Each is there once, as it stands in the result, and none of them has been
// looked into: what APIXO sends is not signed. There are at most limit; more is how many were
// left out.
func (t Task) Addresses(limit int) (addresses []string, more int) {
	seen := make(map[string]bool)
	add := func(address string) {
		switch {
		case seen[address]:
			return
		case len(addresses) == limit:
			more++
		default:
			addresses = append(addresses, address)
		}
		seen[address] = true
	}
	for _, u := range t.ResultURLs {
		add(u)
	}
	d := jsontext.NewDecoder(bytes.NewReader(t.ResultJSON))
	for {
		token, err := d.ReadToken()
		if err != nil {
			return addresses, more // the end: what a Task has was read once
		}
		kind, n := d.StackIndex(d.StackDepth())
		isName := kind == jsontext.KindBeginObject && n%2 == 1
		if token.Kind() != jsontext.KindString || isName {
			continue
		}
		s := token.String()
		scheme, _, ok := strings.Cut(s, "://")
		if ok && (strings.EqualFold(scheme, "https") || strings.EqualFold(scheme, "http")) {
			add(s)
		}
	}
}

// AddressLife is for how long APIXO keeps the files of a result, from the task's end on (its
// documentation, on the page that names a time: 24 hours).
const AddressLife = 24 * time.Hour

// AddressesExpire returns when APIXO deletes the files of a result. By known the task had ended:
// when its event was stored, for instance. That counts where CompleteTime is not told, or is
// later, since clocks differ.
func (t Task) AddressesExpire(known time.Time) time.Time {
	ended := t.CompleteTime
	if ended.IsZero() || ended.After(known) {
		ended = known
	}
	return ended.Add(AddressLife)
}
