package vgg

import (
	"bytes"
	"encoding/json"
	"errors"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/verydeep/vgg/nn"
	"github.com/verydeep/vgg/weights"
)

// TestInFile: a model whose fully connected weights stay in the file gives the scores of the
// model in memory, from every format, wherever the file is.
func TestInFile(t *testing.T) {
	for _, config := range []string{"A", "A-BN"} {
		m := tinyModel(t, config)
		im := noise(50, 40, 1)
		want, err := m.Scores(im, m.Preprocess.Resize)
		if err != nil {
			t.Fatal(err)
		}
		spec, err := json.Marshal(m.Preprocess)
		if err != nil {
			t.Fatal(err)
		}
		dir := t.TempDir()
		for _, e := range []struct {
			name, dtype string
			stays       bool
		}{
			{"a.safetensors", "f32", true},
			{"b.pth", "f32", true},
			{"c.safetensors", "bf16", true},
			{"d.weights.h5", "f32", false}, // of in-units before out-units
			{"e.onnx", "f32", true},
		} {
			path := filepath.Join(dir, e.name)
			if err := m.Export(t.Context(), path, ExportOptions{DType: e.dtype}); err != nil {
				t.Fatal(err)
			}
			o := OpenOptions{FCStorage: nn.InFile, Preprocess: string(spec), Config: m.Net.Options().Config}
			got, err := Open(t.Context(), path, o)
			if err != nil {
				t.Fatalf("%s: %v", e.name, err)
			}
			stays := slices.ContainsFunc(got.Net.Params(), func(p *nn.Param) bool { return p.InFile() })
			if stays != e.stays {
				t.Errorf("%s: weights stay in the file: %v, want %v", e.name, stays, e.stays)
			}
			first := want
			if e.dtype != "f32" {
				o.FCStorage = nn.F32
				held, err := Open(t.Context(), path, o)
				if err != nil {
					t.Fatal(err)
				}
				if first, err = held.Scores(im, m.Preprocess.Resize); err != nil {
					t.Fatal(err)
				}
			}
			for range 2 {
				scores, err := got.Scores(im, m.Preprocess.Resize)
				if err != nil {
					t.Fatalf("%s: %v", e.name, err)
				}
				if !slices.Equal(scores, first) {
					t.Errorf("%s: scores %v, want %v", e.name, scores, first)
				}
			}
		}
	}
}

// TestInFileSaved: a model whose weights stay in a file can be saved, over that file too.
func TestInFileSaved(t *testing.T) {
	m := tinyModel(t, "A")
	path := save(t, m)
	whole := readFile(t, path)
	got, err := Open(t.Context(), path, OpenOptions{FCStorage: nn.InFile})
	if err != nil {
		t.Fatal(err)
	}
	if err := got.Save(t.Context(), path); err != nil {
		t.Fatal(err)
	}
	if !bytes.Equal(readFile(t, path), whole) {
		t.Error("saved, the file differs")
	}
	if _, err := got.Scores(noise(50, 40, 1), got.Preprocess.Resize); err != nil {
		t.Errorf("after the file was replaced: %v", err)
	}
}

// TestInFileChanged: a file that is written to while weights are read from it is an error,
// never scores.
func TestInFileChanged(t *testing.T) {
	m := tinyModel(t, "A")
	im := noise(50, 40, 1)
	for what, change := range map[string]func(f *os.File) error{
		"a byte": func(f *os.File) error {
			_, err := f.WriteAt([]byte{1}, 5000)
			return err
		},
		"truncated": func(f *os.File) error { return f.Truncate(6000) },
	} {
		path := save(t, m)
		old := time.Now().Add(-time.Hour)
		if err := os.Chtimes(path, old, old); err != nil {
			t.Fatal(err)
		}
		got, err := Open(t.Context(), path, OpenOptions{FCStorage: nn.InFile})
		if err != nil {
			t.Fatal(err)
		}
		f, err := os.OpenFile(path, os.O_WRONLY, 0)
		if err != nil {
			t.Fatal(err)
		}
		if err := errors.Join(change(f), f.Close()); err != nil {
			t.Fatal(err)
		}
		_, err = got.Scores(im, got.Preprocess.Resize)
		if !errors.Is(err, weights.ErrChanged) && !errors.Is(err, io.ErrUnexpectedEOF) || !strings.Contains(err.Error(), path) {
			t.Errorf("%s: %v", what, err)
		}
	}
}
