package ui

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/apixo-relay/apixo-relay/relay/ops/archive/catalog"
	"github.com/apixo-relay/apixo-relay/relay/ops/archive/target"
	"github.com/apixo-relay/apixo-relay/schema"
)

const (
	// maxFiles bounds the archived files that are served at once, and filePatience is how long
	// another one waits.
	maxFiles     = 16
	filePatience = 20 * time.Second
	// fileSilence is how long a target may send nothing, or a browser take nothing.
	fileSilence = 30 * time.Second
	// fileBlock is what is read of a file in one go.
	fileBlock = 64 << 10
)

// filePolicy is what a browser does for a file: nothing, whatever is in it.
const filePolicy = "sandbox; default-src 'none'"

// inlineKinds are the media types that a browser shows in the page, and so without asking: those
// in which nothing can run. All others are for saving.
var inlineKinds = map[string]string{
	"image/png": kindImage, "image/jpeg": kindImage, "image/gif": kindImage, "image/webp": kindImage, "image/avif": kindImage, "image/bmp": kindImage,
	"image/vnd.mozilla.apng": kindImage,
	"video/mp4":              kindVideo, "video/webm": kindVideo, "video/quicktime": kindVideo, "video/x-m4v": kindVideo,
	"audio/mpeg": kindAudio, "audio/wav": kindAudio, "audio/ogg": kindAudio, "audio/flac": kindAudio, "audio/mp4": kindAudio, "audio/x-m4a": kindAudio, "audio/aac": kindAudio,
}

func inlineKind(mediaType string) string { return inlineKinds[mediaType] }

// filePath is where an archived file is served.
func filePath(id string, number int) string {
	if isDots(id) {
		return "/tasks?id=" + id + "&file=" + strconv.Itoa(number)
	}
	return "/tasks/" + url.PathEscape(id) + "/files/" + strconv.Itoa(number)
}

// file serves an archived file of a task.
func (s *Server) file(w http.ResponseWriter, r *http.Request) {
	s.serveFile(w, r, r.PathValue("id"), r.PathValue("n"))
}

// serveFile serves an archived file from one of the targets that have it, never from the address
// from which it was archived.
func (s *Server) serveFile(w http.ResponseWriter, r *http.Request, id, n string) {
	number, err := strconv.Atoi(n)
	if err != nil || !schema.ValidTaskID(id) {
		s.refuse(w, r, http.StatusNotFound, "No such file", "Files are at /tasks/ID/files/N, N from 1 on.")
		return
	}
	looking, cancel := context.WithTimeout(r.Context(), brokerTimeout)
	t, note, err := s.archived(looking, id)
	cancel()
	i := slices.IndexFunc(t.Files, func(f catalog.File) bool { return f.Number == number })
	switch {
	case err != nil:
		s.refuse(w, r, http.StatusServiceUnavailable, "The archive's stream cannot be read", err.Error())
		return
	case i < 0:
		s.refuse(w, r, http.StatusNotFound, "No such file", strings.TrimSpace(fmt.Sprintf("The archive tells of no file %d of %s. %s", number, id, note)))
		return
	}
	select {
	case s.files <- struct{}{}:
		defer func() { <-s.files }()
	case <-time.After(filePatience):
		w.Header().Set("Retry-After", "10")
		s.refuse(w, r, http.StatusServiceUnavailable, "Others are reading", fmt.Sprintf("%d files are being read, which is as many as there may be: try again in a moment.", maxFiles))
		return
	case <-r.Context().Done():
		return
	}
	s.sendFile(w, r, t.ID, t.Files[i])
}

// sendFile sends the first copy of a file that can be had.
func (s *Server) sendFile(w http.ResponseWriter, r *http.Request, id string, f catalog.File) {
	var problems []string
	status := http.StatusNotFound
	for _, c := range f.Copies {
		sent, err := s.sendCopy(w, r, c)
		if sent {
			return
		}
		if !errors.Is(err, target.ErrNotFound) {
			status = http.StatusBadGateway
		}
		problems = append(problems, fmt.Sprintf("%s: %v", c.Location, err))
	}
	for _, name := range []string{"Content-Type", "Content-Disposition", "Content-Length", "ETag", "Accept-Ranges"} {
		w.Header().Del(name)
	}
	w.Header().Set("Cache-Control", "no-store")
	s.refuse(w, r, status, "The file cannot be read from here", strings.Join(problems, "; ")+". Where it can be reached, '"+fetchCommand(id)+"' brings it.")
}

// sendCopy sends a copy of a file. sent is false where it cannot be had, and nothing was sent.
// What turns out to be another file is cut off before its end, so that nobody takes it for whole.
// Only of a range of bytes the digest is not known.
func (s *Server) sendCopy(w http.ResponseWriter, r *http.Request, c catalog.Copy) (sent bool, err error) {
	out := &fileWriter{ResponseWriter: w, control: http.NewResponseController(w)}
	ctx, cancel := context.WithCancel(r.Context())
	defer cancel()
	// A reader that has stopped reading does not hold up the end of the page.
	defer context.AfterFunc(s.ended, func() {
		cancel()
		_ = out.control.SetWriteDeadline(time.Now())
	})()
	out.ctx, out.silence = ctx, time.AfterFunc(fileSilence, cancel)
	defer out.silence.Stop()
	body, err := s.openCopy(ctx, c)
	if err != nil {
		return false, err
	}
	defer func() { _ = body.Close() }()
	seeker, seekable := body.ReadCloser.(io.ReadSeeker)
	b := newBlocks(c.Check(body))
	first, err := b.next()
	if err != nil && err != io.EOF {
		return false, err
	}
	setFileHeaders(w.Header(), c, first, seekable)
	switch {
	case strings.Contains(r.Header.Get("If-None-Match"), w.Header().Get("ETag")):
		w.WriteHeader(http.StatusNotModified)
		return true, nil
	case seekable && r.Header.Get("Range") != "":
		http.ServeContent(out, r, "", time.Time{}, seeker)
		return true, nil
	}
	w.Header().Set("Content-Length", strconv.FormatInt(c.Bytes, 10))
	if r.Method == http.MethodHead {
		return true, nil
	}
	for block := first; ; {
		var following []byte
		if err == nil {
			if following, err = b.next(); err != nil && err != io.EOF {
				if !out.begun {
					return false, err
				}
				panic(http.ErrAbortHandler)
			}
		}
		if _, err := out.Write(block); err != nil {
			panic(http.ErrAbortHandler)
		}
		if len(following) == 0 {
			return true, nil
		}
		block = following
	}
}

// setFileHeaders says what a file is. It is for showing only if it is what the archive has recorded,
// and that is one of the inlineKinds.
func setFileHeaders(h http.Header, c catalog.Copy, first []byte, seekable bool) {
	mediaType := target.Sniff(first)
	if inlineKind(mediaType) == "" || mediaType != c.MediaType {
		mediaType = "application/octet-stream"
		name := c.Key[strings.LastIndexByte(c.Key, '/')+1:]
		h.Set("Content-Disposition", `attachment; filename="`+name+`"`) // which has no character to be quoted
	}
	h.Set("Content-Type", mediaType)
	h.Set("Content-Security-Policy", filePolicy)
	h.Set("Cache-Control", "private, no-cache")
	h.Set("ETag", `"`+c.SHA256+`"`)
	if seekable {
		h.Set("Accept-Ranges", "bytes")
	}
}

// blocks reads a file in blocks, each of which stays until the one after the next is read.
type blocks struct {
	r    io.Reader
	bufs [2][]byte
	n    int
}

func newBlocks(r io.Reader) *blocks {
	return &blocks{r: r, bufs: [2][]byte{make([]byte, fileBlock), make([]byte, fileBlock)}}
}

// next is the next block, with io.EOF if it is the last one.
func (b *blocks) next() (block []byte, err error) {
	buf := b.bufs[b.n%2]
	b.n++
	n := 0
	for n < len(buf) && err == nil {
		var read int
		read, err = b.r.Read(buf[n:])
		n += read
	}
	return buf[:n], err
}

// fileWriter ends for a browser that takes nothing any more.
type fileWriter struct {
	http.ResponseWriter
	control *http.ResponseController
	ctx     context.Context
	silence *time.Timer
	begun   bool
}

// Write implements io.Writer.
func (f *fileWriter) Write(block []byte) (int, error) {
	if err := f.ctx.Err(); err != nil {
		return 0, err
	}
	f.begun = true
	_ = f.control.SetWriteDeadline(time.Now().Add(fileSilence))
	n, err := f.ResponseWriter.Write(block)
	f.silence.Reset(fileSilence)
	return n, err
}
