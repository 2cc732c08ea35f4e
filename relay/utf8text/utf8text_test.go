package utf8text_test

import (
	"encoding/binary"
	"errors"
	"io"
	"strings"
	"testing"
	"testing/iotest"
	"unicode/utf16"

	"github.com/apixo-relay/apixo-relay/relay/utf8text"
)

// in16 is a text in UTF-16.
func in16(text string, order binary.AppendByteOrder) (encoded string) {
	var b []byte
	for _, unit := range utf16.Encode([]rune(text)) {
		b = order.AppendUint16(b, unit)
	}
	return string(b)
}

func TestText(t *testing.T) {
	t.Parallel()
	for text, want := range map[string]string{
		"": "", "a": "a", "task_1\n": "task_1\n", "\ufefftask_1\n": "task_1\n", "\ufeff": "", "\ufeff\ufeffa": "\ufeffa", "\xef\xbb": "\xef\xbb", "äö": "äö", "\x00\x00\x00\x00": "\x00\x00\x00\x00",
	} {
		got, err := utf8text.Trim([]byte(text))
		if err != nil || string(got) != want {
			t.Errorf("%q is trimmed to %q, %v", text, got, err)
		}
		read, err := io.ReadAll(iotest.OneByteReader(utf8text.NewReader(iotest.OneByteReader(strings.NewReader(text)))))
		if err != nil || string(read) != want {
			t.Errorf("%q is read as %q, %v", text, read, err)
		}
	}
}

func TestUTF16(t *testing.T) {
	t.Parallel()
	for _, order := range []binary.AppendByteOrder{binary.LittleEndian, binary.BigEndian} {
		for _, text := range []string{"\ufefftask_1\n", "task_1\r\n", "\ufeff", "t", "\ufeffä", "{}"} {
			encoded := in16(text, order)
			if got, err := utf8text.Trim([]byte(encoded)); !errors.Is(err, utf8text.ErrUTF16) {
				t.Errorf("%q in UTF-16 is %q, %v", text, got, err)
			}
			if got, err := io.ReadAll(utf8text.NewReader(iotest.OneByteReader(strings.NewReader(encoded)))); !errors.Is(err, utf8text.ErrUTF16) {
				t.Errorf("%q in UTF-16 is read as %q, %v", text, got, err)
			}
		}
	}
}

func TestReaderPassesErrorsOn(t *testing.T) {
	t.Parallel()
	broken := errors.New("broken")
	if _, err := io.ReadAll(utf8text.NewReader(iotest.ErrReader(broken))); !errors.Is(err, broken) {
		t.Errorf("said %v", err)
	}
}
