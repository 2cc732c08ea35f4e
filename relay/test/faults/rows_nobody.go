package faults

import (
	"encoding/base64"
	"fmt"
	"maps"
	"net"
	"net/http"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/apixo-relay/apixo-relay/relay/test/rig"
)

// Addresses of this machine: two that may send, one of which is a proxy, and one
// that may not.
const (
	insider  = "127.0.0.1"
	aProxy   = "127.0.0.3"
	outsider = "127.0.0.2"
)

// intruders are the ways in which somebody may try to get in, by name. The
// answer to all of them is the same.
type intruders map[string]*rig.Sender

// withoutToken are those who have no token.
func withoutToken(s *rig.Sender) intruders {
	all := intruders{"without any": s}
	for name, token := range map[string]string{
		"wrong": "Tok-1f3c2a7d51e84b06", "cut off": firstToken[:len(firstToken)-1], "cut off at the front": firstToken[1:], "longer": firstToken + "0",
		"in capitals": strings.ToUpper(firstToken), "in small letters": strings.ToLower(firstToken), "both": firstToken + "," + secondToken,
		"twice": firstToken + firstToken, "one letter": "T", "with a NUL": firstToken + "\x00", "encoded": base64.StdEncoding.EncodeToString([]byte(firstToken)), "empty": "",
	} {
		all[name+", in the path"] = s.Vary(inPath(token))
		all[name+", as Basic"] = s.Vary(asBasic(token))
		if name != "with a NUL" { // which no header can hold
			all[name+", as Bearer"] = s.Vary(asBearer(token))
		}
	}
	all["in the query"] = s.Vary(func(r *http.Request) { r.URL.RawQuery = "token=" + firstToken })
	all["as the user"] = s.Vary(func(r *http.Request) { r.SetBasicAuth(firstToken, "") })
	all["in other headers"] = s.Vary(func(r *http.Request) {
		r.Header.Set("X-Api-Key", firstToken)
		r.Header.Set("Proxy-Authorization", "Bearer "+firstToken)
		r.Header.Set("Cookie", "token="+firstToken)
	})
	return all
}

// fromElsewhere are those who have the token and may not use it where they are.
func fromElsewhere(stranger, proxy *rig.Sender) intruders {
	all := intruders{"from another address": stranger.Vary(inPath(firstToken))}
	claim := func(s *rig.Sender, headers ...string) *rig.Sender {
		return s.Vary(func(r *http.Request) {
			inPath(firstToken)(r)
			for i := 0; i < len(headers); i += 2 {
				r.Header.Add(headers[i], headers[i+1])
			}
		})
	}
	const x, f = "X-Forwarded-For", "Forwarded"
	for name, headers := range map[string][]string{
		"a forged address": {x, insider}, "a forged chain": {x, insider + ", " + aProxy}, "a forged Forwarded": {f, "for=" + insider},
		"both forged": {x, insider, f, "for=" + insider}, "others forged": {"X-Real-IP", insider, "True-Client-IP", insider},
	} {
		all["from another address, "+name] = claim(stranger, headers...)
	}
	for name, headers := range map[string][]string{
		"another address": {x, outsider}, "a forged one before it": {x, insider + ", " + outsider}, "a forged line before it": {x, insider, x, outsider},
		"a forged Forwarded beside": {x, outsider, f, "for=" + insider}, "a forged X-Forwarded-For beside": {x, insider, f, "for=" + outsider},
		"no address": {x, "unknown"}, "a forged one in the host": {f, "for=" + outsider + `;host="x,for=` + insider + `"`},
	} {
		all["by the proxy, "+name] = claim(proxy, headers...)
	}
	return all
}

// from sends from one of this machine's addresses.
func (t *trial) from(url, address string) *rig.Sender {
	dialer := &net.Dialer{LocalAddr: &net.TCPAddr{IP: net.ParseIP(address)}}
	conn, err := dialer.DialContext(t.ctx, "tcp", t.NewSender(url).Addr())
	if err != nil {
		t.notRun("this machine has no address %s: %s", address, err)
	}
	t.must(conn.Close())
	return t.NewSenderOver(url, &http.Transport{DialContext: dialer.DialContext})
}

func nobodyGetsIn(t *trial) {
	r := t.embedded("RELAY_WEBHOOK_TOKENS="+firstToken+","+secondToken, "RELAY_ALLOWED_CIDRS="+insider, "RELAY_TRUSTED_PROXIES="+aProxy)
	proxy := t.from(r.URL(), aProxy)
	unauthorized, elsewhere := withoutToken(r.Sender), fromElsewhere(t.from(r.URL(), outsider), proxy)
	byProxy := func(change func(*http.Request)) *rig.Sender {
		return proxy.Vary(func(r *http.Request) {
			r.Header.Set("X-Forwarded-For", outsider+", "+insider)
			change(r)
		})
	}
	var loads []*rig.Load
	for name, s := range map[string]*rig.Sender{
		"path": r.Vary(inPath(firstToken)), "basic": r.Vary(asBasic(secondToken)), "bearer": r.Vary(asBearer(firstToken)),
		"proxy": byProxy(inPath(secondToken)),
	} {
		loads = append(loads, s.StartLoad(t.ctx, name, rig.Pace{Workers: 4}))
	}
	end := time.Now().Add(t.duration(3*time.Second, time.Minute))
	var trying sync.WaitGroup
	var tries atomic.Int64
	others := make([][]string, 8)
	for i := range others {
		trying.Go(func() {
			var n int
			if i%2 == 0 {
				n, others[i] = t.intrude(i, end, unauthorized, "unauthorized")
			} else {
				n, others[i] = t.intrude(i, end, elsewhere, "address-not-allowed")
			}
			tries.Add(int64(n))
		})
	}
	trying.Wait()
	for _, o := range slices.Concat(others...) {
		t.fail("an intruder got in, or did not learn why not: %s", o)
	}
	t.answered(int(tries.Load()), 0, 0)
	t.note("%d tries in %d ways, all refused", tries.Load(), len(unauthorized)+len(elsewhere))
	for _, load := range loads {
		t.goesOn(load, 1) // to the end
		o := load.Stop()
		t.count(o)
		t.only(o)
		t.within(o, 20*time.Second)
	}
	for id := range t.audit(r.Broker) {
		if strings.Contains(id, "intruder") {
			t.fail("the stream holds %s", id)
		}
	}
	t.quarantineHolds(r.Broker, nil)
	for _, token := range []string{firstToken, secondToken} {
		if strings.Contains(r.Log(), token) {
			t.fail("a token is in the log")
		}
	}
}

// intrude lets intruders try until some time, each kind at least four times, with
// webhooks and with what is none. It returns how often they tried, and every other
// answer than the one that they have to get.
func (t *trial) intrude(worker int, end time.Time, all intruders, want string) (tries int, others []string) {
	names := slices.Sorted(maps.Keys(all))
	for len(others) < 10 && t.ctx.Err() == nil && (tries < 4*len(names) || time.Now().Before(end)) {
		name := names[tries%len(names)]
		body := rig.Webhook(fmt.Sprintf("intruder_%d_%d", worker, tries), "success", 0)
		if tries/len(names)%2 == 1 {
			body = "no JSON, by an intruder, " + body
		}
		tries++
		a, err := all[name].PostBody(t.ctx, body)
		if err != nil || a.Problem() != want || a.Status != http.StatusUnauthorized && a.Status != http.StatusForbidden {
			others = append(others, fmt.Sprintf("%s: %+v, %v", name, a, err))
		}
	}
	return tries, others
}
