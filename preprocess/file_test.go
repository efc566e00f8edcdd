package preprocess

import (
	"bytes"
	"errors"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"reflect"
	"strings"
	"testing"
	"testing/iotest"
)

// Bytes, a reader and a path give the same image.
func TestDecodeDoors(t *testing.T) {
	for _, name := range []string{"photo-420.jpg", "1.png", "p.gif", "lossy.webp", "rgb.bmp", "orientation6.jpg"} {
		o := DecodeOptions{Orient: Upright}
		want := readImage(t, "decode/"+name, o)
		got, err := DecodeReader(iotest.HalfReader(bytes.NewReader(readTestFile(t, name))), o)
		if err != nil || !reflect.DeepEqual(got, want) {
			t.Errorf("%s: from a reader %v, or another image", name, err)
		}
		got, err = DecodeFile(filepath.Join("testdata", "decode", name), o)
		if err != nil || !reflect.DeepEqual(got, want) {
			t.Errorf("%s: from its path %v, or another image", name, err)
		}
	}
}

func TestDecodeReaderErrors(t *testing.T) {
	photo := readTestFile(t, "photo-420.jpg")
	bad := errors.New("bad")
	_, err := DecodeReader(io.MultiReader(bytes.NewReader(photo[:1500]), iotest.ErrReader(bad)), DecodeOptions{})
	if !errors.Is(err, bad) || err.Error() != "preprocess: image: bad" {
		t.Errorf("a reader that fails: %v", err)
	}
	if _, err := DecodeReader(bytes.NewReader(readTestFile(t, "rgb.bmp")[:200]), DecodeOptions{}); !errors.Is(err, io.ErrUnexpectedEOF) {
		t.Errorf("a file cut short: %v", err)
	}
	if _, err := DecodeReader(bytes.NewReader(photo), DecodeOptions{MaxPixels: 1}); !isError[*SizeError](err) {
		t.Errorf("more pixels than the limit: %v", err)
	}
	// Data that is no image isn't read to its end.
	for what, r := range map[string]io.Reader{"zeros": endless(0), "text": endless('a')} {
		counted := &countingReader{r: r}
		_, err := DecodeReader(counted, DecodeOptions{})
		if format, ok := errors.AsType[*FormatError](err); !ok || format.Found != what || counted.n > 1<<10 {
			t.Errorf("%s without an end: %v after %d bytes", what, err, counted.n)
		}
	}
	for what, r := range map[string]io.Reader{"empty": strings.NewReader(""), "text": strings.NewReader("hello")} {
		_, err := DecodeReader(r, DecodeOptions{})
		if format, ok := errors.AsType[*FormatError](err); !ok || format.Found != what {
			t.Errorf("%s: %v", what, err)
		}
	}
}

func TestReadFileLimit(t *testing.T) {
	photo := readTestFile(t, "photo-420.jpg")
	n := int64(len(photo))
	for _, size := range []int64{0, 1, n} { // hints
		if got, err := readFile(t.Context(), bytes.NewReader(photo), size, n); err != nil || !bytes.Equal(got, photo) {
			t.Errorf("a file of exactly the limit, said to have %d bytes: %v", size, err)
		}
		if _, err := readFile(t.Context(), bytes.NewReader(photo), size, n-1); err != ErrFileTooLarge {
			t.Errorf("a file a byte over the limit, said to have %d: %v", size, err)
		}
	}
	if _, err := readFile(t.Context(), iotest.ErrReader(errors.New("was read")), MaxFileBytes+1, MaxFileBytes); err != ErrFileTooLarge {
		t.Errorf("a file that is said to be over the limit: %v", err)
	}
}

func TestDecodeFileErrors(t *testing.T) {
	dir := t.TempDir()
	text := filepath.Join(dir, "text.jpg")
	if err := os.WriteFile(text, []byte("hello"), 0o644); err != nil {
		t.Fatal(err)
	}
	large := filepath.Join(dir, "large.jpg")
	if err := os.WriteFile(large, nil, 0o644); err != nil {
		t.Fatal(err)
	}
	if err := os.Truncate(large, MaxFileBytes+1); err != nil { // sparse
		t.Fatal(err)
	}
	none := filepath.Join(dir, "none.jpg")
	for path, c := range map[string]struct {
		is   func(error) bool
		want string
	}{
		text:  {isError[*FormatError], "preprocess: " + text + ": image: text, want JPEG, PNG, GIF, WebP, BMP, TIFF or PNM"},
		none:  {func(err error) bool { return errors.Is(err, fs.ErrNotExist) }, "preprocess: " + none + ": "},
		large: {func(err error) bool { return errors.Is(err, ErrFileTooLarge) }, "preprocess: " + large + ": image: more than 256 MiB, want an image file"},
		dir:   {func(error) bool { return true }, "preprocess: " + dir + ": a folder, want an image file"},
	} {
		_, err := DecodeFile(path, DecodeOptions{})
		if err == nil || !c.is(err) || !strings.HasPrefix(err.Error(), c.want) || strings.Count(err.Error(), path) != 1 {
			t.Errorf("%v, want %s", err, c.want)
		}
	}
}

func isError[E error](err error) bool {
	_, ok := errors.AsType[E](err)
	return ok
}

// endless gives the same byte for ever.
type endless byte

func (e endless) Read(b []byte) (int, error) {
	for i := range b {
		b[i] = byte(e)
	}
	return len(b), nil
}

type countingReader struct {
	r io.Reader
	n int
}

func (c *countingReader) Read(b []byte) (int, error) {
	n, err := c.r.Read(b)
	c.n += n
	return n, err
}
