package dataset

import (
	"bytes"
	"context"
	"fmt"
	"image"
	"image/color"
	"image/jpeg"
	"math"
	"path/filepath"
	"runtime"
	"sync"
	"testing"
	"testing/fstest"
	"time"

	"github.com/verydeep/vgg/internal/vggtest"
	"github.com/verydeep/vgg/preprocess"
)

// YOLO's shares are of the image that people see: boxes are turned back to the stored one. The
// object is found by its pixels in both.
func TestYOLOOfTurnedImages(t *testing.T) {
	const w, h = 96, 64
	im := image.NewRGBA(image.Rect(0, 0, w, h))
	for y := range h {
		for x := range w {
			c := color.RGBA{0, 0, 0, 255}
			if x >= 16 && x < 40 && y >= 8 && y < 48 {
				c = color.RGBA{255, 255, 255, 255}
			}
			im.SetRGBA(x, y, c)
		}
	}
	var b bytes.Buffer
	if err := jpeg.Encode(&b, im, &jpeg.Options{Quality: 100}); err != nil {
		t.Fatal(err)
	}
	for orientation := byte(1); orientation <= 8; orientation++ {
		file := vggtest.Turned(b.Bytes(), orientation)
		upright, err := preprocess.Decode(file, preprocess.DecodeOptions{Orient: preprocess.Upright})
		if err != nil {
			t.Fatal(err)
		}
		c := white(upright)
		line := fmt.Sprintf("0 %v %v %v %v\n", (c[0]+c[2])/2/float64(upright.W), (c[1]+c[3])/2/float64(upright.H), (c[2]-c[0])/float64(upright.W), (c[3]-c[1])/float64(upright.H))
		d := opened(t, layout(t, "images/a.jpg", string(file), "labels/a.txt", line, "data.yaml", "names: [white]\ntrain: images\n"))
		boxed, _, err := ReadBoxes(t.Context(), d, BoxOptions{Strict: true})
		if err != nil {
			t.Fatal(err)
		}
		got := boxed.Samples[0].Boxes[0]
		for i, v := range []float64{got.X0, got.Y0, got.X1, got.Y1} {
			if want := []float64{16, 8, 40, 48}[i]; math.Abs(v-want) > 1e-9 {
				t.Errorf("orientation %d: box %v of the stored image, want 16 8 40 48", orientation, got)
				break
			}
		}
	}
}

// white returns the edges of an image's white pixels.
func white(im *preprocess.Image) [4]float64 {
	c := [4]float64{math.Inf(1), math.Inf(1), 0, 0}
	for y := range im.H {
		for x := range im.W {
			if im.Pix[3*(y*im.W+x)] > 127 {
				c = [4]float64{min(c[0], float64(x)), min(c[1], float64(y)), max(c[2], float64(x+1)), max(c[3], float64(y+1))}
			}
		}
	}
	return c
}

// fuzzPictures are the images of fuzzImages, encoded once.
var fuzzPictures = sync.OnceValue(func() [2][]byte { return [2][]byte{picture(20, 10, 1), picture(10, 20, 2)} })

// fuzzImages is a collection of two images for the formats that name them.
func fuzzImages(extra fstest.MapFS) fstest.MapFS {
	pictures := fuzzPictures()
	fsys := fstest.MapFS{"a.png": {Data: pictures[0]}, "b.png": {Data: pictures[1]}}
	for name, f := range extra {
		fsys[name] = f
	}
	return fsys
}

// checkBoxes opens a collection and checks that its boxes lie in their images.
func checkBoxes(t *testing.T, fsys fstest.MapFS) {
	d, _, err := Open(context.Background(), ".", OpenOptions{FS: fsys})
	if err != nil {
		return
	}
	boxed, _, err := ReadBoxes(context.Background(), d, BoxOptions{})
	if err != nil {
		return
	}
	for i, s := range boxed.Samples {
		w, h, err := boxed.Size(i)
		if err != nil {
			t.Fatal(err)
		}
		for _, b := range s.Boxes {
			if boxed.boxes != nil && boxed.boxes.kind == cocoBoxes {
				w, h = 1<<30, 1<<30 // those that the file says
			}
			if !(0 <= b.X0 && b.X0 < b.X1 && b.X1 <= float64(w) && 0 <= b.Y0 && b.Y0 < b.Y1 && b.Y1 <= float64(h)) || b.Class < 0 || b.Class >= len(boxed.Classes) {
				t.Fatalf("%s: box %+v of %d×%d pixels and %d classes", s.Name, b, w, h, len(boxed.Classes))
			}
		}
	}
}

func FuzzCOCO(f *testing.F) {
	f.Add([]byte(cocoOf("a.png dog", "b.png cat")))
	f.Add([]byte(`{"annotations":[{"image_id":"x","category_id":1,"bbox":[1e8,2,3,4],"iscrowd":true},{"bbox":[]}],"images":[{"id":"x","file_name":"..\\a.png"}],"categories":[{"id":1,"name":"a"},{"id":2,"name":"a"}]}`))
	f.Add([]byte(`{"images":[{"file_name":"a.png"`))
	f.Fuzz(func(t *testing.T, data []byte) {
		checkBoxes(t, fuzzImages(fstest.MapFS{"coco.json": {Data: data}}))
	})
}

func FuzzYOLO(f *testing.F) {
	f.Add([]byte("0 0.5 0.5 0.2 0.2\n1 0.1 0.1 0.9 0.1 0.9 0.9\n"), []byte(zooYAML+"train: .\n"))
	f.Add([]byte("0 1.01 0 1 1.0e-9\n"), []byte("path: ../x\ntrain: [a.png, list.txt]\nval: /y\nnames: {0: a, 7: b}\nkpt_shape: [1, 2]\n"))
	f.Add([]byte("0 1 1 1 1"), []byte("names: &a [*a]\ntrain: .\n"))
	f.Fuzz(func(t *testing.T, lines, description []byte) {
		checkBoxes(t, fuzzImages(fstest.MapFS{"a.txt": {Data: lines}, "data.yaml": {Data: description}, "list.txt": {Data: []byte("./a.png\n")}}))
	})
}

// heapPeak returns the most bytes by which the heap grows while f runs.
func heapPeak(f func()) int64 {
	var stats runtime.MemStats
	runtime.GC()
	runtime.ReadMemStats(&stats)
	before, most := stats.HeapAlloc, uint64(0)
	done := make(chan struct{})
	go func() {
		defer close(done)
		f()
	}()
	for {
		runtime.ReadMemStats(&stats)
		most = max(most, stats.HeapAlloc)
		select {
		case <-done:
			return int64(most) - int64(before)
		case <-time.After(2 * time.Millisecond):
		}
	}
}

// A file of COCO is read entry by entry: outlines of many megabytes take no memory for long.
func TestCOCOMemory(t *testing.T) {
	if testing.Short() {
		t.Skip("writes a file of 60 MB")
	}
	dir := layout(t, "train2017/a.png", string(picture(100, 80, 1)))
	var text bytes.Buffer
	text.WriteString(`{"images":[{"file_name":"a.png","id":1,"width":100,"height":80}],"categories":[{"id":1,"name":"cat"}],"annotations":[`)
	outline := bytes.Repeat([]byte("12.5,"), 100)
	const boxes = 100_000
	for i := range boxes {
		if i > 0 {
			text.WriteByte(',')
		}
		fmt.Fprintf(&text, `{"id":%d,"image_id":1,"category_id":1,"iscrowd":0,"bbox":[1,2,3,4],"segmentation":[[%s1]]}`, i+1, outline)
	}
	text.WriteString(`]}`)
	size := text.Len()
	write(t, filepath.Join(dir, "annotations/instances_train2017.json"), text.Bytes())
	text = bytes.Buffer{}
	var train *Dataset
	var err error
	most := heapPeak(func() { train, _, err = Open(t.Context(), dir, OpenOptions{}) })
	if err != nil || len(train.boxes.notes[0].objects) != boxes {
		t.Fatal(err)
	}
	if most > int64(size) {
		t.Errorf("%d MB of memory for a file of %d MB, want less than the file", most>>20, size>>20)
	}
}
