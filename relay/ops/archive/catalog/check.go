package catalog

import (
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"hash"
	"io"
)

// ErrDiffers is the end of what is not the file that was archived. Use it with errors.Is.
var ErrDiffers = errors.New("what is there is not what was archived: its size or its SHA-256 differs")

// Check returns a reader of what r has until its end, which ends in ErrDiffers instead of io.EOF
// if that is not the copy; and as soon as it has more bytes.
func (c Copy) Check(r io.Reader) io.Reader {
	return &checkedReader{r: r, hash: sha256.New(), left: c.Bytes, want: c.SHA256}
}

type checkedReader struct {
	r    io.Reader
	hash hash.Hash
	left int64
	want string
}

// Read implements io.Reader.
func (c *checkedReader) Read(p []byte) (n int, err error) {
	n, err = c.r.Read(p)
	c.hash.Write(p[:n])
	c.left -= int64(n)
	if c.left < 0 || err == io.EOF && (c.left > 0 || hex.EncodeToString(c.hash.Sum(nil)) != c.want) {
		return n, ErrDiffers
	}
	return n, err
}
