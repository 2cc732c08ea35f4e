package main

import (
	"fmt"
	"net/http"
	"strings"

	"github.com/apixo-relay/apixo-relay/relay/ops/replay"
	"github.com/apixo-relay/apixo-relay/relay/ops/secretarg"
)

// replayHeader reads --header, and the files and variables that it names, which have
// a header in each line.
func (w cliEnv) replayHeader(given []string) (http.Header, error) {
	header := make(http.Header)
	for _, arg := range given {
		text, place, err := secretarg.Read(arg, w.environ, w.stdin)
		if err != nil {
			return nil, fmt.Errorf("--header: %w", err)
		}
		if place == "" {
			if err := replay.ParseHeader(text, header); err != nil {
				return nil, fmt.Errorf("--header: %w", err)
			}
			continue
		}
		number := 0
		for line := range strings.Lines(text) {
			if line = strings.TrimSpace(line); line == "" {
				continue
			}
			number++
			if err := replay.ParseHeader(line, header); err != nil {
				return nil, fmt.Errorf("--header: header %d in %s: %w", number, place, err)
			}
		}
	}
	return header, nil
}
