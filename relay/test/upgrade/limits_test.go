//go:build system

package upgrade

import (
	"encoding/json"
	"os"
	"path/filepath"
	"time"
)

// limits say what a stream forgets, and when.
type limits struct {
	Name      string
	MaxAge    time.Duration `json:"max_age"`
	Window    time.Duration `json:"duplicate_window"`
	MaxBytes  int64         `json:"max_bytes"`
	MaxMsgs   int64         `json:"max_msgs"`
	Retention string
	Discard   string
}

// limits are those of the streams in the store, as the server has written them.
func (s *store) limits() map[string]limits {
	s.Helper()
	files, err := filepath.Glob(filepath.Join(s.dir, StoreFolder, "jetstream", "*", "streams", "*", "meta.inf"))
	s.must(err)
	all := make(map[string]limits)
	for _, file := range files {
		text, err := os.ReadFile(file)
		s.must(err)
		var l limits
		s.must(json.Unmarshal(text, &l))
		all[l.Name] = l
	}
	if len(all) < len(s.Streams) {
		s.Fatalf("the store has %d streams, and %d are expected", len(all), len(s.Streams))
	}
	return all
}
