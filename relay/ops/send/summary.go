package send

import (
	"cmp"
	"encoding/json"
	"math"
	"net/http"
	"net/url"
	"slices"
	"time"

	"github.com/apixo-relay/apixo-relay/relay/httpclient"
	"github.com/apixo-relay/apixo-relay/relay/text"
)

const (
	// maxShownBytes bounds the answer that is kept whole.
	maxShownBytes = 4 << 10
)

// Summary is what came of a run. Its JSON form holds the same facts under names
// that stay.
type Summary struct {
	Target     string `json:"target"`     // scheme and host of the callback URL
	Webhooks   int    `json:"webhooks"`   // asked for: Delivered, Failed, Unfinished and NotStarted together
	Delivered  int    `json:"delivered"`  // answered 200 in the end
	Failed     int    `json:"failed"`     // abandoned after their last attempt
	Unfinished int    `json:"unfinished"` // broken off, or waiting for another attempt, when the run was stopped
	NotStarted int    `json:"notStarted"` // not tried when the run was stopped

	// DeliveredAt counts the delivered webhooks by their last attempt: at the first,
	// at the second, and so on.
	DeliveredAt []int `json:"deliveredAtAttempt"`

	Attempts   int `json:"attempts"`
	Duplicates int `json:"duplicates"` // of the 200s, those that say "duplicate": true
	Conflicts  int `json:"conflicts"`  // of the 200s, those that say "conflict": true

	// Answers counts the attempts by what came back: 200 first, then the most
	// frequent first.
	Answers []AnswerCount `json:"answers"`

	DurationSeconds   float64 `json:"durationSeconds"`
	AttemptsPerSecond float64 `json:"attemptsPerSecond"`

	// Latency is of the attempts that were answered, whatever the status. nil
	// when none was.
	Latency *Latency `json:"latencyMilliseconds"`

	// Answer is what came back last, when one webhook was asked for, else nil.
	Answer *Answer `json:"answer"`
}

// AllDelivered tells whether every webhook ended with a 200.
func (s Summary) AllDelivered() bool { return s.Delivered == s.Webhooks }

// AnswerCount is how many attempts came to the same end: an HTTP status, or, if
// there was no answer, a cause.
type AnswerCount struct {
	Status int    `json:"status,omitzero"`
	Error  string `json:"error,omitzero"` // why there was no answer, in a few words
	Count  int    `json:"count"`

	// Title and Detail are from the first of these answers, unless it was a 200:
	// of its problem document, or, as Detail, the beginning of whatever else it
	// held. Without an answer, Detail is the first error. One line each, at most
	// some 400 bytes.
	Title  string `json:"title,omitzero"`
	Detail string `json:"detail,omitzero"`
}

// Answer is one answer in full, or the lack of one.
type Answer struct {
	TaskID      string `json:"taskId"` // empty for a payload that is sent as it is
	Status      int    `json:"status,omitzero"`
	Error       string `json:"error,omitzero"` // why there was no answer
	ContentType string `json:"contentType"`
	Body        string `json:"body"`      // the first 4 KiB of it, without control characters
	Truncated   bool   `json:"truncated"` // the body is longer than that
}

// Latency is how long answers took, in milliseconds, from the call to the last
// byte of the body. The percentiles are by nearest rank: the smallest of the
// samples that at least so many percent of them do not exceed, so each is a
// latency that really occurred.
type Latency struct {
	Samples int     `json:"samples"`
	Min     float64 `json:"min"`
	P50     float64 `json:"p50"`
	P90     float64 `json:"p90"`
	P99     float64 `json:"p99"`
	Max     float64 `json:"max"`
}

// newLatency sorts the samples. It returns nil when there are none.
func newLatency(samples []time.Duration) *Latency {
	if len(samples) == 0 {
		return nil
	}
	slices.Sort(samples)
	at := func(percent int) float64 {
		d := samples[nearestRank(percent, len(samples))-1]
		return float64(d.Microseconds()) / 1000
	}
	return &Latency{Samples: len(samples), Min: at(0), P50: at(50), P90: at(90), P99: at(99), Max: at(100)}
}

// nearestRank is the rank, from 1, of a percentile among count samples.
func nearestRank(percent, count int) int {
	return max(1, (percent*count+99)/100)
}

// attemptResult is what attempts are counted by.
type attemptResult struct {
	status int
	cause  string
}

// summaryBuilder gathers a summary, one attempt after the other.
type summaryBuilder struct {
	partial           Summary
	delivered, failed int
	deliveredAt       []int
	endings           map[attemptResult]*AnswerCount
	latencies         []time.Duration
	redactor          httpclient.Redactor
}

func newSummaryBuilder(o Options) *summaryBuilder {
	return &summaryBuilder{
		partial:     Summary{Target: target(o.URL), Webhooks: o.total()},
		deliveredAt: make([]int, len(o.Retries)+1),
		endings:     make(map[attemptResult]*AnswerCount),
		redactor:    httpclient.NewRedactor(o.URL),
	}
}

// target is as much of a callback URL as may be shown.
func target(u *url.URL) string { return u.Scheme + "://" + u.Host }

// attempt counts an attempt that was made.
func (t *summaryBuilder) attempt(r result) {
	a := r.answer
	t.partial.Attempts++
	if a.Status != 0 {
		t.latencies = append(t.latencies, a.Latency)
	}
	if a.Status == http.StatusOK {
		t.receipt(a)
	}
	key := attemptResult{a.Status, a.Cause}
	count := t.endings[key]
	if count == nil {
		count = t.explained(a)
		t.endings[key] = count
	}
	count.Count++
	if t.partial.Webhooks == 1 {
		// Blotted out before it is cut, lest half a secret stays.
		body, cut := text.Shorten(t.redactor.Add(string(a.Body)), maxShownBytes)
		t.partial.Answer = &Answer{
			TaskID:      r.delivery.taskID,
			Status:      a.Status,
			Error:       a.Cause,
			ContentType: t.redactor.Redact(a.Header.Get("Content-Type"), httpclient.MaxDetailBytes),
			Body:        text.Printable(body),
			Truncated:   cut || a.Truncated,
		}
	}
}

// receipt counts what a 200 says about the webhook. Other receivers than the
// relay may answer anything, which then says nothing.
func (t *summaryBuilder) receipt(a httpclient.Result) {
	var receipt struct {
		Duplicate bool `json:"duplicate"`
		Conflict  bool `json:"conflict"`
	}
	if json.Unmarshal(a.Body, &receipt) != nil {
		return
	}
	if receipt.Duplicate {
		t.partial.Duplicates++
	}
	if receipt.Conflict {
		t.partial.Conflicts++
	}
}

// explained begins the count of a status or cause with what its first answer
// tells about it.
func (t *summaryBuilder) explained(a httpclient.Result) *AnswerCount {
	count := &AnswerCount{Status: a.Status, Error: a.Cause}
	count.Title, count.Detail = t.explain(a)
	return count
}

// explain is what an answer tells about itself, nothing for a 200, or why there was none.
func (t *summaryBuilder) explain(a httpclient.Result) (title, detail string) {
	switch a.Status {
	case 0:
		return "", a.Detail
	case http.StatusOK:
		return "", ""
	}
	title, detail = t.redactor.Problem(a)
	if title+detail == "" {
		detail = undelivered(a.Status)
	}
	return title, detail
}

// undelivered says why a status that looks like no failure is one.
func undelivered(status int) string {
	switch status / 100 {
	case 2:
		return "of the 2xx, APIXO takes 200 alone for delivered"
	case 3:
		return "redirects are not followed; give the URL that this one leads to"
	}
	return ""
}

// summary concludes the tally of a run that took so long and began so many
// webhooks.
func (t *summaryBuilder) summary(took time.Duration, begun int) Summary {
	s := t.partial
	s.Delivered, s.Failed, s.DeliveredAt = t.delivered, t.failed, t.deliveredAt
	s.Unfinished = begun - t.delivered - t.failed
	s.NotStarted = s.Webhooks - begun
	s.Answers = make([]AnswerCount, 0, len(t.endings))
	for _, count := range t.endings {
		s.Answers = append(s.Answers, *count)
	}
	slices.SortFunc(s.Answers, func(a, b AnswerCount) int {
		switch ok := http.StatusOK; {
		case a.Status == ok && b.Status != ok:
			return -1
		case b.Status == ok && a.Status != ok:
			return 1
		}
		return cmp.Or(cmp.Compare(b.Count, a.Count), cmp.Compare(a.Status, b.Status), cmp.Compare(a.Error, b.Error))
	})
	s.DurationSeconds = rounded(took.Seconds())
	if took > 0 {
		s.AttemptsPerSecond = rounded(float64(s.Attempts) / took.Seconds())
	}
	s.Latency = newLatency(t.latencies)
	return s
}

// rounded keeps six decimals: microseconds, when it is about seconds.
func rounded(x float64) float64 { return math.Round(x*1e6) / 1e6 }
