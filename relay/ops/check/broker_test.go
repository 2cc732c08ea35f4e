package check_test

import (
	"bufio"
	"crypto/tls"
	"io"
	"net"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/nats-io/nats-server/v2/server"

	"github.com/apixo-relay/apixo-relay/relay/ops/check"
	"github.com/apixo-relay/apixo-relay/relay/test/natstest"
	"github.com/apixo-relay/apixo-relay/relay/test/testcert"
)

// silent is a broker that takes connections, writes something and says no more.
func silent(t *testing.T, greeting string) string {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		var conns []net.Conn
		for {
			conn, err := l.Accept()
			if err != nil {
				break
			}
			conns = append(conns, conn)
			_, _ = conn.Write([]byte(greeting))
		}
		for _, conn := range conns {
			_ = conn.Close()
		}
	}()
	t.Cleanup(func() {
		_ = l.Close()
		<-ended
	})
	return "nats://" + l.Addr().String()
}

// Whatever is there instead of a broker, the look ends in time and is whole.
func TestNoBroker(t *testing.T) {
	t.Parallel()
	const info = `INFO {"server_id":"X","version":"2.15.2","max_payload":1048576,"headers":true,"jetstream":true}` + "\r\n"
	away, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	nobody := "nats://" + away.Addr().String()
	if err := away.Close(); err != nil {
		t.Fatal(err)
	}
	for _, tt := range []struct{ name, url, want string }{
		{"nobody", nobody, "connection refused"},
		{"nothing said", silent(t, ""), "accepts connections, and says nothing in time"},
		{"greeted", silent(t, info), "accepts connections, and says nothing in time"},
		{"let in", silent(t, info+"PONG\r\n"), "says nothing more"},
		{"something else", silent(t, "HTTP/1.1 400 Bad Request\r\n\r\n"), "no broker at nats://127.0.0.1"},
		{"several", silent(t, "") + "," + silent(t, "") + "," + silent(t, ""), "says nothing in time"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			began := time.Now()
			r := lookWith(t, check.Options{Timeout: 1500 * time.Millisecond}, "NATS_URL="+tt.url)
			if took := time.Since(began); took > 10*time.Second {
				t.Errorf("it took %s", took)
			}
			wellFormed(t, r)
			expect(t, r, check.Broker, check.Fail, tt.want)
			expect(t, r, check.Clock, check.Skip, "")
		})
	}
}

func TestEmbeddedBrokerThatIsNotThere(t *testing.T) {
	t.Parallel()
	r := look(t, "RELAY_EMBEDDED_ADDR=127.0.0.1:1", "RELAY_ADMIN_ADDR=127.0.0.1:1")
	wellFormed(t, r)
	expect(t, r, check.Broker, check.Fail, "start the relay")
	expect(t, r, check.Relay, check.Fail, "start the relay")
}

// Credentials that the broker refuses are not repeated.
func TestWrongCredentials(t *testing.T) {
	t.Parallel()
	options := natstest.Options(t)
	options.Username, options.Password = "relay", "right-password"
	s := natstest.Start(t, options)
	r := look(t, "NATS_URL="+strings.Replace(s.ClientURL(), "nats://", "nats://relay:wrong-password@", 1))
	wellFormed(t, r)
	expect(t, r, check.Broker, check.Fail, "does not let this command in")
	if strings.Contains(printed(r), "wrong-password") {
		t.Errorf("the password is told:\n%s", printed(r))
	}
}

func TestBrokerThatIsNotTrusted(t *testing.T) {
	t.Parallel()
	certFile, keyFile := testcert.Files(t, time.Now().Add(-time.Hour), time.Now().Add(time.Hour))
	pair, err := tls.LoadX509KeyPair(certFile, keyFile)
	if err != nil {
		t.Fatal(err)
	}
	options := natstest.Options(t)
	options.TLS, options.TLSConfig, options.TLSTimeout = true, &tls.Config{Certificates: []tls.Certificate{pair}, MinVersion: tls.VersionTLS12}, 5
	s := natstest.Start(t, options)
	url := strings.Replace(s.ClientURL(), "nats://", "tls://", 1)
	expect(t, look(t, "NATS_URL="+url), check.Broker, check.Fail, "NATS_CA")
	r := look(t, "NATS_URL="+url, "NATS_CA="+certFile)
	wellFormed(t, r)
	only(t, r, check.Clock)
}

func TestWithoutJetStream(t *testing.T) {
	t.Parallel()
	options := natstest.Options(t)
	options.JetStream = false
	r := look(t, "NATS_URL="+natstest.Start(t, options).ClientURL())
	wellFormed(t, r)
	expect(t, r, check.JetStream, check.Fail, "nats-server -js")
	expect(t, r, check.Permissions, check.Skip, "")

	// It has it, and not for everybody.
	options = natstest.Options(t)
	account := server.NewAccount("ORDERS")
	options.Accounts = []*server.Account{account}
	options.Users = []*server.User{{Username: "relay", Password: "relay", Account: account}}
	r = look(t, "NATS_URL="+natstest.Start(t, options).ClientURL(), "NATS_USER=relay", "NATS_PASSWORD=relay")
	expect(t, r, check.JetStream, check.Fail, "enable it for this user's account")
}

// A broker that answers nothing about streams, as one that has stalled.
func TestStalledJetStream(t *testing.T) {
	t.Parallel()
	options := natstest.Options(t)
	options.JetStream = false
	s := natstest.Start(t, options)
	js := natstest.JetStream(t, s.ClientURL())
	for _, subject := range []string{"$JS.API.>", "apixo.>"} {
		if _, err := js.Conn().SubscribeSync(subject); err != nil {
			t.Fatal(err)
		}
	}
	if err := js.Conn().Flush(); err != nil {
		t.Fatal(err)
	}
	r := lookWith(t, check.Options{Timeout: time.Second}, "NATS_URL="+s.ClientURL())
	wellFormed(t, r)
	expect(t, r, check.JetStream, check.Fail, "stalled or without quorum")
	expect(t, r, check.Permissions, check.Warn, "is not known")
	expect(t, r, check.Stream, check.Fail, "nothing is acknowledged on apixo.task.success")
}

func TestFullAccount(t *testing.T) {
	t.Parallel()
	options := natstest.Options(t)
	account := server.NewAccount("ORDERS")
	options.Accounts = []*server.Account{account}
	options.Users = []*server.User{{Username: "relay", Password: "relay", Account: account}}
	s := natstest.Start(t, options)
	account, err := s.LookupAccount("ORDERS")
	if err != nil {
		t.Fatal(err)
	}
	if err := account.EnableJetStream(map[string]server.JetStreamAccountLimits{"": {MaxMemory: -1, MaxStore: 1000, MaxStreams: -1, MaxConsumers: -1}}, nil); err != nil {
		t.Fatal(err)
	}
	js := natstest.JetStream(t, strings.Replace(s.ClientURL(), "nats://", "nats://relay:relay@", 1))
	makeStreams(t, js, nil)
	environ := []string{"NATS_URL=" + s.ClientURL(), "NATS_USER=relay", "NATS_PASSWORD=relay"}
	expect(t, look(t, environ...), check.JetStream, check.OK, "of 1000 bytes at the most (0 %)")
	if _, err := js.Publish(t.Context(), "apixo.task.success", make([]byte, 850)); err != nil {
		t.Fatal(err)
	}
	expect(t, look(t, environ...), check.JetStream, check.Warn, "raise the account's limit")
}

// as is the address of a server that says it is of another version.
func as(t *testing.T, s *server.Server, version string) string {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	var all sync.WaitGroup
	all.Go(func() {
		for {
			client, err := l.Accept()
			if err != nil {
				return
			}
			all.Go(func() {
				defer client.Close()
				conn, err := net.Dial("tcp", s.Addr().String())
				if err != nil {
					return
				}
				defer conn.Close()
				all.Go(func() {
					_, _ = io.Copy(conn, client)
					_ = conn.Close()
				})
				// It says so when somebody connects, and once more later.
				for said := bufio.NewReader(conn); ; {
					line, err := said.ReadString('\n')
					if strings.HasPrefix(line, "INFO ") {
						line = strings.Replace(line, `"version":"`+server.VERSION+`"`, `"version":"`+version+`"`, 1)
					}
					if _, refused := io.WriteString(client, line); err != nil || refused != nil {
						return
					}
				}
			})
		}
	})
	t.Cleanup(func() {
		_ = l.Close()
		all.Wait()
	})
	return "nats://" + l.Addr().String()
}

// Only what is made use of counts.
func TestVersion(t *testing.T) {
	t.Parallel()
	s, _ := withStreams(t, nil)
	for _, tt := range []struct {
		version string
		status  check.Status
		want    string
	}{
		{"2.8.4", check.Warn, "lets no command read what is stored"},
		{"2.9.25", check.Warn, "does not tell its time"},
		{"2.10.0", check.OK, "nats-server 2.10.0"},
		{"v2.11.3", check.OK, "nats-server v2.11.3"},
		{"2.12.0-dev", check.OK, "nats-server 2.12.0-dev"},
		{"3.0.0", check.OK, "nats-server 3.0.0"},
		{"1.4", check.Warn, "lets no command read"},
		{"dev", check.Warn, `nats-server "dev", which is no version`},
	} {
		t.Run(tt.version, func(t *testing.T) {
			t.Parallel()
			r := look(t, "NATS_URL="+as(t, s, tt.version))
			only(t, r, check.Version)
			expect(t, r, check.Version, tt.status, tt.want)
		})
	}
}
