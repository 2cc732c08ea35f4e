package receiver_test

import (
	"fmt"
	"net/http"
	"net/url"
	"testing"
)

// attempt is a request and whether it is to be let in.
type attempt struct {
	name, path string
	change     change
	good       bool
}

// try makes the attempts and holds what is stored, answered and logged against
// what was let in: one event for each, and none of the secrets anywhere.
func (r *relay) try(t *testing.T, attempts []attempt, secrets ...string) {
	t.Helper()
	let := 0
	for i, a := range attempts {
		if a.change == nil {
			a.change = func(*http.Request) {}
		}
		got := r.post(t, a.path, success(fmt.Sprintf("task_%d", i)), a.change)
		switch {
		case a.good && got.status != http.StatusOK:
			t.Errorf("%s: answered %d, want 200", a.name, got.status)
		case a.good:
			let++
		case got.status != http.StatusUnauthorized:
			t.Errorf("%s: answered %d, want 401", a.name, got.status)
		default:
			got.wantProblem(t, http.StatusUnauthorized, "unauthorized")
		}
		wantNoToken(t, "an answer", fmt.Sprint(got), secrets...)
	}
	r.wantCounts(t, let, 0)
	r.Close()
	if n := r.log.count(); n != len(attempts) {
		t.Errorf("%d lines are logged about %d requests", n, len(attempts))
	}
	wantNoToken(t, "the log", r.log.text(), secrets...)
}

func TestToken(t *testing.T) {
	t.Parallel()
	const first, second = goodToken, "tok-second-0a1b2c3d4e5f"
	const wrong = "tok-wrong-6c7d8e9fa0b1"
	start(t, "RELAY_WEBHOOK_TOKENS="+first+", "+second).try(t, []attempt{
		{"in the path", webhookPath + "/" + first, nil, true},
		{"the other in the path", webhookPath + "/" + second, nil, true},
		{"with a query", webhookPath + "/" + first + "?model=m", nil, true},
		{"Basic", webhookPath, basic(first), true},
		{"Basic, other user", webhookPath, func(r *http.Request) { r.SetBasicAuth("", second) }, true},
		{"Basic, trailing slash", webhookPath + "/", basic(first), true},
		{"Bearer", webhookPath, bearer(second), true},
		{"slash behind it", webhookPath + "/" + first + "/", nil, true},
		{"two slashes behind it", webhookPath + "/" + first + "//", nil, true},
		{"slash before it", webhookPath + "//" + first, nil, true},
		{"slashes everywhere", "//webhook///apixo////" + first + "/?model=m", nil, true},
		{"encoded slash behind it", webhookPath + "/" + first + "%2F", nil, true},
		{"Basic, slashes", "//webhook//apixo//", basic(first), true},
		{"Bearer in another case", webhookPath, header("Authorization", "bEARER "+first), true},
		{"Bearer with more spaces", webhookPath, header("Authorization", "Bearer   "+first+" "), true},
		{"wrong in the path, good as Bearer", webhookPath + "/" + wrong, bearer(first), true},
		{"good in the path, wrong as Basic", webhookPath + "/" + first, basic(wrong), true},

		{"missing", webhookPath, nil, false},
		{"missing, trailing slash", webhookPath + "/", nil, false},
		{"wrong in the path", webhookPath + "/" + wrong, nil, false},
		{"wrong as Basic", webhookPath, basic(wrong), false},
		{"wrong as Bearer", webhookPath, bearer(wrong), false},
		{"empty Basic", webhookPath, basic(""), false},
		{"empty Bearer", webhookPath, bearer(""), false},
		{"prefix in the path", webhookPath + "/" + first[:len(first)-1], nil, false},
		{"prefix as Basic", webhookPath, basic(first[:len(first)-1]), false},
		{"prefix as Bearer", webhookPath, bearer(first[:len(first)-1]), false},
		{"a character more in the path", webhookPath + "/" + first + "x", nil, false},
		{"a character more as Basic", webhookPath, basic(first + "x"), false},
		{"a character more as Bearer", webhookPath, bearer(first + "x"), false},
		{"another segment behind it", webhookPath + "/" + first + "/" + second, nil, false},
		{"both at once", webhookPath, bearer(first + "," + second), false},
		{"the whole setting", webhookPath, bearer(first + ", " + second), false},
		{"other case", webhookPath + "/T" + first[1:], nil, false},
		{"as the user", webhookPath, func(r *http.Request) { r.SetBasicAuth(first, "") }, false},
		{"another scheme", webhookPath, header("Authorization", "Token "+first), false},
		{"no scheme", webhookPath, header("Authorization", first), false},
		{"in the query", webhookPath + "?token=" + first, nil, false},
		{"half in the path, half as Bearer", webhookPath + "/" + first[:8], bearer(first[8:]), false},
	}, first, second, wrong, first[:len(first)-1])
}

// People make secrets with base64, and percent-encode them in URLs or do not.
func TestTokenOfAnyCharacters(t *testing.T) {
	t.Parallel()
	for _, test := range []struct {
		name, token string
		plain       bool // it can stand in a path as it is
	}{
		{"slash plus equals", "q7/Xw+9ZkA/bbfT5+Q==", true},
		{"dots inside", "q7Xw9/.Zk../A...bbfT5Qab", true},
		{"percent", "q7Xw9%ZkAbbfT5Qab", false},
		{"percent-encoded already", "q7Xw9%2FZkAbbfT5Qab", false},
		{"reserved", "q7X#w9?ZkA&bbf;T5@Q:ab", false},
		{"quotes", `q7X"w9'ZkA\bbf<T5>Q`, false},
	} {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			r := start(t, "RELAY_WEBHOOK_TOKENS="+test.token)
			own, err := url.Parse(r.cfg.WebhookURL("127.0.0.1:1", test.token))
			if err != nil {
				t.Fatal(err)
			}
			attempts := []attempt{
				{"encoded", webhookPath + "/" + url.PathEscape(test.token), nil, true},
				{"as the relay itself writes it", own.EscapedPath(), nil, true},
				{"every character encoded", webhookPath + "/" + encodeAll(test.token), nil, true},
				{"Basic", webhookPath, basic(test.token), true},
				{"Bearer", webhookPath, bearer(test.token), true},
				{"slash behind it", webhookPath + "/" + url.PathEscape(test.token) + "/", nil, true},
				{"encoded as Bearer", webhookPath, bearer(encodeAll(test.token)), false},
				{"encoded twice", webhookPath + "/" + url.PathEscape(encodeAll(test.token)), nil, false},
			}
			if test.plain {
				attempts = append(attempts, attempt{"plain", webhookPath + "/" + test.token, nil, true})
			}
			r.try(t, attempts, test.token)
		})
	}
}

func encodeAll(s string) (encoded string) {
	for _, c := range []byte(s) {
		encoded += fmt.Sprintf("%%%02X", c)
	}
	return encoded
}

func TestTokensAreRotated(t *testing.T) {
	t.Parallel()
	const old, next = goodToken, "tok-next-5f4e3d2c1b0a"
	r := start(t, "RELAY_WEBHOOK_TOKENS="+old)
	status := func(want int, taskID, token string) {
		t.Helper()
		if got := r.post(t, webhookPath+"/"+token, success(taskID)); got.status != want {
			t.Errorf("%s: answered %d, want %d", taskID, got.status, want)
		}
	}
	status(200, "before_old", old)
	status(401, "before_next", next)
	r.tokens.Replace([]string{old, next})
	status(200, "both_old", old)
	status(200, "both_next", next)
	r.tokens.Replace([]string{next})
	status(401, "after_old", old)
	status(200, "after_next", next)
	// No token left lets nobody in, rather than everybody.
	r.tokens.Replace(nil)
	status(401, "none_next", next)
	status(401, "none_empty", "")
	r.wantCounts(t, 4, 0)
	r.Close()
	wantNoToken(t, "the log", r.log.text(), old, next)
}

func TestPathIsConfigured(t *testing.T) {
	t.Parallel()
	for _, test := range []struct {
		name, path, tokens string
		answers            map[string]int
	}{
		{"default, no tokens", "", "", map[string]int{
			webhookPath: 200, webhookPath + "/": 200, webhookPath + "/anything": 200,
			webhookPath + "/anything/": 200, "//webhook//apixo//": 200,
			webhookPath + "/any/thing": 404, "/": 404, "/webhook": 404, "/webhook/apixos": 404,
			"/webhook/./apixo": 404, "/webhook/x/../apixo": 404, webhookPath + "/.": 404, webhookPath + "/..": 404, "/webhook/%2e/apixo": 404, "/webhook%2Fapixo": 404,
		}},
		{"trailing slash in the setting", "/hook/", goodToken, map[string]int{
			"/hook/" + goodToken: 200, "/hook/" + goodToken + "/": 200, "//hook//" + goodToken: 200, "/hook/./" + goodToken: 404, "/%2Fhook/" + goodToken: 404, "/hook": 401, "/hook/": 401, "/hooks": 404, "/": 404,
		}},
		{"root", "/", goodToken, map[string]int{
			"/" + goodToken: 200, "/" + goodToken + "/": 200, "//" + goodToken: 200, "/%2F" + goodToken: 200, "/../" + goodToken: 404, "/": 401, "//": 401, "/other": 401, "/other/" + goodToken: 401,
		}},
		{"root, no tokens", "/", "", map[string]int{
			"/": 200, "/anything": 200, "/any/thing": 404,
		}},
	} {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			r := start(t, "RELAY_WEBHOOK_PATH="+test.path, "RELAY_WEBHOOK_TOKENS="+test.tokens)
			let := 0
			for path, want := range test.answers {
				got := r.post(t, path, success(fmt.Sprintf("task_%d", let)))
				if got.status != want {
					t.Errorf("%s: answered %d, want %d", path, got.status, want)
				}
				if got.status == http.StatusOK {
					let++
				}
			}
			r.wantCounts(t, let, 0)
		})
	}
}
