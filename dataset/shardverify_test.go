package dataset

import (
	"bytes"
	"errors"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/verydeep/vgg/internal/vggtest"
	"github.com/verydeep/vgg/internal/vggtest/s3"
)

// TestVerifyShards: shards are compared with their indices, on disk, on a server and in an object
// store; each that is cut short, replaced by others of the same or of another size, or without an
// index is named, and no other.
func TestVerifyShards(t *testing.T) {
	d, dir := farSet(t)
	file := func(i string) string { return filepath.Join(dir, "shard-00000"+i+".tar") }
	places := map[string]func() string{
		"folder":  func() string { return dir },
		"pattern": func() string { return dir + farShardNames },
		"http": func() string {
			return served(t, &vggtest.Faulty{Handler: http.FileServer(http.Dir(dir))}) + farShardNames
		},
		"s3": func() string {
			s3.Use(t, served(t, &vggtest.Faulty{Handler: s3.Bucket(t, "photos", "set", dir)}))
			return "s3://photos/set" + farShardNames
		},
	}
	verify := func(t *testing.T, check func(t *testing.T, r ShardReport, err error)) {
		for name, place := range places {
			t.Run(name, func(t *testing.T) {
				r, err := VerifyShards(t.Context(), place(), RemoteOptions{CacheDir: t.TempDir(), CacheBytes: 1 << 20}, nil)
				check(t, r, err)
			})
		}
	}
	verify(t, func(t *testing.T, r ShardReport, err error) {
		if err != nil || r.Shards != 4 || r.Images != d.Len() {
			t.Errorf("%+v, %v", r, err)
		}
	})
	whole := map[string][]byte{}
	for _, i := range []string{"0", "1", "2", "3"} {
		data, err := os.ReadFile(file(i))
		if err != nil {
			t.Fatal(err)
		}
		whole[i] = data
	}
	changed := bytes.Clone(whole["1"])
	changed[700] ^= 1
	err := errors.Join(
		os.WriteFile(file("0"), whole["0"][:len(whole["0"])-512], 0o666),
		os.WriteFile(file("1"), changed, 0o666),
		os.WriteFile(file("2"), append(bytes.Clone(whole["2"]), make([]byte, 512)...), 0o666),
		os.Remove(file("3")+indexExt))
	if err != nil {
		t.Fatal(err)
	}
	verify(t, func(t *testing.T, r ShardReport, err error) {
		for _, want := range []string{
			"4 of 4 shards aren't what their index says",
			"shard-000000.tar: ", "the shard is cut short",
			"shard-000001.tar: its SHA-256 is ",
			"shard-000002.tar: ", "by its index: it was replaced",
			"shard-000003.tar: no index beside it",
		} {
			if err == nil || !strings.Contains(err.Error(), want) {
				t.Errorf("%v, want %q", err, want)
			}
		}
	})
	if _, err := IndexShards(t.Context(), dir, nil); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(file("0"), whole["0"], 0o666); err != nil { // the index is the shorter one's
		t.Fatal(err)
	}
	verify(t, func(t *testing.T, r ShardReport, err error) {
		if err == nil || !strings.Contains(err.Error(), "1 of 4 shards") || !strings.Contains(err.Error(), "shard-000000.tar") || r.Shards != 3 {
			t.Errorf("%+v, %v", r, err)
		}
	})
	if _, err := VerifyShards(t.Context(), filepath.Join(dir, "none.tar"), RemoteOptions{}, nil); err == nil || !strings.Contains(err.Error(), "no such folder or file") {
		t.Errorf("a shard that isn't there: %v", err)
	}
}
