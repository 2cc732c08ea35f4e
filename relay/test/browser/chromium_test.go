package browser

import (
	"context"
	"crypto/sha256"
	"encoding/base64"
	"errors"
	"fmt"
	"net"
	"os"
	"os/exec"
	"sync"
	"testing"
	"time"

	"github.com/chromedp/chromedp"
)

// Names that the browser finds on this machine alone.
const (
	// cdnHost is where APIXO's results are: https there is the [cdn] of these tests.
	cdnHost = "cdn.apixo.ai"
	// attackerHost is another site, whatever the port.
	attackerHost = "attacker.example"
	// canaryHost is where hostile webhooks want to be loaded from: nobody ever comes there.
	canaryHost = "canary.example"
)

// chromium is a browser, and what it finds on the network.
type chromium struct {
	ctx    context.Context
	close  func() error
	cdn    *cdn
	canary *canary
}

// theBrowser is that of nearly all tests, which starts when the first one asks for it. Debian
// has Chromium without what is around a page as well, with which they take half as long.
var theBrowser = sync.OnceValues(func() (*chromium, error) {
	if path, err := exec.LookPath("chromium-headless-shell"); err == nil {
		return start(path)
	}
	return withTabs()
})

// withTabs is a browser whose windows have tabs, of which one hides the others.
var withTabs = sync.OnceValues(func() (*chromium, error) {
	path, err := exec.LookPath("chromium")
	if err != nil {
		return nil, err
	}
	return start(path)
})

func start(path string) (*chromium, error) {
	canary, err := newCanary()
	if err != nil {
		return nil, err
	}
	cdn := newCDN()
	key := sha256.Sum256(cdn.server.Certificate().RawSubjectPublicKeyInfo)
	options := append(chromedp.DefaultExecAllocatorOptions[:],
		chromedp.ExecPath(path), chromedp.DisableGPU, chromedp.WindowSize(desktop.width, desktop.height),
		chromedp.Flag("disable-component-update", true),
		chromedp.Flag("lang", "en"),
		chromedp.Flag("ignore-certificate-errors-spki-list", base64.StdEncoding.EncodeToString(key[:])),
		// Those of chromedp, and no process in reserve for each tab, which takes as long to start as one
		// that is used.
		chromedp.Flag("disable-features", "Translate,BlinkGenPropertyTrees,SpareRendererForSitePerProcess"),
		// Nothing leaves this machine.
		chromedp.Flag("host-resolver-rules", fmt.Sprintf("MAP *.apixo.ai:443 %s, MAP *%s 127.0.0.1, MAP *%s %s, MAP * ~NOTFOUND, EXCLUDE 127.0.0.1, EXCLUDE localhost",
			cdn.address(), attackerHost, canaryHost, canary.address())),
	)
	allocator, stop := chromedp.NewExecAllocator(context.Background(), options...)
	ctx, cancel := chromedp.NewContext(allocator, chromedp.WithErrorf(func(string, ...any) {})) // of events that are newer than the library
	if err := chromedp.Do(ctx); err != nil {
		stop()
		return nil, fmt.Errorf("%s does not start: %w", path, err)
	}
	b := &chromium{ctx: ctx, cdn: cdn, canary: canary, close: func() error {
		cancel()
		stop()
		cdn.server.Close()
		return canary.close()
	}}
	started.Lock()
	defer started.Unlock()
	started.browsers = append(started.browsers, b)
	return b, nil
}

// started are the browsers that are to be closed.
var started struct {
	sync.Mutex
	browsers []*chromium
}

// browser returns the browser of nearly all tests. Without one the test is skipped, or fails
// where all tools have to be there.
func browser(t testing.TB) *chromium {
	t.Helper()
	b, err := theBrowser()
	return b.orSkip(t, err)
}

// browserWithTabs is browser for tests in which a tab hides others.
func browserWithTabs(t testing.TB) *chromium {
	t.Helper()
	b, err := withTabs()
	return b.orSkip(t, err)
}

func (b *chromium) orSkip(t testing.TB, err error) *chromium {
	t.Helper()
	switch {
	case err == nil:
		return b
	case os.Getenv("CI_TOOLS") != "" || !errors.Is(err, exec.ErrNotFound):
		t.Fatalf("no browser: %v: apt-get install --no-install-recommends chromium", err)
	default:
		t.Skipf("no browser: %v: apt-get install --no-install-recommends chromium", err)
	}
	return nil
}

// closeBrowsers ends the browsers, and tells whether anything of a hostile webhook was
// loaded by them in all that time.
func closeBrowsers() error {
	started.Lock()
	defer started.Unlock()
	var errs []error
	for _, b := range started.browsers {
		errs = append(errs, b.close())
	}
	return errors.Join(errs...)
}

// canary notes who comes to it.
type canary struct {
	listener net.Listener

	mu   sync.Mutex
	came []string
}

func newCanary() (*canary, error) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return nil, err
	}
	c := &canary{listener: l}
	go c.serve()
	return c, nil
}

func (c *canary) address() string { return c.listener.Addr().String() }

func (c *canary) serve() {
	for {
		conn, err := c.listener.Accept()
		if err != nil {
			return
		}
		go c.note(conn)
	}
}

// note keeps the beginning of what a connection brings.
func (c *canary) note(conn net.Conn) {
	defer conn.Close()
	_ = conn.SetReadDeadline(time.Now().Add(time.Second)) // which can fail only where nothing can be read
	head := make([]byte, 200)
	n, _ := conn.Read(head) // what has come says enough
	c.mu.Lock()
	defer c.mu.Unlock()
	c.came = append(c.came, string(head[:n]))
}

func (c *canary) close() error {
	err := c.listener.Close()
	c.mu.Lock()
	defer c.mu.Unlock()
	if len(c.came) > 0 {
		return fmt.Errorf("FAIL: something of a hostile webhook was loaded: %q", c.came)
	}
	return err
}
