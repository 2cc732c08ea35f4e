package receiver

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"mime"
	"net/http"
	"os"
	"strings"
)

// checkContent refuses what is declared to be no JSON, or to be compressed: a
// small body that unfolds into a large one would go around the size limit.
func checkContent(h http.Header) (answer, bool) {
	if len(h.Values("Content-Encoding")) > 0 {
		return problem(unsupportedType, "the body has a Content-Encoding, and is only taken without one"), false
	}
	values := h.Values("Content-Type")
	if len(values) == 0 || len(values) == 1 && values[0] == "" {
		return answer{}, true
	}
	media, parameters, err := mime.ParseMediaType(values[0])
	isJSON := media == "application/json" || media == "text/json" ||
		strings.HasPrefix(media, "application/") && strings.HasSuffix(media, "+json")
	if err != nil || len(values) > 1 || !isJSON {
		return problem(unsupportedType, "the Content-Type is not that of JSON: application/json was expected"), false
	}
	if charset := strings.ToLower(parameters["charset"]); charset != "" && charset != "utf-8" && charset != "us-ascii" {
		return problem(unsupportedType, "the Content-Type names another charset than utf-8"), false
	}
	return answer{}, true
}

// readBody reads the whole body, up to the limit.
func readBody(r *http.Request, limit int64) ([]byte, answer, bool) {
	tooLarge := func() ([]byte, answer, bool) {
		return nil, problem(bodyTooLarge, fmt.Sprintf("at most %d bytes are taken; RELAY_MAX_BODY_BYTES sets the limit", limit)), false
	}
	if r.ContentLength > limit {
		return tooLarge()
	}
	var buf bytes.Buffer
	buf.Grow(int(max(r.ContentLength, 0)) + bytes.MinRead)
	_, err := buf.ReadFrom(io.LimitReader(r.Body, limit+1))
	switch {
	case errors.Is(err, os.ErrDeadlineExceeded):
		return nil, problem(bodyTooSlow, fmt.Sprintf("the whole request must come within %s", readTimeout)), false
	case err != nil:
		return nil, problem(bodyIncomplete, "the connection ended, or the chunks were malformed, in the middle of the body"), false
	case int64(buf.Len()) > limit:
		return tooLarge()
	}
	return buf.Bytes(), answer{}, true
}
