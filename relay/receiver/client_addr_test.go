package receiver

import (
	"net/http"
	"net/netip"
	"slices"
	"testing"

	"github.com/apixo-relay/apixo-relay/relay/config"
)

func TestSenders(t *testing.T) {
	t.Parallel()
	const (
		proxy   = "10.0.0.1:4711"
		proxy6  = "[fd00::1]:4711"
		client  = "203.0.113.7"
		client6 = "2001:db8::7"
	)
	forwardedFor := func(values ...string) http.Header { return http.Header{"X-Forwarded-For": values} }
	forwarded := func(values ...string) http.Header { return http.Header{"Forwarded": values} }
	both := func(x, f string) http.Header {
		return http.Header{"X-Forwarded-For": {x}, "Forwarded": {f}}
	}
	for _, test := range []struct {
		name, peer string
		header     http.Header
		want       []string // an empty one is no address
	}{
		{"peer", "198.51.100.2:4711", nil, []string{"198.51.100.2"}},
		{"peer in IPv6", "[2001:db8::2]:4711", nil, []string{"2001:db8::2"}},
		{"peer in mapped IPv4", "[::ffff:198.51.100.2]:4711", nil, []string{"198.51.100.2"}},
		{"peer with a zone", "[fe80::1%eth0]:4711", nil, []string{"fe80::1"}},
		{"peer is no address", "@", nil, []string{""}},
		{"untrusted peer", "198.51.100.2:4711", both(client, "for="+client), []string{"198.51.100.2"}},
		{"untrusted peer beside the proxies", "11.0.0.1:4711", forwardedFor(client), []string{"11.0.0.1"}},
		{"proxy alone", proxy, nil, []string{"10.0.0.1"}},
		{"proxy in mapped IPv4", "[::ffff:10.0.0.1]:4711", forwardedFor(client), []string{client}},
		{"proxy in IPv6", proxy6, forwardedFor(client), []string{client}},

		{"XFF", proxy, forwardedFor(client), []string{client}},
		{"XFF in IPv6", proxy, forwardedFor(client6), []string{client6}},
		{"XFF in IPv6 with brackets", proxy, forwardedFor("[" + client6 + "]"), []string{client6}},
		{"XFF with a port", proxy, forwardedFor(client + ":80"), []string{client}},
		{"XFF in IPv6 with a port", proxy, forwardedFor("[" + client6 + "]:80"), []string{client6}},
		{"XFF in mapped IPv4", proxy, forwardedFor("::ffff:" + client), []string{client}},
		{"XFF through two proxies", proxy, forwardedFor(client + ", 10.9.9.9"), []string{client}},
		{"XFF in two lines", proxy, forwardedFor(client, "10.9.9.9"), []string{client}},
		{"XFF forged by the client", proxy, forwardedFor("192.0.2.1, " + client), []string{client}},
		{"XFF forged in a line of its own", proxy, forwardedFor("192.0.2.1", client), []string{client}},
		{"XFF forged as a proxy", proxy, forwardedFor("10.1.1.1, " + client + ", 10.9.9.9"), []string{client}},
		{"XFF of proxies only", proxy, forwardedFor("10.1.1.1,10.9.9.9"), []string{"10.1.1.1"}},
		{"XFF without spaces", proxy, forwardedFor("192.0.2.1," + client), []string{client}},
		{"XFF is empty", proxy, forwardedFor(""), []string{""}},
		{"XFF is no address", proxy, forwardedFor("unknown"), []string{""}},
		{"XFF ends in no address", proxy, forwardedFor(client + ", example.com"), []string{""}},
		{"XFF begins with no address", proxy, forwardedFor("example.com, " + client), []string{client}},
		{"XFF with one bracket", proxy, forwardedFor("[" + client6), []string{""}},
		{"XFF with the other bracket", proxy, forwardedFor(client6 + "]"), []string{""}},
		{"XFF with a network", proxy, forwardedFor(client + "/8"), []string{""}},

		{"Forwarded", proxy, forwarded("for=" + client), []string{client}},
		{"Forwarded in capitals", proxy, forwarded("For=" + client), []string{client}},
		{"Forwarded with a port", proxy, forwarded(`for="` + client + `:80"`), []string{client}},
		{"Forwarded in IPv6", proxy, forwarded(`for="[` + client6 + `]"`), []string{client6}},
		{"Forwarded in IPv6 with a port", proxy, forwarded(`for="[` + client6 + `]:80"`), []string{client6}},
		{"Forwarded with the rest", proxy, forwarded("proto=https;for=" + client + ";by=10.0.0.1; host=h"), []string{client}},
		{"Forwarded through two proxies", proxy, forwarded("for=" + client + ", for=10.9.9.9;by=10.0.0.1"), []string{client}},
		{"Forwarded in two lines", proxy, forwarded("for="+client, "for=10.9.9.9"), []string{client}},
		{"Forwarded forged by the client", proxy, forwarded("for=192.0.2.1, for=" + client), []string{client}},
		{"Forwarded with a host", proxy, forwarded(`for=` + client + `;host="relay.example:8720"`), []string{client}},
		{"Forwarded with a comma in the host", proxy, forwarded(`for=` + client + `;host="x,for=192.0.2.1"`), []string{""}},
		{"Forwarded with a semicolon in the host", proxy, forwarded(`for=` + client + `;host="x;for=192.0.2.1"`), []string{""}},
		{"Forwarded with quotes in the host", proxy, forwarded(`for=` + client + `;host="x\",for=192.0.2.1;y=\""`), []string{""}},
		{"Forwarded after an open quote", proxy, forwarded(`for=192.0.2.1;host="x, for=` + client), []string{""}},
		{"Forwarded after a line with an open quote", proxy, forwarded(`for=192.0.2.1;host="x`, "for="+client), []string{client}},
		{"Forwarded with a comma in quotes", proxy, forwarded(`for="192.0.2.1,for=192.0.2.2"`), []string{""}},
		{"Forwarded with for twice", proxy, forwarded("for=192.0.2.1;for=" + client), []string{""}},
		{"Forwarded as unknown", proxy, forwarded("for=unknown"), []string{""}},
		{"Forwarded obfuscated", proxy, forwarded("for=_hidden"), []string{""}},
		{"Forwarded without for", proxy, forwarded("by=10.0.0.1;proto=https"), []string{""}},
		{"Forwarded is garbage", proxy, forwarded(";;==,"), []string{""}},

		{"both agree", proxy, both(client, "for="+client), []string{client}},
		{"both agree in other spellings", proxy, both(client, `for="[::ffff:`+client+`]:80"`), []string{client}},
		{"both disagree", proxy, both(client, "for=192.0.2.1"), []string{client, "192.0.2.1"}},
		{"one of them is none", proxy, both(client, "for=unknown"), []string{client, ""}},
	} {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			var trusted config.Prefixes
			if err := trusted.UnmarshalText([]byte("10.0.0.0/8,fd00::1")); err != nil {
				t.Fatal(err)
			}
			want := make([]netip.Addr, len(test.want))
			for i, text := range test.want {
				if text != "" {
					want[i] = netip.MustParseAddr(text)
				}
			}
			header := test.header
			if header == nil {
				header = http.Header{}
			}
			if got := clientAddrs(&http.Request{RemoteAddr: test.peer, Header: header}, trusted); !slices.Equal(got, want) {
				t.Errorf("got %v, want %v", got, want)
			}
		})
	}
}
