package main

import (
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"time"

	"github.com/cloudevents/sdk-go/v2/event"
	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
)

// serveNaive runs the peer to beat: the handler that one would write in an
// afternoon from the libraries' own examples. It decodes by encoding/json, makes
// the event by the CloudEvents SDK, publishes synchronously with the task id as
// message id, and answers when the broker has acknowledged. It has no token, no
// metrics, no quarantine and no bounds, and writes no line of log for a request,
// which makes it harder to beat.
func serveNaive(ctx context.Context, broker string) error {
	conn, err := nats.Connect(broker)
	if err != nil {
		return err
	}
	defer conn.Close()
	js, err := jetstream.New(conn)
	if err != nil {
		return err
	}
	if _, err := js.CreateStream(ctx, naiveStream); err != nil {
		return err
	}
	return serve(ctx, naiveHandler(js))
}

// naiveStream is as the relay makes it.
var naiveStream = jetstream.StreamConfig{
	Name: "APIXO", Subjects: []string{"apixo.task.>"}, Duplicates: time.Hour, MaxAge: 7 * 24 * time.Hour, Discard: jetstream.DiscardNew, AllowDirect: true,
}

// naiveWebhook has the members that APIXO documents, and what is made of them.
type naiveWebhook struct {
	Data struct {
		TaskID       string   `json:"taskId"`
		State        string   `json:"state"`
		ResultJSON   string   `json:"resultJson,omitempty"`
		ResultURLs   []string `json:"resultUrls,omitempty"`
		FailCode     string   `json:"failCode,omitempty"`
		FailMsg      string   `json:"failMsg,omitempty"`
		CostTime     int64    `json:"costTime"`
		CreateTime   int64    `json:"createTime"`
		CompleteTime int64    `json:"completeTime"`
	} `json:"data"`
}

func naiveHandler(js jetstream.JetStream) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		var webhook naiveWebhook
		data := &webhook.Data
		if err := json.NewDecoder(http.MaxBytesReader(w, r.Body, maxBody)).Decode(&webhook); err != nil {
			http.Error(w, err.Error(), http.StatusBadRequest)
			return
		}
		if data.State == "success" {
			if err := json.Unmarshal([]byte(data.ResultJSON), data); err != nil {
				http.Error(w, err.Error(), http.StatusUnprocessableEntity)
				return
			}
		}
		e := event.New()
		e.SetID(data.TaskID)
		e.SetSource("https://api.apixo.ai")
		e.SetType("ai.apixo.task." + data.State)
		e.SetSubject(data.TaskID)
		e.SetTime(time.UnixMilli(data.CompleteTime))
		e.SetExtension("model", r.URL.Query().Get("model"))
		if err := e.SetData(event.ApplicationJSON, data); err != nil {
			http.Error(w, err.Error(), http.StatusUnprocessableEntity)
			return
		}
		body, err := json.Marshal(e)
		if err != nil {
			http.Error(w, err.Error(), http.StatusUnprocessableEntity)
			return
		}
		ack, err := js.PublishMsg(r.Context(), &nats.Msg{
			Subject: "apixo.task." + data.State, Data: body,
			Header: nats.Header{nats.MsgIdHdr: {data.TaskID}, "Content-Type": {event.ApplicationCloudEventsJSON}},
		})
		if err != nil {
			http.Error(w, err.Error(), http.StatusServiceUnavailable)
			return
		}
		w.Header().Set("Content-Type", "application/json")
		fmt.Fprintf(w, `{"taskId":%q,"stream":%q,"sequence":%d,"duplicate":%t}`, data.TaskID, ack.Stream, ack.Sequence, ack.Duplicate)
	}
}
