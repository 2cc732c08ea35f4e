package text

import (
	"encoding/json"
	"io"
)

// WriteJSON writes a value as one line of JSON, in which nothing is escaped for HTML. The
// error is the writer's.
func WriteJSON(w io.Writer, v any) error {
	encoder := json.NewEncoder(w)
	encoder.SetEscapeHTML(false)
	return encoder.Encode(v)
}
