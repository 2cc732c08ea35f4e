package receiver

import (
	"context"
	"net/http"

	"github.com/apixo-relay/apixo-relay/relay/store"
	"github.com/apixo-relay/apixo-relay/schema"
)

// Announcer has announced tasks looked after. Its errors are *store.Error.
type Announcer interface {
	// Announce returns when the register has the task. It reports false if the task's event
	// is known to be stored.
	Announce(ctx context.Context, taskID string, task schema.ExpectedTask) (expected bool, err error)
	// Quarantine keeps an announcement that cannot be used. It has no key here.
	Quarantine(ctx context.Context, key string, value []byte, rejection *schema.Error) (store.Receipt, error)
}

// announcement is what is known of a request that announces a task.
type announcement struct {
	taskID   string // once it has been read
	expected bool
}

// announce has the task of a request looked after. Its error is as that of process.
func (rc *Receiver) announce(ctx context.Context, header http.Header, body []byte, res *result) error {
	rejection := checkContent(header, body)
	if rejection == nil {
		id, task, err := schema.ParseAnnouncement(body)
		if err == nil {
			res.announcement.taskID = id
			res.announcement.expected, err = rc.announcer.Announce(ctx, id, task)
			return err
		}
		rejection = err.(*schema.Error) // as it promises
	}
	res.rejection = rejection
	receipt, err := rc.announcer.Quarantine(ctx, "", body, rejection)
	if err != nil {
		return err
	}
	res.receipt = receipt
	return rejection
}

// announcementBody is the body of a 200 to an announcement.
type announcementBody struct {
	TaskID   string `json:"taskId"`
	Expected bool   `json:"expected"`
}
