package send

import (
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/apixo-relay/apixo-relay/relay/httpclient"
)

func TestLatency(t *testing.T) {
	t.Parallel()
	hundred := make([]time.Duration, 100)
	for i := range hundred {
		hundred[i] = time.Duration(100-i) * time.Millisecond
	}
	for _, test := range []struct {
		name    string
		samples []time.Duration
		want    *Latency
	}{
		{"none", nil, nil},
		{"one", []time.Duration{1500 * time.Microsecond}, &Latency{1, 1.5, 1.5, 1.5, 1.5, 1.5}},
		{"two", []time.Duration{2 * time.Millisecond, time.Millisecond}, &Latency{2, 1, 1, 2, 2, 2}},
		{"three", []time.Duration{3 * time.Millisecond, time.Millisecond, 2 * time.Millisecond}, &Latency{3, 1, 2, 3, 3, 3}},
		{"a hundred", hundred, &Latency{100, 1, 50, 90, 99, 100}},
		{"a hundred and one", append(slices.Clone(hundred), 101*time.Millisecond), &Latency{101, 1, 51, 91, 100, 101}},
	} {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			got := newLatency(test.samples)
			if (got == nil) != (test.want == nil) || got != nil && *got != *test.want {
				t.Errorf("got %+v, want %+v", got, test.want)
			}
		})
	}
}

// manyAnswers has every part that a summary can have, but for an answer in full.
var manyAnswers = Summary{
	Target: "https://host:1", Webhooks: 1000, Delivered: 900, Failed: 60, Unfinished: 8, NotStarted: 32,
	DeliveredAt: []int{700, 150, 30, 20}, Attempts: 1150, Duplicates: 12, Conflicts: 1,
	Answers: []AnswerCount{
		{Status: 200, Count: 900},
		{Status: 503, Count: 240, Title: "Broker away", Detail: "try again later"},
		{Status: 599, Count: 2, Detail: "odd"},
		{Error: httpclient.CauseTimeout, Count: 8, Detail: "no whole answer in time"},
	},
	DurationSeconds: 12.5, AttemptsPerSecond: 92,
	Latency: &Latency{1142, 0.25, 1.5, 12.34, 123.4, 1234.5},
}

func oneAnswer(body string, truncated bool) Summary {
	return Summary{
		Target: "http://h", Webhooks: 1, Delivered: 1, DeliveredAt: []int{1}, Attempts: 1,
		Answers:         []AnswerCount{{Status: 200, Count: 1}},
		DurationSeconds: 0.002, AttemptsPerSecond: 500,
		Latency: &Latency{1, 1.5, 1.5, 1.5, 1.5, 1.5},
		Answer:  &Answer{TaskID: "task_1", Status: 200, ContentType: "application/json", Body: body, Truncated: truncated},
	}
}

func TestWriteText(t *testing.T) {
	t.Parallel()
	const one = "\nwebhooks  1 to http://h: 1 delivered, 0 failed\nattempts  1 in 2.00 ms\nanswers   1 × 200 OK\nlatency   1.50 ms\n"
	for _, test := range []struct {
		name    string
		summary Summary
		want    string
	}{
		{"many", manyAnswers, `webhooks  1000 to https://host:1: 900 delivered, 60 failed, 8 unfinished, 32 not started
attempts  1150 in 12.5 s, 92.0 a second
delivered 700 at the 1st attempt, 150 at the 2nd, 30 at the 3rd, 20 at the 4th; 60 abandoned
answers   900 × 200 OK (12 duplicate, 1 conflict)
          240 × 503 Service Unavailable
                Broker away: try again later
            2 × 599
                odd
            8 × timeout
                no whole answer in time
latency   min 0.25 ms, p50 1.50 ms, p90 12.3 ms, p99 123 ms, max 1.23 s
`},
		{"one", oneAnswer(`{"a":1,"b":9007199254740993}`, false), "task_1: 200 OK\n{\n  \"a\": 1,\n  \"b\": 9007199254740993\n}\n" + one},
		{"no JSON", oneAnswer("OK", false), "task_1: 200 OK\nOK\n" + one},
		{"no body", oneAnswer("", false), "task_1: 200 OK\n" + one},
		{"cut", oneAnswer(`{"a":`, true), "task_1: 200 OK\n{\"a\":\n… and more\n" + one},
	} {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			var b strings.Builder
			if err := test.summary.WriteText(&b); err != nil || b.String() != test.want {
				t.Errorf("%v\n got:\n%s\nwant:\n%s", err, b.String(), test.want)
			}
		})
	}
}

// Scripts hold on to these names.
func TestWriteJSON(t *testing.T) {
	t.Parallel()
	for _, test := range []struct {
		name    string
		summary Summary
		want    string
	}{
		{"many", manyAnswers, `{"target":"https://host:1","webhooks":1000,"delivered":900,"failed":60,"unfinished":8,"notStarted":32,"deliveredAtAttempt":[700,150,30,20],` +
			`"attempts":1150,"duplicates":12,"conflicts":1,"answers":[{"status":200,"count":900},` +
			`{"status":503,"count":240,"title":"Broker away","detail":"try again later"},{"status":599,"count":2,"detail":"odd"},` +
			`{"error":"timeout","count":8,"detail":"no whole answer in time"}],"durationSeconds":12.5,"attemptsPerSecond":92,` +
			`"latencyMilliseconds":{"samples":1142,"min":0.25,"p50":1.5,"p90":12.34,"p99":123.4,"max":1234.5},"answer":null}`},
		{"one", oneAnswer("<OK>", false), `{"target":"http://h","webhooks":1,"delivered":1,"failed":0,"unfinished":0,"notStarted":0,"deliveredAtAttempt":[1],` +
			`"attempts":1,"duplicates":0,"conflicts":0,"answers":[{"status":200,"count":1}],"durationSeconds":0.002,"attemptsPerSecond":500,` +
			`"latencyMilliseconds":{"samples":1,"min":1.5,"p50":1.5,"p90":1.5,"p99":1.5,"max":1.5},` +
			`"answer":{"taskId":"task_1","status":200,"contentType":"application/json","body":"<OK>","truncated":false}}`},
	} {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			var b strings.Builder
			if err := test.summary.WriteJSON(&b); err != nil || b.String() != test.want+"\n" {
				t.Errorf("%v\n got %s\nwant %s", err, b.String(), test.want)
			}
		})
	}
}
