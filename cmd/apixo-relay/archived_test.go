package main

import (
	"context"
	"strings"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
	"github.com/rogpeppe/go-internal/testscript"

	"github.com/apixo-relay/apixo-relay/relay/event"
	"github.com/apixo-relay/apixo-relay/relay/ops/archive/target"
	"github.com/apixo-relay/apixo-relay/schema"
)

// archived is the script command 'archived TARGET TASK...': a target has a file of each task, and
// the archive's stream tells so.
func archived(ts *testscript.TestScript, _ bool, args []string) {
	ts.Check(archiveTasks(context.Background(), ts.Getenv("NATS_URL"), args[0], args[1:]...))
}

func archiveTasks(ctx context.Context, url, to string, ids ...string) error {
	conn, err := nats.Connect(url)
	if err != nil {
		return err
	}
	defer conn.Close()
	js, err := jetstream.New(conn)
	if err != nil {
		return err
	}
	if _, err := js.CreateOrUpdateStream(ctx, jetstream.StreamConfig{Name: schema.DefaultArchive, Subjects: []string{schema.ArchiveSubjects(schema.DefaultPrefix)}}); err != nil {
		return err
	}
	spec, err := target.Parse(to)
	if err != nil {
		return err
	}
	t, err := spec.Open(ctx, target.Options{JetStream: js, LargestFile: 1 << 20})
	if err != nil {
		return err
	}
	defer t.Close()
	for _, id := range ids {
		const address = "https://cdn.apixo.ai/notes.txt"
		key := id + "/01-notes.txt"
		o, err := t.Put(ctx, key, strings.NewReader("what was made for "+id+"\n"), target.Meta{Source: address, MediaType: "text/plain"})
		if err != nil {
			return err
		}
		file := schema.ArchivedFile{URL: address, Location: t.Location(key), Bytes: o.Bytes, MediaType: "text/plain", SHA256: o.SHA256}
		msg, err := event.Encoder{Source: "https://api.apixo.ai", Prefix: schema.DefaultPrefix}.Archived(schema.ArchivedTask{ID: id, Files: []schema.ArchivedFile{file}}, to, nil, time.Now())
		if err != nil {
			return err
		}
		m := nats.NewMsg(msg.Subject)
		for name, values := range msg.Header {
			m.Header[name] = values
		}
		m.Header.Set(jetstream.MsgIDHeader, msg.ID)
		m.Data = msg.Data
		if _, err := js.PublishMsg(ctx, m); err != nil {
			return err
		}
	}
	return nil
}
