package target

import (
	"bytes"
	"context"
	"crypto/md5"
	"crypto/sha256"
	"encoding/base64"
	"encoding/hex"
	"io"
	"time"

	"github.com/minio/minio-go/v7"
)

// Put holds one part of a file in memory. A file that ends in the first is stored with one
// request.
func (b *bucket) Put(ctx context.Context, key string, r io.Reader, meta Meta) (Object, error) {
	if b.readOnly {
		return Object{}, errReadOnly
	}
	p := b.parts.Get().(*[]byte)
	defer b.parts.Put(p)
	s := newSource(ctx, r)
	n, end, err := s.fill(*p)
	switch {
	case err != nil:
		return Object{}, err
	case end:
		err = b.putWhole(ctx, key, (*p)[:n], s.digest(), meta)
	default:
		err = b.putParts(ctx, key, *p, s, meta)
	}
	if err != nil {
		return Object{}, err
	}
	return s.object(meta.MediaType), nil
}

func options(meta Meta, digest string) minio.PutObjectOptions {
	o := minio.PutObjectOptions{
		ContentType: meta.MediaType, UserMetadata: map[string]string{s3Source: sourceDigest(meta.Source)},
		DisableContentSha256: true, // since it is known beforehand
	}
	if digest != "" {
		o.UserMetadata[s3Digest] = digest
	}
	return o
}

// contentMD5 is what S3 demands in buckets with an object lock, and checks in all.
func contentMD5(p []byte) string {
	sum := md5.Sum(p)
	return base64.StdEncoding.EncodeToString(sum[:])
}

func (b *bucket) putWhole(ctx context.Context, key string, p []byte, digest string, meta Meta) error {
	if b.has(ctx, key, int64(len(p)), digest) {
		return nil
	}
	_, err := b.client.PutObject(ctx, b.bucket, b.object(key), bytes.NewReader(p), int64(len(p)), contentMD5(p), digest, options(meta, digest))
	return b.explain(ctx, "write", "s3:PutObject", err)
}

// has reports whether a file is at a key already. It reads one of that size, and no other, whose
// digest is not known.
func (b *bucket) has(ctx context.Context, key string, bytes int64, digest string) bool {
	info, err := b.client.StatObject(ctx, b.bucket, b.object(key), minio.StatObjectOptions{})
	if err != nil || info.Size != bytes {
		return false
	}
	there, err := b.Stat(ctx, key)
	return err == nil && there.SHA256 == digest
}

// putParts uploads a file in parts, of which p has the first.
func (b *bucket) putParts(ctx context.Context, key string, p []byte, s *source, meta Meta) error {
	object := b.object(key)
	// What a killed program has begun at this key would cost money until Clean.
	if err := b.client.RemoveIncompleteUpload(ctx, b.bucket, object); err != nil && ctx.Err() == nil {
		b.log.Warn("uploads that were not finished cannot be removed", "target", b.text, "error", b.explain(ctx, "remove", "s3:ListBucketMultipartUploads and s3:AbortMultipartUpload", err))
	}
	id, err := b.client.NewMultipartUpload(ctx, b.bucket, object, options(meta, ""))
	if err != nil {
		return b.explain(ctx, "write", "s3:PutObject", err)
	}
	parts, err := b.uploadParts(ctx, object, id, p, s)
	if err == nil && b.has(ctx, key, s.bytes, s.digest()) {
		b.abort(ctx, object, id)
		return nil
	}
	if err == nil {
		_, err = b.client.CompleteMultipartUpload(ctx, b.bucket, object, id, parts, minio.PutObjectOptions{})
	}
	if err == nil {
		return nil
	}
	b.abort(ctx, object, id)
	if s.err != nil {
		return s.err
	}
	return b.explain(ctx, "write", "s3:PutObject", err)
}

func (b *bucket) uploadParts(ctx context.Context, object, id string, p []byte, s *source) (parts []minio.CompletePart, err error) {
	for n, end := len(p), false; n > 0; {
		sum := sha256.Sum256(p[:n])
		part, err := b.client.PutObjectPart(ctx, b.bucket, object, id, len(parts)+1, bytes.NewReader(p[:n]), int64(n), minio.PutObjectPartOptions{
			Md5Base64: contentMD5(p[:n]), Sha256Hex: hex.EncodeToString(sum[:]), DisableContentSha256: true,
		})
		if err != nil {
			return nil, err
		}
		parts = append(parts, minio.CompletePart{PartNumber: part.PartNumber, ETag: part.ETag})
		if end {
			break
		}
		if n, end, err = s.fill(p); err != nil {
			return nil, err
		}
	}
	return parts, nil
}

// abortTimeout bounds what is done after ctx has ended.
const abortTimeout = 10 * time.Second

// abort removes the parts of an upload. What it cannot remove, Clean finds.
func (b *bucket) abort(ctx context.Context, object, id string) {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), abortTimeout)
	defer cancel()
	err := b.client.AbortMultipartUpload(ctx, b.bucket, object, id)
	if err != nil && minio.ToErrorResponse(err).Code != minio.NoSuchUpload {
		b.log.Warn("an upload that was not finished cannot be removed", "target", b.text, "error", b.explain(ctx, "remove", "s3:AbortMultipartUpload", err))
	}
}

func (b *bucket) Clean(ctx context.Context) error {
	if b.readOnly {
		return errReadOnly
	}
	prefix := b.prefix
	if prefix != "" {
		prefix += "/"
	}
	ctx, cancel := context.WithCancel(ctx)
	defer cancel() // ends the list
	removed := 0
	defer func() {
		if removed > 0 {
			b.log.Info("removed uploads that were not finished", "target", b.text, "files", removed)
		}
	}()
	for upload := range b.client.ListIncompleteUploads(ctx, b.bucket, prefix, true) {
		err := upload.Err
		if err == nil && time.Since(upload.Initiated) >= b.abandoned {
			err = b.client.AbortMultipartUpload(ctx, b.bucket, upload.Key, upload.UploadID)
			removed++
		}
		if err != nil && minio.ToErrorResponse(err).Code != minio.NoSuchUpload {
			return b.explain(ctx, "clean", "s3:ListBucketMultipartUploads and s3:AbortMultipartUpload", err)
		}
	}
	return nil
}
