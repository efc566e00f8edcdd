package dataset

import (
	"archive/tar"
	"archive/zip"
	"bytes"
	"compress/gzip"
	"context"
	"encoding/base64"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"testing/fstest"
	"time"

	"github.com/klauspost/compress/zstd"
)

// petFiles are class folders with what a Mac leaves among them.
var petFiles = []string{
	"pets/", "", "pets/._.DS_Store", "x", "pets/.DS_Store", "x", "pets/cat/", "", "pets/cat/a.png", string(picture(9, 8, 1)), "pets/cat/._a.png", "x",
	"pets/dog/b.png", string(picture(8, 9, 2)), "pets/dog/Thumbs.db", "x", "pets/dog/@eaDir/b.png/SYNOPHOTO_THUMB_M.jpg", "x", "__MACOSX/pets/cat/._a.png", "x",
}

// wantPets checks that a collection is that of petFiles, with its pixels.
func wantPets(t *testing.T, d *Dataset) {
	t.Helper()
	var got []string
	for i, s := range d.Samples {
		data, err := d.Read(i)
		if err != nil {
			t.Fatal(err)
		}
		w, h, _, err := d.stored(i)
		if err != nil {
			t.Fatal(err)
		}
		got = append(got, fmt.Sprintf("%s=%s %d×%d %v", strings.TrimPrefix(s.Name, "pets/"), d.Classes[s.Label], w, h, bytes.Equal(data, picture(w, h, uint64(i+1)))))
	}
	if want := []string{"cat/a.png=cat 9×8 true", "dog/b.png=dog 8×9 true"}; !slices.Equal(got, want) {
		t.Errorf("samples %v, want %v", got, want)
	}
}

// tarOf is a tar file; a name that ends in a slash is a folder.
func tarOf(t testing.TB, files ...string) []byte {
	t.Helper()
	var b bytes.Buffer
	w := tar.NewWriter(&b)
	for f := range slices.Chunk(files, 2) {
		h := &tar.Header{Name: f[0], Size: int64(len(f[1])), Typeflag: tar.TypeReg, Mode: 0o644, ModTime: time.Unix(1e9, 0)}
		if strings.HasSuffix(f[0], "/") {
			h.Typeflag = tar.TypeDir
		}
		if target, ok := strings.CutPrefix(f[1], "link:"); ok {
			h.Typeflag, h.Linkname, h.Size = tar.TypeLink, target, 0
			f[1] = ""
		}
		if err := w.WriteHeader(h); err != nil {
			t.Fatal(err)
		}
		if _, err := io.WriteString(w, f[1]); err != nil {
			t.Fatal(err)
		}
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	return b.Bytes()
}

// zipOf is a ZIP file; change edits the header of each entry.
func zipOf(t testing.TB, change func(*zip.FileHeader), files ...string) []byte {
	t.Helper()
	var b bytes.Buffer
	w := zip.NewWriter(&b)
	for f := range slices.Chunk(files, 2) {
		h := &zip.FileHeader{Name: f[0], Method: zip.Deflate}
		if change != nil {
			change(h)
		}
		e, err := w.CreateHeader(h)
		if err == nil && f[1] != "" {
			_, err = io.WriteString(e, f[1])
		}
		if err != nil {
			t.Fatal(err)
		}
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	return b.Bytes()
}

func gzipped(t testing.TB, data []byte) []byte {
	t.Helper()
	var b bytes.Buffer
	w := gzip.NewWriter(&b)
	if _, err := w.Write(data); err != nil {
		t.Fatal(err)
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	return b.Bytes()
}

func zstandard(t testing.TB, data []byte) []byte {
	t.Helper()
	w, err := zstd.NewWriter(nil)
	if err != nil {
		t.Fatal(err)
	}
	return w.EncodeAll(data, nil)
}

// Class folders are read from an archive of any kind as from a folder.
func TestOpenArchives(t *testing.T) {
	plain := tarOf(t, petFiles...)
	for name, data := range map[string][]byte{
		"mac.zip":       zipOf(t, nil, petFiles...),
		"stored.zip":    zipOf(t, func(h *zip.FileHeader) { h.Method = zip.Store }, petFiles...),
		"p.tar":         plain,
		"p.tar.gz":      gzipped(t, plain),
		"p.TGZ":         gzipped(t, plain),
		"p.tar.zst":     zstandard(t, plain),
		"wrong.tar":     gzipped(t, plain), // told by its content
		"nested.tar":    tarOf(t, "cat.tar", string(tarOf(t, "a.png", petFiles[9])), "dog.tar", string(tarOf(t, "b.png", petFiles[13]))),
		"climb.tar":     tarOf(t, "../../cat/a.png", petFiles[9], "/dog/b.png", petFiles[13]),
		"climb.zip":     zipOf(t, nil, "../../cat/a.png", petFiles[9], "/dog/b.png", petFiles[13]),
		"slashes.zip":   zipOf(t, nil, `cat\a.png`, petFiles[9], `dog\b.png`, petFiles[13]),
		"later.tar":     tarOf(t, "cat/a.png", "old", "dog/b.png", petFiles[13], "cat/a.png", petFiles[9]),
		"linked.tar":    tarOf(t, "dog/b.png", petFiles[13], "cat/a.png", "link:hidden.png", "hidden.png", petFiles[9]),
		"bzip2.tar.bz2": unbase64(t, petsBZ2),
	} {
		file := filepath.Join(layout(t, name, string(data)), name)
		d, val, err := Open(t.Context(), file, OpenOptions{})
		if err != nil || val != nil {
			t.Errorf("%s: %v, %v", name, val, err)
			continue
		}
		t.Run(name, func(t *testing.T) { wantPets(t, d) })
		if held := strings.Contains(name, "gz") || strings.Contains(name, "GZ") || strings.Contains(name, "zst") || strings.Contains(name, "bz2") || name == "wrong.tar"; held != slices.ContainsFunc(d.Source().Notes, func(n string) bool { return strings.Contains(n, "held unpacked in memory") }) {
			t.Errorf("%s: notes %v", name, d.Source().Notes)
		}
		// So they are in a folder with nothing else.
		if d, _, err = Open(t.Context(), filepath.Dir(file), OpenOptions{}); err != nil {
			t.Errorf("%s in a folder: %v", name, err)
		}
	}
	// One archive a part.
	dir := layout(t, "train.tar.gz", string(gzipped(t, plain)), "test.zip", string(zipOf(t, nil, petFiles...)))
	train, val, err := Open(t.Context(), dir, OpenOptions{})
	if err != nil || val == nil {
		t.Fatal(err)
	}
	wantPets(t, train)
	wantPets(t, val)
}

// What can't be read in an archive is said, with what to do.
func TestArchiveErrors(t *testing.T) {
	plain := tarOf(t, petFiles...)
	for _, c := range []struct{ name, data, want string }{
		{"locked.zip", string(zipOf(t, func(h *zip.FileHeader) { h.Flags |= 1 }, petFiles...)), "2 entries are encrypted (pets/cat/a.png, pets/dog/b.png), want it unpacked: unzip it with its password first"},
		{"deflate64.zip", string(method(t, 9)), "1 entries are compressed in a way that can't be read here: cat/a.png (Deflate64), want it unpacked first"},
		{"odd.zip", string(method(t, 77)), "cat/a.png (method 77)"},
		{"twice.zip", string(zipOf(t, nil, "cat/a.png", "x", "./cat/a.png", "y")), "cat/a.png is in the archive twice"},
		{"both.zip", string(zipOf(t, nil, "cat", "x", "cat/a.png", "y")), "cat is a file and a folder"},
		{"cut.zip", string(zipOf(t, nil, petFiles...)[:300]), "it is cut off, one part of several, or no ZIP file"},
		{"cut.tar", string(plain[:len(plain)-2000]), ""},
		{"cut.tar.gz", string(gzipped(t, plain)[:200]), "gzip: unexpected EOF"},
		{"p.tar.xz", "\xfd7zXZ\x00rest", "compressed by xz, want it unpacked: mkdir p && tar -xJf p.tar.xz -C p"},
		{"p.tar.lz4", "\x04\x22\x4d\x18rest", "mkdir p && lz4 -dc p.tar.lz4 | tar -x -C p"},
		{"p.rar", "Rar!", "an archive of a kind that can't be read here"},
		{"p.7z", "7z", "an archive of a kind that can't be read here"},
		{"large.tar", string(claim(tarOf(t, "cat/a.png", "x", "dog/b.png", "y"), 39<<30)), ""},
	} {
		file := filepath.Join(layout(t, c.name, c.data), c.name)
		_, _, err := Open(t.Context(), file, OpenOptions{})
		if err == nil || !strings.Contains(err.Error(), c.want) || !strings.HasPrefix(err.Error(), "dataset: "+file) {
			t.Errorf("%s: error %v, want it to say %q", c.name, err, c.want)
		}
	}
	_, _, err := Open(t.Context(), layout(t, "a.zip", "", "b.tar", string(plain)), OpenOptions{})
	if err == nil || !strings.Contains(err.Error(), "2 archives and no images (a.zip, b.tar), want one of them") {
		t.Errorf("several archives: %v", err)
	}
}

// A damaged entry is an image that can't be read, by its name; the others are.
func TestDamagedEntry(t *testing.T) {
	data := zipOf(t, func(h *zip.FileHeader) { h.Method = zip.Store }, petFiles...)
	at := bytes.Index(data, []byte(petFiles[9]))
	data[at+len(petFiles[9])-1] ^= 1
	d := opened(t, filepath.Join(layout(t, "p.zip", string(data)), "p.zip"))
	survey, err := ComputeSurvey(t.Context(), d, StatsOptions{})
	if err != nil {
		t.Fatal(err)
	}
	if bad := survey.Unreadable; survey.Images != 1 || len(bad) != 1 || bad[0].Name != "cat/a.png" || !strings.Contains(bad[0].Err.Error(), "checksum") {
		t.Errorf("%d images, unreadable %+v, want 1 and cat/a.png by its checksum", survey.Images, bad)
	}
}

// method is a ZIP file of an entry that is compressed by a method.
func method(t testing.TB, method uint16) []byte {
	t.Helper()
	var b bytes.Buffer
	w := zip.NewWriter(&b)
	e, err := w.CreateRaw(&zip.FileHeader{Name: "cat/a.png", Method: method, CompressedSize64: 1, UncompressedSize64: 1})
	if err == nil {
		_, err = e.Write([]byte("x"))
	}
	if err == nil {
		err = w.Close()
	}
	if err != nil {
		t.Fatal(err)
	}
	return b.Bytes()
}

// claim changes the size in the first header of a tar file.
func claim(data []byte, size int64) []byte {
	copy(data[124:136], fmt.Sprintf("%011o\x00", size))
	copy(data[148:156], "        ")
	sum := 0
	for _, b := range data[:512] {
		sum += int(b)
	}
	copy(data[148:156], fmt.Sprintf("%06o\x00 ", sum))
	return data
}

// An archive's bytes in memory are bounded.
func TestUnpackedBound(t *testing.T) {
	s := &search{ctx: t.Context(), unpacked: maxUnpacked - 100}
	dir := layout(t, "p.tar.gz", string(gzipped(t, tarOf(t, petFiles...))))
	_, err := openTar(s, os.DirFS(dir), "p.tar.gz")
	if err == nil || !strings.Contains(err.Error(), "want it unpacked: mkdir p && tar -xzf p.tar.gz -C p") {
		t.Errorf("more than is held in memory: %v", err)
	}
}

// Names of entries are UTF-8 where they are valid, and else code page 437.
func TestZipNames(t *testing.T) {
	for _, c := range []struct {
		raw, want string
		flagless  bool
	}{
		{"k\xc3\xa4se/a.png", "käse/a.png", false},
		{"k\xc3\xa4se/a.png", "käse/a.png", true}, // as Macs write it
		{"k\x84se/a.png", "käse/a.png", true},     // as Windows does
	} {
		data := zipOf(t, func(h *zip.FileHeader) { h.NonUTF8 = c.flagless }, c.raw, string(picture(8, 8, 1)), "x/b.png", string(picture(8, 8, 1)))
		d := opened(t, filepath.Join(layout(t, "a.zip", string(data)), "a.zip"))
		if d.Samples[0].Name != c.want {
			t.Errorf("%q, %v: %q, want %q", c.raw, c.flagless, d.Samples[0].Name, c.want)
		}
	}
}

// Shards are named by patterns, and may be compressed.
func TestShardPatterns(t *testing.T) {
	files := map[string][]byte{
		"s-000.tar":    shard("0.jpg", "A", "0.cls", "0"),
		"s-001.tar":    shard("1.jpg", "BB", "1.cls", "1"),
		"s-002.tar.gz": gzipped(t, shard("2.jpg", "CCC", "2.cls", "1")),
		"dup-0.tar":    shard("0.jpg", "A", "0.cls", "0"),
		"dup-1.tar":    shard("0.jpg", "BB", "0.cls", "1"),
	}
	bytes := map[string]string{"0.jpg": "A", "1.jpg": "BB", "2.jpg": "CCC", "dup-0/0.jpg": "A", "dup-1/0.jpg": "BB"}
	dir := t.TempDir()
	for name, data := range files {
		write(t, filepath.Join(dir, name), data)
	}
	for pattern, want := range map[string][]string{
		"s-{000..001}.tar":         {"0.jpg=0", "1.jpg=1"},
		"s-*":                      {"0.jpg=0", "1.jpg=1", "2.jpg=1"},
		"s-00[01].tar":             {"0.jpg=0", "1.jpg=1"},
		"s-{001,002}.{tar,tar.gz}": nil, // names that aren't there
		"{s,dup}-{1..1}.tar":       nil,
		"dup-{0..1}.tar":           {"dup-0/0.jpg=0", "dup-1/0.jpg=1"},
		"s-{2..1}.tar":             nil,
		"s-{00.tar":                nil,
		"t-*.tar":                  nil,
	} {
		d, val, err := Open(t.Context(), filepath.Join(dir, pattern), OpenOptions{})
		if want == nil {
			if err == nil {
				t.Errorf("%s: no error", pattern)
			}
			continue
		}
		if err != nil || val != nil || !slices.Equal(names(d), want) {
			t.Errorf("%s: %v, want %v", pattern, err, want)
			continue
		}
		for i, sample := range d.Samples {
			data, err := d.Read(i)
			if want := bytes[sample.Name]; err != nil || string(data) != want {
				t.Errorf("%s: %s: %q, %v, want %q", pattern, sample.Name, data, err, want)
			}
		}
	}
	both := filepath.Join(dir, "s-000.tar") + "::" + filepath.Join(dir, "s-001.tar")
	if d, _, err := Open(t.Context(), both, OpenOptions{}); err != nil || d.Len() != 2 {
		t.Errorf("joined by ::: %v", err)
	}
	_, _, err := Open(t.Context(), filepath.Join(dir, "s-{000..004}.tar"), OpenOptions{})
	if err == nil || !strings.Contains(err.Error(), "s-002.tar") || !strings.Contains(err.Error(), "want all that the pattern names") {
		t.Errorf("missing shards: %v", err)
	}
}

func unbase64(t testing.TB, text string) []byte {
	t.Helper()
	data, err := base64.StdEncoding.DecodeString(text)
	if err != nil {
		t.Fatal(err)
	}
	return data
}

// petsBZ2 is petFiles' images in a tar file, compressed by bzip2 1.0.8.
const petsBZ2 = "" +
	"QlpoOTFBWSZTWUFJwUsAAPh////+P7///f/P//f+tf/v//75/+7t3637f9/////7+v+/wAH8xO5VRVQaBoNAAAAAaBoAaAAAAAaADQAAAAGgAA" +
	"DTRoAAGjTQaaNAGgAA0yEVJ6gNNAA0AAAANAAAADQAaAAADQAAAAAAaAAAAaAAA0AAAAFVAANBoGhkAPU0ADQ0aAAAAAAAGgADQAAAAAAAA0DT" +
	"QAAAAA0aaZA1TSE0IxkQyaMTCZNDATDQCYJgJgJgAACYTJgATCYTEYJkZqaYmjCYBMEwENoTAgyaYD3ZLAMCBBYNjy8QBPCcIcOhEACMQEIEEo" +
	"WCiikgEBSBAjnpEHAWCAGAxHiwhgahAPHfl75CrggrxHlgBZuppK/XVCke7GzVpQACv/LxU+/xOivfsWDTSYUgV3rXkEs+WO0QcgCDOoQFFqAk" +
	"yBT5tHuRwCwX/fRHu0qPoWbvbVWxMR9Gp9BMjZeY0l7jQN2ipKGm/uzDlbkNxARwTdIQGjWPOq0+4ZQ9ZLNH6Qx/K5RNalZwKZjJbK6RUkc+3j" +
	"y0husyKljnUDkKIQBQpKAqAUKEBACuiDApwQFCNBo0LqAvDNx5w6laBdQDQ8AqBO/lCQwDYc+Q6DIzjoDusmhuObexRXL2gfjtEJell2+KfB8f" +
	"v3gwO26ThkI2w3Gw/1UgWSBII8EHp4ayf9RQvlgzgNARDdAVXAgB1zNBF2RY3AwYpeXpBQi/iRY6SPgK5oxm2a+AoSZHQOBwss7GQ/74PW8xAV" +
	"tIMbjxhQdPZXPakwCR50G2AHMqAb6I9aAQgKp0UAmEbIHmnF8zhB21DbeNRV0OKAmHqrmajQrKlbChpJICpT3ughDxB0eAFkNfPg+kxPjgRuHv" +
	"FEXFfHBOBBj8jQLXDEwd5bsbWT3UjDWiJpkq/OlC9cQ/sGWseVJCgYG4U/2iAW1w45H9emRGNIsU5j/MkiENuvkrUkude74jWG26WcIZGCMEuP" +
	"UFEosBFCbMjNJEhoX5qtcieS/O0QlJkyuk/z+QA8mYGjOH5NcgYVKv5nMoYk9t3i8MOwj7FtuAXRb81Ei77h99AwQV70KfD/71/lzOeTXIKKfp" +
	"HQRgNQzdyNCM3cYfToo8b7UShqHwoxIvWUrjgGrtesCAANlaws5yOFthcwRSz0z/gwP8XckU4UJBBScFLA=="

func FuzzArchives(f *testing.F) {
	small := []string{"pets/cat/a.png", "x", "pets/dog/b.png", "y"}
	plain := tarOf(f, small...)
	f.Add(plain)
	f.Add(tarOf(f, "cat.tar", string(tarOf(f, "a.png", "x")), "dog/b.png", "link:cat/a.png"))
	f.Add(gzipped(f, plain))
	f.Add(zstandard(f, plain))
	f.Add(zipOf(f, nil, small...))
	f.Fuzz(func(t *testing.T, data []byte) {
		for _, name := range []string{"a.tar", "a.zip"} {
			d, _, err := Open(context.Background(), name, OpenOptions{FS: fstest.MapFS{name: {Data: data}}})
			if err != nil {
				continue
			}
			for i := range d.Samples {
				if got, err := d.Read(i); err == nil && len(got) > 1<<20 && len(data) < 1<<10 {
					t.Fatalf("%d bytes of an archive of %d", len(got), len(data))
				}
			}
		}
	})
}

// The directory of archives of more than 4 GiB or 65,535 files has another form.
func TestZIP64(t *testing.T) {
	train, val, err := Open(t.Context(), "testdata/zip64.zip", OpenOptions{})
	if err != nil || val != nil {
		t.Fatal(val, err)
	}
	var got []string
	for i, s := range train.Samples {
		w, h, err := train.Size(i)
		got = append(got, fmt.Sprintf("%s=%s %d×%d %v", s.Name, train.Classes[s.Label], w, h, err))
	}
	if want := []string{"blue/0.png=blue 4×3 <nil>", "blue/1.png=blue 4×4 <nil>", "red/0.png=red 4×3 <nil>", "red/1.png=red 4×4 <nil>"}; !slices.Equal(got, want) {
		t.Errorf("samples %v, want %v", got, want)
	}
}

// Parquet is read at places of its file, which compressed archives don't have.
func TestParquetInArchive(t *testing.T) {
	data, err := os.ReadFile("testdata/parquet/hub/data/test-00000-of-00001.parquet")
	if err != nil {
		t.Fatal(err)
	}
	var zipped bytes.Buffer
	w := zip.NewWriter(&zipped)
	f, err := w.Create("data/test.parquet")
	if err == nil {
		_, err = f.Write(data)
	}
	if err == nil {
		err = w.Close()
	}
	if err != nil {
		t.Fatal(err)
	}
	for name, archive := range map[string][]byte{"set.zip": zipped.Bytes(), "set.tar": tarOf(t, "data/test.parquet", string(data))} {
		_, _, err := Open(t.Context(), name, OpenOptions{FS: fstest.MapFS{name: {Data: archive}}})
		if err == nil || !strings.Contains(err.Error(), "data/test.parquet: Parquet in an archive") || !strings.Contains(err.Error(), "unpack the archive") {
			t.Errorf("%s: %v", name, err)
		}
	}
}
