package cluster

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"
)

// view is a view of the operator's page, and what is in it if all is well.
type view struct{ path, text string }

var (
	nowView        = view{"/", "my-service"}
	eventsView     = view{"/events", "/tasks/task_1"}
	taskView       = view{"/tasks/task_1", "apixo.task.success"}
	announcedView  = view{"/tasks/task_4", "It is announced"}
	quarantineView = view{"/quarantine", `data-seq="1"`}
	bodyView       = view{"/quarantine/1", "processing"}
	expectedView   = view{"/expected", "/tasks/task_4"}
	checksView     = view{"/checks", `data-status="ok"`}
)

// lacks are what the page says where its user may not do something, by view; and what it
// answers to a form.
var lacks = map[string][]view{
	info: {
		{"/", "The consumers are not known"}, {"/events", "does not let this user read streams"},
		{"/quarantine", "does not let this user read streams"}, {"/tasks/task_1", "whether there is an event of task_1 is not known"},
		{"/tasks/task_4", "whether there is an event of task_4 is not known"},
		{"/expected", "What is outstanding is not known: the broker does not let this user publish to $JS.API.STREAM.INFO.KV_APIXO_EXPECTED"},
	},
	eventsGet:      {{"/tasks/task_1", "does not let this user read streams"}},
	quarantineGet:  {{"/quarantine/1", "does not let this user read streams"}, {"/tasks/task_1", "What else came about it is not known: the broker did not answer"}},
	eventsRead:     {{"/events", "does not let this user read it by a consumer"}, {"/tasks/task_1", "is being searched"}, {"/tasks/task_4", "is being searched"}},
	eventsNext:     {{"/events", "does not let this user read it by a consumer"}, {"/tasks/task_1", "is being searched"}, {"/tasks/task_4", "is being searched"}},
	quarantineRead: {{"/quarantine", "does not let this user read it by a consumer"}, {"/expected", "Which were given up is not known"}},
	quarantineNext: {{"/quarantine", "does not let this user read it by a consumer"}},
	consumers:      {{"/", "does not let this user list them"}},
	bucketGet:      {{"/tasks/task_4", "Whether it is announced is not known"}, {"/tasks/task_1", "Whether it is announced is not known"}},
	bucketRead:     {{"/expected", "What is outstanding is not known: the bucket APIXO_EXPECTED cannot be read"}},
	jsInfo:         {{"/checks", "does not tell this user how full the account is"}},
	"$JS.API.STREAM.MSG.DELETE.APIXO_QUARANTINE": {
		{"POST /quarantine/put-aside?seq=1", "does not let this user publish to $JS.API.STREAM.MSG.DELETE.APIXO_QUARANTINE"},
	},
	"$JS.API.STREAM.NAMES": {{"POST /replay?target=again&action=start&from-seq=1", "the broker does not say which stream takes the subject replayed.replayed"}},
	"replayed.>":           {{"POST /replay?target=again&action=start&from-seq=1", "does not let this user publish to replayed.replayed"}},
}

// Of what the page may not do it says so, in the view that needs it, and every other view is
// as it was.
func TestPageSaysWhatItMayNot(t *testing.T) {
	t.Parallel()
	accounts := allUsers(t)
	p := newPrograms(t, len(lacks))
	for subject, told := range lacks {
		host := p.host()
		t.Run(subject, func(t *testing.T) {
			t.Parallel()
			b := one(t, p, without(t, accounts, rule{"ui", subject}), host)
			b.prepare(t)
			ctx, cancel := context.WithTimeout(t.Context(), patience)
			defer cancel()
			_, js := b.connect(t, maker)
			if _, err := js.CreateConsumer(ctx, "APIXO", durable("my-service")); err != nil {
				t.Fatal(err)
			}
			if _, err := js.CreateStream(ctx, b.replayStream("REPLAYED")); err != nil {
				t.Fatal(err)
			}
			page, err := b.page(t, ctx, "ui", []string{"RELAY_UI_TARGETS=again=nats:replayed.replayed"})
			if err != nil {
				t.Fatal(err)
			}
			for _, v := range []view{nowView, eventsView, taskView, announcedView, quarantineView, bodyView, expectedView, checksView} {
				if slices.ContainsFunc(told, func(of view) bool { return of.path == v.path }) {
					continue
				}
				if err := page.shows(ctx, v.path, v.text); err != nil {
					t.Error(err)
				}
			}
			for _, v := range told {
				if err := page.says(ctx, v); err != nil {
					t.Error(err)
				}
			}
		})
	}
}

// says waits until a view, or what is answered to a form, has a text in it, whatever its status.
func (p page) says(ctx context.Context, v view) error {
	said := "nothing in time"
	for {
		ask, path := p.get, v.path
		if form, isPost := strings.CutPrefix(v.path, "POST "); isPost {
			ask, path = p.submit, form
		}
		status, body, err := ask(ctx, path)
		if err == nil && strings.Contains(body, v.text) {
			return nil
		}
		if err == nil {
			said = fmt.Sprintf("%d %s", status, body)
		}
		select {
		case <-ctx.Done():
			return errors.Join(err, fmt.Errorf("%s does not say %q, but %s", v.path, v.text, said))
		case <-time.After(50 * time.Millisecond):
		}
	}
}
