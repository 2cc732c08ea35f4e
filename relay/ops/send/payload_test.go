package send

import (
	"bytes"
	"fmt"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/go-json-experiment/json/jsontext"
)

// completed is an arbitrary time of completion, with a fraction of a second.
var completed = time.UnixMilli(1704067212500)

func sample(t testing.TB, state string) Payload {
	t.Helper()
	p, err := Sample(state)
	if err != nil {
		t.Fatal(err)
	}
	return p
}

func TestSample(t *testing.T) {
	t.Parallel()
	for _, test := range []struct{ state, want string }{
		{Success, `{"code":200,"message":"success","data":{"taskId":"task_abc123xyz","state":"success","resultJson":"{\"resultUrls\":[\"https://cdn.apixo.ai/output/abc.jpg\"]}","costTime":12500,"createTime":1704067200000,"completeTime":1704067212500}}`},
		{Failed, `{"code":200,"message":"success","data":{"taskId":"task_abc123xyz","state":"failed","failCode":"CONTENT_VIOLATION","failMsg":"Content violates usage policy","createTime":1704067207500,"completeTime":1704067212500}}`},
	} {
		p := sample(t, test.state)
		if got := string(p.body("task_abc123xyz", completed)); got != test.want {
			t.Errorf("%s:\n got %s\nwant %s", test.state, got, test.want)
		}
		if !p.TakesTaskID() {
			t.Errorf("%s does not take a task id", test.state)
		}
	}
	if _, err := Sample("pending"); err == nil || !strings.Contains(err.Error(), `"pending"`) {
		t.Errorf("error for a state without a sample: %v", err)
	}
}

func TestSampleQuotesTheTaskID(t *testing.T) {
	t.Parallel()
	body := jsontext.Value(sample(t, Success).body("a\"b\\c\n", completed))
	if !body.IsValid() {
		t.Errorf("not JSON: %s", body)
	}
}

func TestFile(t *testing.T) {
	t.Parallel()
	const other = " {\"x\":1e400,\n\t\"data\" : {\"a\":[{\"taskId\":\"inner\"}], \"taskId\" :  %s , \"b\":\"\\u0041\"}, \"taskId\":\"outer\"}\r\n"
	const asItIs = "-"
	for _, test := range []struct{ name, body, want string }{
		{"usual", `{"data":{"taskId":"old"}}`, `{"data":{"taskId":"new"}}`},
		{"nothing else changes", fmt.Sprintf(other, `"old"`), fmt.Sprintf(other, `"new"`)},
		{"empty id", `{"data":{"taskId":""}}`, `{"data":{"taskId":"new"}}`},
		{"escaped name and value", `{"d\u0061ta":{"taskI\u0064":"\u006fld"}}`, `{"d\u0061ta":{"taskI\u0064":"new"}}`},
		{"id is a number", `{"data":{"taskId":1}}`, asItIs},
		{"id is null", `{"data":{"taskId":null}}`, asItIs},
		{"no id", `{"data":{"state":"success"}}`, asItIs},
		{"id elsewhere", `{"taskId":"old"}`, asItIs},
		{"data is no object", `{"data":[{"taskId":"old"}]}`, asItIs},
		{"array", `[{"data":{"taskId":"old"}}]`, asItIs},
		{"broken after the id", `{"data":{"taskId":"old"}`, asItIs},
		{"something follows", `{"data":{"taskId":"old"}} x`, asItIs},
		{"two objects", `{"data":{"taskId":"old"}}{}`, asItIs},
		{"duplicate id", `{"data":{"taskId":"old","taskId":"other"}}`, asItIs},
		{"duplicate data", `{"data":{"taskId":"old"},"data":{}}`, asItIs},
		{"invalid UTF-8", "{\"data\":{\"taskId\":\"old\"},\"x\":\"\xff\"}", asItIs},
		{"byte order mark", "\ufeff{\"data\":{\"taskId\":\"old\"}}", asItIs},
		{"binary", "\x00\x01\x02", asItIs},
		{"empty", "", asItIs},
	} {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			want, takes := test.want, true
			if want == asItIs {
				want, takes = test.body, false
			}
			p := File(test.name, []byte(test.body), false)
			if got := string(p.body("new", completed)); got != want || p.TakesTaskID() != takes {
				t.Errorf("sent %q, takes a task id: %v; want %q, %v", got, p.TakesTaskID(), want, takes)
			}
			kept := File(test.name, []byte(test.body), true)
			if got := string(kept.body("new", completed)); got != test.body || kept.TakesTaskID() {
				t.Errorf("with its own id, sent %q, takes a task id: %v", got, kept.TakesTaskID())
			}
		})
	}
}

// Whatever the file, either it is sent as it is, or it stays JSON and putting
// the old id back gives the old file.
func FuzzFile(f *testing.F) {
	f.Add([]byte(`{"code":200,"data":{"taskId":"task_1","state":"success"}}`))
	f.Add([]byte(`{"data":{"taskId":"\ud83d\ude00"}} `))
	f.Add([]byte(`{"data":{"taskId":"a"},"data":1}`))
	f.Fuzz(func(t *testing.T, body []byte) {
		p := File("fuzz", body, false)
		sent := p.body("new", completed)
		if !p.TakesTaskID() {
			if !bytes.Equal(sent, body) {
				t.Fatalf("%q was sent as %q", body, sent)
			}
			return
		}
		if !jsontext.Value(sent).IsValid() {
			t.Fatalf("%q became %q", body, sent)
		}
		old := body[p.idStart:p.end]
		if old[0] != '"' || !jsontext.Value(old).IsValid() {
			t.Fatalf("%q is no string in %q", old, body)
		}
		back := bytes.Join([][]byte{sent[:p.idStart], sent[p.idStart+len(`"new"`):]}, old)
		if !bytes.Equal(back, body) {
			t.Fatalf("%q became %q", body, sent)
		}
	})
}

func TestFreshTaskID(t *testing.T) {
	t.Parallel()
	form := regexp.MustCompile(`^task_[a-z2-7]{16}$`)
	seen := make(map[string]bool)
	for range 1000 {
		id := freshTaskID()
		if !form.MatchString(id) || seen[id] {
			t.Fatalf("id %q, seen before: %v", id, seen[id])
		}
		seen[id] = true
	}
}
