package main

import (
	"fmt"
	"net/http"
	"os"
	"strings"

	"github.com/apixo-relay/apixo-relay/relay/ops/replay"
	"github.com/apixo-relay/apixo-relay/relay/utf8text"
)

// replayHeader reads --header, and the files that it names.
func replayHeader(given []string) (http.Header, error) {
	header := make(http.Header)
	for _, line := range given {
		name, isFile := strings.CutPrefix(line, "@")
		if !isFile {
			if err := replay.ParseHeader(line, header); err != nil {
				return nil, fmt.Errorf("--header: %w", err)
			}
			continue
		}
		content, err := os.ReadFile(name)
		if err != nil {
			return nil, fmt.Errorf("--header: %w", err)
		}
		if content, err = utf8text.Trim(content); err != nil {
			return nil, fmt.Errorf("--header: %s %w", name, err)
		}
		for number, line := range strings.Split(string(content), "\n") {
			if strings.TrimSpace(line) == "" {
				continue
			}
			if err := replay.ParseHeader(line, header); err != nil {
				return nil, fmt.Errorf("--header: line %d of %s: %w", number+1, name, err)
			}
		}
	}
	return header, nil
}
