package fetch

import (
	"cmp"
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path"
	"path/filepath"
	"time"

	"github.com/apixo-relay/apixo-relay/relay/ops/archive/catalog"
	"github.com/apixo-relay/apixo-relay/relay/ops/archive/target"
)

// silence is how long a target may send nothing.
const silence = 30 * time.Second

var errSilence = fmt.Errorf("the target has sent nothing for %s", silence)

// errOther: there is another file where one is to be.
var errOther = errors.New("something else is there already, and stays: move it away, or give another folder with --out")

// bring brings a file by the first of its copies that is what was archived. What went wrong with
// copies is added to the job.
func (r *run) bring(ctx context.Context, j *job) Result {
	result := Result{TaskID: j.id, Number: j.file.Number, Result: Failed}
	var other error
	for _, c := range j.file.Copies {
		result.set(c, filepath.Join(r.o.Dir, filepath.FromSlash(c.Key)))
		there, err := r.isThere(c)
		if there {
			result.Result = Kept
			return result
		}
		other = cmp.Or(other, err)
	}
	if other != nil { // unless another target was told of it
		j.problems = []string{fmt.Sprintf("%s: %v", result.Path, other)}
		result.Error = j.problems[0]
		return result
	}
	for _, c := range j.file.Copies {
		result.set(c, filepath.Join(r.o.Dir, filepath.FromSlash(c.Key)))
		wrong, err := r.fetch(ctx, c)
		switch {
		case err != nil:
			result.Error = fmt.Sprintf("%s: %v", result.Path, err)
			return result
		case wrong == nil:
			result.Result = Fetched
			return result
		}
		if errors.Is(wrong, target.ErrNotFound) {
			wrong = errors.New("it is not there any more")
		}
		j.tried = append(j.tried, c.Location)
		j.problems = append(j.problems, fmt.Sprintf("%s: %v", c.Location, wrong))
	}
	result.Error = joined(j.problems)
	return result
}

// isThere reports whether a copy is in the folder already. The error is errOther if that is something
// else.
func (r *run) isThere(c catalog.Copy) (bool, error) {
	info, err := r.root.Lstat(c.Key)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return false, nil
	case err != nil:
		return false, err
	case !info.Mode().IsRegular() || info.Size() != c.Bytes:
		return false, errOther
	}
	file, err := r.root.Open(c.Key)
	if err != nil {
		return false, err
	}
	defer func() { _ = file.Close() }()
	if _, err := io.Copy(io.Discard, c.Check(file)); errors.Is(err, catalog.ErrDiffers) {
		return false, errOther
	} else if err != nil {
		return false, err
	}
	return true, nil
}

// fetch brings a copy. wrong is what is wrong with it or its target, err with the folder.
func (r *run) fetch(ctx context.Context, c catalog.Copy) (wrong, err error) {
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	timer := time.AfterFunc(silence, func() { cancel(errSilence) })
	defer timer.Stop()
	t, wrong := r.open(ctx, c.Spec)
	if wrong != nil {
		return wrong, nil
	}
	body, wrong := t.Get(ctx, c.Key)
	if wrong != nil {
		return orCause(ctx, wrong), nil
	}
	defer func() { _ = body.Close() }()
	in := &source{r: c.Check(body), timer: timer}
	err = r.write(c.Key, in)
	if in.err != nil {
		return orCause(ctx, in.err), nil
	}
	return nil, err
}

// orCause is why a target was not waited for any more, if that is it.
func orCause(ctx context.Context, err error) error {
	if cause := context.Cause(ctx); cause != nil {
		return cause
	}
	return err
}

// source keeps apart what is wrong with reading from what is with writing.
type source struct {
	r     io.Reader
	timer *time.Timer
	err   error
}

// Read implements io.Reader.
func (s *source) Read(p []byte) (int, error) {
	n, err := s.r.Read(p)
	s.timer.Reset(silence)
	if err != nil && err != io.EOF {
		s.err = err
	}
	return n, err
}

// write writes a file, which is there whole or not at all, and replaces none.
func (r *run) write(key string, in io.Reader) (err error) {
	folder, name := path.Split(key)
	if err := r.root.MkdirAll(path.Clean(folder), 0o755); err != nil {
		return err
	}
	part := folder + "." + name + "." + rand.Text() + ".part"
	file, err := r.root.OpenFile(part, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o644)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, notMissing(r.root.Remove(part))) }()
	_, err = io.Copy(file, in)
	if err == nil {
		err = file.Sync()
	}
	if err := errors.Join(err, file.Close()); err != nil {
		return err
	}
	err = r.root.Link(part, key)
	if errors.Is(err, fs.ErrExist) {
		return errOther
	} else if err != nil {
		err = r.root.Rename(part, key) // a file system without links
	}
	return err
}

func notMissing(err error) error {
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	return err
}

// open opens a target, once.
func (r *run) open(ctx context.Context, spec target.Spec) (target.Target, error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	t, ok := r.targets[spec.String()]
	if !ok {
		t.Target, t.err = spec.Open(ctx, target.Options{JetStream: r.js, ReadOnly: true, Environ: r.o.Environ, Log: r.o.Log})
		r.targets[spec.String()] = t
	}
	return t.Target, t.err
}
