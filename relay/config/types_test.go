package config_test

import (
	"net/netip"
	"testing"

	"github.com/apixo-relay/apixo-relay/relay/config"
)

func TestPrefixesContain(t *testing.T) {
	t.Parallel()
	for _, test := range []struct {
		networks, addr string
		want           bool
	}{
		{"10.0.0.0/8", "10.255.255.255", true},
		{"10.0.0.0/8", "11.0.0.0", false},
		{"10.1.2.3/8", "10.200.0.1", true}, // the rest of the address means nothing
		{"192.0.2.7", "192.0.2.7", true},
		{"192.0.2.7", "192.0.2.8", false},
		{"192.0.2.7 , 10.0.0.0/8,", "10.0.0.1", true},
		{"2001:db8::/32", "2001:db8:1::1", true},
		{"2001:db8::/32", "2001:db9::1", false},
		{"2001:db8::1", "2001:db8::1", true},
		{"fe80::1", "fe80::1%eth0", true},
		{"fe80::1%eth0", "fe80::1", true},
		{"0.0.0.0/0", "192.0.2.7", true},
		{"0.0.0.0/0", "2001:db8::1", false},
		{"::/0", "192.0.2.7", false},
		// One host, two spellings.
		{"10.0.0.0/8", "::ffff:10.0.0.1", true},
		{"::ffff:10.0.0.1", "10.0.0.1", true},
		{"::ffff:10.0.0.0/104", "10.0.0.1", true},
		{"::ffff:10.0.0.0/104", "11.0.0.1", false},
		{"::ffff:10.0.0.0/104", "::ffff:10.0.0.1", true},
		{"0.0.0.0/0,::/0", "", false}, // no address
	} {
		var networks config.Prefixes
		if err := networks.UnmarshalText([]byte(test.networks)); err != nil {
			t.Errorf("%s: %v", test.networks, err)
			continue
		}
		var addr netip.Addr
		if test.addr != "" {
			addr = netip.MustParseAddr(test.addr)
		}
		if got := networks.Contain(addr); got != test.want {
			t.Errorf("%s in %s: %v", test.addr, test.networks, got)
		}
	}
	if (config.Prefixes)(nil).Contain(netip.MustParseAddr("127.0.0.1")) {
		t.Error("no network holds an address")
	}
}

// The attributes of every event, and those that the relay sets, keep their meaning.
func TestReservedAttributes(t *testing.T) {
	t.Parallel()
	for _, name := range []string{
		"id", "source", "specversion", "type", "subject", "time", "datacontenttype", "dataschema", "data",
		"reason", "detail", "traceparent", "tracestate", "normalized", "verified",
	} {
		var attributes config.Attributes
		if err := attributes.UnmarshalText([]byte("model," + name)); err == nil {
			t.Errorf("%s can be chosen", name)
		}
	}
}

func TestSenderRetrySpan(t *testing.T) {
	t.Parallel()
	if got := config.SenderRetrySpan.String(); got != "14m30s" {
		t.Errorf("it is %s", got)
	}
}
