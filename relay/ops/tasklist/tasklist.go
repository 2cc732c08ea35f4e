// Package tasklist reads the tasks that a command is to work on: from arguments, or from
// lines.
//
// It must not know what is done with them.
package tasklist

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"iter"
	"maps"
	"strconv"
	"strings"

	"github.com/apixo-relay/apixo-relay/relay/text"
	"github.com/apixo-relay/apixo-relay/relay/utf8text"
	"github.com/apixo-relay/apixo-relay/schema"
)

const (
	// maxLineBytes is more than two names and what may stand around them.
	maxLineBytes = 4096
	// maxReported is how much of what is wrong with an input is told.
	maxReported = 10
	// maxQuotedBytes bounds what an error repeats of an argument.
	maxQuotedBytes = 128
)

// Task is one of a list.
type Task struct{ ID, Model string }

// AnyModel is the model of tasks of which it does not matter, whatever is written beside them.
const AnyModel = "*"

// List has tasks, each once and in the order of the input. Each takes about 150 bytes of
// memory.
type List struct {
	tasks  []Task
	byID   map[string]uint32
	models map[string]string // so that tasks share the names
}

// Len returns the number of tasks.
func (l *List) Len() int { return len(l.tasks) }

// At returns the task at an index.
func (l *List) At(i int) Task { return l.tasks[i] }

// IndexOf returns the index of the task with an id, if it is in the list.
func (l *List) IndexOf(id string) (i int, ok bool) {
	n, ok := l.byID[id]
	return int(n), ok
}

// Models returns the names of all models of the list, in any order.
func (l *List) Models() iter.Seq[string] { return maps.Keys(l.models) }

// CheckModel returns an error if a name cannot be that of a model: it becomes a
// part of a path, and an attribute of the event.
func CheckModel(name string) error { return inWords(schema.CheckModel(name)) }

// inWords returns the sentence of an error of package schema alone.
func inWords(err error) error {
	if e, ok := errors.AsType[*schema.Error](err); ok {
		return errors.New(e.Detail)
	}
	return err
}

// quote makes foreign text fit for an error: printable, and bounded.
func quote(s string) string {
	s, cut := text.Shorten(s, maxQuotedBytes)
	if cut {
		return strconv.QuoteToGraphic(s) + "…"
	}
	return strconv.QuoteToGraphic(s)
}

// FromArguments reads tasks from arguments, each "ID" or "MODEL ID". model is the model of
// tasks without their own, and may be empty, or AnyModel. The error lists all wrong arguments.
func FromArguments(args []string, model string) (*List, error) {
	in := newInput("argument", model)
	for _, arg := range args {
		in.add(arg)
	}
	return in.list()
}

// FromLines is [FromArguments] for lines. It skips empty lines, lines that begin with #, and a
// byte order mark.
func FromLines(r io.Reader, model string) (*List, error) {
	in := newInput("line", model)
	scanner := bufio.NewScanner(utf8text.NewReader(r))
	scanner.Buffer(nil, maxLineBytes)
	for scanner.Scan() {
		in.add(scanner.Text())
	}
	switch err := scanner.Err(); {
	case errors.Is(err, utf8text.ErrUTF16):
		return nil, fmt.Errorf("what the task ids are to be read from %w", err)
	case errors.Is(err, bufio.ErrTooLong):
		return nil, fmt.Errorf("line %d has more than %d bytes: are these task ids, one a line?", in.read+1, maxLineBytes)
	case err != nil:
		return nil, fmt.Errorf("the task ids cannot be read: %w", err)
	}
	return in.list()
}

// input is what has been read, and what is wrong with it.
type input struct {
	unit  string // line or argument
	model string
	read  int
	got   *List
	wrong []string
	more  int // that are wrong, and not told
}

func newInput(unit, model string) *input {
	return &input{unit: unit, model: model, got: &List{byID: make(map[string]uint32), models: make(map[string]string)}}
}

func (in *input) add(line string) {
	in.read++
	err := in.take(line)
	switch {
	case err == nil:
	case len(in.wrong) < maxReported:
		in.wrong = append(in.wrong, fmt.Sprintf("\n  %s %d: %v", in.unit, in.read, err))
	default:
		in.more++
	}
}

func (in *input) take(line string) error {
	fields := strings.Fields(line)
	if len(fields) == 0 || strings.HasPrefix(fields[0], "#") {
		return nil
	}
	id, model := fields[len(fields)-1], in.model
	switch {
	case len(fields) > 2, strings.Contains(strings.TrimSpace(line), "\r"):
		return fmt.Errorf("%s is neither ID nor MODEL ID", quote(line))
	case len(fields) == 2:
		model = fields[0]
		if err := CheckModel(model); err != nil {
			return err
		}
	}
	switch err := schema.CheckTaskID(id); {
	case err != nil:
		return inWords(err)
	case model == "":
		return fmt.Errorf("%s has no model, without which the API cannot be asked: give --model, or write MODEL ID", id)
	}
	if in.model == AnyModel {
		model = AnyModel
	}
	got := in.got
	if i, ok := got.byID[id]; ok {
		if other := got.tasks[i].Model; other != model {
			return fmt.Errorf("%s is of the model %s here, and of %s before", id, model, other)
		}
		return nil
	}
	if shared, ok := got.models[model]; ok {
		model = shared
	} else {
		got.models[model] = model
	}
	id = strings.Clone(id) // not with the rest of the line
	got.byID[id] = uint32(len(got.tasks))
	got.tasks = append(got.tasks, Task{ID: id, Model: model})
	return nil
}

// list returns what has been read, or an error that tells what is wrong.
func (in *input) list() (*List, error) {
	if n := len(in.wrong) + in.more; n > 0 {
		more := ""
		if in.more > 0 {
			more = fmt.Sprintf("\n  and %d more", in.more)
		}
		return nil, fmt.Errorf("%d of %d %ss cannot be used, and nothing was done:%s%s", n, in.read, in.unit, strings.Join(in.wrong, ""), more)
	}
	if len(in.got.tasks) == 0 {
		return nil, errors.New("there is no task id: give some as arguments, or one a line on standard input")
	}
	return in.got, nil
}
