package config_test

import (
	"errors"
	"slices"
	"strings"
	"testing"

	"github.com/apixo-relay/apixo-relay/relay/config"
)

// Whatever stands in the environment, Load reads it or says what is wrong: with
// a variable's name, and never with a secret.
func FuzzLoad(f *testing.F) {
	variables := config.Variables()
	for i, m := range mistakes {
		f.Add(uint(slices.IndexFunc(variables, func(v config.Variable) bool { return v.Name == m.variable })), m.value, mistakes[len(mistakes)-1-i].value)
	}
	f.Add(uint(0), "nats://user:password@host,other@host", "tok-9f3c2a7d51e84b06")
	f.Add(uint(1), "[::ffff:1.2.3.4%eth0]:99999", "\x00\xff,=")
	f.Fuzz(func(t *testing.T, which uint, one, other string) {
		v := variables[which%uint(len(variables))]
		check(t, v.Name+"="+one)
		check(t, v.Name+"_FILE="+one)
		check(t, one, v.Name+"="+one, "NATS_URL="+other, other)
		var all []string
		for i, v := range variables {
			all = append(all, v.Name+"="+[]string{one, other}[i%2])
		}
		check(t, all...)
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
