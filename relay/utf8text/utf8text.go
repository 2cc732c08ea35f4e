// Package utf8text reads text files as editors leave them: it passes over the byte
// order mark that some put before UTF-8, and says of UTF-16, as which Windows saves
// what a shell redirects, that it is that.
package utf8text

import (
	"bufio"
	"bytes"
	"errors"
	"io"
)

// ErrUTF16 is that of a text in UTF-16. It says what to do.
var ErrUTF16 = errors.New("is text in UTF-16, and not in UTF-8: save it as UTF-8; in PowerShell write it with 'Out-File -Encoding utf8', or convert it with 'iconv -f UTF-16 -t UTF-8'")

// bom is the byte order mark in UTF-8.
var bom = []byte("\ufeff")

// Trim returns a text without its byte order mark, or ErrUTF16.
func Trim(text []byte) ([]byte, error) {
	if isUTF16(text) {
		return nil, ErrUTF16
	}
	return bytes.TrimPrefix(text, bom), nil
}

// HasBOM reports whether a text begins with UTF-8's byte order mark.
func HasBOM(text []byte) bool { return bytes.HasPrefix(text, bom) }

// NewReader returns a reader of what Trim leaves of a text. Its first Read returns
// ErrUTF16 if there is cause to.
func NewReader(r io.Reader) io.Reader { return &reader{from: bufio.NewReader(r)} }

type reader struct {
	from *bufio.Reader
	seen bool
}

// Read implements io.Reader.
func (r *reader) Read(p []byte) (int, error) {
	if !r.seen {
		start, _ := r.from.Peek(sniff) // an error comes again with the first read
		if isUTF16(start) {
			return 0, ErrUTF16
		}
		r.seen = true
		if HasBOM(start) {
			_, _ = r.from.Discard(len(bom)) // which have just been seen
		}
	}
	return r.from.Read(p)
}

// sniff is how much of a text is looked at.
const sniff = 4

// isUTF16 reports whether a text begins with UTF-16's byte order mark, or with two
// characters of ASCII as UTF-16 has them, without one.
func isUTF16(text []byte) bool {
	if bytes.HasPrefix(text, []byte{0xff, 0xfe}) || bytes.HasPrefix(text, []byte{0xfe, 0xff}) {
		return true
	}
	if len(text) < sniff {
		return len(text) >= 2 && (text[0] == 0) != (text[1] == 0)
	}
	even, odd := text[0] == 0 && text[2] == 0, text[1] == 0 && text[3] == 0
	return even != odd && (text[0] == 0) != (text[1] == 0)
}
