package receiver

import (
	"net/url"
	"testing"
)

// A parameter is found as the library finds it, in every query.
func FuzzParameter(f *testing.F) {
	for _, query := range []string{
		"", "model", "model=", "model=a", "model=a&model=b", "x=1&model=a", "&&model=a&", "model=a=b", "model=%41+b", "%6dodel=a", "mod+el=a",
		"model=%zz&model=a", "%zz=1&model=a", "model=a;b&model=c", "model;=a", "Model=a", "model=a%26model=b", "=a", "model%=a", "model=%e5%9b%be", "model=&model=b",
	} {
		f.Add(query, "model")
	}
	f.Fuzz(func(t *testing.T, query, name string) {
		values, _ := url.ParseQuery(query) // what can be read of it, as URL.Query does
		if got, want := parameter(query, name), values.Get(name); got != want {
			t.Errorf("%q in %q is %q, the library finds %q", name, query, got, want)
		}
	})
}
