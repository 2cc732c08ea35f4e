package archive

import (
	"strings"
	"testing"

	"github.com/minio/minio-go/v7"
)

// What the tests ask an S3 server, the one here answers: it keeps versions, and tells of parts
// whose upload has not ended.
func TestS3ServerTellsWhatItHas(t *testing.T) {
	t.Parallel()
	ctx, s := limited(t), startS3(t)
	s.MakeBucket(ctx, t, "files")
	for range 2 {
		if _, err := s.PutObject(ctx, "files", "a/b", strings.NewReader("text"), 4, minio.PutObjectOptions{UserMetadata: map[string]string{"Kept": "yes"}}); err != nil {
			t.Fatal(err)
		}
	}
	core := minio.Core{Client: s.Client}
	if _, err := core.NewMultipartUpload(ctx, "files", "a/c", minio.PutObjectOptions{}); err != nil {
		t.Fatal(err)
	}
	var versions, uploads int
	for o := range s.ListObjectsIter(ctx, "files", minio.ListObjectsOptions{Recursive: true, WithVersions: true}) {
		if o.Err != nil {
			t.Fatal(o.Err)
		}
		versions++
	}
	for u := range s.ListIncompleteUploads(ctx, "files", "", true) {
		if u.Err != nil {
			t.Fatal(u.Err)
		}
		uploads++
	}
	if versions != 2 || uploads != 1 {
		t.Errorf("there are %d versions and %d uploads, 2 and 1 were expected", versions, uploads)
	}
	info, err := s.StatObject(ctx, "files", "a/b", minio.StatObjectOptions{})
	if err != nil || info.UserMetadata["Kept"] != "yes" {
		t.Errorf("the metadata is %v (%v)", info.UserMetadata, err)
	}
}
