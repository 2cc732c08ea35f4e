package kubernetes_test

import (
	"encoding/json"
	"os"
	"reflect"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/apixo-relay/apixo-relay/relay/config"
	"github.com/apixo-relay/apixo-relay/relay/test/relaytest"
)

// owned are settings that other values of the chart have, or that follow from where things are
// in the pods.
var owned = []string{
	"RELAY_LISTEN_ADDR", "RELAY_ADMIN_ADDR", "RELAY_TLS_CERT_FILE", "RELAY_TLS_KEY_FILE",
	"NATS_URL", "NATS_USER", "NATS_CREDS", "NATS_NKEY", "NATS_CA",
	"RELAY_DATA_DIR", "RELAY_EMBEDDED_ADDR", "RELAY_EMBEDDED_TLS_CERT_FILE", "RELAY_EMBEDDED_TLS_KEY_FILE",
	"RELAY_OUTBOX", "RELAY_EXPECT", "RELAY_VERIFY",
	"RELAY_UI_ADDR", "RELAY_UI_TLS_CERT_FILE", "RELAY_UI_TLS_KEY_FILE", "RELAY_ARCHIVE_ADMIN_ADDR",
}

// choices are settings that take one of a few words.
var choices = map[string][]any{
	"RELAY_LOG_LEVEL":       {"debug", "info", "warn", "error"},
	"RELAY_LOG_FORMAT":      {"auto", "text", "json"},
	"RELAY_EMBEDDED_SYNC":   {"always", "interval"},
	"RELAY_STREAM_POLICY":   {"create", "update", "require"},
	"RELAY_STREAM_REPLICAS": {1, 3, 5, "1", "3", "5"},
	"RELAY_CE_MODE":         {"structured", "binary"},
}

// settingTypes are the types of the settings, by name.
func settingTypes() map[string]reflect.Type {
	types := make(map[string]reflect.Type)
	for group := range reflect.TypeFor[config.Config]().Fields() {
		if group.Type.Kind() != reflect.Struct {
			continue
		}
		for field := range group.Type.Fields() {
			types[field.Tag.Get("env")] = field.Type
		}
	}
	return types
}

// settingSchema is what a setting may be, as far as its type says.
func settingSchema(name string, typ reflect.Type) map[string]any {
	switch {
	case choices[name] != nil:
		return map[string]any{"enum": choices[name]}
	case typ == reflect.TypeFor[time.Duration]():
		return map[string]any{"type": "string", "pattern": `^([0-9]+(\.[0-9]+)?(ns|us|µs|ms|s|m|h|d|w))+$`}
	case typ.Kind() == reflect.Bool:
		return map[string]any{"enum": []any{true, false, "true", "false"}}
	case typ.Kind() == reflect.Int || typ.Kind() == reflect.Int64:
		return map[string]any{"type": []any{"integer", "string"}, "pattern": "^-?[0-9]+$"}
	default:
		return map[string]any{"type": "string"}
	}
}

// settingsSchema are the three parts of the schema that follow from the relay's settings.
func settingsSchema() map[string]any {
	properties := map[string]map[string]any{"relaySettings": {}, "uiSettings": {}, "archiveSettings": {}}
	types := settingTypes()
	for _, v := range config.Variables() {
		part := "relaySettings"
		switch {
		case strings.HasPrefix(v.Name, "RELAY_UI_"):
			part = "uiSettings"
		case strings.HasPrefix(v.Name, "RELAY_ARCHIVE_"):
			part = "archiveSettings"
		}
		switch {
		case v.Secret && v.Name == "RELAY_UI_TARGETS":
			properties[part][v.Name+"_FILE"] = map[string]any{"type": "string"}
		case !v.Secret && !slices.Contains(owned, v.Name):
			properties[part][v.Name] = settingSchema(v.Name, types[v.Name])
		}
	}
	for _, name := range []string{"AWS_REGION", "AWS_ENDPOINT_URL_S3", "AWS_SHARED_CREDENTIALS_FILE", "AWS_PROFILE"} {
		properties["archiveSettings"][name] = map[string]any{"type": "string"}
	}
	parts := make(map[string]any)
	for name, p := range properties {
		parts[name] = map[string]any{"type": "object", "additionalProperties": false, "properties": p}
	}
	// OpenTelemetry's own, which platforms have more of than can be listed, but for secrets.
	parts["relaySettings"].(map[string]any)["patternProperties"] = map[string]any{
		"^OTEL_[A-Z0-9_]+$": map[string]any{"type": []any{"string", "number", "boolean"}},
		"_HEADERS$":         false,
	}
	return parts
}

// The settings that the schema knows are those of the relay, and no secrets.
func TestChartSettings(t *testing.T) {
	t.Parallel()
	path := relaytest.Deploy("helm", "apixo-relay", "values.schema.json")
	have, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	want := string(have)
	for name, part := range settingsSchema() {
		text, err := json.MarshalIndent(part, "    ", "  ")
		if err != nil {
			t.Fatal(err)
		}
		// It ends at the first brace that is indented as its name is.
		old := regexp.MustCompile(`(?s)\n    "` + name + `": (\{\}|\{\n.*?\n    \})`)
		if !old.MatchString(want) {
			t.Fatalf("the schema has no %s", name)
		}
		want = old.ReplaceAllLiteralString(want, "\n    \""+name+"\": "+string(text))
	}
	if *update {
		if err := os.WriteFile(path, []byte(want), 0o644); err != nil {
			t.Fatal(err)
		}
	} else if want != string(have) {
		t.Error("the schema has other settings than the relay: run 'go test ./kubernetes -run TestChart -update' in deploy/test")
	}
	for name, words := range choices {
		for _, word := range words {
			text, ok := word.(string)
			if !ok {
				continue
			}
			if _, err := config.Load([]string{"NATS_URL=nats://unused", name + "=" + text}); err != nil {
				t.Errorf("the relay does not take %s=%s: %v", name, text, err)
			}
		}
		if _, err := config.Load([]string{"NATS_URL=nats://unused", name + "=4-or-whatever"}); err == nil {
			t.Errorf("the relay takes any %s", name)
		}
	}
}

// The schema names every value, and nothing else: what is not in values.yaml is mistyped.
func TestChartSchema(t *testing.T) {
	t.Parallel()
	c := load(t)
	var schema map[string]any
	if err := json.Unmarshal(c.Schema, &schema); err != nil {
		t.Fatal(err)
	}
	definitions := schema["$defs"].(map[string]any)
	resolve := func(s map[string]any) map[string]any {
		if ref, ok := s["$ref"].(string); ok {
			return definitions[strings.TrimPrefix(ref, "#/$defs/")].(map[string]any)
		}
		return s
	}
	var compare func(at string, s map[string]any, values map[string]any)
	compare = func(at string, s map[string]any, values map[string]any) {
		s = resolve(s)
		properties, ok := s["properties"].(map[string]any)
		if !ok { // names that are free, as those of labels
			return
		}
		if s["additionalProperties"] != false {
			t.Errorf("%s may have other members", at)
		}
		for name, value := range values {
			p, ok := properties[name].(map[string]any)
			if !ok {
				t.Errorf("the schema has no %s.%s", at, name)
				continue
			}
			if inner, ok := value.(map[string]any); ok {
				compare(at+"."+name, p, inner)
			}
		}
		if strings.HasSuffix(at, "settings") || strings.HasSuffix(at, "resources") || strings.HasSuffix(at, "requests") || strings.HasSuffix(at, "limits") || at == ".affinity" {
			return // not all are written out
		}
		for name := range properties {
			if name == "global" {
				continue
			}
			if _, ok := values[name]; !ok {
				t.Errorf("values.yaml has no %s.%s", at, name)
			}
			// Helm deletes a value that is null, and templates would take that for something.
			if required, _ := s["required"].([]any); !slices.Contains(required, any(name)) {
				t.Errorf("%s.%s may be null", at, name)
			}
		}
	}
	compare("", schema, c.Values)
	// Every object is closed, or its members have one schema; but for Kubernetes' own.
	var closed func(at string, v any)
	closed = func(at string, v any) {
		switch v := v.(type) {
		case map[string]any:
			if v["type"] == "object" && v["additionalProperties"] == nil && at != "/$defs/kubernetes" && at != "/properties/global" {
				t.Errorf("%s takes any member", at)
			}
			for name, inner := range v {
				closed(at+"/"+name, inner)
			}
		case []any:
			for _, inner := range v {
				closed(at, inner)
			}
		}
	}
	closed("", schema)
}
