package target

import (
	"errors"
	"fmt"
	"net/url"
	"path"
	"regexp"
	"strings"

	"github.com/minio/minio-go/v7/pkg/s3utils"
)

const (
	schemeNATS = "nats:"
	schemeS3   = "s3://"
	schemeFile = "file://"
)

// Spec is a target by its name, as [Parse] reads it.
type Spec struct {
	text   string
	scheme string
	bucket string // of an object store or S3
	prefix string // of S3, without slashes at its ends
	folder string // of file, with slashes
}

// String returns the target in the one form that Parse takes and does not change.
func (s Spec) String() string { return s.text }

func (s Spec) location(key string) string { return s.text + "/" + key }

const howToWrite = "write nats:BUCKET, s3://BUCKET/PREFIX or file:///DIR"

// Parse reads nats:BUCKET, s3://BUCKET/PREFIX or file:///DIR. A slash at the end is dropped. Its
// error says what is wrong, and how to write it.
func Parse(text string) (Spec, error) {
	if strings.Contains(text, "@") && !strings.HasPrefix(text, schemeFile+"/") {
		// Not shown: there may be a password before it.
		return Spec{}, errors.New("the target has an @ in it, and takes no user and no password: NATS_ variables have those of the broker, AWS_ variables those of S3; " + howToWrite)
	}
	s, err := parse(text)
	if err != nil {
		return Spec{}, fmt.Errorf("the target %q %w", text, err)
	}
	return s, nil
}

func parse(text string) (Spec, error) {
	switch {
	case strings.HasPrefix(text, "nats://"):
		return Spec{}, errors.New("looks like the address of a broker, which NATS_URL has; write nats:BUCKET, with the name of an object store")
	case strings.HasPrefix(text, schemeNATS):
		return parseNATS(strings.TrimPrefix(text, schemeNATS))
	case strings.HasPrefix(text, schemeS3):
		return parseS3(strings.TrimPrefix(text, schemeS3))
	case strings.HasPrefix(text, schemeFile):
		return parseFile(strings.TrimPrefix(text, schemeFile))
	case strings.HasPrefix(text, "file:"):
		return Spec{}, errors.New("is no file URL with an absolute path; write file:///DIR, with three slashes")
	}
	return Spec{}, errors.New("is of no kind that there is; " + howToWrite)
}

// validBucket is what names an object store, of at most maxBucket bytes: its stream,
// OBJ_BUCKET, has at most 255. An expression that counted them would take memory in every relay.
var validBucket = regexp.MustCompile(`^[A-Za-z0-9_-]+$`)

const maxBucket = 200

func parseNATS(bucket string) (Spec, error) {
	if len(bucket) > maxBucket || !validBucket.MatchString(bucket) {
		return Spec{}, fmt.Errorf("names no object store: write nats:BUCKET, with 1 to %d letters, digits, _ and - for BUCKET", maxBucket)
	}
	return Spec{text: schemeNATS + bucket, scheme: schemeNATS, bucket: bucket}, nil
}

// validPrefix are segments of characters that are safe in the keys of S3. A prefix has at most
// 512 bytes, since a key has at most 1024.
var validPrefix = regexp.MustCompile(`^[A-Za-z0-9!_.*'()-]+(/[A-Za-z0-9!_.*'()-]+)*$`)

const maxPrefix = 512

func parseS3(rest string) (Spec, error) {
	bucket, prefix, _ := strings.Cut(rest, "/")
	if err := s3utils.CheckValidBucketNameStrict(bucket); err != nil {
		return Spec{}, errors.New("names no bucket: write s3://BUCKET/PREFIX, with 3 to 63 lower-case letters, digits, - and . for BUCKET")
	}
	s := Spec{text: schemeS3 + bucket, scheme: schemeS3, bucket: bucket, prefix: strings.TrimSuffix(prefix, "/")}
	if s.prefix == "" {
		if prefix != "" {
			return Spec{}, errors.New("has a prefix without a name; write s3://BUCKET or s3://BUCKET/PREFIX")
		}
		return s, nil
	}
	if !validPrefix.MatchString(s.prefix) || hasDots(s.prefix) || len(s.prefix) > maxPrefix {
		return Spec{}, fmt.Errorf("has a prefix that is not safe: write s3://BUCKET/PREFIX, with letters, digits and !_.*'()- between single slashes, no segment . or .., and %d bytes at the most", maxPrefix)
	}
	s.text += "/" + s.prefix
	return s, nil
}

func hasDots(p string) bool {
	for segment := range strings.SplitSeq(p, "/") {
		if segment == "." || segment == ".." {
			return true
		}
	}
	return false
}

func parseFile(rest string) (Spec, error) {
	if strings.ContainsAny(rest, "?#") {
		return Spec{}, errors.New("has a ? or # in it; write %3F and %23 for those in the name of a folder")
	}
	if !strings.HasPrefix(rest, "/") {
		return Spec{}, errors.New("names another host, or a folder relative to where the program was started; write file:///DIR, with three slashes and the absolute path")
	}
	folder, err := url.PathUnescape(rest)
	if err != nil {
		return Spec{}, errors.New("has a % that begins no character; write %25 for a % in the name of a folder")
	}
	folder = strings.TrimSuffix(folder, "/")
	switch {
	case folder == "":
		return Spec{}, errors.New("is the root of the disk; name a folder of its own: file:///DIR")
	case folder != path.Clean(folder) || strings.ContainsRune(folder, 0):
		return Spec{}, errors.New("has an empty segment, a . or a .. in it; write file:///DIR, with the absolute path and single slashes")
	}
	return Spec{text: schemeFile + (&url.URL{Path: folder}).EscapedPath(), scheme: schemeFile, folder: folder}, nil
}

// ParseLocation reads the place of a file, as [Target.Location] writes it. What stands in an
// event is not trusted: its end must be a key of the task, so that nothing else of a target can
// be read by way of it. Whether the target is one that may be read is left to the caller.
func ParseLocation(location, taskID string) (s Spec, key string, err error) {
	rest, name := cutLast(location)
	rest, task := cutLast(rest)
	if task != folderOf(taskID) || !validName(name) {
		return Spec{}, "", fmt.Errorf("the location %q is not that of a file of the task %q", location, taskID)
	}
	if s, err = Parse(rest); err != nil {
		return Spec{}, "", fmt.Errorf("the location %q cannot be read: %w", location, err)
	}
	key = task + "/" + name
	if s.location(key) != location {
		return Spec{}, "", fmt.Errorf("the location %q is not written as those of %s are", location, s)
	}
	return s, key, nil
}

func cutLast(s string) (before, last string) {
	i := strings.LastIndexByte(s, '/')
	return s[:max(i, 0)], s[i+1:]
}
