package check

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"strings"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"github.com/apixo-relay/apixo-relay/relay/config"
	"github.com/apixo-relay/apixo-relay/relay/httpclient"
	"github.com/apixo-relay/apixo-relay/relay/jsapi"
	"github.com/apixo-relay/apixo-relay/schema"
)

// wrongToken takes the place of the secret in a callback URL.
const wrongToken = "apixo-relay-check-wrong-token"

// delivery sends something through the callback URL from outside in, and looks for it
// in the broker's quarantine, if a is not nil. What it sends is no result of a task, so
// no consumer sees it.
func (x *runner) delivery(ctx context.Context, a *requester, quarantine *target) (found checkList) {
	u := x.CallbackURL
	if u == nil {
		return nil
	}
	// Where it goes is all that is shown of it.
	where := u.Scheme + "://" + u.Host
	if u.Scheme == "http" && !config.IsLoopback(u.Hostname()) {
		found.warn(Delivery, "use https: let a proxy before the relay end TLS, or set RELAY_TLS_CERT_FILE", "%s is not encrypted: whoever is on the way reads the results, and the URL with its secret", where)
	}
	if mode := x.cfg.Verify.Mode; mode != config.VerifyOff && !schema.ValidModel(u.Query().Get("model")) {
		status, so := Warn, "each event gets verified=unknown"
		if mode == config.VerifyEnforce {
			status, so = Fail, "each webhook gets 503"
		}
		found.add(Delivery, status, "put the model of each task into its callback URL, as in ?model="+someModel, "the callback URL does not tell a task's model, without which APIXO is not asked: with RELAY_VERIFY=%s %s", mode, so)
	}
	patience := x.Timeout
	if end, ok := ctx.Deadline(); ok {
		patience = time.Until(end) * 9 / 10 // so that it is the answer's time that is over
	}
	client := httpclient.NewClient(httpclient.Options{Agent: agent, URL: u, Transport: x.Transport, Timeout: patience, MaxAnswer: maxAnswer})
	header := http.Header{"Content-Type": {"application/json"}}
	body := x.body(where, quarantine)
	answer := client.Do(ctx, http.MethodPost, u.String(), header, body)
	var said struct {
		Quarantined struct {
			Stream   string `json:"stream"`
			Sequence uint64 `json:"sequence"`
		} `json:"quarantined"`
	}
	_ = json.Unmarshal(answer.Body, &said) // what is no JSON says nothing
	at := said.Quarantined
	switch {
	case answer.Status != http.StatusUnprocessableEntity || at.Stream == "":
		found.fail(Delivery, x.undelivered(answer), "what was sent to %s got %s", where, client.Failure(answer))
		return found
	case at.Stream != x.cfg.Stream.Quarantine && x.cfg.Outbox.Enabled:
		found.warn(Delivery, "see why the relay has no broker now", "what was sent to %s arrived, and the relay keeps it in its outbox %s", where, at.Stream)
	case at.Stream != x.cfg.Stream.Quarantine:
		found.fail(Delivery, "compare the relay's environment with this one", "%s leads to another relay: it keeps things in the stream %s, and RELAY_QUARANTINE_STREAM is %s", where, at.Stream, x.cfg.Stream.Quarantine)
	default:
		x.readBack(ctx, &found, a, quarantine, at.Sequence, where, body)
	}
	x.wrongToken(ctx, &found, client, header, body)
	return found
}

// body is JSON and no final result, the same for the same URL and broker: so the
// quarantine keeps it once in a duplicate window, and never another broker's.
func (x *runner) body(where string, quarantine *target) []byte {
	message := "apixo-relay check of " + where
	if quarantine != nil && quarantine.info != nil {
		message += ", " + quarantine.want.Name + " made " + quarantine.info.Created.UTC().Format(time.RFC3339Nano)
	}
	quoted, err := json.Marshal(message)
	if err != nil {
		panic(err) // strings always encode
	}
	return fmt.Appendf(nil, `{"code":200,"message":%s,"data":{"taskId":"apixo-relay-check","state":"check"}}`, quoted)
}

// readBack looks whether what was delivered is where the answer says.
func (x *runner) readBack(ctx context.Context, found *checkList, a *requester, quarantine *target, sequence uint64, where string, body []byte) {
	place := fmt.Sprintf("%s, sequence %d", x.cfg.Stream.Quarantine, sequence)
	if a == nil {
		found.warn(Delivery, "look after the broker, and check again", "what was sent to %s is stored at %s by its own account, and the broker cannot be looked into", where, place)
		return
	}
	subject := jsapi.MessageSubject(a.domain, quarantine.want.Name)
	data, err := a.read(ctx, subject, sequence)
	if _, denied := isDenied(err); denied {
		found.warn(Delivery, "allow publishing to "+subject+" to whoever checks", "what was sent to %s is stored at %s by its own account, and this user may not read that", where, place)
		return
	}
	if err != nil && !errors.Is(err, jetstream.ErrMsgNotFound) {
		found.warn(Delivery, "look after the broker, and check again", "what was sent to %s is stored at %s by its own account, and cannot be read: %v", where, place, err)
		return
	}
	if !bytes.Equal(data, body) {
		found.fail(Delivery, "compare the relay's NATS_URL with this one, and see where the host name and its proxy lead", "%s leads to a relay with another broker: it says that what was sent is at %s, where this broker has something else", where, place)
		return
	}
	found.ok(Delivery, "what was sent to %s came through, and is stored at %s", where, place)
}

// read returns the data of the event at a sequence of the stream that is asked at a
// subject; none if what is there is no event.
func (a *requester) read(ctx context.Context, subject string, sequence uint64) ([]byte, error) {
	reply, err := a.request(ctx, &nats.Msg{Subject: subject, Data: jsapi.MessageRequest(sequence)})
	if err != nil {
		return nil, err
	}
	msg, err := jsapi.ParseMessage(reply.Data)
	if err != nil {
		return nil, err
	}
	e, err := schema.DecodeMessage(msg.Header, msg.Data)
	if err != nil {
		return nil, nil // not the relay's
	}
	return e.Data, nil
}

// wrongToken checks that the callback URL is refused with another secret.
func (x *runner) wrongToken(ctx context.Context, found *checkList, client *httpclient.Client, header http.Header, body []byte) {
	u, ok := withWrongToken(x.CallbackURL)
	if !ok {
		if len(x.cfg.Webhooks.Tokens) > 0 {
			found.fail(Strangers, "see which relay it leads to, and whether that one has the tokens", "RELAY_WEBHOOK_TOKENS is set, and the callback URL is taken without a token")
		}
		return
	}
	answer := client.Do(ctx, http.MethodPost, u.String(), header, body)
	switch {
	case answer.Status == http.StatusUnauthorized:
		found.ok(Strangers, "the same URL with a wrong token gets 401")
	case answer.Status == http.StatusNotFound && len(x.cfg.Webhooks.Tokens) == 0:
		// What was replaced was no token, but a part of the path.
	case answer.Status == http.StatusUnprocessableEntity || answer.Status == http.StatusOK:
		found.add(Strangers, x.ifTokens(Fail, Warn), "set RELAY_WEBHOOK_TOKENS where the relay runs, and see what a proxy makes of the URL", "the same URL with a wrong token is taken, too: its secret protects nothing")
	default:
		found.warn(Strangers, "check again", "whether a wrong token is refused is not known: it got %s", client.Failure(answer))
	}
}

// ifTokens is the first status where the environment has tokens.
func (x *runner) ifTokens(with, without Status) Status {
	if len(x.cfg.Webhooks.Tokens) > 0 {
		return with
	}
	return without
}

// withWrongToken replaces the secret in a callback URL: its password, or what is long
// enough for a token at the end of its path.
func withWrongToken(u *url.URL) (*url.URL, bool) {
	wrong := *u
	if _, ok := u.User.Password(); ok {
		wrong.User = url.UserPassword(u.User.Username(), wrongToken)
		return &wrong, true
	}
	before, last, ok := cutLast(u.EscapedPath(), "/")
	if token, err := url.PathUnescape(last); !ok || err != nil || len(token) < config.MinTokenLength {
		return nil, false
	}
	wrong.Path, wrong.RawPath = before+"/"+wrongToken, ""
	return &wrong, true
}

func cutLast(s, sep string) (before, after string, found bool) {
	i := strings.LastIndex(s, sep)
	if i < 0 {
		return s, "", false
	}
	return s[:i], s[i+len(sep):], true
}

// undelivered says what to do about an answer that is not the relay's to such a body.
func (x *runner) undelivered(a httpclient.Result) string {
	switch a.Status {
	case 0:
		return unanswered(a.Cause)
	case http.StatusBadRequest:
		if bytes.Contains(a.Body, []byte("HTTPS")) {
			return "write https:// in the callback URL"
		}
	case http.StatusUnauthorized:
		return "compare the token in the callback URL with RELAY_WEBHOOK_TOKENS, and see whether a proxy asks for a password of its own"
	case http.StatusForbidden:
		return "compare RELAY_ALLOWED_CIDRS with 'sender' in the relay's log, set RELAY_TRUSTED_PROXIES behind a proxy, and see whether the proxy itself refuses"
	case http.StatusMisdirectedRequest:
		return "set RELAY_WEBHOOK_TOKENS where the relay runs, and put one into the callback URL: without, it takes no public name on its loopback address, unless RELAY_ALLOW_UNAUTHENTICATED is true"
	case http.StatusNotFound, http.StatusMethodNotAllowed:
		return "compare the callback URL's path with RELAY_WEBHOOK_PATH=" + x.cfg.Webhooks.Path + ", and see what path the proxy passes on"
	case http.StatusBadGateway, http.StatusGatewayTimeout:
		return "the proxy answers and does not reach the relay: see where it sends to, and compare with RELAY_LISTEN_ADDR=" + x.cfg.Webhooks.ListenAddr
	case http.StatusServiceUnavailable:
		return "the relay cannot store now: look at what else fails here, at /readyz and at its log; if the answer is a proxy's, see whether it reaches the relay"
	case http.StatusUnsupportedMediaType, http.StatusRequestEntityTooLarge:
		return "see what a proxy on the way makes of the request"
	}
	if a.Status/100 == 3 {
		to := "the URL to which it redirects"
		if u, err := url.Parse(a.Header.Get("Location")); err == nil && u.Host != "" {
			to = "the URL at " + u.Scheme + "://" + u.Host + " to which it redirects"
		}
		return "make " + to + " the callback URL: APIXO need not follow a redirect"
	}
	return "see what is at that address: this is not how a relay answers"
}

// unanswered says what to do when no answer came.
func unanswered(cause string) string {
	switch cause {
	case httpclient.CauseNoHost, httpclient.CauseLookup:
		return "correct the host name in the callback URL, or its DNS"
	case httpclient.CauseUntrusted:
		return "give the server a certificate that everybody trusts, or name its CA with --cacert; APIXO knows the public CAs only"
	case httpclient.CauseNoTLS:
		return "write http:// in the callback URL, or let something end TLS there"
	case httpclient.CauseTLS:
		return "with RELAY_TLS_CLIENT_CA_FILE show a client certificate with --cert and --key"
	case httpclient.CauseTimeout:
		return "see whether a firewall lets the port through, and whether the relay's broker answers; --timeout gives it longer"
	}
	return "see whether the relay, or the proxy before it, listens there, and whether a firewall lets the port through"
}
