package event

import (
	"crypto/sha256"
	"encoding/hex"
	"time"
)

// Delivery is a webhook as it came: everything of which its message is made.
type Delivery struct {
	// Body is the request's body, to the byte.
	Body []byte
	// Attributes are those of the callback URL that can be attributes of an event.
	Attributes map[string]string
	// Received is when it came.
	Received time.Time
}

// Digest tells one body from another, whoever sent it and when: SHA-256, in
// hexadecimal digits.
func (d Delivery) Digest() string {
	sum := sha256.Sum256(d.Body)
	return hex.EncodeToString(sum[:])
}
