package config_test

import (
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/apixo-relay/apixo-relay/relay/config"
)

// secretsOf reads the secrets out of a configuration.
var secretsOf = map[string]func(config.Config) string{
	"RELAY_WEBHOOK_TOKENS": func(c config.Config) string { return strings.Join(c.Webhooks.Tokens, ",") },
	"NATS_PASSWORD":        func(c config.Config) string { return c.NATS.Password },
	"NATS_TOKEN":           func(c config.Config) string { return c.NATS.Token },
}

// companions are what else has to be set beside a secret.
func companions(variable string) []string {
	if variable == "NATS_PASSWORD" {
		return []string{"NATS_USER=relay"}
	}
	return nil
}

func fileOf(t *testing.T, content string) string {
	t.Helper()
	name := filepath.Join(t.TempDir(), "secret")
	if err := os.WriteFile(name, []byte(content), 0o600); err != nil {
		t.Fatal(err)
	}
	return name
}

func TestSecretsFromFiles(t *testing.T) {
	t.Parallel()
	const secret = "tok-9f3c2a7d51e84b06"
	for variable, secretOf := range secretsOf {
		for name, content := range map[string]string{
			"as it is": secret, "byte order mark": "\ufeff" + secret + "\r\n", "newline": secret + "\n", "CRLF": secret + "\r\n", "white space": "\n\t  " + secret + " \t\n\n",
		} {
			t.Run(variable+" "+name, func(t *testing.T) {
				t.Parallel()
				file := fileOf(t, content)
				c, err := config.Load(append(companions(variable), variable+"_FILE="+file))
				if err != nil || secretOf(c) != secret || len(c.Unknown) != 0 {
					t.Errorf("read %q, %v, unknown %q", secretOf(c), err, c.Unknown)
				}
				if want := map[bool]string{true: file}[variable == "RELAY_WEBHOOK_TOKENS"]; c.Webhooks.TokensFile != want {
					t.Errorf("the tokens' file is %q, want %q", c.Webhooks.TokensFile, want)
				}
				// Outside a file white space is the secret's own, but for lists.
				c, err = config.Load(append(companions(variable), variable+"= "+secret))
				if want := map[bool]string{true: secret, false: " " + secret}[variable == "RELAY_WEBHOOK_TOKENS"]; err != nil || secretOf(c) != want {
					t.Errorf("read %q, %v, want %q", secretOf(c), err, want)
				}
			})
		}
		t.Run(variable+" inner white space", func(t *testing.T) {
			t.Parallel()
			if variable == "RELAY_WEBHOOK_TOKENS" {
				return // which cannot hold any
			}
			c, err := config.Load(append(companions(variable), variable+"_FILE="+fileOf(t, " a b c d e f g h i ")))
			if err != nil || secretOf(c) != "a b c d e f g h i" {
				t.Errorf("read %q, %v", secretOf(c), err)
			}
		})
	}
	c, err := config.Load([]string{"RELAY_WEBHOOK_TOKENS_FILE=" + fileOf(t, "tok-9f3c2a7d51e84b06, \n tok-second-0a1b2c3d4e5f,\n")})
	if err != nil || !slices.Equal(c.Webhooks.Tokens, config.Tokens{"tok-9f3c2a7d51e84b06", "tok-second-0a1b2c3d4e5f"}) {
		t.Errorf("read %q, %v", []string(c.Webhooks.Tokens), err)
	}
}

func TestSecretFilesThatCannotBeRead(t *testing.T) {
	t.Parallel()
	const hint = "name a file that holds the secret and that this user may read"
	folder := t.TempDir()
	for variable := range secretsOf {
		for name, test := range map[string]struct{ file, problem string }{
			"missing":     {filepath.Join(folder, "nothing"), "no such file"},
			"empty":       {fileOf(t, ""), "is empty"},
			"white space": {fileOf(t, " \n\t"), "is empty"},
			"folder":      {folder, "is a directory"},
			"UTF-16":      {fileOf(t, "\xff\xfet\x00o\x00k\x00"), "is text in UTF-16"},
			"too large":   {fileOf(t, strings.Repeat("x", 64<<10+1)), "is no secret"},
		} {
			t.Run(variable+" "+name, func(t *testing.T) {
				t.Parallel()
				errs := load(t, append(companions(variable), variable+"_FILE="+test.file)...)
				text := reported(t, errs, variable+"_FILE")
				if len(errs) != 1 || !strings.Contains(text, fmt.Sprintf("%q", test.file)) || !strings.Contains(text, test.problem) || !strings.Contains(text, hint) {
					t.Errorf("said %v\nwant %s", errs, test.problem)
				}
			})
		}
		t.Run(variable+" both", func(t *testing.T) {
			t.Parallel()
			file := fileOf(t, "tok-in-the-file-9f3c2a7d")
			errs := load(t, append(companions(variable), variable+"_FILE="+file, variable+"=tok-in-the-variable")...)
			text := reported(t, errs, variable+"_FILE")
			if len(errs) != 1 || !strings.Contains(text, variable+" is set too") || !strings.Contains(text, "unset one of them") || strings.Contains(text, "tok-in") {
				t.Errorf("said %v", errs)
			}
		})
	}
}

// Wrong values are often secrets that stand in the wrong place, or nearly right ones.
func TestErrorsTellNoSecrets(t *testing.T) {
	t.Parallel()
	const secret = "s3cr3t"
	for name, env := range map[string][]string{
		"token too short":               {"RELAY_WEBHOOK_TOKENS=" + secret},
		"one of several too short":      {"RELAY_WEBHOOK_TOKENS=0123456789abcdef," + secret + ",fedcba9876543210"},
		"token with white space":        {"RELAY_WEBHOOK_TOKENS=" + secret + " 0123456789abcdef"},
		"token with a control":          {"RELAY_WEBHOOK_TOKENS=" + secret + "\x010123456789abcdef"},
		"token outside ASCII":           {"RELAY_WEBHOOK_TOKENS=" + secret + "é0123456789abcdef"},
		"token with invalid UTF-8":      {"RELAY_WEBHOOK_TOKENS=" + secret + "\xff0123456789abcdef"},
		"token in a file too short":     {"RELAY_WEBHOOK_TOKENS_FILE=" + fileOf(t, secret)},
		"password without a user":       {"NATS_PASSWORD=" + secret},
		"password in a file, no user":   {"NATS_PASSWORD_FILE=" + fileOf(t, secret)},
		"password too short":            {"NATS_USER=u", "NATS_PASSWORD=" + secret},
		"broker's token too short":      {"NATS_TOKEN=" + secret},
		"broker's token in a file":      {"NATS_TOKEN_FILE=" + fileOf(t, secret)},
		"beside another mistake":        {"NATS_PASSWORD=" + secret, "NATS_TOKEN=" + secret + "2", "RELAY_WEBHOOK_TOKENS=0123456789" + secret, "RELAY_STREAM=A.B"},
		"user and password of a broker": {"NATS_URL=http://user:" + secret + "@host"},
		"token of a broker":             {"NATS_URL=http://" + secret + "@host"},
		"at sign in it":                 {"NATS_URL=http://user:a@" + secret + "@host"},
		"comma in it":                   {"NATS_URL=nats://user:" + secret + ",b@host"},
		"two commas in it":              {"NATS_URL=nats://user:" + secret + "," + secret + ",b@host"},
		"slash in it":                   {"NATS_URL=http://user:/" + secret + "@host"},
		"no scheme":                     {"NATS_URL=user:" + secret + "@host:port"},
		"colon and slashes in it":       {"NATS_URL=" + secret + "+://x@ho st"},
		"of the second broker":          {"NATS_URL=nats://host,http://user:" + secret + "@host"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			errs := load(t, env...)
			// However they are printed.
			for _, text := range []string{errs.Error(), fmt.Sprintf("%v %+v %#v", errs, errs, errs), fmt.Sprintf("%#v", []config.Error(errs))} {
				if strings.Contains(text, secret) {
					t.Errorf("the secret is in %s", text)
				}
			}
		})
	}
	text := reported(t, load(t, "RELAY_WEBHOOK_TOKENS=0123456789abcdef,"+secret), "RELAY_WEBHOOK_TOKENS")
	if !strings.HasPrefix(text, "RELAY_WEBHOOK_TOKENS (secret, not shown): token 2 has 6 characters, 16 or more are needed") {
		t.Errorf("said %s", text)
	}
}

// What proxies take out of a path cannot be in a token that stands there.
func TestTokenThatProxiesChange(t *testing.T) {
	t.Parallel()
	for token, want := range map[string]string{
		"/q7Xw9ZkAbbfT5Qab":   "token 2 has a slash at character 1,",
		"q7Xw9ZkAbbfT5Qab/":   "token 2 has a slash at character 17,",
		"q7Xw9//ZkAbbfT5Qab":  "token 2 has two slashes at character 6,",
		"q7Xw9/./ZkAbbfT5Qab": "token 2 has the segment . at character 7,",
		"q7Xw/ZkAbbfT5Qab/..": "token 2 has the segment .. at character 18,",
		"../q7XwZkAbbfT5Qab9": "token 2 has the segment .. at character 1,",
	} {
		text := reported(t, load(t, "RELAY_WEBHOOK_TOKENS=0123456789abcdef,"+token), "RELAY_WEBHOOK_TOKENS")
		if !strings.Contains(text, want) || strings.Contains(text, "q7X") || strings.Contains(text, "ZkAbbf") {
			t.Errorf("%s: said %s", token, text)
		}
	}
	for _, token := range []string{"q7/Xw+9ZkA/bbfT5+Q==", "q7Xw/.9ZkA/b..bf/..T", "q7X#w9?ZkA&b%bf;T5@Q:"} {
		if _, err := config.Load([]string{"RELAY_WEBHOOK_TOKENS=" + token}); err != nil {
			t.Errorf("%s: %v", token, err)
		}
	}
}

// A secret that cannot be one is most likely one that was copied with too much.
func TestSecretThatCannotBeOneIsNotShown(t *testing.T) {
	t.Parallel()
	const secret = "ak-9f3c2a7d51e84b06"
	if c, err := config.Load([]string{"APIXO_API_KEY_FILE=" + fileOf(t, secret+"\n")}); err != nil || c.API.Key != secret {
		t.Errorf("read %q, %v", c.API.Key, err)
	}
	for _, value := range []string{secret + " value", secret + "\nbad", "k\u00e4y" + secret} {
		for _, variable := range []string{"APIXO_API_KEY=" + value, "APIXO_API_KEY_FILE=" + fileOf(t, value)} {
			_, err := config.Load([]string{variable})
			if err == nil || strings.Contains(err.Error()+fmt.Sprintf("%#v", err), secret) || !strings.Contains(err.Error(), "APIXO_API_KEY") {
				t.Errorf("%q: %v", value, err)
			}
		}
	}
}

func TestTokensPrintAsTheirNumber(t *testing.T) {
	t.Parallel()
	c, err := config.Load([]string{"RELAY_WEBHOOK_TOKENS=tok-9f3c2a7d51e84b06,tok-second-0a1b2c3d4e5f"})
	if err != nil {
		t.Fatal(err)
	}
	for _, verb := range []string{"%v", "%+v", "%#v", "%s"} {
		if text := fmt.Sprintf(verb, c.Webhooks); strings.Contains(text, "tok-") || !strings.Contains(text, "2 tokens") {
			t.Errorf("%s prints %s", verb, text)
		}
	}
}
