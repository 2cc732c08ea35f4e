package config_test

import (
	"fmt"
	"reflect"
	"strings"
	"testing"

	"github.com/apixo-relay/apixo-relay/relay/config"
)

// What an env file leaves in a value when no shell has read it.
func TestValuesThatWereMeantForAShell(t *testing.T) {
	t.Parallel()
	const token = "tok-9f3c2a7d51e84b06"
	for _, v := range config.Variables() {
		names := []string{v.Name}
		if v.Secret {
			names = []string{v.Name + "_FILE"}
		}
		for _, name := range names {
			for value, want := range map[string]string{
				`"x"`: "quote", `'x'`: "quote", `"x`: "quote", "“x”": "quote",
				"x\r": "carriage return", "x\x00y": "U+0000", "x\x1b[0m": "U+001B",
				"~/x": "home folder", "~": "home folder", "~relay/x": "home folder",
				"${HOME_OF_X}": "${HOME_OF_X}", "$HOME": "$HOME", "$(HOME)": "$(HOME)",
			} {
				_, err := config.Load([]string{name + "=" + value})
				if err == nil || !strings.Contains(err.Error(), name+"=") || !strings.Contains(err.Error(), want) {
					t.Errorf("%s=%q: %v; want %s", name, value, err, want)
				}
			}
		}
	}
	for _, value := range []string{
		`"` + token + `"`, "'" + token + "'", `"` + token + `","` + token + `"`, token + ",'" + token + "'", token + "\r", token + "\x00", token + "\n" + token,
		"${WEBHOOK_TOKEN_OF_MINE}", "$WEBHOOK_TOKEN_OF_MINE", "$(openssl_rand_-hex_16)", "$(openssl rand -hex 16)",
	} {
		for _, variable := range []string{"RELAY_WEBHOOK_TOKENS=" + value, "RELAY_WEBHOOK_TOKENS_FILE=" + fileOf(t, value)} {
			if strings.Contains(variable, "FILE") && value == token+"\r" {
				continue // is trimmed
			}
			_, err := config.Load([]string{variable})
			if err == nil || !strings.Contains(err.Error(), "RELAY_WEBHOOK_TOKENS") || strings.Contains(err.Error(), "tok-9f") || strings.Contains(err.Error(), "openssl_rand") {
				t.Errorf("%q: %v", variable, err)
			}
		}
	}
	for value, want := range map[string]string{
		token + "\n" + token: "write a comma between them", `"` + token + `"`: "leave the quotes out", "${WEBHOOK_TOKEN_OF_MINE}": "write the value itself",
	} {
		if text := load(t, "RELAY_WEBHOOK_TOKENS="+value).Error(); !strings.Contains(text, want) {
			t.Errorf("%q: %s; want %s", value, text, want)
		}
	}
	for _, value := range []string{`"ak-9f3c2a7d"`, "${APIXO_KEY}", "ak-9f3c2a7d\r\n"} {
		if text := load(t, "APIXO_API_KEY="+value).Error(); strings.Contains(text, "ak-9f") || !strings.Contains(text, "APIXO_API_KEY") {
			t.Errorf("%q: %s", value, text)
		}
	}
}

// A password may be anything that can be typed: what is seldom meant so is warned of.
func TestPasswordsStay(t *testing.T) {
	t.Parallel()
	for _, value := range []string{"p$word", "${PASSWORD}", "$PASSWORD", `"quoted"`, "'quoted'", "~/x", " p ", `"`, "a'"} {
		c, err := config.Load([]string{"NATS_URL=nats://host", "NATS_USER=u", "NATS_PASSWORD=" + value, "NATS_TOKEN=" + value})
		if err != nil || c.NATS.Password != value || c.NATS.Token != value {
			t.Errorf("%q is %q, %v", value, c.NATS.Password, err)
			continue
		}
		isStrange := strings.Contains(value, "quoted") || strings.Contains(value, "PASSWORD") || value == " p "
		if got := len(c.Warnings) == 2; got != isStrange {
			t.Errorf("%q: warned of %v", value, c.Warnings)
		}
		for _, w := range c.Warnings {
			if text := fmt.Sprintf("%v %+v", w, w); strings.Contains(text, strings.TrimSpace(value)) && value != " p " || !strings.Contains(w.String(), "it is used as it is") {
				t.Errorf("%q: %s", value, text)
			}
		}
	}
	for _, value := range []string{"p\r", "p\n", "p\x07"} {
		reported(t, load(t, "NATS_TOKEN="+value), "NATS_TOKEN")
	}
	reported(t, load(t, "NATS_TOKEN_FILE="+fileOf(t, "a\nb")), "NATS_TOKEN_FILE")
}

// What looks alike and is right.
func TestValuesThatStay(t *testing.T) {
	t.Parallel()
	for _, test := range []struct {
		env  string
		want func(config.Config) any
		is   any
	}{
		{"NATS_URL=nats://user:pa$sword@host:4222", func(c config.Config) any { return c.NATS.URL }, "nats://user:pa$sword@host:4222"},
		{"NATS_URL=nats://a:4222,\n nats://b:4222\n", func(c config.Config) any { return c.NATS.URL }, "nats://a:4222,\n nats://b:4222\n"},
		{"NATS_USER=a$b", func(c config.Config) any { return c.NATS.User }, "a$b"},
		{"RELAY_CE_SOURCE=https://x/$metadata", func(c config.Config) any { return c.Event.Source }, "https://x/$metadata"},
		{"RELAY_DATA_DIR=/var/lib/it's~here_$JS/$", func(c config.Config) any { return c.Embedded.DataDir }, "/var/lib/it's~here_$JS/$"},
		{"RELAY_DATA_DIR= /data ", func(c config.Config) any { return c.Embedded.DataDir }, "/data"},
		{"RELAY_LISTEN_ADDR= 127.0.0.1:1 ", func(c config.Config) any { return c.Webhooks.ListenAddr }, "127.0.0.1:1"},
		{"RELAY_CALLBACK_ATTRIBUTES=model,\n\ttenant", func(c config.Config) any { return c.Event.Attributes }, config.Attributes{"model", "tenant"}},
		{"RELAY_WEBHOOK_TOKENS=tok-9f3c$2a7d51e8'4b06,\n\"tok-9f3c2a7d51e84b06", func(c config.Config) any { return c.Webhooks.Tokens }, config.Tokens{"tok-9f3c$2a7d51e8'4b06", "\"tok-9f3c2a7d51e84b06"}},
	} {
		env := []string{test.env}
		if strings.HasPrefix(test.env, "NATS_USER") {
			env = append(env, "NATS_PASSWORD=0123456789abcdef")
		}
		c, err := config.Load(env)
		if err != nil || !reflect.DeepEqual(test.want(c), test.is) {
			t.Errorf("%q: %v, %v", test.env, test.want(c), err)
		}
	}
	// A list of nothing must not become one of everybody.
	for _, variable := range []string{"RELAY_ALLOWED_CIDRS", "RELAY_WEBHOOK_TOKENS"} {
		reported(t, load(t, variable+"=  "), variable)
	}
}

func TestFilesWithByteOrderMarks(t *testing.T) {
	t.Parallel()
	const external = "NATS_URL=nats://host"
	for variable, content := range map[string]string{
		"NATS_CA": "\ufeff-----BEGIN", "NATS_NKEY": "\ufeffSU", "NATS_CREDS": "\xff\xfe-\x00", "RELAY_TLS_CLIENT_CA_FILE": "\xfe\xff\x00-",
	} {
		want := "begins with a byte order mark"
		if !strings.HasPrefix(content, "\ufeff") {
			want = "is text in UTF-16"
		}
		for _, err := range load(t, external, variable+"="+fileOf(t, content)) {
			if err.Variable == variable && strings.Contains(err.Error(), want) {
				want = ""
			}
		}
		if want != "" {
			t.Errorf("%s: nothing says that it %s", variable, want)
		}
	}
	if _, err := config.Load([]string{external, "NATS_CREDS=" + fileOf(t, "\ufeff-----BEGIN")}); err != nil {
		t.Errorf("credentials in which the mark does no harm: %v", err)
	}
}
