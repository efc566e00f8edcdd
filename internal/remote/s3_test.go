package remote

import (
	"errors"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"sync/atomic"
	"testing"
	"time"

	"github.com/minio/minio-go/v7/pkg/credentials"

	"github.com/verydeep/vgg/internal/vggtest/s3"
)

// withoutKeys takes all credentials of AWS from a test.
func withoutKeys(t *testing.T) {
	t.Helper()
	for _, k := range []string{
		"AWS_ACCESS_KEY_ID", "AWS_ACCESS_KEY", "AWS_SECRET_ACCESS_KEY", "AWS_SECRET_KEY", "AWS_SESSION_TOKEN", "AWS_PROFILE",
		"AWS_CONTAINER_CREDENTIALS_RELATIVE_URI", "AWS_WEB_IDENTITY_TOKEN_FILE",
	} {
		t.Setenv(k, "")
	}
	none := filepath.Join(t.TempDir(), "none")
	t.Setenv("AWS_SHARED_CREDENTIALS_FILE", none)
	t.Setenv("AWS_CONFIG_FILE", none)
}

// Without keys public objects are read, by requests without a signature, and the service of roles
// is asked once.
func TestPublicObjects(t *testing.T) {
	dir := t.TempDir()
	for _, name := range []string{"a.tar", "b.tar"} {
		if err := os.WriteFile(filepath.Join(dir, name), cachePart(1, 1), 0o666); err != nil {
			t.Fatal(err)
		}
	}
	var roles, signed, objects atomic.Int32
	service := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		roles.Add(1)
		http.Error(w, "no role", http.StatusNotFound)
	}))
	defer service.Close()
	bucket := s3.Bucket(t, "photos", "set", dir)
	store := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if objects.Add(1); r.Header.Get("Authorization") != "" {
			signed.Add(1)
		}
		bucket.ServeHTTP(w, r)
	}))
	defer store.Close()
	s3.Use(t, store.URL)
	withoutKeys(t)
	t.Setenv("AWS_CONTAINER_CREDENTIALS_FULL_URI", service.URL)
	t.Setenv("AWS_EC2_METADATA_DISABLED", "")
	f, err := New(t.Context(), []string{"s3://photos/set/a.tar", "s3://photos/set/b.tar"}, Options{})
	if err != nil {
		t.Fatal(err)
	}
	for range 5 {
		for _, name := range f.Names() {
			p := make([]byte, 100)
			if err := f.ReadRange(t.Context(), name, p, 50); err != nil || string(p) != string(cachePart(1, 1)[50:150]) {
				t.Fatalf("%s: %v, or other bytes", name, err)
			}
		}
	}
	if roles.Load() != 1 || signed.Load() != 0 || objects.Load() < 12 {
		t.Errorf("the service of roles was asked %d times, want once; %d of %d requests were signed, want none of 12", roles.Load(), signed.Load(), objects.Load())
	}
}

// lent has keys that expire at once; after the first time it fails.
type lent struct{ asked int }

func (l *lent) RetrieveWithCredContext(*credentials.CredContext) (credentials.Value, error) {
	if l.asked++; l.asked > 1 {
		return credentials.Value{}, errors.New("no answer")
	}
	return credentials.Value{AccessKeyID: "key", SecretAccessKey: "secret", SignerType: credentials.SignatureV4}, nil
}
func (l *lent) Retrieve() (credentials.Value, error) { return l.RetrieveWithCredContext(nil) }
func (l *lent) IsExpired() bool                      { return true }

// Keys that can't be renewed are an error, and not a request without a signature.
func TestKeysThatAreNotRenewed(t *testing.T) {
	c := credentials.New(&askedOnce{providers: []credentials.Provider{&lent{}}})
	if v, err := c.GetWithContext(nil); err != nil || v.AccessKeyID != "key" {
		t.Fatalf("%+v, %v", v, err)
	}
	if v, err := c.GetWithContext(nil); err == nil {
		t.Errorf("%+v, want an error", v)
	}
}

// An address that is signed by itself has no other file beside it, and when its time is over
// that is said, by its date too.
func TestSignedAddresses(t *testing.T) {
	stamp := func(ago time.Duration) string { return time.Now().Add(-ago).UTC().Format("20060102T150405Z") }
	old, now := stamp(2*time.Hour), stamp(0)
	s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		http.Error(w, "<Error><Code>AccessDenied</Code><Message>Access Denied</Message></Error>", http.StatusForbidden)
	}))
	defer s.Close()
	for query, test := range map[string]struct{ signed, expired bool }{
		"X-Amz-Date=" + old + "&X-Amz-Expires=3600&X-Amz-Signature=SECRET":    {true, true},
		"X-Amz-Date=" + now + "&X-Amz-Expires=3600&X-Amz-Signature=SECRET":    {true, false},
		"X-Goog-Date=" + old + "&X-Goog-Expires=3600&X-Goog-Signature=SECRET": {true, true},
		"X-Goog-Date=" + now + "&X-Goog-Expires=3600&X-Goog-Signature=SECRET": {true, false},
		"Expires=1&Signature=SECRET&Key-Pair-Id=K":                            {true, false},
		"Policy=P&Signature=SECRET&Key-Pair-Id=K":                             {false, false},
		"sv=2024-11-04&sig=SECRET":                                            {false, false},
		"X-Amz-Date=yesterday&X-Amz-Expires=3600&X-Amz-Signature=SECRET":      {true, false},
	} {
		f, err := New(t.Context(), []string{s.URL + "/set/a.tar?" + query}, Options{})
		if err != nil {
			t.Fatal(err)
		}
		name := f.Names()[0]
		beside, err := f.object(filepath.ToSlash(filepath.Dir(name)) + "/a.tar.index")
		if (err != nil) != test.signed {
			t.Errorf("%s: a file beside it: %v", query, err)
		}
		if err == nil && beside.url.RawQuery != query {
			t.Errorf("%s: the file beside it has the query %s", query, beside.url.RawQuery)
		}
		_, err = f.Stat(name)
		failed, ok := errors.AsType[*failure](err)
		if !ok || failed.expired != test.expired || failed.Temporary {
			t.Errorf("%s: %v; want that it has expired: %v", query, err, test.expired)
			continue
		}
		want := map[bool]string{true: s.URL + "/set/a.tar: the signature of the address, or the session, has expired (403 Forbidden, AccessDenied), want new ones; the same command then goes on",
			false: s.URL + "/set/a.tar: access refused (403 Forbidden, AccessDenied), want a public address or one with a valid signature"}[test.expired]
		if err.Error() != want {
			t.Errorf("%s:\n%v, want\n%s", query, err, want)
		}
	}
}
