package config_test

import (
	"errors"
	"strings"
	"testing"

	"github.com/apixo-relay/apixo-relay/relay/config"
)

// Whatever stands in the environment, Load reads it or says what is wrong: with
// a variable's name, and never with a secret.
func FuzzLoad(f *testing.F) {
	for _, m := range mistakes {
		f.Add(m.value, m.value)
	}
	f.Add("nats://user:password@host,other@host", "tok-9f3c2a7d51e84b06")
	f.Add("[::ffff:1.2.3.4%eth0]:99999", "\x00\xff,=")
	f.Fuzz(func(t *testing.T, one, other string) {
		var all []string
		for i, v := range config.Variables() {
			value := one
			if i%2 == 1 {
				value = other
			}
			check(t, v.Name+"="+value)
			check(t, v.Name+"_FILE="+value)
			all = append(all, v.Name+"="+value)
		}
		check(t, all...)
		check(t, one, other, "NATS_URL="+one, "NATS_TOKEN="+other)
		config.RedactURLs(one)
	})
}

func check(t *testing.T, env ...string) {
	t.Helper()
	c, err := config.Load(env)
	if err == nil {
		c.CallbackURL()
		c.EmbeddedURL()
		return
	}
	var errs config.Errors
	if !errors.As(err, &errs) || len(errs) == 0 {
		t.Fatalf("%q: %T, %v", env, err, err)
	}
	for _, e := range errs {
		if e.Variable == "" || e.Problem == "" || e.Secret && e.Value != "" || !strings.HasPrefix(e.Error(), e.Variable) {
			t.Errorf("%q: %#v", env, e)
		}
	}
}
