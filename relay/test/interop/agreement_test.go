package interop

import (
	"encoding/json"
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"time"

	events "github.com/apixo-relay/apixo-relay/relay/event"
	"github.com/apixo-relay/apixo-relay/relay/test/hostile"
	"github.com/apixo-relay/apixo-relay/relay/test/relaytest"
	"github.com/apixo-relay/apixo-relay/schema"
)

// Answers to a body, as agree finds them.
const (
	noText     = "no JSON text"
	accepted   = "accepted"
	refused    = "refused"
	unsayable  = "refused for what no schema can say"
	unreadable = "a number that the validator does not read"
)

// hugeExponent is beyond what the validator takes into its decimals.
var hugeExponent = regexp.MustCompile(`[0-9.][eE][+-]?[0-9]{6}`)

// agree holds the parser against the schemas: both accept a webhook, or neither.
// What they differ in by intention has a code of its own: what is inside the text
// of resultJson, and resultUrls beside it that contradict it. What is accepted
// becomes an event, and what is not is kept in one, as their schemas say.
func agree(t testing.TB, body []byte) string {
	t.Helper()
	w, err := schema.ParseWebhook(body)
	var why *schema.Error
	if err != nil && !errors.As(err, &why) {
		t.Fatalf("%v is no *schema.Error", err)
	}
	if errors.Is(err, schema.ErrNotJSON) {
		return noText
	}
	if hugeExponent.Match(body) {
		return unreadable
	}
	invalid := check(t, "webhook", body)
	message, encodeErr := events.Encoder{Source: "https://api.apixo.ai", Prefix: schema.DefaultPrefix}.Encode(events.Delivery{Body: body, Received: time.Unix(0, 0)})
	if encodeErr != nil {
		t.Fatal(encodeErr)
	}
	switch {
	case err == nil && invalid != nil:
		t.Fatalf("the parser accepts it, the schema does not: %v\n%s", invalid, body)
	case err != nil && invalid == nil && why.Code != schema.CodeResultJSON:
		t.Fatalf("the schema accepts it, the parser does not: %v\n%s", err, body)
	case err != nil:
		if invalid := check(t, "quarantine", message.Data); invalid != nil {
			t.Fatalf("what keeps it is invalid: %v\n%s", invalid, message.Data)
		}
		if invalid == nil {
			return unsayable
		}
		return refused
	}
	if invalid := check(t, "task", w.EventData); invalid != nil {
		t.Fatalf("its event's data is invalid: %v\n%s", invalid, w.EventData)
	}
	if _, err := schema.DecodeTask(w.EventData); err != nil {
		t.Fatalf("its event's data is not read back: %v\n%s", err, w.EventData)
	}
	if invalid := check(t, "event", message.Data); invalid != nil {
		t.Fatalf("its event is invalid: %v\n%s", invalid, message.Data)
	}
	return accepted
}

func TestParserAndSchemasAgree(t *testing.T) {
	t.Parallel()
	const cases = 40_000
	seen := make(map[string]int)
	for seed := range uint64(cases) {
		body := generated(rand.New(rand.NewPCG(seed, 0)))
		answer := ""
		if !t.Run("", func(t *testing.T) { answer = agree(t, body) }) {
			t.Fatalf("with the seed %d", seed)
		}
		seen[answer]++
	}
	t.Logf("%v", seen)
	// The cases are worth something only if they are of all kinds.
	for _, answer := range []string{accepted, refused, unsayable} {
		if seen[answer] < cases/50 {
			t.Errorf("only %d of %d are %s", seen[answer], cases, answer)
		}
	}
}

func TestParserAndSchemasAgreeOnWhatIsHostile(t *testing.T) {
	t.Parallel()
	for _, c := range hostile.New().Plain {
		t.Run(c.Name, func(t *testing.T) { agree(t, []byte(c.Body)) })
	}
	for _, w := range tasks(t) {
		if answer := agree(t, w.body); answer != accepted {
			t.Errorf("%s is %s", w.name, answer)
		}
	}
}

func FuzzParserAndSchemas(f *testing.F) {
	files, err := filepath.Glob(filepath.Join(relaytest.Root, "schema/testdata/*.json"))
	if err != nil || len(files) == 0 {
		f.Fatalf("no seeds: %v", err)
	}
	for _, name := range files {
		body, err := os.ReadFile(name)
		if err != nil {
			f.Fatal(err)
		}
		f.Add(body)
	}
	for seed := range uint64(200) {
		f.Add(generated(rand.New(rand.NewPCG(seed, 1))))
	}
	f.Fuzz(func(t *testing.T, body []byte) { agree(t, body) })
}

// What members are made of: spellings of what is right, and of what nearly is.
var (
	ids = []string{
		`"task_abc123xyz"`, `"Az09_.:-"`, `"t"`, `"\u0074ask"`, `"..."`, `"` + strings.Repeat("x", 128) + `"`,
		`"` + strings.Repeat("x", 129) + `"`, `""`, `"a b"`, `"t\n"`, `"ä"`, `"a/b"`, `"a>"`, `"\u0000"`, `"t\ud800"`, `null`, `7`, `["t"]`, `{}`,
	}
	states  = []string{`"success"`, `"failed"`, `"succe\u0073s"`, `"Success"`, `"processing"`, `"pending"`, `"failed "`, `""`, `null`, `true`, `[]`, `{"const":"success"}`}
	numbers = []string{
		`12500`, `0`, `-0`, `-1`, `1e3`, `1.0`, `1.25E+4`, `10e-1`, `0.1e1`, `1704067212500`, `1704067212500.0`, `9007199254740991`, `-9007199254740991`, `90071992547409910e-1`, `0e-400`, `null`,
		`1.5`, `1e-1`, `0.99999999999999999`, `9007199254740990.5`, `9007199254740991.4`, `1e-400`, `9007199254740992`, `-9007199254740992`, `9007199254740993`, `1e16`, `1e400`, `"12500"`, `true`, `[]`, `{}`,
		`"12.5"`, `"-1"`, `"1e3"`, `"1e400"`, `"007"`, `" 1"`, `""`, `"soon"`, `"\ud800"`, `12.5`, `-0.5`, `"2024-01-01T00:00:12Z"`, `"2024-01-01t00:00:12.5+01:00"`, `"2024-01-01T00:00:12,5Z"`, `"9999-12-31T23:59:59.9999Z"`, `"0000-01-01T00:00:00Z"`,
	}
	texts   = []string{`"CONTENT_VIOLATION"`, `""`, `"é\u0000\ud83d\ude00"`, `null`, `400`, `-1.50e+400`, `"x\ud83d"`, `"\udfff\ud83d\ude00"`, `false`, `[""]`, `{}`}
	urls    = []string{`["https://cdn.apixo.ai/a.png"]`, `["https:\/\/cdn.apixo.ai/a.png"]`, `[]`, `["u","v"]`, `null`, `"u"`, `[1]`, `["u",null]`, `[null]`, `["u\ud83d"]`, `[[]]`, `{}`, `7`}
	results = []string{`null`, `""`, `" "`, `"null"`, `" {} "`, `"{"`, `"[]"`, `"7"`, `"{\"a\":1,\"a\":2}"`, `"{\"a\":\"\\ud800\"}"`, `"{\"\\ud800\":1,\"\\udfff\":2}"`, `{"\ud800":"\udfff"}`, `"\u00a0{}"`, `{}`, `{"tracks":[{"id":"t1","duration":172.5}]}`, `{"resultURLs":7}`, `7`, `[]`, `true`}
	others  = []string{`null`, `{}`, `[{"a":[-0.10e+05]}]`, `"x"`, `1e400`, `false`, `"\udfff"`, `[{"\ud800":1}]`, `{"\ud800":1,"\ufffd":2}`, `{"state":"success","resultUrls":7}`}
)

// generated is a body that is nearly a webhook, in most cases with at most a few
// members that are wrong; some are damaged as texts besides.
func generated(r *rand.Rand) []byte {
	pick := func(values []string) string {
		if r.IntN(3) > 0 {
			return values[r.IntN(min(3, len(values)))] // the first are good
		}
		return values[r.IntN(len(values))]
	}
	result := func() string {
		object := `{"resultUrls":` + pick(urls) + `,"seed":9007199254740993}`
		switch r.IntN(3) {
		case 0:
			return object
		case 1:
			quoted, _ := json.Marshal(object) // of a string: no error
			return string(quoted)
		default:
			return results[r.IntN(len(results))]
		}
	}
	// A member is there in so many of ten cases.
	var list []string
	add := func(often int, name, value string) {
		if r.IntN(10) < often {
			if r.IntN(200) == 0 {
				name = strings.ToUpper(name) // which is another name
			}
			list = append(list, fmt.Sprintf("%q:%s", name, value))
		}
	}
	object := func() string {
		r.Shuffle(len(list), func(i, j int) { list[i], list[j] = list[j], list[i] })
		text := "{" + strings.Join(list, ",") + "}"
		list = nil
		return text
	}
	state := pick(states[:len(states):len(states)])
	if r.IntN(2) == 0 {
		state = `"success"` // of which there is more to get wrong
	}
	mostly := 9
	if r.IntN(3) > 0 {
		mostly = 10
	}
	add(mostly, "taskId", pick(ids))
	add(mostly, "state", state)
	add(6, "resultJson", result())
	add(2, "resultUrls", pick(urls))
	add(4, "costTime", pick(numbers))
	add(3, "createTime", pick(numbers))
	add(4, "completeTime", pick(numbers))
	add(2, "failCode", pick(texts))
	add(2, "failMsg", pick(texts))
	add(1, "provider", pick(others))
	add(1, "__proto__", pick(others))
	for r.IntN(20) == 0 {
		list = append(list, `"\ud800":`+pick(others)) // twice is once too often
	}
	data := object()
	if r.IntN(50) == 0 {
		data = others[r.IntN(len(others))]
	}
	add(mostly, "data", data)
	add(5, "code", pick(numbers))
	add(5, "message", pick(texts))
	add(1, "data_", pick(others))
	body := []byte(object())
	switch r.IntN(20) {
	case 0:
		body = []byte(others[r.IntN(len(others))])
	case 1: // a byte of another place
		body[r.IntN(len(body))] = body[r.IntN(len(body))]
	case 2: // a piece less
		i := r.IntN(len(body))
		body = append(body[:i], body[min(len(body), i+1+r.IntN(8)):]...)
	}
	return body
}
