package text

import "testing"

func TestShorten(t *testing.T) {
	t.Parallel()
	for _, test := range []struct {
		text  string
		limit int
		want  string
		cut   bool
	}{
		{"", 3, "", false},
		{"abc", 3, "abc", false},
		{"abcd", 3, "abc", true},
		{"aéé", 4, "aé", true},
		{"é", 1, "", true},
	} {
		if got, cut := Shorten(test.text, test.limit); got != test.want || cut != test.cut {
			t.Errorf("%q to %d: %q, %v; want %q, %v", test.text, test.limit, got, cut, test.want, test.cut)
		}
	}
}

// Foreign text neither steers a terminal nor breaks out of its line.
func TestLine(t *testing.T) {
	t.Parallel()
	for foreign, want := range map[string]string{
		" a\r\n\tb  c\n":             "a b c",
		"\x1b[31mred\x07 \u202etfel": "�[31mred� �tfel",
		"a\xffb":                     "a�b",
	} {
		if got := Line(foreign); got != want {
			t.Errorf("%q became %q, want %q", foreign, got, want)
		}
	}
}

func TestFigures(t *testing.T) {
	t.Parallel()
	for want, got := range map[string]string{
		"0.25 ms": Milliseconds(0.25), "12.5 ms": Milliseconds(12.5), "1.50 s": Milliseconds(1500), "3600 s": Milliseconds(3.6e6),
		"0": Count(0), "999": Count(999), "1,000": Count(int64(1000)), "12,345,678": Count(uint64(12345678)),
	} {
		if got != want {
			t.Errorf("%q, want %q", got, want)
		}
	}
}
