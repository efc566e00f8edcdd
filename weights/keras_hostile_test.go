package weights

import (
	"archive/zip"
	"bytes"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"os"
	"runtime"
	"strings"
	"testing"

	"github.com/verydeep/vgg/internal/vggtest"
)

func kerasFixture(t testing.TB, name string) []byte {
	t.Helper()
	b, err := os.ReadFile(vggtest.Fixture(t, kerasFolder+"/"+name))
	if err != nil {
		t.Fatal(err)
	}
	return b
}

// readWhole opens a file and reads every tensor that can be read.
func readWhole(b []byte) error {
	f, err := OpenReader(context.Background(), "k.h5", bytes.NewReader(b), int64(len(b)))
	if err != nil {
		return err
	}
	total := 0
	for _, e := range f.Tensors() {
		if !readable(e.DType) {
			continue
		}
		x, err := f.Read(e.Name)
		if err != nil {
			return err
		}
		total += x.Len()
	}
	if total > maxShared*len(b)+1<<20 {
		return fmt.Errorf("%d elements of %d bytes", total, len(b))
	}
	return nil
}

// changed returns the file with the first occurrence of a text replaced by another.
func changed(t *testing.T, b []byte, old, replacement string) []byte {
	t.Helper()
	if !bytes.Contains(b, []byte(old)) || len(old) != len(replacement) {
		t.Fatalf("%q for %q", replacement, old)
	}
	return bytes.Replace(b, []byte(old), []byte(replacement), 1)
}

// rezipped returns a .keras file with a member replaced, or compressed.
func rezipped(t *testing.T, b []byte, member string, content []byte, method uint16) []byte {
	t.Helper()
	z, err := zip.NewReader(bytes.NewReader(b), int64(len(b)))
	if err != nil {
		t.Fatal(err)
	}
	var out bytes.Buffer
	w := zip.NewWriter(&out)
	for _, f := range z.File {
		text := content
		m := method
		if f.Name != member || content == nil {
			r, err := f.Open()
			if err != nil {
				t.Fatal(err)
			}
			if text, err = io.ReadAll(r); err != nil {
				t.Fatal(err)
			}
		}
		if f.Name != member {
			m = zip.Store
		}
		to, err := w.CreateHeader(&zip.FileHeader{Name: f.Name, Method: m})
		if err != nil {
			t.Fatal(err)
		}
		to.Write(text)
	}
	w.Close()
	return out.Bytes()
}

func TestKerasHostile(t *testing.T) {
	h5, keras, vars := kerasFixture(t, "a.h5"), kerasFixture(t, "nested.keras"), kerasFixture(t, "bfloat16.weights.h5")
	// fc1's kernel is (32, 8): an axis far larger than the data.
	shape := append(binary.LittleEndian.AppendUint64(nil, 32), binary.LittleEndian.AppendUint64(nil, 8)...)
	absurd := append(binary.LittleEndian.AppendUint64(nil, 1<<40), binary.LittleEndian.AppendUint64(nil, 8)...)
	for _, c := range []struct {
		name string
		file []byte
		want string
	}{
		{"cut", h5[:len(h5)-1], "truncated: the superblock claims 39728 bytes, the file has 39727"},
		{"a layer that isn't there", changed(t, h5, "fc1\x00", "fcX\x00"), `"fc`},
		{"absurd axis", bytes.Replace(h5, shape, absurd, 1), "has too many elements|bytes of data, want|larger|times the file"},
		{"no Keras", changed(t, h5, "layer_names", "other_names"), "HDF5 without the attribute layer_names or the group layers"},
		{"variables without a number", bytes.ReplaceAll(vars, []byte("\x000\x00"), []byte("\x00x\x00")), `"0": not there`},
		{"compressed", rezipped(t, keras, kerasZipWeights, nil, zip.Deflate), "model.weights.h5 is compressed, want it stored"},
		{"config that is none", rezipped(t, keras, kerasZipConfig, []byte("[1"), zip.Store), "model's config: "},
		{"bomb for a config", rezipped(t, keras, kerasZipConfig, make([]byte, 64<<20), zip.Deflate), "member config.json: 67108864 bytes in a file of"},
		{"weights that are none", rezipped(t, keras, kerasZipWeights, []byte("not HDF5"), zip.Store), "no HDF5 file"},
	} {
		t.Run(c.name, func(t *testing.T) {
			err := readWhole(c.file)
			if err == nil {
				t.Fatal("read")
			}
			found := false
			for want := range strings.SplitSeq(c.want, "|") {
				found = found || strings.Contains(err.Error(), want)
			}
			if !found || !strings.HasPrefix(err.Error(), "weights: k.h5: ") || strings.Count(err.Error(), "weights: ") != 1 {
				t.Errorf("%q, want %q in it", err, c.want)
			}
		})
	}
}

// A file with a changed byte is read or gives an error, in little memory.
func TestKerasChangedBytes(t *testing.T) {
	for _, name := range []string{"a.h5", "e.h5", "normalised.h5", "nested.keras", "checkpoint.weights.h5"} {
		original := kerasFixture(t, name)
		step := max(1, len(original)/300)
		if testing.Short() {
			step *= 10
		}
		bad := 0
		for at := 0; at < len(original); at += step {
			values := []byte{0, 0x80, 0xff}
			if !vggtest.All() {
				values = values[at/step%len(values):][:1]
			}
			for _, v := range values {
				b := bytes.Clone(original)
				b[at] = v
				var before, after runtime.MemStats
				runtime.ReadMemStats(&before)
				err := readWhole(b)
				runtime.ReadMemStats(&after)
				if err != nil {
					bad++
					if strings.Count(err.Error(), "weights: ") != 1 {
						t.Fatalf("%s with byte %d = %#x: %q", name, at, v, err)
					}
				}
				if used := after.TotalAlloc - before.TotalAlloc; used > 256*uint64(len(b))+16<<20 {
					t.Fatalf("%s with byte %d = %#x: %d bytes allocated for %d", name, at, v, used, len(b))
				}
			}
		}
		if bad == 0 {
			t.Errorf("%s: no change was noticed", name)
		}
	}
}

// An error of the disk isn't taken for a malformed file.
func TestKerasReadFails(t *testing.T) {
	b := kerasFixture(t, "a.h5")
	bad := errors.New("bad sector")
	for n := 0; n < len(b); n += 997 {
		f, err := OpenReader(t.Context(), "k.h5", failing{bytes.NewReader(b), int64(n), bad}, int64(len(b)))
		if err == nil {
			for _, e := range f.Tensors() {
				if _, err = f.Read(e.Name); err != nil {
					break
				}
			}
		}
		if !errors.Is(err, bad) {
			t.Fatalf("fails at %d: %v, want %v", n, err, bad)
		}
	}
}

func FuzzKeras(f *testing.F) {
	for _, name := range []string{"a.h5", "e.h5", "nested.h5", "nested.keras", "checkpoint.weights.h5", "bfloat16.weights.h5", "branched.keras"} {
		f.Add(kerasFixture(f, name))
	}
	f.Fuzz(func(t *testing.T, b []byte) {
		if !isHDF5(b, nil, 0) && !isKerasZip(b, bytes.NewReader(b), int64(len(b))) {
			return
		}
		// The path in the file may end with that word, too: /model_weights.
		if err := readWhole(b); err != nil && (!strings.HasPrefix(err.Error(), "weights: ") || strings.Contains(err.Error(), ": weights: ")) {
			t.Fatalf("%q", err)
		}
	})
}
