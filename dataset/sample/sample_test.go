package sample

import (
	"archive/zip"
	"bytes"
	"crypto/sha256"
	"image/jpeg"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/verydeep/vgg/dataset"
	"github.com/verydeep/vgg/internal/vggtest"
)

func TestSampleHoldsWhatItClaims(t *testing.T) {
	train, val, err := Open()
	if err != nil {
		t.Fatal(err)
	}
	classes := []string{
		"Leopards", "Motorbikes", "airplanes", "bonsai", "butterfly",
		"grand_piano", "ketch", "starfish", "sunflower", "watch",
	}
	seen := map[[sha256.Size]byte]string{}
	for _, part := range []struct {
		d       *dataset.Dataset
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
	if n := len(pack); n >= 8_000_000 {
		t.Errorf("the pack has %d bytes, want less than 8 MB", n)
	}
}

func TestSampleIsCredited(t *testing.T) {
	z, err := zip.NewReader(strings.NewReader(pack), int64(len(pack)))
	if err != nil {
		t.Fatal(err)
	}
	inside, err := fs.ReadFile(z, "README.md")
	if err != nil {
		t.Fatal(err)
	}
	beside, err := os.ReadFile("README.md")
	if err != nil {
		t.Fatal(err)
	}
	if !bytes.Equal(inside, beside) {
		t.Error("the README in the pack isn't the one beside it: run tools/pack again")
	}
	for _, text := range []string{string(inside), Credit} {
		for _, want := range []string{"Li", "Andreetto", "Ranzato", "Perona", "2004", "CaltechDATA", "CC BY 4.0", "10.22002/D1.20086"} {
			if !strings.Contains(text, want) {
				t.Errorf("the credit doesn't name %q:\n%s", want, text)
			}
		}
	}
}

func TestSampleIsTheOriginal(t *testing.T) {
	root := vggtest.Shared(t, "caltech101")
	train, val, err := Open()
	if err != nil {
		t.Fatal(err)
	}
	for _, d := range []*dataset.Dataset{train, val} {
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

// Checkpoints and result files of earlier versions know the photographs by name and fingerprint.
func TestSampleIsKnown(t *testing.T) {
	train, val, err := Open()
	if err != nil {
		t.Fatal(err)
	}
	for _, part := range []struct {
		d                 *dataset.Dataset
		name, fingerprint string
	}{
		{train, "caltech101-sample/train", "da460cf95474c687770c0313ec7c66a5be419ed06fe51828ca4e7ce7a6134b35"},
		{val, "caltech101-sample/val", "5857b15c6043ec88279a6c262a5e272366fc5983cd59b9890c2c4a43d0a47628"},
	} {
		got, err := dataset.Fingerprint(t.Context(), part.d)
		if err != nil || got != part.fingerprint || part.d.Name != part.name {
			t.Errorf("%s: fingerprint %s, %v; want %s of %s", part.d.Name, got, err, part.fingerprint, part.name)
		}
	}
}
