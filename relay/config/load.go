package config

import (
	"cmp"
	"errors"
	"fmt"
	"io"
	"os"
	"reflect"
	"slices"
	"strings"
	"time"

	"github.com/caarlos0/env/v11"

	"github.com/apixo-relay/apixo-relay/relay/timeparse"
	"github.com/apixo-relay/apixo-relay/relay/utf8text"
)

// Load reads the settings from environment variables in the form of os.Environ.
// A variable that is set but empty counts as unset. Of every variable that
// holds a secret X there is also X_FILE, which names a file to read it from.
//
// The error is an Errors with all wrong and missing settings.
func Load(environ []string) (Config, error) {
	vars := make(map[string]string, len(environ))
	for _, entry := range environ {
		// An empty name, as Windows has them, would be taken for that of a field without a tag.
		if name, value, ok := strings.Cut(entry, "="); ok && name != "" && value != "" {
			vars[name] = value
		}
	}

	var c Config
	known := Variables()
	errs := checkSpelling(known, vars)
	errs = append(errs, readSecretFiles(known, vars)...)
	c.Webhooks.TokensFile = vars["RELAY_WEBHOOK_TOKENS_FILE"]
	c.UI.TokensFile = vars["RELAY_UI_TOKENS_FILE"]
	isSet := func(name string) bool { return vars[name] != "" }
	c.Stream.Given = GivenStream{
		Replicas: isSet("RELAY_STREAM_REPLICAS"), MaxAge: isSet("RELAY_STREAM_MAX_AGE"),
		MaxBytes: isSet("RELAY_STREAM_MAX_BYTES"), Dedupe: isSet("RELAY_DEDUPE_WINDOW"),
	}
	if err := env.ParseWithOptions(&c, env.Options{Environment: vars, FuncMap: parsers}); err != nil {
		errs = append(errs, explain(err, known, vars)...)
	}
	c.Warnings = suspicious(known, vars)
	errs = append(errs, c.check(vars, errs)...)
	if len(errs) > 0 {
		slices.SortStableFunc(errs, func(a, b Error) int { return cmp.Compare(a.Variable, b.Variable) })
		return Config{}, errs
	}
	c.Unknown = unknown(known, vars)
	return c, nil
}

// Variable is one setting.
type Variable struct {
	// Name is the environment variable.
	Name string
	// Default is its value when it is unset, or empty.
	Default string
	// Doc says what it means and why one would change it.
	Doc string
	// Secret reports whether its value must never be shown, and Name+"_FILE" is read too.
	Secret bool

	field string // of the struct that it is read into
	typ   reflect.Type
}

// Variables returns all settings in their order in Config.
func Variables() []Variable {
	var vars []Variable
	for group := range reflect.TypeFor[Config]().Fields() {
		if group.Type.Kind() != reflect.Struct {
			continue
		}
		for field := range group.Type.Fields() {
			name := field.Tag.Get("env")
			if name == "" || name == "-" {
				continue
			}
			vars = append(vars, Variable{
				Name:    name,
				Default: field.Tag.Get("envDefault"),
				Doc:     field.Tag.Get("doc"),
				Secret:  field.Tag.Get("secret") == "true" || field.Type == reflect.TypeFor[Tokens](),
				field:   field.Name,
				typ:     field.Type,
			})
		}
	}
	return vars
}

// maxSecretFileBytes bounds what is read of a secret's file, so that a path to
// a device or a log by mistake cannot fill the memory.
const maxSecretFileBytes = 64 << 10

// ReadSecretFile reads a secret from a file and trims the white space around
// it, the final newline above all, and a byte order mark. Its errors name the
// file, never its content.
func ReadSecretFile(path string) (string, error) {
	file, err := os.Open(path)
	if err != nil {
		return "", err
	}
	defer file.Close()
	return ReadSecret(file, path)
}

// ReadSecret reads a secret from an open file or another reader, as [ReadSecretFile] does. Its
// errors contain name, unless from is a file, whose own errors name it.
func ReadSecret(from io.Reader, name string) (string, error) {
	content, err := io.ReadAll(io.LimitReader(from, maxSecretFileBytes+1))
	switch {
	case err != nil:
		return "", err
	case len(content) > maxSecretFileBytes:
		return "", fmt.Errorf("%s has more than %d bytes, which is no secret", name, maxSecretFileBytes)
	}
	if content, err = utf8text.Trim(content); err != nil {
		return "", fmt.Errorf("%s %w", name, err)
	}
	secret := strings.TrimSpace(string(content))
	if secret == "" {
		return "", fmt.Errorf("%s is empty", name)
	}
	return secret, nil
}

// readSecretFiles puts the content of each X_FILE in the place of X.
func readSecretFiles(known []Variable, vars map[string]string) (errs Errors) {
	for _, v := range known {
		file := v.Name + "_FILE"
		path := vars[file]
		if !v.Secret || path == "" {
			continue
		}
		if vars[v.Name] != "" {
			errs = append(errs, Error{Variable: file, Value: path, Problem: v.Name + " is set too", Hint: "unset one of them"})
			continue
		}
		secret, err := ReadSecretFile(path)
		if err != nil {
			errs = append(errs, Error{Variable: file, Value: path, Problem: "cannot be read: " + err.Error(), Hint: "name a file that holds the secret and that this user may read"})
			continue
		}
		if problem, _ := control(v, secret); problem != "" && v.typ.Kind() != reflect.Slice { // what is a list says it itself
			errs = append(errs, Error{Variable: file, Value: path, Problem: "what is in it " + problem, Hint: "name a file that holds the secret and nothing else"})
			continue
		}
		vars[v.Name] = secret
	}
	return errs
}

// parsers are those of types that are not read as the library reads them.
var parsers = map[reflect.Type]env.ParserFunc{
	reflect.TypeFor[time.Duration](): func(text string) (any, error) { return timeparse.Duration(text) },
}

// explain turns the parser's errors, which name Go fields and types, into ones
// that name variables.
func explain(err error, known []Variable, vars map[string]string) (errs Errors) {
	var all env.AggregateError
	if !errors.As(err, &all) {
		return Errors{{Problem: err.Error()}}
	}
	for _, err := range all.Errors {
		var parse env.ParseError
		if !errors.As(err, &parse) {
			errs = append(errs, Error{Problem: err.Error()})
			continue
		}
		i := slices.IndexFunc(known, func(v Variable) bool { return v.field == parse.Name && v.typ == parse.Type })
		if i < 0 {
			errs = append(errs, Error{Problem: err.Error()})
			continue
		}
		v := known[i]
		e := Error{Variable: v.Name, Secret: v.Secret, Problem: parse.Err.Error()}
		if !v.Secret {
			e.Value = vars[v.Name]
		}
		e.Problem, e.Hint = reword(v.typ, e.Problem)
		errs = append(errs, e)
	}
	return errs
}

// reword says in a user's words what Go's parsers say in theirs. The types of
// this package word their own errors.
func reword(typ reflect.Type, problem string) (reworded, hint string) {
	switch {
	case typ == reflect.TypeFor[time.Duration]():
		return "is not a duration", "write it like " + timeparse.DurationForms
	case typ.Kind() == reflect.Bool:
		return "is not a truth value", "write true or false"
	case typ.PkgPath() == "log/slog":
		return "is not a log level", "write debug, info, warn or error"
	case typ.Kind() == reflect.Int, typ.Kind() == reflect.Int64:
		return "is not a whole number", "write digits only, without a unit"
	default:
		return problem, ""
	}
}
