package weights

import (
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// otherFiles returns the beginnings of files of other formats, and what the error must call
// them.
func otherFiles() map[string]struct {
	file []byte
	want string
} {
	type c = struct {
		file []byte
		want string
	}
	b := func(s string) []byte { return []byte(s) }
	return map[string]c{
		"pickle":      {b("\x80\x04\x95\x00\x00\x00\x00\x00\x00\x00\x00}"), "a Python pickle"},
		"npy":         {b("\x93NUMPY\x01\x00v\x00{'descr': '<f4'"), "a NumPy array (.npy)"},
		"gguf":        {b("GGUF\x03\x00\x00\x00\x00\x00\x00\x00"), "a GGUF file"},
		"gzip":        {b("\x1f\x8b\x08\x00\x00\x00\x00\x00\x00\x03"), "a gzip file"},
		"tar":         {append(append(b("vgg16.safetensors"), make([]byte, 240)...), "ustar\x0000"...), "a tar archive"},
		"jpeg":        {b("\xff\xd8\xff\xe0\x00\x10JFIF\x00"), "a JPEG image"},
		"png":         {b("\x89PNG\r\n\x1a\n\x00\x00\x00\x0d"), "a PNG image"},
		"lfs":         {b("version https://git-lfs.github.com/spec/v1\noid sha256:00\nsize 7\n"), "a Git LFS pointer"},
		"html":        {b("\n<!DOCTYPE html>\n<html><body>404"), "an HTML page"},
		"json":        {b("{\"a\": 1, \"b\": 2}"), "JSON text"},
		"json, {at 8": {b("{\"abcd\":{\"e\": 1}}"), "JSON text"},
		"text":        {b("name: \"VGG_ILSVRC_16_layers\"\ninput: \"data\"\n"), "text"},
		"short text":  {b("hello"), "text"},
		"UTF-8 text":  {b(strings.Repeat("é", 300))[:511], "an unknown format"},
		"long UTF-8":  {b("a" + strings.Repeat("é", 300)), "text"},
		"unknown":     {b("\x01\x02\x03\x04\x05\x06\x07\x08\x09\x0a"), "an unknown format"},
	}
}

func TestOtherFormats(t *testing.T) {
	for name, c := range otherFiles() {
		t.Run(name, func(t *testing.T) {
			// The content decides, not the extension.
			path := filepath.Join(t.TempDir(), "w.safetensors")
			if err := os.WriteFile(path, c.file, 0o644); err != nil {
				t.Fatal(err)
			}
			_, err := Open(t.Context(), path)
			ue, ok := errors.AsType[*UnsupportedError](err)
			if !ok {
				t.Fatalf("%v, want an *UnsupportedError", err)
			}
			if !strings.HasPrefix(ue.Found, c.want) || ue.File != path {
				t.Errorf("found %q in %s, want %q in %s", ue.Found, ue.File, c.want, path)
			}
			if !strings.Contains(err.Error(), "want safetensors") {
				t.Errorf("%q doesn't say what is read", err)
			}
		})
	}
}

// A header whose length happens to be another format's magic is still a header.
func TestMagicAsLength(t *testing.T) {
	header := "{}" + strings.Repeat(" ", 0x8b1f-2)
	b := raw(header)
	if b[0] != 0x1f || b[1] != 0x8b {
		t.Fatal("length isn't gzip's magic")
	}
	if _, err := open(b); err != nil {
		t.Error(err)
	}
}
