package transfer

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"math"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/verydeep/vgg/eval"
	"github.com/verydeep/vgg/internal/vggtest"
	"github.com/verydeep/vgg/resources"
)

// extract describes a folder into a new file.
func extract(t *testing.T, nets []Net, images *Images, name string, o Options) (string, *Summary) {
	t.Helper()
	out := filepath.Join(t.TempDir(), name)
	s, err := Extract(t.Context(), nets, images, out, o)
	if err != nil {
		t.Fatal(err)
	}
	return out, s
}

// A descriptor has the norm 1, and is what its parts alone are: of two networks at two
// scales, each stacked with the same weight.
func TestStacking(t *testing.T) {
	images := open(t, Auto, folder(t))
	a, b := smallNet(1), smallNet(2)
	a.Scales, b.Scales = []int{40, 56}, []int{48}
	out, s := extract(t, []Net{a, b}, images, "f.npy", Options{Flip: true})
	d, x := contents(t, out)
	if d.Header.Dim != 3*24 || s.Images != 12 || len(s.Unreadable) != 2 || d.Header.Layout != oneClass {
		t.Fatalf("%d numbers, %d images and %d unreadable, layout %q", d.Header.Dim, s.Images, len(s.Unreadable), d.Header.Layout)
	}
	var parts [][]float32
	for _, n := range []Net{{Scales: []int{40}, Open: a.Open}, {Scales: []int{56}, Open: a.Open}, {Scales: []int{48}, Open: b.Open}} {
		one, _ := extract(t, []Net{n}, images, "f.npy", Options{Flip: true, Raw: true})
		_, y := contents(t, one)
		parts = append(parts, y)
	}
	for r, row := range d.Rows {
		v := x[r*72 : (r+1)*72]
		if row.Error != "" {
			if slices.Max(v) != 0 || slices.Min(v) != 0 {
				t.Errorf("%s is unreadable, and described as %v", row.File, v)
			}
			continue
		}
		if n := norm(v); math.Abs(n-1) > 1e-6 {
			t.Errorf("%s: norm %v", row.File, n)
		}
		for p, weight := range []float64{math.Sqrt(1. / 4), math.Sqrt(1. / 4), math.Sqrt(1. / 2)} {
			raw := parts[p][r*24 : (r+1)*24]
			for i, y := range raw {
				if want := float64(y) / norm(raw) * weight; math.Abs(float64(v[p*24+i])-want) > 1e-6 {
					t.Fatalf("%s: part %d, number %d is %v, want %v", row.File, p, i, v[p*24+i], want)
				}
			}
		}
	}
}

// Neither an interruption, nor shards, nor batches change a bit, in any format.
func TestResumeAndShards(t *testing.T) {
	images := open(t, Auto, folder(t))
	nets := []Net{smallNet(1), smallNet(2)}
	nets[0].Scales = []int{40, 56}
	out, want := extract(t, nets, images, "f.npy", Options{Flip: true})
	d, x := contents(t, out)

	for _, name := range []string{"f.npy", "f.safetensors"} {
		resumed := filepath.Join(t.TempDir(), name)
		stop := errors.New("stop")
		for at := int64(3); ; at += 5 {
			ctx, cancel := context.WithCancelCause(t.Context())
			s, err := Extract(ctx, nets, images, resumed, Options{Resources: resources.Resources{Batch: 1, Workers: 1}, Flip: true, OnImage: func(done, total int64) {
				if total != 28 {
					t.Errorf("%d in all, want 28", total)
				}
				if done >= at {
					cancel(stop)
				}
			}})
			cancel(nil)
			if err == nil {
				if s.Images != want.Images || len(s.Unreadable) != 2 {
					t.Errorf("%+v, want %+v", s, want)
				}
				break
			}
			if !errors.Is(err, stop) {
				t.Fatal(err)
			}
			// Nothing half done has the name of the whole.
			for _, file := range []string{resumed, resumed + indexSuffix} {
				if exists(file) {
					t.Fatalf("%s is there after %d columns", file, at)
				}
			}
			if _, err := Open(t.Context(), resumed); !errors.Is(err, fs.ErrNotExist) || name == "f.npy" && !strings.Contains(err.Error(), "the same command goes on") {
				t.Fatalf("%v, want an error that says how it goes on", err)
			}
			if at > 40 {
				t.Fatal("no end")
			}
		}
		e, y := contents(t, resumed)
		sameBits(t, name, y, x)
		sameRows(t, e.Rows, d.Rows)
		if left, _ := filepath.Glob(filepath.Join(filepath.Dir(resumed), "*.part*")); len(left) > 0 {
			t.Errorf("left behind: %v", left)
		}
		// Another run of the same finds all done; one of another kind is told so.
		if s, err := Extract(t.Context(), nets, images, resumed, Options{Flip: true}); err != nil || s.ImagesPerSecond != 0 && name != "f.npy" {
			t.Errorf("again: %+v, %v", s, err)
		}
		if _, err := Extract(t.Context(), nets, images, resumed, Options{}); err == nil || !strings.Contains(err.Error(), "descriptors of another run: mirror images true, want false") {
			t.Errorf("without mirror images: %v", err)
		}
		if _, err := Extract(t.Context(), nets[:1], images, resumed, Options{Flip: true}); err == nil || !strings.Contains(err.Error(), "networks: 2, want 1") {
			t.Errorf("with one network: %v", err)
		}
	}

	dir := t.TempDir()
	var shards []string
	for i := range 3 {
		shard := filepath.Join(dir, fmt.Sprintf("%d.npy", i))
		if i == 1 {
			shard = filepath.Join(dir, "1.safetensors")
		}
		if _, err := Extract(t.Context(), nets, images, shard, Options{Resources: resources.Resources{Workers: 3}, Flip: true, Shard: eval.Shard{Index: 3 - i, Count: 3}}); err != nil {
			t.Fatal(err)
		}
		shards = append(shards, shard)
	}
	m, err := OpenMerged(t.Context(), shards...)
	if err != nil {
		t.Fatal(err)
	}
	defer m.Close()
	y, err := m.Load(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	sameBits(t, "merged", y, x)
	sameRows(t, m.Rows, d.Rows)
	for _, name := range []string{"m.npy", "m.safetensors"} {
		if err := m.Write(t.Context(), filepath.Join(dir, name)); err != nil {
			t.Fatal(err)
		}
		e, y := contents(t, filepath.Join(dir, name))
		sameBits(t, name, y, x)
		sameRows(t, e.Rows, d.Rows)
		if diff := e.Header.difference(d.Header); diff != "" || e.Header.Shard.Count != 1 {
			t.Errorf("%s: %s, shard %v", name, diff, e.Header.Shard)
		}
	}
	for want, paths := range map[string][]string{
		"no file for 1":            shards[:2],
		"want the others too":      shards[:1],
		"shard 3/3, which is":      {shards[0], shards[1], shards[0]},
		"shard 1/1, which is":      {out, out},
		"shard 1/1, want one of 3": {shards[0], out},
	} {
		if _, err := OpenMerged(t.Context(), paths...); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%v: %v, want %s", paths, err, want)
		}
	}
}

func sameRows(t *testing.T, got, want []Row) {
	t.Helper()
	for i := range want {
		a, _ := json.Marshal(got[i])
		b, _ := json.Marshal(want[i])
		if string(a) != string(b) {
			t.Errorf("row %d: %s, want %s", i, a, b)
		}
	}
}

// What one run writes, another can't.
func TestOneRunWrites(t *testing.T) {
	images := open(t, Auto, folder(t))
	out := filepath.Join(t.TempDir(), "f.npy")
	second := func() error {
		_, err := Extract(t.Context(), []Net{smallNet(1)}, images, out, Options{})
		return err
	}
	told := 0
	if _, err := Extract(t.Context(), []Net{smallNet(1)}, images, out, Options{OnImage: func(int64, int64) {
		if err := second(); err == nil || !strings.Contains(err.Error(), "f.npy: another run is writing it (process") {
			t.Errorf("at once: %v", err)
		}
		told++
	}}); err != nil || told != 14 {
		t.Fatalf("told %d times, %v", told, err)
	}
	if err := second(); err != nil {
		t.Errorf("afterwards: %v", err)
	}
}

// A file of lines has every image with the names of its classes.
func TestLines(t *testing.T) {
	images := open(t, Auto, folder(t))
	nets := []Net{smallNet(1)}
	out, _ := extract(t, nets, images, "f.jsonl", Options{})
	same, _ := extract(t, nets, images, "f.npy", Options{})
	d, x := contents(t, same)
	text, err := os.ReadFile(out)
	if err != nil {
		t.Fatal(err)
	}
	lines := strings.Split(strings.TrimSpace(string(text)), "\n")
	if len(lines) != 14 {
		t.Fatalf("%d lines, want 14", len(lines))
	}
	for r, text := range lines {
		var l jsonLine
		if err := json.Unmarshal([]byte(text), &l); err != nil {
			t.Fatal(err)
		}
		if l.File != d.Rows[r].File || !slices.Equal(l.Labels, []string{images.Classes[images.Samples[r].Label]}) || l.Error != d.Rows[r].Error {
			t.Errorf("line %d: %+v, want %+v", r, l, d.Rows[r])
		}
		if l.Error == "" {
			sameBits(t, l.File, l.Descriptor, x[r*24:(r+1)*24])
		}
	}
}

// A person is its box: the descriptor of the box is that of the picture cut to it.
func TestBoxes(t *testing.T) {
	dir := t.TempDir()
	xml := func(boxes ...[4]int) []byte {
		text := "<annotation>"
		for _, b := range boxes {
			text += fmt.Sprintf("<object><name>person</name><bndbox><xmin>%d</xmin><ymin>%d</ymin><xmax>%d</xmax><ymax>%d</ymax></bndbox></object>", b[0], b[1], b[2], b[3])
		}
		return []byte(text + "</annotation>")
	}
	vggtest.WriteFiles(t, dir, map[string][]byte{
		"JPEGImages/1.png": picture(80, 60, 1), "JPEGImages/2.png": picture(50, 70, 2),
		"Annotations/1.xml":                xml([4]int{0, 0, 80, 60}, [4]int{5, 7, 60, 50}),
		"Annotations/2.xml":                xml([4]int{90, 90, 120, 120}), // outside
		"ImageSets/Action/run_train.txt":   []byte("1 1 1\n1 2 -1\n"),
		"ImageSets/Action/run_val.txt":     []byte("2 1 1\n"),
		"ImageSets/Action/phone_train.txt": []byte("1 1 -1\n1 2 1\n"),
	})
	images := open(t, VOCActions, dir)
	nets := []Net{smallNet(1)}
	out, s := extract(t, nets, images, "f.npy", Options{Regions: []Region{WholeImage, Box}})
	d, x := contents(t, out)
	if len(d.Rows) != 3 || d.Header.Dim != 48 || len(s.Unreadable) != 1 || !strings.Contains(d.Rows[2].Error, "outside the image of 50×70") {
		t.Fatalf("%d rows of %d, unreadable %v", len(d.Rows), d.Header.Dim, s.Unreadable)
	}
	sameBits(t, "a box round all", x[24:48], x[:24])
	if slices.Equal(x[48+24:48+48], x[48:48+24]) {
		t.Error("a box in the image gives what the image does")
	}
	if got := fmt.Sprint(d.Rows[1].Labels, d.Rows[1].Part, d.Header.Data.Classes); got != "[0]train[phone run]" {
		t.Error(got)
	}
	if _, err := Extract(t.Context(), nets, open(t, Files, dir), filepath.Join(dir, "g.npy"), Options{Regions: []Region{Box}}); err == nil || !strings.Contains(err.Error(), "no boxes to describe") {
		t.Errorf("without boxes: %v", err)
	}
}

// Files that are no descriptors, or not whole, are errors that say so.
func TestBadFiles(t *testing.T) {
	images := open(t, Auto, folder(t))
	out, _ := extract(t, []Net{smallNet(1)}, images, "f.npy", Options{})
	npy, err := os.ReadFile(out)
	if err != nil {
		t.Fatal(err)
	}
	index, err := os.ReadFile(out + indexSuffix)
	if err != nil {
		t.Fatal(err)
	}
	lines := strings.SplitAfter(string(index), "\n")
	for want, c := range map[string][2]string{
		"1 of 14 images are not described yet":  {string(npy), strings.Join(lines[:14], "")},
		"which " + "f.npy":                      {string(npy[:len(npy)-4]), string(index)},
		"no header":                             {string(npy), ""},
		"not an index of descriptors":           {string(npy), "{}{\n"},
		`format "", want "vgg descriptors 1"`:   {string(npy), "{}\n"},
		"not the array of 14×24":                {"\x93NUMPZ" + string(npy[6:]), string(index)},
		"image 99, want one of shard 1/1 of 14": {string(npy), lines[0] + strings.Replace(lines[1], `"image":`, `"image":99,"x":`, 1)},
		"class 7, want 0 to 2":                  {string(npy), lines[0] + strings.Replace(lines[1], `"labels":[`, `"labels":[7,`, 1)},
		"array of 20000000000×24":               {string(npy), strings.Replace(lines[0], `"images":14`, `"images":20000000000`, 1)},
		"numbers of a descriptor":               {string(npy), strings.Replace(lines[0], `"dim":24`, `"dim":25`, 1)},
	} {
		dir := t.TempDir()
		path := filepath.Join(dir, "f.npy")
		vggtest.WriteFiles(t, dir, map[string][]byte{"f.npy": []byte(c[0]), "f.npy.jsonl": []byte(c[1])})
		_, err := Open(t.Context(), path)
		if want = strings.Replace(want, "which f.npy", "which "+path+" isn't", 1); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%v, want %s", err, want)
		}
	}
	for _, bad := range []string{"f.txt", "f"} {
		if _, err := Extract(t.Context(), []Net{smallNet(1)}, images, filepath.Join(t.TempDir(), bad), Options{}); err == nil || !strings.Contains(err.Error(), "want a file that ends in .npy") {
			t.Errorf("%s: %v", bad, err)
		}
	}
	dir := t.TempDir()
	vggtest.WriteFiles(t, dir, map[string][]byte{"1.jpg": nil, "2.jpg": []byte("x")})
	if _, err := Extract(t.Context(), []Net{smallNet(1)}, open(t, Files, dir), filepath.Join(dir, "f.npy"), Options{}); err == nil || !strings.Contains(err.Error(), "none of 2 images is readable") {
		t.Errorf("unreadable images alone: %v", err)
	}
}

// TestDefaultOptions: the library's caller gets the command line's descriptors.
func TestDefaultOptions(t *testing.T) {
	o := DefaultOptions()
	if !o.Flip || o.Raw || o.Max || o.Unrectified || o.Average || len(o.Regions) > 0 {
		t.Errorf("%+v: not the command line's values", o)
	}
	p, err := newExtraction([]Net{smallNet(1)}, open(t, Auto, folder(t)), o)
	if err != nil || p.header.Shard.Count != 1 || len(p.header.Regions) != 1 || p.header.Regions[0] != WholeImage || !p.header.Nets[0].Rectified || !p.header.Flip {
		t.Errorf("%+v, %v", p, err)
	}
}

// Several layers of one pass have the bits of each alone, whole, interrupted or partly there, and
// whatever their order.
func TestExtractLayers(t *testing.T) {
	images := open(t, Auto, folder(t))
	a, b := smallNet(1), smallNet(2)
	a.Scales, b.Scales = []int{40, 56}, []int{48}
	layers := []string{"pool2", "conv1_1", "fc7", "conv2_2"}
	want := map[string][]float32{}
	for _, l := range layers {
		x, y := a, b
		x.Layer, y.Layer = l, l
		out, _ := extract(t, []Net{x, y}, images, "f.npy", Options{Flip: true})
		_, want[l] = contents(t, out)
	}
	for _, o := range []Options{{Flip: true}, {Flip: true, Resources: resources.Resources{Ranks: 2, Batch: 3}}} {
		dir := t.TempDir()
		var outs []string
		for _, l := range layers {
			outs = append(outs, filepath.Join(dir, l+".npy"))
		}
		one := a
		one.Layer = layers[2]
		other := b
		other.Layer = layers[2]
		if _, err := Extract(t.Context(), []Net{one, other}, images, outs[2], o); err != nil {
			t.Fatal(err)
		}
		ctx, cancel := context.WithCancel(t.Context())
		stopped := o
		stopped.OnImage = func(done, total int64) {
			if done > total/2 {
				cancel()
			}
		}
		if _, err := ExtractLayers(ctx, []Net{a, b}, layers, images, outs, stopped); !errors.Is(err, context.Canceled) {
			t.Fatalf("cancelled: %v", err)
		}
		s, err := ExtractLayers(t.Context(), []Net{a, b}, layers, images, outs, o)
		if err != nil {
			t.Fatal(err)
		}
		for i, l := range layers {
			d, x := contents(t, outs[i])
			sameBits(t, l, x, want[l])
			if s[i].Dim != d.Header.Dim || s[i].Images != 12 || len(s[i].Unreadable) != 2 || d.Header.Nets[1].Layer != l {
				t.Errorf("%s: %+v, header %+v", l, s[i], d.Header)
			}
		}
	}
	for _, bad := range []struct {
		layers, outs []string
		o            Options
		want         string
	}{
		{nil, nil, Options{}, "0 layers and 0 files"},
		{[]string{"pool2", "pool2"}, []string{"a.npy", "b.npy"}, Options{}, `layer "pool2" twice`},
		{[]string{"pool2", ""}, []string{"a.npy", "b.npy"}, Options{}, "a layer without a name"},
		{[]string{"pool2", "conv9"}, []string{"a.npy", "b.npy"}, Options{}, `layer "conv9"`},
		{[]string{"pool2", "conv2_2"}, []string{"a.npy", "b.npy"}, Options{Unrectified: true}, "before their rectification"},
	} {
		dir := t.TempDir()
		for i := range bad.outs {
			bad.outs[i] = filepath.Join(dir, bad.outs[i])
		}
		if _, err := ExtractLayers(t.Context(), []Net{a}, bad.layers, images, bad.outs, bad.o); err == nil || !strings.Contains(err.Error(), bad.want) {
			t.Errorf("%v: %v, want %q", bad.layers, err, bad.want)
		}
	}
}
