package main

import (
	"archive/zip"
	"bytes"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/verydeep/vgg/internal/vggtest"
)

// tree makes a folder of files. The content of a file is its name, or the text after a "=".
func tree(t *testing.T, files ...string) string {
	t.Helper()
	root := t.TempDir()
	for _, f := range files {
		name, content, ok := strings.Cut(f, "=")
		if !ok {
			content = name
		}
		p := filepath.Join(root, filepath.FromSlash(name))
		if err := os.MkdirAll(filepath.Dir(p), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(p, []byte(content), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	return root
}

func small(t *testing.T, files ...string) pack {
	root := tree(t, append(files, "credit.md")...)
	return pack{from: root, readme: filepath.Join(root, "credit.md"), train: 2, val: 1, limit: 10_000}
}

var two = []string{"b/1", "b/2", "b/3", "b/4", "a/1", "a/2", "a/3", ".hidden/1", "a/.hidden"}

func TestPackSplitsAndRepeats(t *testing.T) {
	p := small(t, two...)
	p.trainOnly = []string{"b/3"}
	data, err := p.bytes()
	if err != nil {
		t.Fatal(err)
	}
	z, err := zip.NewReader(bytes.NewReader(data), int64(len(data)))
	if err != nil {
		t.Fatal(err)
	}
	var got []string
	for _, f := range z.File {
		got = append(got, f.Name)
		if f.Method != zip.Store {
			t.Errorf("%s: method %d, want stored", f.Name, f.Method)
		}
	}
	want := []string{"README.md", "train/a/1", "train/a/2", "train/b/1", "train/b/3", "val/a/3", "val/b/2"}
	if !slices.Equal(got, want) {
		t.Errorf("pack holds %v, want %v", got, want)
	}
	q := small(t, two...)
	q.trainOnly = p.trainOnly
	again, err := q.bytes()
	if err != nil {
		t.Fatal(err)
	}
	if !bytes.Equal(data, again) {
		t.Error("the same images in another folder, at another time, make other bytes")
	}
}

func TestPackErrors(t *testing.T) {
	for _, c := range []struct {
		want   string
		files  []string
		change func(*pack)
	}{
		{"no class folders", nil, func(*pack) {}},
		{"a: 2 images, want 3", []string{"a/1", "a/2"}, func(*pack) {}},
		{"are the same file", []string{"a/1", "a/2=x", "a/3=x"}, func(*pack) {}},
		{"want at most 100", two, func(p *pack) { p.limit = 100 }},
		{"want at least one", two, func(p *pack) { p.val = 0 }},
		{"0 images for the validation part", two, func(p *pack) { p.trainOnly = []string{"a/1", "a/2", "a/3"} }},
		{"no such file", two, func(p *pack) { p.readme += "x" }},
	} {
		p := small(t, c.files...)
		c.change(&p)
		if _, err := p.bytes(); err == nil || !strings.Contains(err.Error(), c.want) {
			t.Errorf("error %v, want it to say %q", err, c.want)
		}
	}
}

func TestCommittedPackIsReproducible(t *testing.T) {
	from := vggtest.Shared(t, "caltech101")
	p := pack{
		from: from, readme: "../../dataset/sample/README.md", train: 40, val: 10, limit: 8_000_000,
		trainOnly: []string{"ketch/image_0041.jpg", "grand_piano/image_0046.jpg"},
	}
	data, err := p.bytes()
	if err != nil {
		t.Fatal(err)
	}
	committed, err := os.ReadFile("../../dataset/sample/caltech101.zip")
	if err != nil {
		t.Fatal(err)
	}
	if !bytes.Equal(data, committed) {
		t.Error("the committed pack isn't what this command makes of the original images")
	}
}
