package tokens_test

import (
	"sync"
	"testing"

	"github.com/apixo-relay/apixo-relay/relay/tokens"
)

const first, second, third = "tok-first-9f3c2a7d51e8", "tok-second-0a1b2c3d4e5f", "tok-third-5f4e3d2c1b0a"

func TestMatch(t *testing.T) {
	t.Parallel()
	both := tokens.New([]string{first, second})
	for name, test := range map[string]struct {
		set        *tokens.Set
		candidates []string
		want       bool
	}{
		"first":                          {both, []string{first}, true},
		"second":                         {both, []string{second}, true},
		"the good one before a wrong":    {both, []string{first, third}, true},
		"the good one behind a wrong":    {both, []string{third, "", second}, true},
		"two good ones":                  {both, []string{first, second}, true},
		"one good one twice":             {both, []string{first, first}, true},
		"wrong":                          {both, []string{third}, false},
		"all wrong":                      {both, []string{third, first[:8], first + second}, false},
		"empty":                          {both, []string{""}, false},
		"none":                           {both, nil, false},
		"prefix":                         {both, []string{first[:len(first)-1]}, false},
		"a character more":               {both, []string{first + "x"}, false},
		"both as one":                    {both, []string{first + "," + second}, false},
		"nobody is asked":                {nil, []string{third}, true},
		"nobody is asked, nothing given": {nil, nil, true},
		"a set of none":                  {tokens.New(nil), []string{first, ""}, false},
		"a set that was never filled":    {&tokens.Set{}, []string{first, ""}, false},
		"an empty one in the set":        {tokens.New([]string{""}), []string{""}, false},
	} {
		if got := test.set.Match(test.candidates...); got != test.want {
			t.Errorf("%s: %t, want %t", name, got, test.want)
		}
	}
}

// What was begun with a secret ends with it, and does not go on when the secret comes back.
func TestReplace(t *testing.T) {
	t.Parallel()
	set := tokens.New([]string{first, second, second})
	find := func(secret string) (gone func() bool) {
		t.Helper()
		valid, ok := set.Find(secret)
		if !ok {
			t.Fatalf("%s is not found", secret)
		}
		return func() bool { return valid.Err() != nil }
	}
	firstGone, secondGone := find(first), find(second)
	if _, ok := set.Find(third); ok {
		t.Error("the third is found before it is in the set")
	}
	if _, ok := set.Find(""); ok {
		t.Error("an empty one is found")
	}
	set.Replace([]string{second, third, second})
	if !firstGone() || secondGone() {
		t.Errorf("the first, which was taken out: %t; the second, which stayed: %t", firstGone(), secondGone())
	}
	if set.Match(first) || !set.Match(second) || !set.Match(third) {
		t.Error("it is not the second and third that are valid")
	}
	set.Replace([]string{first})
	if !firstGone() || !secondGone() {
		t.Error("what had ended goes on, or what was taken out does not end")
	}
	if find(first)() {
		t.Error("a secret that is back is of no use")
	}
	set.Replace(nil)
	if _, ok := set.Find(first); ok || set.Match(first) {
		t.Error("a set of none lets somebody in")
	}
}

// Comparing goes on while secrets change, and one that stays is valid throughout.
func TestReplaceWhileMatching(t *testing.T) {
	t.Parallel()
	set := tokens.New([]string{first})
	stays, _ := set.Find(first)
	var replacing sync.WaitGroup
	for range 4 {
		replacing.Go(func() {
			for range 200 {
				set.Replace([]string{first, second})
				set.Replace([]string{third, first})
			}
		})
	}
	for range 2000 {
		if !set.Match(second, first) {
			t.Fatal("a secret that stays was not valid")
		}
		if valid, ok := set.Find(first); !ok || valid.Err() != nil {
			t.Fatal("a secret that stays was not found")
		}
	}
	replacing.Wait()
	if stays.Err() != nil {
		t.Error("what was begun with a secret that stays has ended")
	}
}
