package target

import "github.com/gabriel-vasile/mimetype"

// SniffBytes is how much of a file's beginning Sniff looks at.
const SniffBytes = 3072

// Sniff returns the media type that a file is of by its beginning, and never by its name. It
// is application/octet-stream where that tells nothing.
func Sniff(head []byte) string {
	if len(head) == 0 {
		return "application/octet-stream"
	}
	return mimetype.Detect(head[:min(len(head), SniffBytes)]).String()
}
