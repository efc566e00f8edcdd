package dataset

import (
	"bytes"
	"context"
	"fmt"
	"image"
	"image/color"
	"image/jpeg"
	"slices"
	"testing"

	"github.com/verydeep/vgg/internal/vggtest"
	"github.com/verydeep/vgg/preprocess"
)

// pictured is a dataset of files in memory.
func pictureSet(t *testing.T, files map[string][]byte) *Dataset {
	t.Helper()
	dir := t.TempDir()
	vggtest.WriteFiles(t, dir, files)
	d := opened(t, dir)
	if d.Len() != len(files) {
		t.Fatalf("%d images, want %d", d.Len(), len(files))
	}
	return d
}

// again returns a photograph compressed again, at another size and brightness.
func again(t *testing.T, im *preprocess.Image, w, h, quality int, bright float64) []byte {
	t.Helper()
	out, err := preprocess.Resize(im, w, h, preprocess.Bicubic)
	if err != nil {
		t.Fatal(err)
	}
	for i, p := range out.Pix {
		out.Pix[i] = uint8(min(255, bright*float64(p)))
	}
	var b bytes.Buffer
	if err := jpeg.Encode(&b, out, &jpeg.Options{Quality: quality}); err != nil {
		t.Fatal(err)
	}
	return b.Bytes()
}

// The sample's parts share no picture; put into the other part, a file is found by its bytes
// and a picture that was changed a little by its looks.
func TestFindLeaks(t *testing.T) {
	train, val, err := openSample()
	if err != nil {
		t.Fatal(err)
	}
	train, val = everyNth(train, 5), everyNth(val, 5)
	leaks, err := FindLeaks(t.Context(), train, val, LeakOptions{Near: true})
	if err != nil || !leaks.Checked || len(leaks.Same)+len(leaks.Near) > 0 {
		t.Fatalf("between the sample's parts: %+v, %v", leaks, err)
	}
	files := map[string][]byte{"other/noise.png": vggtest.PNG(60, 40, vggtest.Noise(1)), "other/grey.png": vggtest.PNG(60, 40, vggtest.Plain(color.RGBA{99, 99, 99, 255}))}
	var want []string
	for i, s := range train.Samples {
		raw, err := train.Read(i)
		if err != nil {
			t.Fatal(err)
		}
		im, err := preprocess.Decode(raw, preprocess.DecodeOptions{})
		if err != nil {
			t.Fatal(err)
		}
		switch name := fmt.Sprintf("%02d.jpg", i); i % 4 {
		case 0:
			files["copies/"+name] = raw
		case 1:
			files["made/"+name] = again(t, im, im.W/2, im.H/2, 60, 1)
			want = append(want, "made/"+name+" "+s.Name)
		case 2:
			files["made/"+name] = again(t, im, 100, 100, 75, 0.8)
			want = append(want, "made/"+name+" "+s.Name)
		}
	}
	leaks, err = FindLeaks(t.Context(), train, pictureSet(t, files), LeakOptions{Near: true, Workers: 3})
	if err != nil {
		t.Fatal(err)
	}
	if len(leaks.Same) != (train.Len()+3)/4 {
		t.Errorf("%d files with the same bytes, want %d", len(leaks.Same), (train.Len()+3)/4)
	}
	for _, l := range leaks.Same {
		var i int
		if _, err := fmt.Sscanf(l.Val, "copies/%d.jpg", &i); err != nil || train.Samples[i].Name != l.Train {
			t.Errorf("%+v", l)
		}
	}
	var got []string
	for _, l := range leaks.Near {
		got = append(got, l.Val+" "+l.Train)
	}
	if !slices.Equal(got, want) {
		t.Errorf("near-duplicates\n%q, want\n%q", got, want)
	}
	bounded, err := FindLeaks(t.Context(), train, pictureSet(t, files), LeakOptions{MaxBytes: 100})
	if err != nil || bounded.Checked || len(bounded.Same) > 0 {
		t.Errorf("within 100 bytes: %+v, %v", bounded, err)
	}
}

func everyNth(d *Dataset, n int) *Dataset {
	k := 0
	return d.Select(func(Sample) bool { k++; return k%n == 1 })
}

func TestFindLeaksCancelled(t *testing.T) {
	train, val, err := openSample()
	if err != nil {
		t.Fatal(err)
	}
	train, val = everyNth(train, 20), everyNth(val, 20)
	vggtest.Cancel(t, 3, func(ctx context.Context) error {
		_, err := FindLeaks(ctx, train, val, LeakOptions{Near: true, Workers: 1})
		return err
	})
}

// Other photographs differ by more than the same one compressed again, and a picture
// without contrast looks like none.
func TestLooks(t *testing.T) {
	train, _, err := openSample()
	if err != nil {
		t.Fatal(err)
	}
	var all []*looks
	for i := 0; i < train.Len(); i += 4 {
		l, err := train.looks(t.Context(), i, DecodeOptions{})
		if err != nil {
			t.Fatal(err)
		}
		all = append(all, l)
	}
	for i, a := range all {
		if d := a.difference(a); d != 0 {
			t.Errorf("image %d differs from itself by %g", 4*i, d)
		}
		for j := range i {
			if d := a.difference(all[j]); d <= nearDifference || d != all[j].difference(a) {
				t.Errorf("%s and %s differ by %g and %g", train.Samples[4*i].Name, train.Samples[4*j].Name, d, all[j].difference(a))
			}
		}
	}
	plain, err := preprocess.FromImage(image.NewGray(image.Rect(0, 0, 50, 40)))
	if err != nil {
		t.Fatal(err)
	}
	l, err := looksOf(plain)
	if err != nil {
		t.Fatal(err)
	}
	if d := l.difference(l); d != 1 {
		t.Errorf("pictures without contrast differ by %g, want 1: nothing tells that they are the same", d)
	}
}

// openSample opens the photographs of package sample, which imports this one.
func openSample() (train, val *Dataset, err error) {
	return Open(context.Background(), "sample/caltech101.zip", OpenOptions{})
}
