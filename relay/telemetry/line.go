package telemetry

import (
	"context"
	"io"
	"log/slog"
	"strconv"
	"sync"
	"time"
)

// lineHandler writes lines in JSON as slog.JSONHandler does, with durations in
// seconds. Lines of plain words and numbers, as each webhook has one, it appends
// itself, in about a quarter of the time; all others it leaves to that handler.
type lineHandler struct {
	*slog.JSONHandler
	out io.Writer
}

func newLineHandler(w io.Writer, level slog.Leveler) lineHandler {
	out := w
	if _, itself := w.(*AsyncWriter); !itself {
		out = &oneByOne{w: w}
	}
	return lineHandler{slog.NewJSONHandler(out, &slog.HandlerOptions{Level: level, ReplaceAttr: inSeconds}), out}
}

// Handle implements slog.Handler. Each line is one write, before it returns.
func (h lineHandler) Handle(ctx context.Context, r slog.Record) error {
	buf := lines.Get().(*[]byte)
	defer lines.Put(buf)
	line, plain := appendLine((*buf)[:0], r)
	if !plain {
		return h.JSONHandler.Handle(ctx, r)
	}
	if cap(line) <= maxLine {
		*buf = line
	}
	_, err := h.out.Write(line)
	return err
}

// maxLine bounds the buffers that are kept.
const maxLine = 4 << 10

var lines = sync.Pool{New: func() any { return new([]byte) }}

// oneByOne lets nobody write while another does.
type oneByOne struct {
	mu sync.Mutex
	w  io.Writer
}

// Write implements io.Writer.
func (o *oneByOne) Write(b []byte) (int, error) {
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.w.Write(b)
}

// appendLine writes a record, or reports that there is something in it that is
// not plain.
func appendLine(dst []byte, r slog.Record) (line []byte, plain bool) {
	if r.Time.IsZero() || !isPlain(r.Message) {
		return dst, false
	}
	dst = append(dst, `{"time":"`...)
	dst = r.Time.AppendFormat(dst, time.RFC3339Nano)
	dst = append(dst, `","level":"`...)
	dst = append(dst, r.Level.String()...)
	dst = append(dst, `","msg":"`...)
	dst = append(dst, r.Message...)
	dst = append(dst, '"')
	plain = true
	r.Attrs(func(a slog.Attr) bool {
		dst, plain = appendAttr(dst, a)
		return plain
	})
	return append(dst, "}\n"...), plain
}

// appendAttr writes an attribute, or reports that it is not plain.
func appendAttr(dst []byte, a slog.Attr) (_ []byte, plain bool) {
	if a.Key == "" || !isPlain(a.Key) {
		return dst, false
	}
	dst = append(append(append(dst, `,"`...), a.Key...), `":`...)
	switch a.Value.Kind() {
	case slog.KindString:
		s := a.Value.String()
		return append(append(append(dst, '"'), s...), '"'), isPlain(s)
	case slog.KindInt64:
		return strconv.AppendInt(dst, a.Value.Int64(), 10), true
	case slog.KindUint64:
		return strconv.AppendUint(dst, a.Value.Uint64(), 10), true
	case slog.KindDuration:
		return strconv.AppendFloat(dst, seconds(a.Value.Duration()), 'f', -1, 64), true
	default:
		return dst, false
	}
}

// isPlain reports whether a text stands in JSON as it is.
func isPlain(s string) bool {
	for i := range len(s) {
		if c := s[i]; c < ' ' || c > '~' || c == '"' || c == '\\' {
			return false
		}
	}
	return true
}
