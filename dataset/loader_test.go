package dataset

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"iter"
	"maps"
	"math"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/fstest"

	"github.com/verydeep/vgg/preprocess"
)

func paperSpec(t testing.TB, crop, resize int) preprocess.Spec {
	t.Helper()
	s, err := preprocess.Preset("vgg")
	if err != nil {
		t.Fatal(err)
	}
	s.Crop, s.Resize = crop, resize
	return s
}

func trainLoader(t testing.TB, d *Dataset) *Loader {
	return &Loader{
		Data: d, Spec: paperSpec(t, 8, 9), Batch: 4, Train: true, SMin: 8, SMax: 14,
		Flip: true, Shift: grey, ShiftStd: 0.1, Seed: 7, Workers: 2,
	}
}

// grey shifts every channel alike.
func grey(alpha [3]float64) [3]float32 {
	v := float32(100 * alpha[0])
	return [3]float32{v, v, v}
}

// seen is a copy of the batches of an epoch.
type seen struct {
	sizes                      []int
	labels, indices, positions []int
	x                          []uint32
	bad                        []string
}

func collect(batches iter.Seq2[*Batch, error]) (seen, error) {
	var s seen
	for b, err := range batches {
		if err != nil {
			return s, err
		}
		s.sizes = append(s.sizes, len(b.Labels))
		s.labels = append(s.labels, b.Labels...)
		s.indices = append(s.indices, b.Indices...)
		s.positions = append(s.positions, b.Positions...)
		for _, v := range b.X.Data {
			s.x = append(s.x, math.Float32bits(v))
		}
		for _, bad := range b.Bad {
			s.bad = append(s.bad, fmt.Sprint(bad.Index, " ", bad.Name))
		}
		if want := []int{len(b.Labels), 3, 8, 8}; !slices.Equal(b.X.Shape, want) || b.X.Len() != len(b.X.Data) || len(b.X.Data) != want[0]*192 {
			return s, fmt.Errorf("X has shape %v and %d elements, want shape %v", b.X.Shape, len(b.X.Data), want)
		}
	}
	return s, nil
}

func mustCollect(t *testing.T, l *Loader, epoch int) seen {
	t.Helper()
	s, err := collect(l.Epoch(context.Background(), epoch))
	if err != nil {
		t.Fatal(err)
	}
	return s
}

func (s seen) equal(o seen) bool {
	return slices.Equal(s.sizes, o.sizes) && slices.Equal(s.labels, o.labels) &&
		slices.Equal(s.indices, o.indices) && slices.Equal(s.positions, o.positions) &&
		slices.Equal(s.x, o.x) && slices.Equal(s.bad, o.bad)
}

func TestBitsDependOnSeedAndEpochAlone(t *testing.T) {
	d, _ := pictures(t, 23, 5)
	want := mustCollect(t, trainLoader(t, d), 3)
	for _, workers := range []int{0, 1, 2, 7, 50} {
		for _, cache := range []int64{0, 3000, 1 << 20} {
			l := trainLoader(t, d)
			l.Workers, l.CacheBytes = workers, cache
			for range 2 {
				if got := mustCollect(t, l, 3); !got.equal(want) {
					t.Errorf("%d workers, %d bytes of cache: another epoch than with 2 and 0", workers, cache)
				}
			}
		}
	}
	if got := mustCollect(t, trainLoader(t, d), 4); slices.Equal(got.indices, want.indices) || slices.Equal(got.x, want.x) {
		t.Error("two epochs are the same")
	}
	l := trainLoader(t, d)
	l.Seed++
	if got := mustCollect(t, l, 3); slices.Equal(got.indices, want.indices) || slices.Equal(got.x, want.x) {
		t.Error("two seeds give the same epoch")
	}
	l = trainLoader(t, d)
	l.Batch = 5
	if got := mustCollect(t, l, 3); !slices.Equal(got.x, want.x) || !slices.Equal(got.positions, want.positions) {
		t.Error("the size of a batch changes the images")
	}
}

// A resumed run and the records of a run depend on the order, so a new version of Go or
// of this package must not change it.
// TestViews: with Views the crops of an image return, in another order of the images, and the
// first ones are those without Views.
func TestViews(t *testing.T) {
	d, _ := pictures(t, 23, 5)
	crops := func(l *Loader, epoch int) (byImage map[int]string, indices []int) {
		s := mustCollect(t, l, epoch)
		byImage = map[int]string{}
		for i, index := range s.indices {
			byImage[index] = fmt.Sprint(s.x[i*192 : (i+1)*192])
		}
		return byImage, s.indices
	}
	l, plain := trainLoader(t, d), trainLoader(t, d)
	l.Views = 2
	first, order := crops(l, 1)
	if want, _ := crops(plain, 1); !maps.Equal(first, want) {
		t.Error("the first epoch has other crops than without Views")
	}
	third, again := crops(l, 3)
	if !maps.Equal(first, third) || slices.Equal(order, again) {
		t.Errorf("epoch 3: crops as in epoch 1 %v, order %v, then %v; want the same crops in another order", maps.Equal(first, third), order, again)
	}
	second, _ := crops(l, 2)
	same := 0
	for i, c := range second {
		if c == first[i] {
			same++
		}
	}
	if same > 5 {
		t.Errorf("epoch 2 has %d of 22 crops of epoch 1", same)
	}
}

func TestOrderIsFrozen(t *testing.T) {
	for _, c := range []struct {
		epoch int
		want  []int
	}{
		{0, []int{7, 2, 4, 9, 8, 3, 6, 0, 5, 1}},
		{1, []int{7, 3, 6, 1, 4, 0, 9, 2, 8, 5}},
	} {
		if got := epochOrder(10, true, 1, c.epoch); !slices.Equal(got, c.want) {
			t.Errorf("epoch %d: order %v, want %v", c.epoch, got, c.want)
		}
	}
}

func TestEveryImageOnceAnEpoch(t *testing.T) {
	for _, train := range []bool{true, false} {
		for _, n := range []int{1, 3, 4, 5, 23} {
			d, _ := pictures(t, n)
			l := trainLoader(t, d)
			l.Train, l.SMin = train, 9
			s := mustCollect(t, l, 0)
			if len(s.sizes) != l.Batches() {
				t.Errorf("%d images: %d batches, want %d", n, len(s.sizes), l.Batches())
			}
			for p, i := range s.indices {
				if s.positions[p] != p || s.labels[p] != d.Samples[i].Label {
					t.Errorf("%d images: sample %d: position %d, label %d, want %d and %d", n, i, s.positions[p], s.labels[p], p, d.Samples[i].Label)
				}
			}
			if !train && !slices.IsSorted(s.indices) {
				t.Errorf("%d images: evaluated in the order %v", n, s.indices)
			}
			slices.Sort(s.indices)
			for i := range n {
				if i >= len(s.indices) || s.indices[i] != i {
					t.Fatalf("%d images: an epoch holds %v", n, s.indices)
				}
			}
		}
	}
}

func TestDropLast(t *testing.T) {
	d, _ := pictures(t, 11)
	l := trainLoader(t, d)
	l.DropLast = true
	if s := mustCollect(t, l, 0); !slices.Equal(s.sizes, []int{4, 4}) || l.Batches() != 2 {
		t.Errorf("training: batches of %v, %d announced, want two of 4", s.sizes, l.Batches())
	}
	l.Train = false
	if s := mustCollect(t, l, 0); !slices.Equal(s.sizes, []int{4, 4, 3}) || l.Batches() != 3 {
		t.Errorf("evaluation: batches of %v, %d announced, want every image", s.sizes, l.Batches())
	}
}

func TestBadImagesAreNamed(t *testing.T) {
	d, _ := pictures(t, 11, 1, 4, 5, 6, 7)
	l := trainLoader(t, d)
	l.Train = false
	s := mustCollect(t, l, 0)
	if want := []int{3, 0, 3}; !slices.Equal(s.sizes, want) {
		t.Errorf("batches of %v, want %v", s.sizes, want)
	}
	if want := []int{0, 2, 3, 8, 9, 10}; !slices.Equal(s.indices, want) || !slices.Equal(s.positions, want) {
		t.Errorf("indices %v, positions %v, want %v", s.indices, s.positions, want)
	}
	if want := []string{"1 b/001.png", "4 b/004.png", "5 c/005.png", "6 a/006.png", "7 b/007.png"}; !slices.Equal(s.bad, want) {
		t.Errorf("bad %v, want %v", s.bad, want)
	}
	good, _ := pictures(t, 11)
	l.Data = good
	whole := mustCollect(t, &Loader{Data: good, Spec: l.Spec, Batch: 11, SMin: 8}, 0)
	for p, i := range s.indices {
		if !slices.Equal(s.x[p*192:(p+1)*192], whole.x[i*192:(i+1)*192]) {
			t.Errorf("sample %d moved to another's place", i)
		}
	}
}

func TestImagesOfExtremeShape(t *testing.T) {
	truncated := picture(40, 40, 1)
	files := fstest.MapFS{
		"a/dot.png":       {Data: picture(1, 1, 1)},
		"a/empty.png":     {Data: nil},
		"a/strip.png":     {Data: picture(1, 20000, 1)},
		"a/truncated.png": {Data: truncated[:len(truncated)/2]},
	}
	d, _, err := openFolders(&search{ctx: t.Context()}, "extreme", files)
	if err != nil {
		t.Fatal(err)
	}
	d.Samples = append(d.Samples, Sample{Name: "a/vanished.png"})
	for _, train := range []bool{true, false} {
		l := trainLoader(t, d)
		l.Train = train
		s := mustCollect(t, l, 0)
		slices.Sort(s.indices)
		slices.Sort(s.bad)
		if !slices.Equal(s.indices, []int{0, 2}) || !slices.Equal(s.bad, []string{"1 a/empty.png", "3 a/truncated.png", "4 a/vanished.png"}) {
			t.Errorf("train %v: images %v, bad %v", train, s.indices, s.bad)
		}
	}
	l := trainLoader(t, d)
	l.MaxPixels = 100
	if s := mustCollect(t, l, 0); !slices.Contains(s.bad, "2 a/strip.png") {
		t.Errorf("at most 100 pixels: bad %v, want the strip among them", s.bad)
	}
}

func TestNoReadableImage(t *testing.T) {
	d, _ := pictures(t, 5, 0, 1, 2, 3, 4)
	s, err := collect(trainLoader(t, d).Epoch(context.Background(), 0))
	if err == nil || !strings.Contains(err.Error(), "none of 5 images is readable") {
		t.Errorf("error %v", err)
	}
	if len(s.bad) != 5 {
		t.Errorf("%d bad images named, want 5", len(s.bad))
	}
	l := trainLoader(t, d)
	d.fsys = fstest.MapFS{}
	if _, err := collect(l.Epoch(context.Background(), 0)); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("error %v, want the first image's inside", err)
	}
}

func TestEvaluationIsTheCentralCrop(t *testing.T) {
	d, _ := pictures(t, 6)
	for _, c := range []struct{ smin, q int }{{0, 9}, {12, 12}, {8, 8}} {
		l := &Loader{Data: d, Spec: paperSpec(t, 8, 9), Batch: 6, SMin: c.smin}
		got := mustCollect(t, l, 0)
		for i := range d.Samples {
			data, err := d.Read(i)
			if err != nil {
				t.Fatal(err)
			}
			im, err := preprocess.Decode(data, preprocess.DecodeOptions{})
			if err != nil {
				t.Fatal(err)
			}
			if im, err = preprocess.ResizeShort(im, c.q, l.Spec.Filter); err != nil {
				t.Fatal(err)
			}
			x, y := preprocess.CentreCrop(im.W, im.H, 8)
			if im, err = preprocess.Crop(im, x, y, x+8, y+8); err != nil {
				t.Fatal(err)
			}
			want := make([]float32, 3*8*8)
			l.Spec.Tensor(want, im, [3]float32{})
			for k, v := range want {
				if got.x[i*192+k] != math.Float32bits(v) {
					t.Fatalf("Q %d, sample %d, element %d: %v, want %v", c.q, i, k, math.Float32frombits(got.x[i*192+k]), v)
				}
			}
		}
	}
}

func TestTrainingViews(t *testing.T) {
	l, still := trainLoader(t, nil), trainLoader(t, nil)
	still.Flip, still.Shift = false, nil
	const n = 20000
	scales, corners := map[int]int{}, map[[2]int]int{}
	flips, sum, squares := 0, 0.0, 0.0
	for i := range uint64(n) {
		var rng stream
		v := l.augment(30, 20, rng.start(1, useAugment, 0, i))
		w := still.augment(30, 20, rng.start(1, useAugment, 0, i))
		if w.Flip || w.shift != [3]float32{} {
			t.Fatal("flip or shift where none was asked for")
		}
		if v.W != w.W || v.H != w.H || v.X != w.X || v.Y != w.Y {
			t.Fatal("without flip and shift the crop is another")
		}
		if v.H*3/2 != v.W || v.X < 0 || v.Y < 0 || v.X+8 > v.W || v.Y+8 > v.H {
			t.Fatalf("crop at (%d,%d) of %d×%d", v.X, v.Y, v.W, v.H)
		}
		scales[v.H]++
		if v.H == 10 {
			corners[[2]int{v.X, v.Y}]++
		}
		if v.Flip {
			flips++
		}
		a := float64(v.shift[0]) / 100
		sum, squares = sum+a, squares+a*a
	}
	for s := 8; s <= 14; s++ {
		if c := scales[s]; c < n/7*9/10 || c > n/7*11/10 {
			t.Errorf("S = %d drawn %d times of %d, want a seventh", s, c, n)
		}
	}
	if len(scales) != 7 {
		t.Errorf("S drawn: %v, want 8 to 14", scales)
	}
	if want := (15 - 8 + 1) * (10 - 8 + 1); len(corners) != want {
		t.Errorf("%d corners drawn at S = 10, want all %d", len(corners), want)
	}
	if flips < n*48/100 || flips > n*52/100 {
		t.Errorf("%d of %d flipped, want half", flips, n)
	}
	if mean, std := sum/n, math.Sqrt(squares/n); math.Abs(mean) > 0.004 || math.Abs(std-0.1) > 0.004 {
		t.Errorf("alpha has mean %v, standard deviation %v, want 0 and 0.1", mean, std)
	}
}

// For an image of exactly the crop's size only flip and shift are random.
func TestTrainingPixels(t *testing.T) {
	files := fstest.MapFS{"a/1.png": {Data: picture(8, 8, 3)}}
	d, _, err := openFolders(&search{ctx: t.Context()}, "one", files)
	if err != nil {
		t.Fatal(err)
	}
	spec := paperSpec(t, 8, 8)
	l := &Loader{
		Data: d, Spec: spec, Batch: 1, Train: true, SMin: 8, SMax: 8, Flip: true,
		Shift: func([3]float64) [3]float32 { return [3]float32{1, 20, -3} },
	}
	data, err := d.Read(0)
	if err != nil {
		t.Fatal(err)
	}
	im, err := preprocess.Decode(data, preprocess.DecodeOptions{})
	if err != nil {
		t.Fatal(err)
	}
	var plain, mirrored [192]float32
	spec.Tensor(plain[:], im, [3]float32{1, 20, -3})
	spec.Tensor(mirrored[:], preprocess.FlipH(im), [3]float32{1, 20, -3})
	count := map[[192]float32]int{}
	for epoch := range 30 {
		var got [192]float32
		for i, v := range mustCollect(t, l, epoch).x {
			got[i] = math.Float32frombits(v)
		}
		count[got]++
	}
	if count[plain] == 0 || count[mirrored] == 0 || len(count) != 2 {
		t.Errorf("30 epochs: %d plain, %d mirrored, %d sorts of images, want some of each and no other", count[plain], count[mirrored], len(count))
	}
}

func TestCache(t *testing.T) {
	d, fsys := pictures(t, 20)
	l := trainLoader(t, d)
	l.CacheBytes = 1 << 20
	for epoch := range 3 {
		mustCollect(t, l, epoch)
	}
	if n := fsys.total(); n != 20 {
		t.Errorf("%d reads in three epochs, want each of 20 images once", n)
	}

	d, fsys = pictures(t, 20)
	l = trainLoader(t, d)
	l.CacheBytes = 3000
	for epoch := range 3 {
		mustCollect(t, l, epoch)
	}
	if n := fsys.total(); n <= 20 || n >= 60 {
		t.Errorf("%d reads in three epochs with room for a part of the images, want between 20 and 60", n)
	}
	if l.decoded.used > 3000 {
		t.Errorf("the cache holds %d bytes, want at most 3000", l.decoded.used)
	}
}

func TestEpochsOfOneLoaderAtOnce(t *testing.T) {
	d, _ := pictures(t, 23)
	l := trainLoader(t, d)
	want := []seen{mustCollect(t, l, 0), mustCollect(t, l, 1)}
	l = trainLoader(t, d)
	l.CacheBytes = 1 << 20
	var wg sync.WaitGroup
	for i := range 4 {
		wg.Go(func() {
			if got, err := collect(l.Epoch(context.Background(), i%2)); err != nil || !got.equal(want[i%2]) {
				t.Errorf("epoch %d beside others: not the same (%v)", i%2, err)
			}
		})
	}
	wg.Wait()
}

func TestValidate(t *testing.T) {
	d, _ := pictures(t, 5)
	none, err := New("none", fstest.MapFS{}, nil, nil)
	if err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct {
		want   string
		change func(*Loader)
	}{
		{"Data is nil", func(l *Loader) { l.Data = nil }},
		{"no samples", func(l *Loader) { l.Data = none }},
		{"Batch 0, want 1", func(l *Loader) { l.Batch = 0 }},
		{"Crop -1, want 1", func(l *Loader) { l.Crop = -1 }},
		{"Workers -1", func(l *Loader) { l.Workers = -1 }},
		{"CacheBytes -2", func(l *Loader) { l.CacheBytes = -2 }},
		{"MaxPixels -1", func(l *Loader) { l.MaxPixels = -1 }},
		{"Spec: ", func(l *Loader) { l.Spec.Std[1] = 0 }},
		{"SMin 7, want at least Crop, 8", func(l *Loader) { l.SMin = 7 }},
		{"SMax 7, want at least SMin, 8", func(l *Loader) { l.SMax = 7 }},
		{"Views -1", func(l *Loader) { l.Views = -1 }},
		{"ShiftStd -1", func(l *Loader) { l.ShiftStd = -1 }},
		{"ShiftStd NaN", func(l *Loader) { l.ShiftStd = math.NaN() }},
		{"DropLast leaves none of 5 images", func(l *Loader) { l.Batch, l.DropLast = 6, true }},
		{"too many elements", func(l *Loader) { l.Crop, l.SMin, l.SMax = 1<<31, 1<<31, 1<<31 }},
		{"smallest side 7 (SMin, or Spec.Resize), want at least Crop, 8", func(l *Loader) { l.Train, l.SMin = false, 7 }},
		{"smallest side 9 (SMin, or Spec.Resize), want at least Crop, 10", func(l *Loader) { l.Train, l.SMin, l.Crop = false, 0, 10 }},
	} {
		l := trainLoader(t, d)
		if err := l.Validate(); err != nil {
			t.Fatal(err)
		}
		c.change(l)
		n := 0
		for b, err := range l.Epoch(context.Background(), 0) {
			n++
			if b != nil || err == nil || !strings.HasPrefix(err.Error(), "dataset: ") || !strings.Contains(err.Error(), c.want) {
				t.Errorf("batch %v, error %v, want the error to say %q", b, err, c.want)
			}
		}
		if n != 1 {
			t.Errorf("%s: %d results, want an error alone", c.want, n)
		}
	}
}

func TestStreamsDiffer(t *testing.T) {
	seen := map[uint64]bool{}
	for seed := range uint64(4) {
		for use := range uint64(4) {
			for a := range uint64(8) {
				for b := range uint64(8) {
					var s stream
					seen[s.start(seed, use, a, b).Uint64()] = true
				}
			}
		}
	}
	if len(seen) != 4*4*8*8 {
		t.Errorf("%d different streams, want %d", len(seen), 4*4*8*8)
	}
	var s stream
	first := s.start(1, 2, 3, 4).Uint64()
	if s.start(1, 2, 3, 4).Uint64() != first {
		t.Error("a stream started again isn't the same")
	}
}
