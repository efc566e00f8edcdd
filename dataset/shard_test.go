package dataset

import (
	"archive/tar"
	"bytes"
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"reflect"
	"slices"
	"strings"
	"testing"
	"testing/fstest"

	"pgregory.net/rapid"
)

// sharded writes d as shards and opens them.
func sharded(t *testing.T, d *Dataset, o ShardOptions) (*Dataset, string) {
	t.Helper()
	dir := filepath.Join(t.TempDir(), "shards")
	if _, err := WriteShards(context.Background(), d, dir, o); err != nil {
		t.Fatal(err)
	}
	got, val, err := Open(t.Context(), dir, OpenOptions{})
	if err != nil {
		t.Fatal(err)
	}
	if val != nil {
		t.Errorf("a validation part: %s", val.Name)
	}
	return got, dir
}

func TestShardsAreTheSameDataset(t *testing.T) {
	d, fsys := pictures(t, 23, 5)
	// Names that need care: dots, a dot at the beginning of the extension,
	// per cent signs, other alphabets, more than a tar header's 100 bytes.
	for i, name := range []string{"a/1.2.3.png", "a/%2E.png", "a/%252E.x.png", "a/Wörter und Bilder.png", "b.c/" + strings.Repeat("long", 60) + ".png"} {
		fsys.FS.(fstest.MapFS)[name] = &fstest.MapFile{Data: picture(11, 12, uint64(100+i))}
		d.Samples = append(d.Samples, Sample{Name: name, Label: i % 3})
	}
	d.sortSamples()
	want := mustCollect(t, trainLoader(t, d), 2)
	wantPrint, err := Fingerprint(context.Background(), d)
	if err != nil {
		t.Fatal(err)
	}
	for _, o := range []ShardOptions{{Size: 1 << 30}, {Size: 1}, {Size: 12000, Shuffle: true, Seed: 3}, {Size: 1 << 20, Shuffle: true, Seed: 4}} {
		for _, indexed := range []bool{true, false} {
			got, dir := sharded(t, d, o)
			if !indexed {
				indices, err := filepath.Glob(filepath.Join(dir, "*"+indexExt))
				if err != nil || len(indices) == 0 {
					t.Fatal("no index files", err)
				}
				for _, f := range indices {
					os.Remove(f)
				}
				if got, _, err = Open(t.Context(), dir, OpenOptions{}); err != nil {
					t.Fatal(err)
				}
			}
			if !slices.Equal(got.Classes, d.Classes) || !reflect.DeepEqual(got.Samples, d.Samples) {
				t.Fatalf("%+v, indexed %v: classes %v, samples %v", o, indexed, got.Classes, got.Samples)
			}
			if !mustCollect(t, trainLoader(t, got), 2).equal(want) {
				t.Errorf("%+v, indexed %v: another epoch than of the files", o, indexed)
			}
			if f, err := Fingerprint(context.Background(), got); err != nil || f != wantPrint {
				t.Errorf("%+v, indexed %v: another fingerprint (%v)", o, indexed, err)
			}
			shards, _ := filepath.Glob(filepath.Join(dir, "shard-*"+shardExt))
			if most := map[int64]int{1: 28, 1 << 30: 1, 1 << 20: 1}[o.Size]; most != 0 && len(shards) != most {
				t.Errorf("%+v: %d shards, want %d", o, len(shards), most)
			}
			if o.Size == 12000 {
				if len(shards) < 3 {
					t.Errorf("%+v: %d shards, want more", o, len(shards))
				}
				for _, s := range shards {
					if info, err := os.Stat(s); err != nil || info.Size() > o.Size {
						t.Errorf("%+v: %s has %d bytes", o, s, info.Size())
					}
				}
			}
		}
	}
}

func TestShardsAreReproducible(t *testing.T) {
	d, _ := pictures(t, 9)
	read := func(o ShardOptions) []byte {
		_, dir := sharded(t, d, o)
		data, err := os.ReadFile(filepath.Join(dir, "shard-000000.tar"))
		if err != nil {
			t.Fatal(err)
		}
		return data
	}
	plain, shuffled := read(ShardOptions{Size: 1 << 20}), read(ShardOptions{Size: 1 << 20, Shuffle: true, Seed: 1})
	if !bytes.Equal(plain, read(ShardOptions{Size: 1 << 20})) || !bytes.Equal(shuffled, read(ShardOptions{Size: 1 << 20, Shuffle: true, Seed: 1})) {
		t.Error("the same images give other shards")
	}
	if bytes.Equal(plain, shuffled) || bytes.Equal(shuffled, read(ShardOptions{Size: 1 << 20, Shuffle: true, Seed: 2})) {
		t.Error("shuffling, or its seed, changes nothing")
	}
}

// Other programs can read the shards: tar files with members of the same key in turn.
func TestShardsFollowTheConvention(t *testing.T) {
	d, _ := pictures(t, 5)
	d.Titles = []string{"ant", "bee", "cat"}
	_, dir := sharded(t, d, ShardOptions{Size: 1 << 20})
	f, err := os.Open(filepath.Join(dir, "shard-000000.tar"))
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	var members []string
	r := tar.NewReader(f)
	for h, err := r.Next(); err == nil; h, err = r.Next() {
		members = append(members, h.Name)
	}
	if want := []string{"a/000.png", "a/000.cls", "b/001.png", "b/001.cls", "c/002.png", "c/002.cls", "a/003.png", "a/003.cls", "b/004.png", "b/004.cls"}; !slices.Equal(members, want) {
		t.Errorf("members %v, want %v", members, want)
	}
	for name, want := range map[string]string{classesTxt: "a\nb\nc\n", synsetFiles[0]: "a ant\nb bee\nc cat\n"} {
		if got, err := os.ReadFile(filepath.Join(dir, name)); err != nil || string(got) != want {
			t.Errorf("%s: %q, %v, want %q", name, got, err, want)
		}
	}
}

func TestShardingInterrupted(t *testing.T) {
	d, _ := pictures(t, 40)
	stop := errors.New("enough")
	for _, after := range []int{1, 20, 39} {
		dir := filepath.Join(t.TempDir(), "out")
		ctx, cancel := context.WithCancelCause(context.Background())
		seen := false
		_, err := WriteShards(ctx, d, dir, ShardOptions{Size: 9000, Progress: func(done, total int64) {
			if done != int64(after) {
				return
			}
			if _, _, err := Open(t.Context(), dir, OpenOptions{}); err != nil && strings.Contains(err.Error(), "not complete") {
				seen = true
			}
			cancel(stop)
		}})
		if !errors.Is(err, stop) {
			t.Errorf("after %d: error %v", after, err)
		}
		if after > 10 && !seen {
			t.Errorf("after %d: the unfinished shards can be opened", after)
		}
		if _, err := os.Stat(dir); !errors.Is(err, fs.ErrNotExist) {
			t.Errorf("after %d: something is left behind: %v", after, err)
		}
		cancel(nil)
	}
}

func TestWriteShardsRefuses(t *testing.T) {
	d, fsys := pictures(t, 4)
	full := folder(t, "something")
	for _, c := range []struct {
		want string
		d    *Dataset
		dir  string
		o    ShardOptions
	}{
		{"not empty", d, full, ShardOptions{Size: 1}},
		{"size -1 bytes", d, "", ShardOptions{Size: -1}},
		{"differ by their extension alone", d.subset("twins", []Sample{{Name: "a/1.jpg"}, {Name: "a/1.png"}}), "", ShardOptions{Size: 1}},
		{"line break", d.subset("lines", []Sample{{Name: "a/1\n.jpg"}}), "", ShardOptions{Size: 1}},
		{"none of its images can be read", d.subset("gone", []Sample{{Name: "a/gone.jpg"}}), "", ShardOptions{Size: 1}},
		{"not a directory", d, filepath.Join(full, "something"), ShardOptions{Size: 1}},
	} {
		if c.dir == "" {
			c.dir = filepath.Join(t.TempDir(), "out")
		}
		if _, err := WriteShards(context.Background(), c.d, c.dir, c.o); err == nil || !strings.Contains(err.Error(), c.want) {
			t.Errorf("error %v, want it to say %q", err, c.want)
		}
	}
	if _, err := os.Stat(filepath.Join(full, "something")); err != nil {
		t.Error("what was there is gone:", err)
	}
	delete(fsys.FS.(fstest.MapFS), d.Samples[1].Name)
	r, err := WriteShards(context.Background(), d, filepath.Join(t.TempDir(), "out"), ShardOptions{Size: 1 << 20})
	if err != nil || r.Images != 3 || len(r.Bad) != 1 || r.Bad[0].Name != d.Samples[1].Name {
		t.Errorf("report %+v, %v, want three images and the missing one named", r, err)
	}
}

// shard returns a tar file of the members: name, content, name, content …
func shard(members ...string) []byte {
	var b bytes.Buffer
	w := tar.NewWriter(&b)
	for m := range slices.Chunk(members, 2) {
		if err := errors.Join(w.WriteHeader(&tar.Header{Typeflag: tar.TypeReg, Name: m[0], Size: int64(len(m[1]))}), second2(w.Write([]byte(m[1])))); err != nil {
			panic(err)
		}
	}
	if err := w.Close(); err != nil {
		panic(err)
	}
	return b.Bytes()
}

func second2(_ int, err error) error { return err }

func TestOpenForeignShards(t *testing.T) {
	for _, c := range []struct {
		name       string
		files      map[string][]byte
		classes    []string
		train, val []string
	}{
		{
			"numbers", map[string][]byte{
				"x-1.tar": shard("./0.jpg", "A", "./0.cls", "2\n", "1.seg.PNG", "B", "1.cls", "0"),
				"x-2.tar": shard("d/2.cls", "1", "d/2.txt", "a caption", "d/2.jpg", "C"),
			},
			[]string{"0", "1", "2"},
			[]string{"1.seg.PNG=0", "d/2.jpg=1", "0.jpg=2"}, nil,
		},
		{
			"names, in JSON and not", map[string][]byte{
				"x.tar": shard("0.jpg", "A", "0.json", `{"label":"dog","score":0.25}`, "1.jpg", "B", "1.cls", "cat"),
			},
			[]string{"cat", "dog"}, []string{"1.jpg=cat", "0.jpg=dog"}, nil,
		},
		{
			"parts by name, numbers in JSON", map[string][]byte{
				"imagenet-train-000000.tar": shard("0.jpg", "A", "0.json", `{"cls":1}`, "1.jpg", "B", "1.json", `{"label":0}`),
				"imagenet-val-000000.tar":   shard("0.jpg", "C", "0.cls", "0", "1.jpg", "D", "1.cls", "1"),
			},
			[]string{"0", "1"}, []string{"1.jpg=0", "0.jpg=1"}, []string{"0.jpg=0", "1.jpg=1"},
		},
		{
			"parts by folder, classes listed", map[string][]byte{
				"train/0.tar": shard("0.jpg", "A", "0.cls", "0"), "train/classes.txt": []byte("red deer\r\nelk\r\n"),
				"test/0.tar": shard("9.jpg", "A", "9.cls", "elk"), "test/classes.txt": []byte("red deer\nelk"),
			},
			[]string{"red deer", "elk"}, []string{"0.jpg=red deer"}, []string{"9.jpg=elk"},
		},
	} {
		t.Run(c.name, func(t *testing.T) {
			dir := t.TempDir()
			for name, data := range c.files {
				p := filepath.Join(dir, filepath.FromSlash(name))
				if err := errors.Join(os.MkdirAll(filepath.Dir(p), 0o777), os.WriteFile(p, data, 0o666)); err != nil {
					t.Fatal(err)
				}
			}
			train, val, err := Open(t.Context(), dir, OpenOptions{})
			if err != nil {
				t.Fatal(err)
			}
			if !slices.Equal(train.Classes, c.classes) || !slices.Equal(names(train), c.train) || !slices.Equal(names(val), c.val) {
				t.Errorf("classes %v, train %v, val %v", train.Classes, names(train), names(val))
			}
			if data, err := train.Read(0); err != nil || len(data) != 1 {
				t.Errorf("Read: %q, %v", data, err)
			}
		})
	}
}

func TestOpenShardsRefuses(t *testing.T) {
	good := shard("0.jpg", "A", "0.cls", "0")
	index := func(lines string) string {
		return fmt.Sprintf("%s\t%d\t%x\n%s", indexVersion, len(good), sha256.Sum256(good), lines)
	}
	for _, c := range []struct {
		want  string
		files map[string]string
	}{
		{"no images in", map[string]string{"a.tar": string(shard("0.txt", "A"))}},
		{"0.jpg: no class, want a member 0.cls", map[string]string{"a.tar": string(shard("0.jpg", "A", "1.jpg", "B", "1.cls", "0"))}},
		{"a.tar: tar file: ", map[string]string{"a.tar": strings.Repeat("not a tar file ", 100)}},
		{"tar file: unexpected EOF", map[string]string{"a.tar": string(shard("0.jpg", strings.Repeat("A", 3000), "0.cls", "0")[:1500])}},
		{"0.cls: label -1", map[string]string{"a.tar": string(shard("0.jpg", "A", "0.cls", "-1"))}},
		{"0.json: JSON: ", map[string]string{"a.tar": string(shard("0.jpg", "A", "0.json", "{"))}},
		{"0.jpg is in the shards twice", map[string]string{"a.tar": string(good), "b.tar": string(good)}},
		{"some images have class names and some numbers", map[string]string{"a.tar": string(shard("0.jpg", "A", "0.cls", "0", "1.jpg", "B", "1.cls", "dog"))}},
		{"label 0, want 0 to -1", map[string]string{"a.tar": string(good), "classes.txt": "\n"}},
		{`class "dog" is not in classes.txt`, map[string]string{"a.tar": string(shard("0.jpg", "A", "0.cls", "dog")), "classes.txt": "cat"}},
		{"label 1048576", map[string]string{"a.tar": string(shard("0.jpg", "A", "0.cls", "1048576"))}},
		{"not complete", map[string]string{"a.tar": string(good), "INCOMPLETE": ""}},
		{"a.tar.index: line 1: ", map[string]string{"a.tar": string(good), "a.tar.index": "something else"}},
		{"a.tar.index: line 1: ", map[string]string{"a.tar": string(good), "a.tar.index": fmt.Sprintf("%s\t%d\n", indexVersion, len(good))}},
		{"a.tar.index: line 2: checksum", map[string]string{"a.tar": string(good), "a.tar.index": index("512\t1\t0\t0\t0.jpg\n")}},
		{"a.tar.index: line 3: ", map[string]string{"a.tar": string(good), "a.tar.index": index("512\t1\t0123abcd\t0\t0.jpg\nword\n")}},
		{"a.tar.index: line 2: bytes 0 to 1", map[string]string{"a.tar": string(good), "a.tar.index": index("0\t1\t0123abcd\t0\t0.jpg\n")}},
		{"a.tar.index: line 2: \"../0.jpg\"", map[string]string{"a.tar": string(good), "a.tar.index": index("512\t1\t0123abcd\t0\t../0.jpg\n")}},
	} {
		dir := t.TempDir()
		for name, data := range c.files {
			if err := os.WriteFile(filepath.Join(dir, name), []byte(data), 0o666); err != nil {
				t.Fatal(err)
			}
		}
		if _, _, err := Open(t.Context(), dir, OpenOptions{}); err == nil || !strings.Contains(err.Error(), c.want) || !strings.HasPrefix(err.Error(), "dataset: "+dir) {
			t.Errorf("error %v, want it to say %q", err, c.want)
		}
	}
}

// After a larger shard took a shard's place, its headers are read in the place of the index. A
// smaller one is an error, as it may be the same shard cut short. One of the same size is found
// by the images that aren't where the index says, or have other checksums.
func TestStaleShardIndex(t *testing.T) {
	small, large := shard("0.jpg", "A", "0.cls", "0"), shard("0.jpg", "A", "0.cls", "0", "1.jpg", "B", "1.cls", "0")
	file := filepath.Join(t.TempDir(), "a.tar")
	open := func(shard, index []byte) (*Dataset, error) {
		if err := errors.Join(os.WriteFile(file, shard, 0o666), os.WriteFile(file+indexExt, index, 0o666)); err != nil {
			t.Fatal(err)
		}
		d, _, err := Open(t.Context(), filepath.Dir(file), OpenOptions{})
		return d, err
	}
	index := func(shard []byte, lines string) []byte {
		return fmt.Appendf(nil, "%s\t%d\t%x\n%s", indexVersion, len(shard), sha256.Sum256(shard), lines)
	}
	sum := imageSum([]byte("A"))
	good := fmt.Sprintf("512\t1\t%08x\t0\t0.jpg\n", sum)
	got, err := open(small, index(small, good))
	if err != nil || !slices.Equal(names(got), []string{"0.jpg=0"}) {
		t.Fatalf("its own index: %v, %v", got, err)
	}
	if data, err := got.Read(0); err != nil || string(data) != "A" {
		t.Errorf("its own index: %q, %v", data, err)
	}
	if got, err = open(large, index(small, good)); err != nil || !slices.Equal(names(got), []string{"0.jpg=0", "1.jpg=0"}) {
		t.Errorf("a larger shard: %v, %v", got, err)
	}
	if _, err = open(small, index(large, good)); err == nil || !strings.Contains(err.Error(), "want the shard copied again, or vgg shard --reindex") {
		t.Errorf("a smaller shard: error %v, want it to say what to do", err)
	}
	for want, lines := range map[string]string{
		"not where the index says": fmt.Sprintf("1024\t7\t%08x\t0\tx.jpg\n", sum),
		"vgg shard --reindex":      fmt.Sprintf("512\t1\t%08x\t0\t0.jpg\n", sum+1),
	} {
		if got, err = open(small, index(small, lines)); err != nil {
			t.Fatal(err)
		}
		if _, err := got.Read(0); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("another shard of the same size: error %v, want it to say %q", err, want)
		}
	}
}

func TestShardKeysSurvive(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		name := rapid.StringMatching(`([a-z.%25E]{1,5}/)?[a-z.%25E]{1,12}\.jpe?g`).Draw(t, "name")
		escaped := escapeKey(name)
		if got := unescapeKey(escaped); got != name {
			t.Fatalf("%q comes back as %q", name, got)
		}
		if _, ext := shardKey(escaped); ext != "jpg" && ext != "jpeg" {
			t.Fatalf("%q: the key ends before %q", escaped, ext)
		}
	})
}

func FuzzShardIndex(f *testing.F) {
	f.Add([]byte(indexVersion1+"\t4096\n512\t100\t3\ta/b.jpg\n1536\t0\t0\tc.png\n"), int64(4096))
	f.Add([]byte(indexVersion+"\t4096\t"+strings.Repeat("0", 64)+"\n512\t100\t0123abcd\t3\ta/b.jpg\n1536\t0\t00000000\t\"dog\"\tc.png\n1600\t0\t00000000\t[1,\"dog\"]\td.png\n"), int64(4096))
	f.Add([]byte(indexVersion+"\t-1\n"), int64(-1))
	f.Add([]byte(indexVersion+"\t4096\t"+strings.Repeat("0", 64)+"\n512\t100\t0123abcd\t\"\"\ta.jpg\n"), int64(4096))
	f.Add([]byte(indexVersion+"\t4096\t"+strings.Repeat("0", 64)+"\n512\t100\t0123abcd\t[3,\"\"]\ta.jpg\n"), int64(4096))
	f.Fuzz(func(t *testing.T, data []byte, size int64) {
		samples, current, err := parseIndex(data, size)
		if err != nil || !current {
			if samples != nil {
				t.Fatal("samples of an index that isn't one")
			}
			return
		}
		for _, s := range samples {
			if s.offset < tarBlock || s.size < 0 || s.offset+s.size > size || !s.classified() {
				t.Fatalf("%+v in a shard of %d bytes", s, size)
			}
		}
		for i := range samples {
			samples[i].summed = true // the first version has no sums, and this one always
		}
		again, _, err := parseIndex(formatIndex(samples, size, make([]byte, 32)), size)
		if err != nil || !reflect.DeepEqual(again, samples) {
			t.Fatalf("%v comes back as %v, %v", samples, again, err)
		}
	})
}

func FuzzScanShard(f *testing.F) {
	f.Add(shard("0.jpg", "A", "0.cls", "0"))
	f.Add(shard("a/0.jpg", "A", "a/0.json", `{"label":"dog"}`, "1.cls", "2", "1.png", "B"))
	f.Fuzz(func(t *testing.T, data []byte) {
		samples, err := scanShard(&search{ctx: t.Context()}, bytes.NewReader(data))
		if err != nil {
			return
		}
		for _, s := range samples {
			if s.offset < 0 || s.size < 0 || s.label < 0 && s.class == "" || s.name == "" {
				t.Fatalf("%+v of %d bytes", s, len(data))
			}
		}
	})
}
