package descriptors

import (
	"fmt"
	"io/fs"
	"math"
	"strings"
	"syscall"
	"testing"

	"github.com/apixo-relay/apixo-relay/relay/config"
)

func TestDivide(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct {
		limit         int
		admin, broker bool
		want          Shares
	}{
		{1024, true, true, Shares{1024, 256, 656, 48, 64}},
		{1024, true, false, Shares{1024, 256, 720, 48, 0}},
		{1024, false, true, Shares{1024, 256, 704, 0, 64}},
		{1024, false, false, Shares{1024, 256, 768, 0, 0}},
		{65536, true, true, Shares{65536, 256, 65152, 64, 64}},
		{100, true, true, Shares{100, 50, 35, 3, 12}},
		{8, true, true, Shares{8, 4, 2, 1, 1}},
		{0, true, true, Shares{0, 0, 1, 1, 1}},
		{math.MaxInt32, true, true, Shares{math.MaxInt32, 256, math.MaxInt32 - 384, 64, 64}},
	} {
		s := divide(tt.limit, tt.admin, tt.broker)
		if s != tt.want {
			t.Errorf("%d descriptors are divided as %+v, want %+v", tt.limit, s, tt.want)
		}
		if sum := s.Reserve + s.Webhooks + s.Admin + s.Broker; tt.limit > 6 && sum > tt.limit {
			t.Errorf("%d descriptors are divided into %d", tt.limit, sum)
		}
		if s.IsLow() != (tt.limit < 1024) {
			t.Errorf("%d descriptors are few: %t", tt.limit, s.IsLow())
		}
	}
}

func TestString(t *testing.T) {
	t.Parallel()
	for want, s := range map[string]Shares{
		"of 600 descriptors 259 are for webhooks, 21 for the admin endpoint, 64 for clients of the embedded broker, and 256 for files and everything else": divide(600, true, true),
		"of 600 descriptors 344 are for webhooks, and 256 for files and everything else":                                                                   divide(600, false, false),
	} {
		if s.String() != want {
			t.Errorf("%q, want %q", s, want)
		}
	}
}

// Only the listeners that there are have a share in the limit of this process.
func TestOf(t *testing.T) {
	t.Parallel()
	many := config.Webhooks{MaxInFlight: math.MaxInt32}
	both := ForConfig(config.Config{Webhooks: many, Admin: config.Admin{Addr: "127.0.0.1:0"}})
	if both.Admin < 1 || both.Broker < 1 || both.Webhooks < 1 {
		t.Errorf("the shares are %+v", both)
	}
	if none := ForConfig(config.Config{Webhooks: many, NATS: config.NATS{URL: "nats://127.0.0.1:4222"}}); none.Admin+none.Broker != 0 || none.Webhooks <= both.Webhooks {
		t.Errorf("the shares are %+v, and with all listeners %+v", none, both)
	}
	if few := ForConfig(config.Config{Webhooks: config.Webhooks{MaxInFlight: 1}}); few.Webhooks > 512 {
		t.Errorf("the shares are %+v, and webhooks take 512 connections at the most", few)
	}
}

func TestScarce(t *testing.T) {
	t.Parallel()
	for _, err := range []error{syscall.EMFILE, syscall.ENFILE} {
		if !IsLimitError(fmt.Errorf("no names: %w", &fs.PathError{Op: "open", Path: "x", Err: err})) {
			t.Errorf("%s is taken for something that stays", err)
		}
	}
	for _, err := range []error{nil, syscall.EIO, fs.ErrNotExist, fmt.Errorf("%s", strings.ToLower(syscall.EMFILE.Error()))} {
		if IsLimitError(err) {
			t.Errorf("%v is taken for a lack of descriptors", err)
		}
	}
}
