package archive

import (
	"context"
	"os"
	"os/exec"
	"path/filepath"
	"testing"

	"github.com/minio/minio-go/v7"
	"github.com/minio/minio-go/v7/pkg/credentials"

	"github.com/apixo-relay/apixo-relay/relay/test/relaytest"
)

// s3Server is an S3 server over a folder of this machine, in a process of its own.
type s3Server struct {
	// Endpoint is its URL, Folder where its buckets are folders.
	Endpoint, Folder string
	*minio.Client
	run   func() *exec.Cmd
	cmd   *exec.Cmd
	ended <-chan struct{}
}

const (
	s3AccessKey = "archive-access"
	s3SecretKey = "archive-secret-5d0c17"
	s3Region    = "us-east-1"
)

// startS3 starts an S3 server, waits until it answers, and ends it with the test.
func startS3(t testing.TB) *s3Server {
	t.Helper()
	program, err := versitygw()
	if err != nil {
		t.Fatal(err)
	}
	addr, err := newRig(t, nil).UnusedAddr()
	if err != nil {
		t.Fatal(err)
	}
	dir := t.TempDir()
	s := &s3Server{Endpoint: "http://" + addr, Folder: filepath.Join(dir, "buckets")}
	// Metadata in files of its own: not every file system has extended attributes.
	meta, versions := filepath.Join(dir, "metadata"), filepath.Join(dir, "versions")
	for _, d := range []string{s.Folder, meta, versions} {
		if err := os.Mkdir(d, 0o700); err != nil {
			t.Fatal(err)
		}
	}
	log := new(buffer)
	t.Cleanup(func() {
		if t.Failed() {
			t.Logf("the S3 server's log:\n%s", log)
		}
	})
	s.run = func() *exec.Cmd {
		cmd := exec.Command(program, "--port", addr, "--quiet", "--keep-alive", "--region", s3Region, "posix", "--sidecar", meta, "--versioning-dir", versions, s.Folder)
		cmd.Env = relaytest.Environ("ROOT_ACCESS_KEY="+s3AccessKey, "ROOT_SECRET_KEY="+s3SecretKey)
		cmd.Stdout, cmd.Stderr = log, log
		return cmd
	}
	s.Client, err = minio.New(addr, &minio.Options{Creds: credentials.NewStaticV4(s3AccessKey, s3SecretKey, ""), Region: s3Region})
	if err != nil {
		t.Fatal(err)
	}
	s.Restart(t)
	return s
}

// Restart starts a server that has ended, and waits until it answers.
func (s *s3Server) Restart(t testing.TB) {
	t.Helper()
	s.cmd = s.run()
	s.ended = start(t, s.cmd)
	await(t, "the S3 server does not answer", func() bool {
		_, err := s.ListBuckets(t.Context())
		return err == nil
	})
}

// Kill ends the server.
func (s *s3Server) Kill() {
	_ = s.cmd.Process.Kill() // an error says that it has ended
	<-s.ended
}

// Environ are the settings by which programs find the server.
func (s *s3Server) Environ() []string {
	return []string{
		"AWS_ACCESS_KEY_ID=" + s3AccessKey, "AWS_SECRET_ACCESS_KEY=" + s3SecretKey,
		"AWS_REGION=" + s3Region, "AWS_ENDPOINT_URL_S3=" + s.Endpoint,
	}
}

// MakeBucket makes a bucket that keeps each version of an object, so that what is stored twice
// can be seen.
func (s *s3Server) MakeBucket(ctx context.Context, t testing.TB, name string) {
	t.Helper()
	if err := s.Client.MakeBucket(ctx, name, minio.MakeBucketOptions{}); err != nil {
		t.Fatal(err)
	}
	if err := s.EnableVersioning(ctx, name); err != nil {
		t.Fatal(err)
	}
}
