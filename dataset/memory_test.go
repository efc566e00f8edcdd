package dataset

import (
	"bytes"
	"errors"
	"image"
	"image/color"
	"image/jpeg"
	"path/filepath"
	"reflect"
	"slices"
	"strings"
	"sync/atomic"
	"testing"

	"github.com/verydeep/vgg/preprocess"
)

// drawn is a picture of w×h pixels in colours that its number decides.
func drawn(w, h, number int) *image.NRGBA {
	im := image.NewNRGBA(image.Rect(0, 0, w, h))
	for y := range h {
		for x := range w {
			im.Set(x, y, color.NRGBA{uint8(7*x + number), uint8(11*y + 3*number), uint8(x*y + 90*number), 255})
		}
	}
	return im
}

// asJPEG encodes a picture.
func asJPEG(t testing.TB, im image.Image) []byte {
	t.Helper()
	var b bytes.Buffer
	if err := jpeg.Encode(&b, im, nil); err != nil {
		t.Fatal(err)
	}
	return b.Bytes()
}

// album is a dataset of a decoded, an encoded and a loaded picture, for each of n numbers.
func album(t testing.TB, n int, loads *atomic.Int64) *Dataset {
	t.Helper()
	var pictures []Picture
	for i := range n {
		pictures = append(pictures,
			Picture{Image: drawn(15+i, 13, i), Label: i % 2},
			Picture{Encoded: asJPEG(t, drawn(16, 14+i, i)), Label: (i + 1) % 2},
			Picture{Label: i % 2, Load: func() (image.Image, error) {
				loads.Add(1)
				return drawn(12, 12+i, 50+i), nil
			}})
	}
	d, err := FromPictures("album", []string{"a", "b"}, pictures)
	if err != nil {
		t.Fatal(err)
	}
	return d
}

func TestFromPictures(t *testing.T) {
	var loads atomic.Int64
	d := album(t, 4, &loads)
	if loads.Load() != 0 {
		t.Error("a picture was loaded before it was used")
	}
	if d.Len() != 12 || d.Samples[0].Name != "000000.bmp" || d.Samples[4].Name != "000004.jpg" || d.Samples[4].Label != 0 {
		t.Errorf("samples %+v", d.Samples)
	}
	for i := range d.Samples {
		fast, err := d.Decode(t.Context(), i, DecodeOptions{})
		if err != nil {
			t.Fatal(err)
		}
		file, err := d.Read(i)
		if err != nil {
			t.Fatal(err)
		}
		slow, err := preprocess.Decode(file, preprocess.DecodeOptions{})
		if err != nil || !reflect.DeepEqual(slow, fast.Image) {
			t.Errorf("picture %d: its file has other pixels (%v)", i, err)
		}
		if w, h, err := d.Size(i); err != nil || w != fast.W || h != fast.H {
			t.Errorf("picture %d: size %d×%d, %v, want %d×%d", i, w, h, err, fast.W, fast.H)
		}
		var size *preprocess.SizeError
		if _, err := d.Decode(t.Context(), i, DecodeOptions{DecodeOptions: preprocess.DecodeOptions{MaxPixels: 100}}); !errors.As(err, &size) {
			t.Errorf("picture %d: more pixels than allowed: %v", i, err)
		}
	}
}

// Packing a dataset of memory changes nothing of what a loader makes of it.
func TestPicturesAsShards(t *testing.T) {
	var loads atomic.Int64
	d := album(t, 3, &loads)
	d.Samples = slices.Clone(d.Samples)
	d.sortSamples()
	dir := filepath.Join(t.TempDir(), "shards")
	if _, err := WriteShards(t.Context(), d, dir, ShardOptions{}); err != nil {
		t.Fatal(err)
	}
	packed, _, err := Open(t.Context(), dir, OpenOptions{})
	if err != nil {
		t.Fatal(err)
	}
	epoch := func(d *Dataset) [][]float32 {
		l := trainLoader(t, d)
		var x [][]float32
		for b, err := range l.Epoch(t.Context(), 1) {
			if err != nil {
				t.Fatal(err)
			}
			x = append(x, slices.Clone(b.X.Data))
		}
		return x
	}
	if !reflect.DeepEqual(epoch(d), epoch(packed)) {
		t.Error("the packed pictures train to other bits")
	}
	unnamed, err := FromPictures("unnamed", []string{"a"}, []Picture{{Name: "one", Image: drawn(3, 3, 0)}})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := WriteShards(t.Context(), unnamed, filepath.Join(t.TempDir(), "s"), ShardOptions{}); err == nil || !strings.Contains(err.Error(), "extension") {
		t.Errorf("a name without extension, which shards can't have: %v", err)
	}
}

func TestFingerprintOfContents(t *testing.T) {
	print := func(change func([]Picture)) string {
		pictures := []Picture{
			{Image: drawn(10, 10, 1)}, {Encoded: asJPEG(t, drawn(10, 10, 2))},
			{Load: func() (image.Image, error) { return drawn(10, 10, 3), nil }, Label: 1},
		}
		change(pictures)
		d, err := FromPictures("p", []string{"a", "b"}, pictures)
		if err != nil {
			t.Fatal(err)
		}
		sum, err := Fingerprint(t.Context(), d)
		if err != nil {
			t.Fatal(err)
		}
		return sum
	}
	plain := print(func([]Picture) {})
	if again := print(func([]Picture) {}); again != plain {
		t.Error("the same pictures have two fingerprints")
	}
	for what, change := range map[string]func([]Picture){
		"pixel":  func(p []Picture) { p[0].Image.(*image.NRGBA).Pix[40]++ },
		"byte":   func(p []Picture) { p[1].Encoded[len(p[1].Encoded)-5]++ },
		"loaded": func(p []Picture) { p[2].Load = func() (image.Image, error) { return drawn(10, 10, 4), nil } },
		"label":  func(p []Picture) { p[2].Label = 0 },
		"fails":  func(p []Picture) { p[2].Load = func() (image.Image, error) { return nil, errors.New("gone") } },
	} {
		if print(change) == plain {
			t.Errorf("another %s, and the same fingerprint", what)
		}
	}
	// As a part of a joined dataset, too.
	joined := func(number int) string {
		var parts []*Dataset
		for i := range 2 {
			d, err := FromPictures("p", []string{"a"}, []Picture{{Image: drawn(9, 9, i*number)}})
			if err != nil {
				t.Fatal(err)
			}
			parts = append(parts, d)
		}
		d, err := Join("joined", parts...)
		if err != nil {
			t.Fatal(err)
		}
		sum, err := Fingerprint(t.Context(), d)
		if err != nil {
			t.Fatal(err)
		}
		return sum
	}
	if joined(1) == joined(2) {
		t.Error("joined: the fingerprint doesn't cover the contents")
	}
}

func TestBadPictures(t *testing.T) {
	gone := errors.New("the database is gone")
	pictures := []Picture{
		{Image: drawn(10, 10, 1)}, {Encoded: []byte("no image")}, {Load: func() (image.Image, error) { return nil, gone }},
		{Load: func() (image.Image, error) { return nil, nil }},
	}
	d, err := FromPictures("p", []string{"a"}, pictures)
	if err != nil {
		t.Fatal(err)
	}
	s, err := ComputeSurvey(t.Context(), d, StatsOptions{})
	if err != nil || s.Images != 1 || len(s.Unreadable) != 3 || !errors.Is(s.Unreadable[1].Err, gone) || s.Unreadable[1].Index != 2 {
		t.Errorf("survey %+v, %v", s, err)
	}
	only := d.Select(func(s Sample) bool { return s.Name == "000002.bmp" })
	_, err = ComputeSurvey(t.Context(), only, StatsOptions{})
	var bad *BadImage
	if !errors.As(err, &bad) || bad.Name != "000002.bmp" || !errors.Is(err, gone) {
		t.Errorf("nothing readable: %v, want an error that has the image", err)
	}
}

func TestFromPicturesErrors(t *testing.T) {
	im := drawn(3, 3, 0)
	for want, pictures := range map[string][]Picture{
		"000000.bmp: 0 of":                    {{}},
		"x: 2 of Image":                       {{Name: "x", Image: im, Encoded: []byte{1}}},
		"x: the name is given twice":          {{Name: "x", Image: im}, {Name: "x", Image: im}},
		"000000.bmp: label 2, want 0 to 1":    {{Image: im, Label: 2}},
		`"../x", want a slash-separated path`: {{Name: "../x", Image: im}},
	} {
		if _, err := FromPictures("p", []string{"a", "b"}, pictures); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%v, want %q in it", err, want)
		}
	}
}
