package tail

import (
	"bytes"
	"errors"
	"fmt"
	"regexp"
	"strconv"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/apixo-relay/apixo-relay/relay/ops/streamreader"
	"github.com/apixo-relay/apixo-relay/schema"
)

func task(sequence int, state schema.State) streamreader.Message {
	id := fmt.Sprintf("task_%d", sequence)
	return streamreader.Message{
		Sequence: uint64(sequence), Stored: time.Now(), Subject: schema.TaskSubject("apixo", state),
		Event: schema.Event{
			ID: id, Subject: id, Type: schema.EventType(state), Extensions: map[string]string{"model": "m"},
			Data: []byte(`{"taskId":"` + id + `","state":"` + string(state) + `","failCode":"NSFW","costTime":1500,"resultUrls":["https://a/1","https://a/2"]}`),
		},
	}
}

var foldedLine = regexp.MustCompile(`… and ([0-9,]+) more: (.*)\x1b`)

// A hundred events a second stay readable, none of them goes uncounted, and no
// failure drowns.
func TestScreenAtAHundredASecond(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		const seconds, failures = 10, 3
		var out bytes.Buffer
		s := NewThrottledPrinter(&out, true, time.Now())
		for i := range 100 * seconds {
			state := schema.StateSuccess
			if i%400 == 150 {
				state = schema.StateFailed
			}
			if err := s.Print(task(i+1, state)); err != nil {
				t.Fatal(err)
			}
			time.Sleep(10 * time.Millisecond)
		}
		if err := s.Close(); err != nil {
			t.Fatal(err)
		}
		shown, folded, failed := 0, 0, 0
		for line := range strings.Lines(out.String()) {
			switch match := foldedLine.FindStringSubmatch(line); {
			case match != nil:
				n, err := strconv.Atoi(match[1])
				if err != nil || match[2] != fmt.Sprintf("%d success", n) {
					t.Errorf("%v in %q", err, line)
				}
				folded += n
			case strings.Contains(line, "task_"):
				shown++
				failed += strings.Count(line, "failed")
			}
		}
		if shown+folded != 100*seconds {
			t.Errorf("%d were shown and %d summed up, of %d", shown, folded, 100*seconds)
		}
		if failed != failures {
			t.Errorf("%d failures were shown, there were %d", failed, failures)
		}
		// The first ones have their addresses, two each.
		if lines := strings.Count(out.String(), "\n"); lines > 3*shownBurst+(shownRate+2)*seconds+failures {
			t.Errorf("%d lines in %d seconds", lines, seconds)
		}
		if strings.Count(out.String(), "https://a/1") > shownBurst+failures {
			t.Error("addresses are shown at a pace at which nobody reads them")
		}
	})
}

// What an event does not have as it came is shown where there is such a thing.
func TestTextShowsWhatWasNormalized(t *testing.T) {
	t.Parallel()
	m := task(1, schema.StateFailed)
	for want, attributes := range map[string]map[string]string{
		"task_1 model=m normalized=costTime,other  NSFW\n": {"model": "m", "normalized": "costTime,other"},
		"task_1 model=m  NSFW\n":                           {"model": "m"},
	} {
		m.Event.Extensions = attributes
		var out bytes.Buffer
		if err := Text(&out, m, false); err != nil || !strings.HasSuffix(out.String(), want) {
			t.Errorf("shown as %q (%v), want %q", out.String(), err, want)
		}
	}
}

// What was there before, somebody asked for.
func TestScreenShowsHistoryWhole(t *testing.T) {
	t.Parallel()
	var out bytes.Buffer
	s := NewThrottledPrinter(&out, true, time.Now().Add(time.Hour))
	for i := range 1000 {
		if err := s.Print(task(i, schema.StateSuccess)); err != nil {
			t.Fatal(err)
		}
	}
	if n := strings.Count(out.String(), "task_"); n != 1000 {
		t.Errorf("%d of 1000 are shown", n)
	}
}

// An output that has ended is told, also when it ends at a line that sums up.
func TestScreenTellsThatNobodyReads(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		w := &endingWriter{left: shownBurst * 2} // two writes for each event
		s := NewThrottledPrinter(w, true, time.Now())
		for i := range shownBurst + 1 {
			if err := s.Print(task(i, schema.StateSuccess)); err != nil {
				t.Fatal(err)
			}
		}
		time.Sleep(2 * suppressInterval)
		if err := s.Print(task(99, schema.StateSuccess)); !errors.Is(err, errEnded) {
			t.Errorf("%v, want that of the writer", err)
		}
	})
}

var errEnded = errors.New("nobody reads")

type endingWriter struct{ left int }

func (w *endingWriter) Write(p []byte) (int, error) {
	if w.left--; w.left < 0 {
		return 0, errEnded
	}
	return len(p), nil
}

// Whatever somebody has sent, it is text on the line that it belongs to.
func TestTextIsHarmless(t *testing.T) {
	t.Parallel()
	evil := "a\x1b[2J\nb\u202e" + strings.Repeat("x", 1000)
	m := streamreader.Message{Sequence: 1, Event: schema.Event{
		Type: schema.TypeWebhookRejected, Data: []byte(evil),
		Extensions: map[string]string{"reason": evil, "detail": evil, "model": evil},
	}}
	for name, m := range map[string]streamreader.Message{
		"quarantined": m,
		"no event":    {Subject: "apixo.task.success", Err: errors.New(evil)},
		"failed":      {Event: schema.Event{Type: schema.TypeTaskFailed, Data: []byte(`{"taskId":"t","state":"failed","failMsg":"\u001b[2J\nb"}`)}},
		"success":     {Event: schema.Event{Type: schema.TypeTaskSuccess, Data: []byte(`{"taskId":"t","state":"success","resultUrls":["http://a/\u001b[2J\n"]}`)}},
		"no task":     {Event: schema.Event{Type: schema.TypeTaskSuccess, ID: "i", Data: []byte(`{}`)}},
	} {
		var out bytes.Buffer
		if err := Text(&out, m, false); err != nil {
			t.Fatal(err)
		}
		if strings.ContainsAny(out.String(), "\x1b\u202e") || strings.Count(out.String(), "\n") > 2 {
			t.Errorf("%s: %q", name, out.String())
		}
	}
}
