package dataset

import (
	"bytes"
	"crypto/sha256"
	"image/jpeg"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/verydeep/vgg/internal/vggtest"
)

func TestSampleHoldsWhatItClaims(t *testing.T) {
	train, val, err := OpenSample()
	if err != nil {
		t.Fatal(err)
	}
	classes := []string{
		"Leopards", "Motorbikes", "airplanes", "bonsai", "butterfly",
		"grand_piano", "ketch", "starfish", "sunflower", "watch",
	}
	seen := map[[sha256.Size]byte]string{}
	for _, part := range []struct {
		d       *Dataset
		perName int
	}{{train, 40}, {val, 10}} {
		if !slices.Equal(part.d.Classes, classes) {
			t.Errorf("%s: classes %v, want %v", part.d.Name, part.d.Classes, classes)
		}
		for c, n := range part.d.Counts() {
			if n != part.perName {
				t.Errorf("%s: %d images of %s, want %d", part.d.Name, n, classes[c], part.perName)
			}
		}
		for i, s := range part.d.Samples {
			data, err := part.d.Read(i)
			if err != nil {
				t.Fatal(err)
			}
			sum := sha256.Sum256(data)
			if twin, ok := seen[sum]; ok {
				t.Errorf("%s and %s are the same image", s.Name, twin)
			}
			seen[sum] = s.Name
			if _, err := jpeg.DecodeConfig(bytes.NewReader(data)); err != nil {
				t.Errorf("%s: %v", s.Name, err)
			}
		}
	}
	if len(seen) != 500 {
		t.Errorf("%d different images, want 500", len(seen))
	}
	if n := len(samplePack); n >= 8_000_000 {
		t.Errorf("the pack has %d bytes, want less than 8 MB", n)
	}
}

func TestSampleIsCredited(t *testing.T) {
	train, _, err := OpenSample()
	if err != nil {
		t.Fatal(err)
	}
	inside, err := fs.ReadFile(train.fsys, "README.md")
	if err != nil {
		t.Fatal(err)
	}
	beside, err := os.ReadFile("sample/README.md")
	if err != nil {
		t.Fatal(err)
	}
	if !bytes.Equal(inside, beside) {
		t.Error("the README in the pack isn't the one beside it: run tools/pack again")
	}
	for _, text := range []string{string(inside), SampleCredit} {
		for _, want := range []string{"Li", "Andreetto", "Ranzato", "Perona", "2004", "CaltechDATA", "CC BY 4.0", "10.22002/D1.20086"} {
			if !strings.Contains(text, want) {
				t.Errorf("the credit doesn't name %q:\n%s", want, text)
			}
		}
	}
}

func TestSampleIsTheOriginal(t *testing.T) {
	root := vggtest.Shared(t, "caltech101")
	train, val, err := OpenSample()
	if err != nil {
		t.Fatal(err)
	}
	for _, d := range []*Dataset{train, val} {
		for i, s := range d.Samples {
			_, file, _ := strings.Cut(s.Name, "/")
			want, err := os.ReadFile(filepath.Join(root, filepath.FromSlash(file)))
			if err != nil {
				t.Fatal(err)
			}
			if got, err := d.Read(i); err != nil || !bytes.Equal(got, want) {
				t.Errorf("%s differs from the original (%v)", s.Name, err)
			}
		}
	}
}
