// Command dashboard writes the Grafana dashboard, deploy/grafana/dashboards/apixo-relay.json,
// from what rows.go says of it: go run ./dashboard
//
// Grafana's JSON says everything many times over. Here each panel is what somebody
// reviews: its words, its queries, its unit and thresholds.
package main

import (
	"bytes"
	"encoding/json"
	"log"
	"os"

	"github.com/apixo-relay/apixo-relay/relay/test/relaytest"
)

// path is where Grafana is told to look, by provisioning/dashboards.
var path = relaytest.Deploy("grafana", "dashboards", "apixo-relay.json")

func main() {
	log.SetFlags(0)
	if err := os.WriteFile(path, document(), 0o644); err != nil {
		log.Fatal(err)
	}
}

// document is the file.
func document() []byte {
	var text bytes.Buffer
	encoder := json.NewEncoder(&text)
	encoder.SetEscapeHTML(false)
	encoder.SetIndent("", "  ")
	if err := encoder.Encode(dashboard(rows)); err != nil {
		panic(err) // maps and strings always encode
	}
	return text.Bytes()
}
