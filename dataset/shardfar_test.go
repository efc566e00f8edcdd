package dataset

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"reflect"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/verydeep/vgg/internal/remote"
	"github.com/verydeep/vgg/internal/vggtest"
	"github.com/verydeep/vgg/internal/vggtest/s3"
	"github.com/verydeep/vgg/preprocess"
)

// farSet writes pictures as three shards or more, and returns the set and the folder.
func farSet(t *testing.T) (*Dataset, string) {
	t.Helper()
	d, _ := pictures(t, 60)
	d.sortSamples()
	dir := filepath.Join(t.TempDir(), "shards")
	r, err := WriteShards(context.Background(), d, dir, ShardOptions{Size: 48000})
	if err != nil {
		t.Fatal(err)
	}
	if r.Shards != 4 {
		t.Fatalf("%d shards, want 4", r.Shards)
	}
	return d, dir
}

const farShardNames = "/shard-{000000..000003}.tar"

// served serves a folder, or whatever else, with latency and faults.
func served(t *testing.T, f *vggtest.Faulty) string {
	t.Helper()
	s := httptest.NewServer(f)
	t.Cleanup(s.Close)
	return s.URL
}

// Images on a server and in an object store, with latency and faults, give the bits of those on
// disk, with a cache and without.
func TestFarShardsGiveTheSameBits(t *testing.T) {
	d, dir := farSet(t)
	print, err := Fingerprint(t.Context(), d)
	if err != nil {
		t.Fatal(err)
	}
	want := []seen{mustCollect(t, trainLoader(t, d), 1), mustCollect(t, trainLoader(t, d), 2)}
	for _, test := range []struct {
		name string
		data func(*testing.T, http.Handler) string
		of   func(*testing.T) http.Handler
	}{
		{"http", func(t *testing.T, h http.Handler) string {
			return served(t, h.(*vggtest.Faulty)) + farShardNames
		}, func(*testing.T) http.Handler { return http.FileServer(http.Dir(dir)) }},
		{"s3", func(t *testing.T, h http.Handler) string {
			s3.Use(t, served(t, h.(*vggtest.Faulty)))
			return "s3://photos/set" + farShardNames
		}, func(t *testing.T) http.Handler { return s3.Bucket(t, "photos", "set", dir) }},
	} {
		t.Run(test.name, func(t *testing.T) {
			faulty := &vggtest.Faulty{Handler: test.of(t), Latency: 5 * time.Millisecond, Errors: 5, Resets: 7, Cuts: 11, Slow: 3}
			data := test.data(t, faulty)
			cache := t.TempDir()
			for _, o := range []RemoteOptions{{}, {CacheDir: cache, CacheBytes: 1 << 20}, {CacheDir: cache, CacheBytes: 1 << 20}, {CacheDir: t.TempDir(), CacheBytes: 9000}} {
				before, _, _ := faulty.Requests()
				got, val, err := Open(t.Context(), data, OpenOptions{Remote: o})
				if err != nil || val != nil {
					t.Fatal(err, val)
				}
				if !reflect.DeepEqual(got.Samples, d.Samples) || !reflect.DeepEqual(got.Classes, d.Classes) {
					t.Fatalf("classes %v, samples %v", got.Classes, got.Samples)
				}
				if f, err := Fingerprint(t.Context(), got); err != nil || f != print {
					t.Errorf("another fingerprint (%v)", err)
				}
				for e := range want {
					if !mustCollect(t, trainLoader(t, got), e+1).equal(want[e]) {
						t.Errorf("%+v: epoch %d has other bits than of the files", o, e+1)
					}
				}
				all, failed, together := faulty.Requests()
				if failed < 10 || together < 8 {
					t.Errorf("%d of %d requests failed, %d at a time; want more", failed, all, together)
				}
				t.Logf("%+v: %d requests, at most %d at a time", o, all-before, together)
				if n := cached(t, o.CacheDir); o.CacheDir != "" && (n == 0 || n > o.CacheBytes) {
					t.Errorf("%d bytes in a cache of %d", n, o.CacheBytes)
				}
			}
		})
	}
}

// cached returns the bytes of the parts in a cache, by the blocks that they take.
func cached(t *testing.T, dir string) (n int64) {
	t.Helper()
	if dir == "" {
		return 0
	}
	lists, err := filepath.Glob(filepath.Join(dir, "*.parts"))
	if err != nil {
		t.Fatal(err)
	}
	for _, l := range lists {
		text, err := os.ReadFile(l)
		if err != nil {
			t.Fatal(err)
		}
		for line := range strings.Lines(string(text)) {
			var off, bytes int64
			if _, err := fmt.Sscan(line, &off, &bytes); err != nil {
				t.Fatal(err)
			}
			n += bytes
		}
	}
	return n
}

// An interruption ends the waiting for a server at once.
func TestFarShardsEndWithTheContext(t *testing.T) {
	_, dir := farSet(t)
	var hang atomic.Bool
	files := http.FileServer(http.Dir(dir))
	block := make(chan struct{})
	s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if hang.Load() {
			select {
			case <-block:
			case <-r.Context().Done():
			}
			return
		}
		files.ServeHTTP(w, r)
	}))
	defer s.Close()
	defer close(block)
	d, _, err := Open(t.Context(), s.URL+farShardNames, OpenOptions{})
	if err != nil {
		t.Fatal(err)
	}
	hang.Store(true)
	ctx, cancel := context.WithCancelCause(context.Background())
	stop := errors.New("stop")
	time.AfterFunc(50*time.Millisecond, func() { cancel(stop) })
	done := make(chan error, 1)
	go func() {
		_, err := collect(trainLoader(t, d).Epoch(ctx, 1))
		done <- err
	}()
	select {
	case err := <-done:
		if !errors.Is(err, stop) {
			t.Errorf("%v, want %v", err, stop)
		}
	case <-time.After(20 * time.Second):
		t.Fatal("the epoch goes on after its context has ended")
	}
}

// What is wrong with shards on a server is said with what to do, and never taken for a damaged
// image.
func TestFarShardErrors(t *testing.T) {
	_, dir := farSet(t)
	read := func(name string) []byte {
		data, err := os.ReadFile(filepath.Join(dir, name))
		if err != nil {
			t.Fatal(err)
		}
		return data
	}
	files := http.FileServer(http.Dir(dir))
	shard2 := func(h http.HandlerFunc) http.HandlerFunc {
		return func(w http.ResponseWriter, r *http.Request) {
			if strings.HasSuffix(r.URL.Path, "2.tar") {
				h(w, r)
				return
			}
			files.ServeHTTP(w, r)
		}
	}
	for _, test := range []struct {
		name    string
		handler http.HandlerFunc
		query   string
		want    []string
	}{
		{"missing", shard2(http.NotFound), "", []string{"shard-000002.tar", "not there", "404"}},
		{"refused", shard2(func(w http.ResponseWriter, _ *http.Request) {
			w.WriteHeader(403)
			w.Write([]byte("<Error><Code>AccessDenied</Code><Message>Access Denied</Message></Error>"))
		}), "", []string{"shard-000002.tar", "access refused", "AccessDenied", "valid signature"}},
		{"expired", shard2(func(w http.ResponseWriter, _ *http.Request) {
			w.WriteHeader(403)
			w.Write([]byte("<Error><Code>AccessDenied</Code><Message>Request has expired</Message></Error>"))
		}), "?sig=SECRET", []string{"has expired", "new ones"}},
		{"no ranges", func(w http.ResponseWriter, r *http.Request) {
			r.Header.Del("Range")
			files.ServeHTTP(w, r)
		}, "", []string{"range requests", "copied to the disk"}},
		{"cut short", shard2(func(w http.ResponseWriter, r *http.Request) {
			data := read("shard-000002.tar")
			http.ServeContent(w, r, "", time.Time{}, strings.NewReader(string(data[:len(data)-4096])))
		}), "", []string{"cut short", "copied again", "vgg shard --reindex"}},
	} {
		t.Run(test.name, func(t *testing.T) {
			s := httptest.NewServer(test.handler)
			defer s.Close()
			_, _, err := Open(t.Context(), s.URL+farShardNames+test.query, OpenOptions{})
			if err == nil {
				t.Fatal("no error")
			}
			t.Log(err)
			for _, w := range append(test.want, s.URL) {
				if !strings.Contains(err.Error(), w) {
					t.Errorf("%v, want %q in it", err, w)
				}
			}
			if strings.Contains(err.Error(), "SECRET") {
				t.Errorf("%v has the signature", err)
			}
		})
	}
}

// An index that is wrong about a size makes nothing be asked for that no image has, also where
// images are read ahead.
func TestFarShardWithAnIndexOfHugeImages(t *testing.T) {
	_, dir := farSet(t)
	d, _, err := Open(t.Context(), served(t, &vggtest.Faulty{Handler: http.FileServer(http.Dir(dir))})+farShardNames, OpenOptions{})
	if err != nil {
		t.Fatal(err)
	}
	s, name := d.fsys.(*shardFS), d.Samples[0].Name
	e := s.entries[name]
	e.size = preprocess.MaxFileBytes + 1
	s.entries[name] = e
	_, ahead := s.far.fetch(t.Context(), s, name)
	_, read := s.ReadFile(name)
	for _, err := range []error{ahead, read} {
		if !errors.Is(err, preprocess.ErrFileTooLarge) || !strings.Contains(err.Error(), name) {
			t.Errorf("%v, want that %s is too large", err, name)
		}
	}
}

// The host of an address may be in brackets; its path may not be a pattern.
func TestFarAddressesWithBrackets(t *testing.T) {
	f, err := farFiles(t.Context(), "http://[::1]:8099/set/train-{000000..000001}.tar::http://[fe80::1]/val-000000.tar?sig=[x", RemoteOptions{})
	if err != nil {
		t.Fatal(err)
	}
	if got, want := fmt.Sprint(f.Names()), "[[::1]:8099/set/train-000000.tar [::1]:8099/set/train-000001.tar [fe80::1]/val-000000.tar]"; got != want {
		t.Errorf("%s, want %s", got, want)
	}
	for _, a := range []string{"http://[::1]/train-[0-9].tar", "http://host/train-*.tar", "s3://bucket/[ab]/x.tar", "http://*/x.tar"} {
		if _, err := farFiles(t.Context(), a, RemoteOptions{}); err == nil || !strings.Contains(err.Error(), "a pattern with * or [") {
			t.Errorf("%s: %v, want that it is a pattern", a, err)
		}
	}
}

// A shard that changes during a run ends the run; damaged bytes are the image's own fault.
func TestFarShardsThatChange(t *testing.T) {
	d, dir := farSet(t)
	var tag atomic.Value
	tag.Store(`"one"`)
	var flip atomic.Bool
	s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		data, err := os.ReadFile(filepath.Join(dir, filepath.Base(r.URL.Path)))
		if err != nil {
			http.NotFound(w, r)
			return
		}
		if flip.Load() {
			for i := 600; i < len(data); i += 700 {
				data[i] ^= 1
			}
		}
		w.Header().Set("ETag", tag.Load().(string))
		http.ServeContent(w, r, "", time.Time{}, strings.NewReader(string(data)))
	}))
	defer s.Close()
	got, _, err := Open(t.Context(), s.URL+farShardNames, OpenOptions{})
	if err != nil {
		t.Fatal(err)
	}
	flip.Store(true)
	batches, err := collect(trainLoader(t, got).Epoch(t.Context(), 1))
	if err != nil || len(batches.bad) == 0 || len(batches.bad) == d.Len() {
		t.Errorf("%d bad images, %v", len(batches.bad), err)
	}
	if _, err := got.Read(0); err == nil || !strings.Contains(err.Error(), "checksum") {
		t.Errorf("%v, want a word of the checksum", err)
	}
	flip.Store(false)
	tag.Store(`"two"`)
	_, err = collect(trainLoader(t, got).Epoch(t.Context(), 1))
	if !remote.Failed(err) || remote.Temporary(err) || !strings.Contains(err.Error(), "has changed since the run began") {
		t.Errorf("%v, want that the shard has changed", err)
	}
}

// Parts are told by folders and names, and read as such.
func TestFarShardsHaveParts(t *testing.T) {
	d, _ := pictures(t, 30)
	d.sortSamples()
	root := t.TempDir()
	for _, part := range []string{"train", "val"} {
		if _, err := WriteShards(context.Background(), d, filepath.Join(root, part), ShardOptions{}); err != nil {
			t.Fatal(err)
		}
	}
	s := httptest.NewServer(http.FileServer(http.Dir(root)))
	defer s.Close()
	train, val, err := Open(t.Context(), s.URL+"/{train,val}/shard-000000.tar", OpenOptions{})
	if err != nil || val == nil {
		t.Fatal(val, err)
	}
	both, err := Join("both", train, val)
	if err != nil {
		t.Fatal(err)
	}
	want, err := Join("both", d, d)
	if err != nil {
		t.Fatal(err)
	}
	if got, want := mustCollect(t, trainLoader(t, both), 1), mustCollect(t, trainLoader(t, want), 1); !got.equal(want) {
		t.Error("other bits than of the files", got.bad, want.bad, got.sizes, want.sizes)
	}
}

// Shards without an index are read from end to end first.
func TestFarShardsWithoutAnIndex(t *testing.T) {
	d, dir := farSet(t)
	indices, err := filepath.Glob(filepath.Join(dir, "*.index"))
	if err != nil || len(indices) == 0 {
		t.Fatal(err)
	}
	for _, f := range indices {
		os.Remove(f)
	}
	f := &vggtest.Faulty{Handler: http.FileServer(http.Dir(dir)), Errors: 3}
	var remarks []string
	got, _, err := Open(t.Context(), served(t, f)+farShardNames, OpenOptions{Remote: RemoteOptions{OnRemark: func(s string) { remarks = append(remarks, s) }}})
	if err != nil {
		t.Fatal(err)
	}
	if !mustCollect(t, trainLoader(t, got), 1).equal(mustCollect(t, trainLoader(t, d), 1)) {
		t.Error("other bits than of the files")
	}
	if len(remarks) != 1 || !strings.Contains(remarks[0], "no index") {
		t.Errorf("remarks %q", remarks)
	}
}
