package tasklist

import (
	"fmt"
	"slices"
	"strings"
	"testing"
)

func (l *List) strings() (all []string) {
	for i := range l.tasks {
		all = append(all, l.tasks[i].Model+" "+l.tasks[i].ID)
	}
	return all
}

func TestLines(t *testing.T) {
	t.Parallel()
	for name, test := range map[string]struct {
		text, model string
		want        []string
	}{
		"ids":               {"b\na\n", "m", []string{"m b", "m a"}},
		"pairs":             {"m1 a\nm2\tb", "", []string{"m1 a", "m2 b"}},
		"a pair wins":       {"m1 a\nb", "m2", []string{"m1 a", "m2 b"}},
		"comments, empties": {"\n# x y z\n  a  \n   \n#b\n", "m", []string{"m a"}},
		"any model":         {"m1 a\nb\nm2 a", AnyModel, []string{"* a", "* b"}},
		"Windows":           {"\ufeffa\r\n\r\nb\r\n", "m", []string{"m a", "m b"}},
		"twice":             {"a\nb\na\nm a", "m", []string{"m a", "m b"}},
		"longest":           {strings.Repeat("x", 128), "m", []string{"m " + strings.Repeat("x", 128)}},
		"all characters":    {"aZ09_.:-", "m", []string{"m aZ09_.:-"}},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			tasks, err := FromLines(strings.NewReader(test.text), test.model)
			if err != nil {
				t.Fatal(err)
			}
			if got := tasks.strings(); !slices.Equal(got, test.want) {
				t.Errorf("%q, want %q", got, test.want)
			}
		})
	}
}

// All that is wrong is told at once, with the line, and nothing else is done.
func TestWrongLines(t *testing.T) {
	t.Parallel()
	for name, test := range map[string]struct{ text, model, want string }{
		"nothing":      {"# nothing\n\n", "m", "there is no task id"},
		"no model":     {"a", "", "\n  line 1: a has no model"},
		"three words":  {"ok\nm a b", "m", "1 of 2 lines cannot be used, and nothing was done:\n  line 2: \"m a b\" is neither ID nor MODEL ID"},
		"id":           {"a\n\nta\x1bsk", "m", `line 3: "ta\x1bsk" is no task id`},
		"too long":     {strings.Repeat("x", 129), "m", "is no task id: 1 to 128"},
		"model":        {"../x a", "m", `line 1: "../x" is no model`},
		"dots":         {".. a", "m", `".." is no model`},
		"two models":   {"m1 a\nm2 a", "", "line 2: a is of the model m2 here, and of m1 before"},
		"several":      {"a b c\nok\nd e f", "m", "2 of 3 lines cannot be used, and nothing was done:\n  line 1: \"a b c\" is neither ID nor MODEL ID\n  line 3: "},
		"many":         {strings.Repeat("a b c\n", 13), "m", "13 of 13 lines"},
		"endless line": {"a\n" + strings.Repeat("x ", 3000), "m", "line 2 has more than 4096 bytes"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			tasks, err := FromLines(strings.NewReader(test.text), test.model)
			if tasks != nil || err == nil || !strings.Contains(err.Error(), test.want) {
				t.Errorf("%v, want %q", err, test.want)
			}
			if name == "many" && (!strings.HasSuffix(err.Error(), "\n  and 3 more") || strings.Count(err.Error(), "\n") != 11) {
				t.Error(err)
			}
		})
	}
}

func TestArguments(t *testing.T) {
	t.Parallel()
	tasks, err := FromArguments([]string{"a", "m2 b"}, "m")
	if err != nil || !slices.Equal(tasks.strings(), []string{"m a", "m2 b"}) {
		t.Fatal(tasks, err)
	}
	if _, err := FromArguments([]string{"a", "b/c"}, "m"); err == nil || !strings.Contains(err.Error(), `argument 2: "b/c"`) {
		t.Error(err)
	}
}

// A million ids fit into memory: what the documentation says is so.
func BenchmarkTasks(b *testing.B) {
	var text strings.Builder
	for i := range 1_000_000 {
		fmt.Fprintf(&text, "task_%032x\n", i*7919)
	}
	b.ReportAllocs()
	for b.Loop() {
		if tasks, err := FromLines(strings.NewReader(text.String()), "nano-banana"); err != nil || tasks.Len() != 1_000_000 {
			b.Fatal(err)
		}
	}
}
