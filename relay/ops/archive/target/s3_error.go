package target

import (
	"context"
	"crypto/x509"
	"errors"
	"fmt"
	"net"

	"github.com/minio/minio-go/v7"

	"github.com/apixo-relay/apixo-relay/relay/text"
)

// maxS3Message is how much of what a store says is passed on.
const maxS3Message = 300

// explain says what an error of the store means for the archive; permission is what the request
// needs. It returns nil for nil.
func (b *bucket) explain(ctx context.Context, what, permission string, err error) error {
	if err == nil {
		return nil
	}
	if ctx.Err() != nil {
		return context.Cause(ctx)
	}
	var s3 minio.ErrorResponse
	if !errors.As(err, &s3) {
		return fmt.Errorf("the archive cannot %s files in %s: %w%s", what, b.text, err, networkHint(err))
	}
	if s3.Code == minio.NoSuchKey {
		return fmt.Errorf("%s: %w", b.text, ErrNotFound)
	}
	message, _ := text.Shorten(text.Line(s3.Error()), maxS3Message)
	return fmt.Errorf("the archive cannot %s files in %s: %s (%s, status %d)%s", what, b.text, message, text.Line(s3.Code), s3.StatusCode, b.hint(s3, permission))
}

func (b *bucket) hint(s3 minio.ErrorResponse, permission string) string {
	switch s3.Code {
	case minio.NoSuchBucket:
		return fmt.Sprintf("; make the bucket %s, or compare its name and AWS_ENDPOINT_URL_S3", b.bucket)
	case minio.AccessDenied:
		return "; give the key the permission " + permission
	case minio.InvalidAccessKeyID, "XAdminUserNotFound", "InvalidToken", "ExpiredToken", "InvalidClientTokenId":
		return "; the store does not know AWS_ACCESS_KEY_ID, or AWS_SESSION_TOKEN has expired"
	case minio.SignatureDoesNotMatch:
		return "; AWS_SECRET_ACCESS_KEY is not that of AWS_ACCESS_KEY_ID"
	case minio.RequestTimeTooSkewed:
		return "; set this machine's clock"
	case minio.AuthorizationHeaderMalformed, minio.InvalidRegion, "PermanentRedirect", "TemporaryRedirect", "IllegalLocationConstraintException", "301 Moved Permanently":
		return "; the bucket is in another region: set AWS_REGION" + regionOf(s3)
	case "QuotaExceeded", "XMinioStorageFull", "XMinioAdminBucketQuotaExceeded", "InsufficientStorage":
		return "; the store is full: make room, or raise the quota"
	case minio.NoSuchUpload:
		return "; another program has begun to store the same file, or somebody has removed the upload"
	}
	return ""
}

func regionOf(s3 minio.ErrorResponse) string {
	if s3.Region == "" {
		return ""
	}
	return " to " + text.Line(s3.Region)
}

func networkHint(err error) string {
	var dns *net.DNSError
	var op *net.OpError
	var authority x509.UnknownAuthorityError
	switch {
	case errors.As(err, &authority):
		return "; name the authority's certificate in AWS_CA_BUNDLE"
	case errors.As(err, &dns), errors.As(err, &op):
		return "; is AWS_ENDPOINT_URL_S3 right, and can this machine reach it?"
	}
	return ""
}
