package interop

import (
	"bufio"
	"bytes"
	"context"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"net/url"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/apixo-relay/apixo-relay/relay/test/relaytest"
)

// worker is one of the examples that work on tasks, and how it is told what to do.
type worker struct {
	name    string
	command []string
	// flag writes an option; milliseconds are those of a duration.
	flag func(name string, value any) []string
}

func workers(t *testing.T) []worker {
	t.Helper()
	requireNode(t, javaScriptExample)
	return []worker{
		{"Go", []string{relaytest.Build(t, "./schema/examples/go/consumer")}, goFlag},
		{"JavaScript", []string{"node", filepath.Join(javaScriptExample, "consumer.mjs")}, func(name string, value any) []string {
			if d, ok := value.(time.Duration); ok {
				value = d.Milliseconds()
			}
			return []string{"--" + name, fmt.Sprint(value)}
		}},
	}
}

func goFlag(name string, value any) []string { return []string{"-" + name, fmt.Sprint(value)} }

// args are the options of a run.
func (w worker) args(options map[string]any) []string {
	args := slices.Clone(w.command[1:])
	for name, value := range options {
		args = append(args, w.flag(name, value)...)
	}
	return args
}

// run runs it to its end and returns the lines that it printed.
func (w worker) run(ctx context.Context, t *testing.T, broker string, options map[string]any) []string {
	t.Helper()
	ctx, cancel := context.WithTimeout(ctx, readerTimeout)
	defer cancel()
	return runExample(ctx, t, broker, w.command[0], w.args(options)...)
}

// runUntilAck runs it up to the moment when it tells the broker that it has done
// its work, which the broker never hears: the program is killed. It returns what
// it had printed.
func (w worker) runUntilAck(ctx context.Context, t *testing.T, broker string, options map[string]any) []string {
	t.Helper()
	ctx, cancel := context.WithTimeout(ctx, readerTimeout)
	defer cancel()
	acked := make(chan struct{})
	cmd := exec.CommandContext(ctx, w.command[0], w.args(options)...)
	cmd.Env = relaytest.Environ("NATS_URL=" + interceptAck(t, broker, acked))
	var stdout, stderr bytes.Buffer
	cmd.Stdout, cmd.Stderr = &stdout, &stderr
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	ended := make(chan error, 1)
	go func() { ended <- cmd.Wait() }()
	select {
	case <-acked:
		_ = cmd.Process.Kill()
		<-ended
	case err := <-ended:
		t.Fatal(failedCommand(cmd.String()+" ended before it acknowledged", err, stdout.Bytes(), stderr.Bytes()))
	}
	return lines(stdout.Bytes())
}

// interceptAck is the address of a broker's stand-in which passes on everything
// up to the first acknowledgement, and from there on nothing more.
func interceptAck(t *testing.T, broker string, acked chan<- struct{}) string {
	t.Helper()
	target, err := url.Parse(broker)
	if err != nil {
		t.Fatal(err)
	}
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	var wg sync.WaitGroup
	var once sync.Once
	t.Cleanup(func() {
		listener.Close()
		wg.Wait()
	})
	wg.Go(func() {
		for {
			client, err := listener.Accept()
			if err != nil {
				return
			}
			server, err := net.Dial("tcp", target.Host)
			if err != nil {
				client.Close()
				continue
			}
			wg.Go(func() { // until one of the two closes
				_, _ = io.Copy(client, server)
				client.Close()
			})
			wg.Go(func() {
				defer server.Close()
				in := bufio.NewReader(client)
				for {
					line, err := in.ReadBytes('\n') // payloads of +ACK stand on lines of their own
					if bytes.HasPrefix(line, []byte("+ACK")) {
						once.Do(func() { close(acked) })
						_, _ = io.Copy(io.Discard, in)
						return
					}
					if _, werr := server.Write(line); err != nil || werr != nil {
						return
					}
				}
			})
		}
	})
	return "nats://" + listener.Addr().String()
}

// start starts it. It is sent a SIGTERM by terminate, and end waits until it has
// ended and returns what it printed.
func (w worker) start(ctx context.Context, t *testing.T, broker string, options map[string]any) (terminate func(), end func() []string) {
	t.Helper()
	ctx, cancel := context.WithTimeout(ctx, readerTimeout)
	t.Cleanup(cancel)
	cmd := exec.CommandContext(ctx, w.command[0], w.args(options)...)
	cmd.Env = relaytest.Environ("NATS_URL=" + broker)
	var stdout, stderr bytes.Buffer
	cmd.Stdout, cmd.Stderr = &stdout, &stderr
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	return func() { _ = cmd.Process.Signal(syscall.SIGTERM) }, func() []string {
		if err := cmd.Wait(); err != nil {
			t.Error(failedCommand(cmd.String(), err, stdout.Bytes(), stderr.Bytes()))
		}
		return lines(stdout.Bytes())
	}
}

// resultServer is where the results of tasks are: what it answers depends on the path.
type resultServer struct {
	*httptest.Server
	asked   chan struct{} // a request for /slow has come
	release chan struct{} // closed to have those answered

	mu    sync.Mutex
	times map[string][]time.Time // when a path was asked for
}

func startResults(t *testing.T) *resultServer {
	t.Helper()
	r := &resultServer{asked: make(chan struct{}, 100), release: make(chan struct{}), times: make(map[string][]time.Time)}
	r.Server = httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, req *http.Request) {
		r.mu.Lock()
		r.times[req.URL.Path] = append(r.times[req.URL.Path], time.Now())
		n := len(r.times[req.URL.Path])
		r.mu.Unlock()
		switch path := req.URL.Path; {
		case path == "/expired":
			w.WriteHeader(http.StatusNotFound)
		case path == "/down", path == "/flaky" && n <= 2:
			w.WriteHeader(http.StatusServiceUnavailable)
		case path == "/slow":
			r.asked <- struct{}{}
			select {
			case <-r.release:
			case <-req.Context().Done():
			}
			fallthrough
		default:
			_, _ = io.WriteString(w, "the result of "+path)
		}
	}))
	t.Cleanup(r.Close)
	return r
}

// tries are the moments at which a path was asked for.
func (r *resultServer) tries(path string) []time.Time {
	r.mu.Lock()
	defer r.mu.Unlock()
	return slices.Clone(r.times[path])
}

// succeeded is the webhook of a task with one result.
func succeeded(t *testing.T, id, address string) webhook {
	t.Helper()
	return task(t, id, models[0], []byte(`{"code":200,"data":{"taskId":"`+id+`","state":"success","resultJson":"{\"resultUrls\":[\"`+address+`\"]}","completeTime":1704067212500}}`))
}

// about are those of the lines that are about a task.
func about(id string, printed []string) (some []string) {
	for _, line := range printed {
		if strings.HasPrefix(line, id+" ") {
			some = append(some, line)
		}
	}
	return some
}
