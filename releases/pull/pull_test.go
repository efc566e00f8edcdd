package pull

import (
	"bytes"
	"context"
	"crypto/md5"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io/fs"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/verydeep/vgg"
	"github.com/verydeep/vgg/internal/lockfile"
	"github.com/verydeep/vgg/internal/vggtest"
	"github.com/verydeep/vgg/progress"
	"github.com/verydeep/vgg/releases"
)

// tiny is a release of a tiny network, and the file of it that torch.save wrote.
func tiny(t *testing.T) (releases.Release, []byte) {
	t.Helper()
	data, err := os.ReadFile(vggtest.Fixture(t, "../../weights/testdata/torch/a_zip.pth"))
	if err != nil {
		t.Fatal(err)
	}
	r, err := releases.Find("A", "torchvision")
	if err != nil {
		t.Fatal(err)
	}
	sum := sha256.Sum256(data)
	r.SHA256, r.File = hex.EncodeToString(sum[:4]), "vgg11-"+hex.EncodeToString(sum[:4])+".pth"
	r.Preprocess.Crop, r.Preprocess.Resize = 64, 73 // the sides of the tiny network
	r.URL = "https://download.example/models/" + r.File
	return r, data
}

// server serves data under any path and keeps the requests. A negative cut sends all of
// it; else an answer breaks off when it has sent so many bytes.
type server struct {
	*httptest.Server
	mu       sync.Mutex
	requests []*http.Request
	cut      int
	etag     string
	status   int
	data     []byte
}

func serve(t *testing.T, data []byte) *server {
	s := &server{cut: -1, etag: `"one"`, data: data}
	s.Server = httptest.NewServer(s)
	t.Cleanup(s.Close)
	return s
}

func (s *server) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.requests = append(s.requests, r)
	if s.status != 0 {
		http.Error(w, "no", s.status)
		return
	}
	if s.etag != "" {
		w.Header().Set("ETag", s.etag)
	}
	if s.cut < 0 {
		http.ServeContent(w, r, "", time.Time{}, bytes.NewReader(s.data))
		return
	}
	http.ServeContent(&cutting{w, s.cut}, r, "", time.Time{}, bytes.NewReader(s.data))
}

// cutting breaks the connection off.
type cutting struct {
	http.ResponseWriter
	left int
}

func (c *cutting) Write(b []byte) (int, error) {
	if len(b) > c.left {
		_, _ = c.ResponseWriter.Write(b[:c.left])
		c.ResponseWriter.(http.Flusher).Flush()
		panic(http.ErrAbortHandler)
	}
	c.left -= len(b)
	return c.ResponseWriter.Write(b)
}

func pull(t *testing.T, s *server, r releases.Release, dir string) (string, error) {
	t.Helper()
	return Release(t.Context(), r, Options{Dir: dir, Mirror: s.URL + "/mirror", Client: s.Client()})
}

// files lists what is in a folder.
func files(t *testing.T, dir string) string {
	t.Helper()
	var names []string
	err := filepath.WalkDir(dir, func(path string, e fs.DirEntry, err error) error {
		if err == nil && !e.IsDir() {
			rel, _ := filepath.Rel(dir, path)
			names = append(names, filepath.ToSlash(rel))
		}
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	return strings.Join(names, " ")
}

func TestRelease(t *testing.T) {
	r, data := tiny(t)
	s, dir := serve(t, data), t.TempDir()
	stages := map[string]int64{}
	o := Options{Dir: dir, Mirror: s.URL + "/mirror", Client: s.Client(), OnStage: func(stage string) progress.Func {
		return func(done, total int64) {
			if stage != "converting" && (done > total || total != int64(len(data))) {
				t.Errorf("%s: %d of %d bytes", stage, done, total)
			}
			stages[stage] = done
		}
	}}
	path, err := Release(t.Context(), r, o)
	if err != nil {
		t.Fatal(err)
	}
	if len(s.requests) != 1 || s.requests[0].URL.Path != "/mirror/models/"+r.File {
		t.Errorf("%d requests, the first for %s", len(s.requests), s.requests[0].URL.Path)
	}
	if stages["downloading"] != int64(len(data)) || stages["checking"] != int64(len(data)) {
		t.Errorf("progress %v", stages)
	}
	if got := files(t, dir); got != "A-torchvision.safetensors" {
		t.Errorf("the folder has %s", got)
	}
	m, err := vgg.Open(t.Context(), path, vgg.OpenOptions{})
	if err != nil {
		t.Fatal(err)
	}
	sum := sha256.Sum256(data)
	if m.Preprocess != r.Preprocess || m.Provenance["release"] != "torchvision A" || m.Provenance["sha256"] != hex.EncodeToString(sum[:]) {
		t.Errorf("preprocessing %+v, provenance %v", m.Preprocess, m.Provenance)
	}
	// There already, nothing is asked of anybody.
	s.Close()
	if again, err := Release(t.Context(), r, Options{Dir: dir, Offline: true}); err != nil || again != path {
		t.Errorf("%s, %v", again, err)
	}
}

// What one process downloads, another doesn't: it is told the first one's process.
func TestOneProcessDownloads(t *testing.T) {
	r, data := tiny(t)
	s, dir := serve(t, data), t.TempDir()
	if err := os.Mkdir(filepath.Join(dir, "downloads"), 0o777); err != nil {
		t.Fatal(err)
	}
	release, err := lockfile.Beside(filepath.Join(dir, "downloads", filepath.Base(r.File)))
	if err != nil {
		t.Fatal(err)
	}
	_, err = pull(t, s, r, dir)
	if held, ok := errors.AsType[*HeldError](err); !ok || held.PID != os.Getpid() || len(s.requests) != 0 {
		t.Errorf("%v after %d requests, want a HeldError", err, len(s.requests))
	}
	release()
	if _, err := pull(t, s, r, dir); err != nil {
		t.Error(err)
	}
}

// What a killed process left behind is removed by the next run that finds the release there,
// unless another process is at work; and a download that was whole isn't made twice.
func TestKilled(t *testing.T) {
	r, data := tiny(t)
	s, dir := serve(t, data), t.TempDir()
	file := filepath.Join(dir, "downloads", r.File)
	leave := func(names ...string) {
		t.Helper()
		for _, name := range names {
			if err := os.WriteFile(name, data, 0o666); err != nil {
				t.Fatal(err)
			}
		}
	}
	if err := os.Mkdir(filepath.Dir(file), 0o777); err != nil {
		t.Fatal(err)
	}
	leave(file, file+".lock", file+".part.json") // killed while it converted
	if _, err := pull(t, s, r, dir); err != nil {
		t.Fatal(err)
	}
	if len(s.requests) != 0 {
		t.Errorf("%d requests for what was there", len(s.requests))
	}
	if got := files(t, dir); got != "A-torchvision.safetensors" {
		t.Errorf("the folder has %s", got)
	}
	for _, left := range [][]string{{file + ".lock"}, {file, file + ".lock"}, {file + ".part", file + ".part.json"}, {file}} {
		leave(left...)
		if _, err := pull(t, s, r, dir); err != nil {
			t.Fatal(err)
		}
		if got := files(t, dir); got != "A-torchvision.safetensors" {
			t.Errorf("%s left, the folder has %s", left, got)
		}
	}
	release, err := lockfile.Beside(file)
	if err != nil {
		t.Fatal(err)
	}
	leave(file)
	if _, err := pull(t, s, r, dir); err != nil {
		t.Errorf("while another process has the lock: %v", err)
	}
	if _, err := os.Stat(file); err != nil {
		t.Errorf("removed what another process is using: %v", err)
	}
	release()
	// Left by a kill and damaged since, it is downloaded.
	if err := os.Remove(Path(dir, r)); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(file, []byte("damaged"), 0o666); err != nil {
		t.Fatal(err)
	}
	if _, err := pull(t, s, r, dir); err != nil || len(s.requests) != 1 {
		t.Errorf("%v after %d requests, want one", err, len(s.requests))
	}
}

// A server that stops sending is asked again, from where it stopped, and not waited for longer
// than Idle; one that never answers is an error that says so.
func TestStalled(t *testing.T) {
	r, data := tiny(t)
	third, silent := len(data)/3+1, false
	var ranges []string
	s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, q *http.Request) {
		ranges = append(ranges, q.Header.Get("Range"))
		if silent {
			<-q.Context().Done()
			return
		}
		w.Header().Set("ETag", `"one"`)
		http.ServeContent(&stalling{w, q.Context(), third}, q, "", time.Time{}, bytes.NewReader(data))
	}))
	defer s.Close()
	dir := t.TempDir()
	o := Options{Dir: dir, Mirror: s.URL, Client: s.Client(), Idle: 200 * time.Millisecond}
	if _, err := Release(t.Context(), r, o); err != nil {
		t.Fatal(err)
	}
	if len(ranges) != 3 || ranges[1] != fmt.Sprintf("bytes=%d-", third) || ranges[2] != fmt.Sprintf("bytes=%d-", 2*third) {
		t.Errorf("requests for %q, want each to continue after %d bytes more", ranges, third)
	}
	silent, ranges, o.Dir = true, nil, t.TempDir()
	_, err := Release(t.Context(), r, o)
	if err == nil || !strings.Contains(err.Error(), "the server sent nothing for 200ms") || len(ranges) != attempts {
		t.Errorf("%v after %d requests, want %d and an error that says what happened", err, len(ranges), attempts)
	}
}

// stalling sends so many bytes and then nothing more, on an open connection.
type stalling struct {
	http.ResponseWriter
	request context.Context
	left    int
}

func (s *stalling) Write(b []byte) (int, error) {
	if len(b) > s.left {
		_, _ = s.ResponseWriter.Write(b[:s.left])
		s.ResponseWriter.(http.Flusher).Flush()
		<-s.request.Done()
		return s.left, s.request.Err()
	}
	s.left -= len(b)
	return s.ResponseWriter.Write(b)
}

// TestInterrupted: a connection that breaks is made again, from where it broke.
func TestInterrupted(t *testing.T) {
	r, data := tiny(t)
	s, dir := serve(t, data), t.TempDir()
	s.cut = len(data)/3 + 1
	if _, err := pull(t, s, r, dir); err != nil {
		t.Fatal(err)
	}
	if len(s.requests) != 3 {
		t.Fatalf("%d requests, want 3 for thirds", len(s.requests))
	}
	if got := s.requests[0].Header.Get("Range"); got != "" {
		t.Errorf("the first request asked for %s", got)
	}
	for _, q := range s.requests[1:] {
		if !strings.HasPrefix(q.Header.Get("Range"), "bytes=") || q.Header.Get("If-Range") != s.etag {
			t.Errorf("a request for %q if it is %q", q.Header.Get("Range"), q.Header.Get("If-Range"))
		}
	}
}

// TestStoppedAndResumed: another process goes on with what an earlier one left.
func TestStoppedAndResumed(t *testing.T) {
	r, data := tiny(t)
	for _, c := range []struct {
		what   string
		change func(s *server)
		ranged bool // whether the part was of use
	}{
		{"the same file", func(*server) {}, true},
		{"no ETag: the hash decides", func(s *server) { s.etag = "" }, true},
		{"another file", func(s *server) { s.etag = `"two"` }, false},
	} {
		s, dir := serve(t, data), t.TempDir()
		if strings.HasPrefix(c.what, "no ETag") {
			s.etag = ""
		}
		s.cut = len(data) / 2
		ctx, cancel := context.WithCancel(t.Context())
		_, err := Release(ctx, r, Options{Dir: dir, Mirror: s.URL, Client: s.Client(), OnStage: func(string) progress.Func {
			return func(done, _ int64) {
				if done >= int64(len(data)/2) {
					cancel()
				}
			}
		}})
		if !errors.Is(err, context.Canceled) {
			t.Fatalf("%s: %v, want it cancelled", c.what, err)
		}
		if got := files(t, dir); !strings.Contains(got, r.File+".part ") {
			t.Fatalf("%s: left %s, want a part", c.what, got)
		}
		s.cut, s.requests = -1, nil
		c.change(s)
		if _, err := Release(t.Context(), r, Options{Dir: dir, Mirror: s.URL, Client: s.Client()}); err != nil {
			t.Fatalf("%s: %v", c.what, err)
		}
		if len(s.requests) != 1 || !strings.HasPrefix(s.requests[0].Header.Get("Range"), "bytes=") {
			t.Errorf("%s: %d requests, the first for %q, want one for the rest", c.what, len(s.requests), s.requests[0].Header.Get("Range"))
		}
		if got := files(t, dir); got != "A-torchvision.safetensors" {
			t.Errorf("%s: the folder has %s", c.what, got)
		}
	}
}

// TestPartOfAnotherAddress is begun anew.
func TestPartOfAnotherAddress(t *testing.T) {
	r, data := tiny(t)
	s, dir := serve(t, data), t.TempDir()
	part := filepath.Join(dir, "downloads", r.File+".part")
	if err := os.MkdirAll(filepath.Dir(part), 0o777); err != nil {
		t.Fatal(err)
	}
	for name, text := range map[string]string{part: "what else", part + ".json": `{"address":"https://other.example/x","etag":"\"one\"","length":9}`} {
		if err := os.WriteFile(name, []byte(text), 0o666); err != nil {
			t.Fatal(err)
		}
	}
	if _, err := pull(t, s, r, dir); err != nil {
		t.Fatal(err)
	}
	if got := s.requests[0].Header.Get("Range"); got != "" {
		t.Errorf("asked for %s, want all", got)
	}
}

// TestRefused: what isn't the release is never put in its place.
func TestRefused(t *testing.T) {
	r, data := tiny(t)
	old := md5.Sum(data)
	withMD5 := r
	withMD5.SHA256, withMD5.MD5 = "", hex.EncodeToString(old[:])
	damaged := bytes.Clone(data)
	damaged[len(damaged)/2] ^= 1
	for _, c := range []struct {
		what     string
		r        releases.Release
		data     []byte
		status   int
		offline  bool
		mirror   string
		want     string
		left     string
		requests int
	}{
		{"a wrong SHA-256", r, damaged, 0, false, "", "SHA-256 is", "", 1},
		{"a wrong MD5", withMD5, damaged, 0, false, "", "MD5 is", "", 1},
		{"nothing there", r, data, http.StatusNotFound, false, "", "404 Not Found", "", 1},
		{"a server that fails", r, data, http.StatusBadGateway, false, "", "502 Bad Gateway", "", attempts},
		{"offline", r, data, 0, true, "", "no download is allowed offline", "", 0},
		{"a mirror that is none", r, data, 0, false, "ftp://x", `mirror "ftp://x"`, "", 0},
		{"an empty file", r, nil, 0, false, "", "SHA-256 is", "", 1},
	} {
		s, dir := serve(t, c.data), t.TempDir()
		s.status = c.status
		if c.mirror == "" {
			c.mirror = s.URL
		}
		path, err := Release(t.Context(), c.r, Options{Dir: dir, Mirror: c.mirror, Client: s.Client(), Offline: c.offline})
		if err == nil || !strings.Contains(err.Error(), c.want) || !strings.Contains(err.Error(), "A of torchvision") {
			t.Errorf("%s: %q, %v, want %q", c.what, path, err, c.want)
		}
		if got := files(t, dir); strings.Contains(got, ".safetensors") || strings.Contains(got, ".part ") || strings.HasSuffix(got, ".part") {
			t.Errorf("%s: left %s", c.what, got)
		}
		if len(s.requests) != c.requests {
			t.Errorf("%s: %d requests, want %d", c.what, len(s.requests), c.requests)
		}
	}
	// The right MD5 is taken.
	if _, err := pull(t, serve(t, data), withMD5, t.TempDir()); err != nil {
		t.Error(err)
	}
}

// TestNoWeights: a file with the right hash that holds no VGG network.
func TestNoWeights(t *testing.T) {
	r, _ := tiny(t)
	data := []byte("not weights at all, but as announced\n")
	sum := sha256.Sum256(data)
	r.SHA256 = hex.EncodeToString(sum[:])
	dir := t.TempDir()
	if _, err := pull(t, serve(t, data), r, dir); err == nil || !strings.Contains(err.Error(), "text") {
		t.Errorf("%v, want an error", err)
	}
	if got := files(t, dir); strings.Contains(got, ".safetensors") {
		t.Errorf("left %s", got)
	}
}
