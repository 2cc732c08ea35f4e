package main

import (
	"bytes"
	"encoding/json"
	"net/http"
	"net/http/httptest"
	"os"
	"strings"
	"testing"

	"github.com/cloudevents/sdk-go/v2/event"
	"github.com/nats-io/nats-server/v2/server"
	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
)

// The peer does what it is there for: its events are CloudEvents, each stored once.
func TestNaive(t *testing.T) {
	s, err := server.NewServer(&server.Options{Host: "127.0.0.1", Port: server.RANDOM_PORT, JetStream: true, StoreDir: t.TempDir(), NoLog: true, NoSigs: true})
	if err != nil {
		t.Fatal(err)
	}
	s.Start()
	defer s.WaitForShutdown()
	defer s.Shutdown()
	conn, err := nats.Connect(s.ClientURL())
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	js, err := jetstream.New(conn)
	if err != nil {
		t.Fatal(err)
	}
	stream, err := js.CreateStream(t.Context(), naiveStream)
	if err != nil {
		t.Fatal(err)
	}
	webhook, err := os.ReadFile("../../../schema/testdata/success.json")
	if err != nil {
		t.Fatal(err)
	}
	for _, want := range []string{`"sequence":1,"duplicate":false}`, `"sequence":1,"duplicate":true}`} {
		answer := httptest.NewRecorder()
		naiveHandler(js)(answer, httptest.NewRequest(http.MethodPost, "/?model=nano-banana", bytes.NewReader(webhook)))
		if answer.Code != http.StatusOK || !strings.HasSuffix(answer.Body.String(), want) {
			t.Errorf("%d %s", answer.Code, answer.Body)
		}
	}
	stored, err := stream.GetMsg(t.Context(), 1)
	if err != nil {
		t.Fatal(err)
	}
	var e event.Event
	if err := json.Unmarshal(stored.Data, &e); err != nil || e.ID() != "task_abc123xyz" || e.Extensions()["model"] != "nano-banana" ||
		!strings.Contains(string(e.Data()), `"resultUrls":["https://cdn.apixo.ai/output/abc.jpg"]`) {
		t.Errorf("%v, %s", err, stored.Data)
	}
}
