package backfill

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"regexp"
	"strings"
	"sync/atomic"

	"github.com/apixo-relay/apixo-relay/relay/utf8text"
)

const (
	// maxNameBytes is how long the id of a task, or the name of a model, can be, as
	// isName has it.
	maxNameBytes = 128
	// maxLineBytes is more than two names and what may stand around them.
	maxLineBytes = 4096
	// maxReported is how much of what is wrong with an input is told.
	maxReported = 10
)

// isName is what the ids of tasks, and the names of models, are made of.
var isName = regexp.MustCompile(`^[A-Za-z0-9_.:-]{1,128}$`)

// Tasks are those to ask for, each once and in the order of the input. Each takes
// about 150 bytes of memory.
type Tasks struct {
	list   []task
	byID   map[string]uint32
	models map[string]string // so that tasks share the names
}

// task is one to ask for.
type task struct {
	id, model string
	// at is the sequence at which it is stored; 0 while none is known.
	at atomic.Uint64
}

// Len returns the number of tasks.
func (t *Tasks) Len() int { return len(t.list) }

// CheckModel returns an error if a name cannot be that of a model: it becomes a
// part of a path, and an attribute of the event.
func CheckModel(name string) error {
	if !isName.MatchString(name) || name == "." || name == ".." {
		return fmt.Errorf("%s is no model: 1 to %d letters, digits and _ . : - are", quote(name), maxNameBytes)
	}
	return nil
}

// FromArguments reads tasks from arguments, each "ID" or "MODEL ID". model is the model of
// tasks without their own, and may be empty. The error lists all wrong arguments.
func FromArguments(args []string, model string) (*Tasks, error) {
	in := newInput("argument", model)
	for _, arg := range args {
		in.add(arg)
	}
	return in.tasks()
}

// FromLines is [FromArguments] for lines. It skips empty lines, lines that begin with #, and a
// byte order mark.
func FromLines(r io.Reader, model string) (*Tasks, error) {
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
	return in.tasks()
}

// input is what has been read, and what is wrong with it.
type input struct {
	unit  string // line or argument
	model string
	read  int
	got   *Tasks
	wrong []string
	more  int // that are wrong, and not told
}

func newInput(unit, model string) *input {
	return &input{unit: unit, model: model, got: &Tasks{byID: make(map[string]uint32), models: make(map[string]string)}}
}

func (in *input) add(text string) {
	in.read++
	err := in.take(text)
	switch {
	case err == nil:
	case len(in.wrong) < maxReported:
		in.wrong = append(in.wrong, fmt.Sprintf("\n  %s %d: %v", in.unit, in.read, err))
	default:
		in.more++
	}
}

func (in *input) take(text string) error {
	fields := strings.Fields(text)
	if len(fields) == 0 || strings.HasPrefix(fields[0], "#") {
		return nil
	}
	id, model := fields[len(fields)-1], in.model
	switch {
	case len(fields) > 2, strings.Contains(strings.TrimSpace(text), "\r"):
		return fmt.Errorf("%s is neither ID nor MODEL ID", quote(text))
	case len(fields) == 2:
		model = fields[0]
		if err := CheckModel(model); err != nil {
			return err
		}
	}
	switch {
	case !isName.MatchString(id):
		return fmt.Errorf("%s is no task id: 1 to %d letters, digits and _ . : - are", quote(id), maxNameBytes)
	case model == "":
		return fmt.Errorf("%s has no model, without which the API cannot be asked: give --model, or write MODEL ID", id)
	}
	got := in.got
	if i, ok := got.byID[id]; ok {
		if other := got.list[i].model; other != model {
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
	got.byID[id] = uint32(len(got.list))
	got.list = append(got.list, task{id: id, model: model})
	return nil
}

// tasks are what has been read, or an error that tells what is wrong.
func (in *input) tasks() (*Tasks, error) {
	if n := len(in.wrong) + in.more; n > 0 {
		more := ""
		if in.more > 0 {
			more = fmt.Sprintf("\n  and %d more", in.more)
		}
		return nil, fmt.Errorf("%d of %d %ss cannot be used, and nothing was asked:%s%s", n, in.read, in.unit, strings.Join(in.wrong, ""), more)
	}
	if len(in.got.list) == 0 {
		return nil, errors.New("there is no task id to ask for: give some as arguments, or one a line on standard input")
	}
	return in.got, nil
}
