package browser

import (
	"net/http/httptest"
	"testing"

	"github.com/apixo-relay/apixo-relay/relay/test/fakeapi"
)

// An announced task is outstanding until it is settled: here because its webhook comes,
// because its result is fetched, or because it is given up.
func TestExpected(t *testing.T) {
	t.Parallel()
	browser(t)
	fake := fakeapi.New(apiKey)
	settle := make(chan struct{})
	fake.Default(fakeapi.State("processing"))
	fake.Set("expected_fetched", fakeapi.State("pending"), fakeapi.Held(settle, fakeapi.Success))
	fake.Set("expected_lost", fakeapi.Error(404, "Task not found"))
	api := httptest.NewServer(fake)
	t.Cleanup(api.Close)
	expecting := []string{"RELAY_EXPECT=true", "RELAY_EXPECT_AFTER=1s", "APIXO_API_KEY=" + apiKey, "APIXO_BASE_URL=" + api.URL}
	r := startRelay(t, expecting...)
	page := startUI(t, append(r.environ(), expecting...))
	tab := newTab(t, desktop)

	tab.view("expected", page.URL+"/expected")
	tab.reads("#outstanding", "No announced task is outstanding")
	r.announce(t, "nano-banana", "expected_comes", "expected_fetched", "expected_lost")
	again := func(until string, args ...any) {
		t.Helper()
		await(t, "the page never has: "+script(until, args), func() bool {
			tab.view("expected", page.URL+"/expected")
			return eval[bool](tab, "Boolean("+until+")", args...)
		})
	}
	in := func(selector, id string) string {
		return script(`document.querySelector(%q).innerText.includes(%q)`, []any{selector, id})
	}
	again(in("#outstanding", "expected_comes") + "&&" + in("#outstanding", "expected_fetched"))
	tab.reads("#outstanding", "nano-banana")
	// It tells of a task at the task's own address, too.
	tab.view("task", page.URL+"/tasks/expected_comes")
	tab.reads("main", "expected_comes")
	again(in("#outstanding", "processing"))
	r.deliver(t, picture1("expected_comes"))
	close(settle)
	again("!" + in("#outstanding", "expected_comes") + "&&" + in("#recovered", "expected_fetched") + "&&" + in("#missing", "expected_lost"))
	if eval[bool](tab, in("#recovered", "expected_comes")) {
		t.Error("a task whose webhook came is called recovered")
	}
	tab.view("task", page.URL+"/tasks/expected_fetched")
	tab.reads("main", "recovered")
	tab.view("task", page.URL+"/tasks/expected_lost")
	tab.reads("main", "missing")
}
