package ui

import (
	"slices"
	"strings"
	"testing"

	"golang.org/x/net/html"
)

// document is a part of a page, as a browser reads it.
type document struct {
	t    testing.TB
	node *html.Node
}

// view reads an answer that must have a status and be of a view.
func (a answer) view(t testing.TB, status int, name string) *document {
	t.Helper()
	if a.StatusCode != status || !strings.HasPrefix(a.Header.Get("Content-Type"), "text/html; charset=utf-8") {
		t.Fatalf("%s answered %d as %q, want %d:\n%.3000s", a.Request.URL, a.StatusCode, a.Header.Get("Content-Type"), status, a.body)
	}
	node, err := html.Parse(strings.NewReader(a.body))
	if err != nil {
		t.Fatal(err)
	}
	d := &document{t, node}
	if got := d.one("body").attr("data-view"); got != name {
		t.Fatalf("%s shows the view %q, want %q:\n%s", a.Request.URL, got, name, d.one("main").text())
	}
	return d
}

// refused wants the view of a refusal, which says something.
func (a answer) refused(t testing.TB, status int, says string) {
	t.Helper()
	if d := a.view(t, status, "error"); !strings.Contains(d.one("main").text(), says) {
		t.Errorf("%s says %q, want %q in it", a.Request.URL, d.one("main").text(), says)
	}
}

// all returns the elements below that a selector of CSS finds, of which it knows tags, #id and
// [name=value], and descendants.
func (d *document) all(selector string) (found []*document) {
	d.t.Helper()
	found = []*document{d}
	for _, part := range strings.Fields(selector) {
		var next []*document
		for _, parent := range found {
			for n := range parent.node.Descendants() {
				if isElement(n, part) && !slices.ContainsFunc(next, func(e *document) bool { return e.node == n }) {
					next = append(next, &document{d.t, n})
				}
			}
		}
		found = next
	}
	return found
}

func isElement(n *html.Node, selector string) bool {
	if n.Type != html.ElementNode {
		return false
	}
	tag, attribute, hasAttribute := strings.Cut(strings.TrimSuffix(selector, "]"), "[")
	tag, id, hasID := strings.Cut(tag, "#")
	name, value, hasValue := strings.Cut(attribute, "=")
	has := func(name, value string, any bool) bool {
		return slices.ContainsFunc(n.Attr, func(a html.Attribute) bool { return a.Key == name && (any || a.Val == value) })
	}
	return (tag == "" || n.Data == tag) && (!hasID || has("id", id, false)) && (!hasAttribute || has(name, value, !hasValue))
}

// one returns the only element that a selector finds.
func (d *document) one(selector string) *document {
	d.t.Helper()
	found := d.all(selector)
	if len(found) != 1 {
		d.t.Fatalf("there are %d of %s, want one, in\n%s", len(found), selector, d.text())
	}
	return found[0]
}

// none wants a selector to find nothing.
func (d *document) none(selector string) {
	d.t.Helper()
	if found := d.all(selector); len(found) > 0 {
		d.t.Errorf("there are %d of %s, want none: %s", len(found), selector, found[0].text())
	}
}

// raw is the text in it as it stands, and text that in one line.
func (d *document) raw() string {
	var b strings.Builder
	for n := range d.node.Descendants() {
		if n.Type == html.TextNode && (n.Parent == nil || n.Parent.Data != "noscript") {
			b.WriteString(n.Data)
		}
	}
	return b.String()
}

func (d *document) text() string { return strings.Join(strings.Fields(d.raw()), " ") }

// texts are those of the elements that a selector finds.
func (d *document) texts(selector string) (all []string) {
	for _, found := range d.all(selector) {
		all = append(all, found.text())
	}
	return all
}

func (d *document) attr(name string) string {
	for _, a := range d.node.Attr {
		if a.Key == name {
			return a.Val
		}
	}
	return ""
}

// attrs are those of the elements that a selector finds.
func (d *document) attrs(selector, name string) (all []string) {
	for _, found := range d.all(selector) {
		all = append(all, found.attr(name))
	}
	return all
}

// says wants a text in it.
func (d *document) says(text string) {
	d.t.Helper()
	if !strings.Contains(d.text(), text) {
		d.t.Errorf("it does not say %q:\n%s", text, d.text())
	}
}

// fact is what a list of terms says of one.
func (d *document) fact(list, name string) string {
	d.t.Helper()
	terms := d.texts(list + " dt")
	i := slices.Index(terms, name)
	if i < 0 {
		return ""
	}
	return d.texts(list + " dd")[i]
}

// documentOf reads any page.
func documentOf(t testing.TB, a answer) *document {
	t.Helper()
	node, err := html.Parse(strings.NewReader(a.body))
	if err != nil {
		t.Fatal(err)
	}
	return &document{t, node}
}
