//go:build !unix

package main

import (
	"io"

	"github.com/apixo-relay/apixo-relay/relay/telemetry"
)

// openLog starts the writer of the log.
func openLog(stderr io.Writer, format telemetry.Format) *telemetry.AsyncWriter {
	return telemetry.NewAsyncWriter(stderr, format)
}
