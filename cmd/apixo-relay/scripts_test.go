package main

import (
	"bytes"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"strconv"
	"sync"
	"time"

	"github.com/rogpeppe/go-internal/testscript"
)

// startConsumer is the script command 'consumer [STATUS...]': it starts an HTTP
// server that answers with each status in turn and with the last one from then on,
// by default 200, and sets CONSUMER to its URL. The file consumer.log has two lines
// for each request: what was asked for, with the headers that tell what is in the
// body, and the body.
func startConsumer(ts *testscript.TestScript, neg bool, args []string) {
	if neg {
		ts.Fatalf("consumer cannot be negated")
	}
	statuses := []int{http.StatusOK}
	for i, arg := range args {
		status, err := strconv.Atoi(arg)
		ts.Check(err)
		statuses = append(statuses[:i], status)
	}
	log, err := os.OpenFile(ts.MkAbs("consumer.log"), os.O_CREATE|os.O_TRUNC|os.O_WRONLY, 0o600)
	ts.Check(err)
	var mu sync.Mutex
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		body, err := io.ReadAll(r.Body)
		mu.Lock()
		defer mu.Unlock()
		fmt.Fprintf(log, "%s %s %q %q %q\n%s (%v)\n", r.Method, r.URL, r.Header.Get("Content-Type"), r.Header.Get("Ce-Id"), r.Header.Get("Authorization"), body, err)
		w.WriteHeader(statuses[0])
		statuses = statuses[min(1, len(statuses)-1):]
	}))
	ts.Defer(func() {
		server.Close()
		log.Close()
	})
	ts.Setenv("CONSUMER", server.URL)
}

// awaits is the script command 'awaits FILE TEXT': it waits until the text is in
// the file.
func awaits(ts *testscript.TestScript, _ bool, args []string) {
	for late := time.Now().Add(30 * time.Second); time.Now().Before(late); time.Sleep(5 * time.Millisecond) {
		content, err := os.ReadFile(ts.MkAbs(args[0]))
		ts.Check(err)
		if bytes.Contains(content, []byte(args[1])) {
			return
		}
	}
	ts.Fatalf("%s never has %q in it", args[0], args[1])
}
