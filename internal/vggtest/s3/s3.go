// Package s3 has an object store for tests.
package s3

import (
	"bytes"
	"net/http"
	"os"
	"path"
	"path/filepath"
	"testing"
	"time"

	"github.com/johannesboyne/gofakes3"
	"github.com/johannesboyne/gofakes3/backend/s3mem"
)

// Bucket returns an object store with the files of a folder in a bucket, below a prefix.
func Bucket(t testing.TB, bucket, prefix, dir string) http.Handler {
	t.Helper()
	backend := s3mem.New()
	if err := backend.CreateBucket(bucket); err != nil {
		t.Fatal(err)
	}
	files, err := os.ReadDir(dir)
	if err != nil {
		t.Fatal(err)
	}
	meta := map[string]string{"Last-Modified": time.Unix(1, 0).UTC().Format(http.TimeFormat)}
	for _, e := range files {
		data, err := os.ReadFile(filepath.Join(dir, e.Name()))
		if err != nil {
			t.Fatal(err)
		}
		if _, err := backend.PutObject(bucket, path.Join(prefix, e.Name()), meta, bytes.NewReader(data), int64(len(data)), nil); err != nil {
			t.Fatal(err)
		}
	}
	return gofakes3.New(backend).Server()
}

// Use makes the S3 clients of a test ask a server.
func Use(t *testing.T, url string) {
	t.Helper()
	for k, v := range map[string]string{
		"AWS_ENDPOINT_URL_S3": url, "AWS_ACCESS_KEY_ID": "key", "AWS_SECRET_ACCESS_KEY": "secret", "AWS_REGION": "us-east-1",
	} {
		t.Setenv(k, v)
	}
}
