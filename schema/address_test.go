package schema_test

import (
	"fmt"
	"slices"
	"testing"
	"time"

	"github.com/apixo-relay/apixo-relay/schema"
)

func TestAddresses(t *testing.T) {
	t.Parallel()
	for name, tt := range map[string]struct {
		urls   []string
		result string
		want   []string
	}{
		"none":              {nil, ``, nil},
		"an empty result":   {nil, `{}`, nil},
		"of nothing else":   {nil, `{"title":"http","text":"see https://a.example","at":"ftp://a.example","rel":"/a.png","n":1,"b":[true,null]}`, nil},
		"in their order":    {[]string{"https://z", "https://a"}, `{"resultUrls":["https://z","https://a"]}`, []string{"https://z", "https://a"}},
		"each once":         {[]string{"https://a", "https://b", "https://a"}, `{"x":"https://b","y":["https://a"]}`, []string{"https://a", "https://b"}},
		"as they stand":     {[]string{"https://a/?x=%2F&y#z", "https://a/?x=/&y#z"}, ``, []string{"https://a/?x=%2F&y#z", "https://a/?x=/&y#z"}},
		"whatever they are": {[]string{"", "u", " https://a"}, ``, []string{"", "u", " https://a"}},
		"of richer results": {
			[]string{"https://a/1"}, `{"tracks":[{"audio":"https://a/2","cover":{"url":"http://a/3"}},{"audio":"https://a/4"}],"page":"https://a/5"}`,
			[]string{"https://a/1", "https://a/2", "http://a/3", "https://a/4", "https://a/5"},
		},
		"in nested arrays":  {nil, `{"a":[[["https://a/1"],"https://a/2"],{"b":[["https://a/3"]]}]}`, []string{"https://a/1", "https://a/2", "https://a/3"}},
		"not of names":      {nil, `{"https://a/1":1,"https://a/2":"https://a/3","x":{"https://a/4":["https://a/5"],"https://a/6":{}}}`, []string{"https://a/3", "https://a/5"}},
		"with escapes":      {[]string{"https://a/é"}, `{"a":"https:\/\/a\/1","b":"\u0068ttps://a/\u00e9","c":"https://a/\u0000"}`, []string{"https://a/é", "https://a/1", "https://a/\x00"}},
		"in any case":       {nil, `{"a":"HTTPS://A/1","b":"Http://a/2","c":"httpss://a/3","d":"https:/a/4","e":"https:a"}`, []string{"HTTPS://A/1", "Http://a/2"}},
		"up to what is not": {nil, `{"a":"https://a/1","b":`, []string{"https://a/1"}},
	} {
		task := schema.Task{ID: "t", State: schema.StateSuccess, ResultURLs: tt.urls, ResultJSON: []byte(tt.result)}
		for limit := range len(tt.want) + 2 {
			got, more := task.Addresses(limit)
			if want := tt.want[:min(limit, len(tt.want))]; !slices.Equal(got, want) || more != len(tt.want)-len(want) {
				t.Errorf("addresses %s: up to %d there are %q and %d more, want %q", name, limit, got, more, tt.want)
			}
		}
	}
}

// Addresses expire a day after a task has ended, or is known to have.
func TestAddressesExpire(t *testing.T) {
	t.Parallel()
	known := time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC)
	for completed, want := range map[time.Time]time.Time{
		{}: known.Add(24 * time.Hour), known.Add(-time.Hour): known.Add(23 * time.Hour), known.Add(time.Hour): known.Add(24 * time.Hour),
	} {
		if got := (schema.Task{CompleteTime: completed}).AddressesExpire(known); !got.Equal(want) {
			t.Errorf("of a task that ended at %s: %s, want %s", completed, got, want)
		}
	}
}

// Where the files of a result are, richer ones included.
func ExampleTask_Addresses() {
	task, err := schema.DecodeTask([]byte(`{"taskId":"task_abc123xyz","state":"success","resultUrls":[],` +
		`"resultJson":"{\"tracks\":[{\"audioUrl\":\"https://cdn.apixo.ai/output/a.mp3\",\"coverUrl\":\"https://cdn.apixo.ai/output/a.png\"}]}"}`))
	if err != nil {
		fmt.Println("not a task:", err)
		return
	}
	addresses, _ := task.Addresses(100)
	for _, address := range addresses {
		fmt.Println(address)
	}
	// Output:
	// https://cdn.apixo.ai/output/a.mp3
	// https://cdn.apixo.ai/output/a.png
}
