package eval

import (
	"math/rand/v2"
	"slices"
	"strings"
	"testing"
	"testing/fstest"

	"github.com/verydeep/vgg"
	"github.com/verydeep/vgg/dataset"
	"github.com/verydeep/vgg/internal/vggtest"
	"github.com/verydeep/vgg/network"
	"github.com/verydeep/vgg/preprocess"
	"github.com/verydeep/vgg/resources"
	"github.com/verydeep/vgg/tensor"
)

// narrowModel has random weights and classes a to c.
func narrowModel(t testing.TB, config string) *vgg.Model {
	t.Helper()
	o := network.DefaultOptions(config)
	o.Classes, o.Width, o.FC, o.Input = 3, 1./16, 16, 32
	net, err := network.New(o)
	if err != nil {
		t.Fatal(err)
	}
	if err := net.Init(network.Glorot, 3); err != nil {
		t.Fatal(err)
	}
	spec, err := preprocess.Preset("torchvision")
	if err != nil {
		t.Fatal(err)
	}
	spec.Crop, spec.Resize = 32, 40
	return &vgg.Model{Net: net, Classes: []string{"a", "b", "c"}, Preprocess: spec}
}

// noisy is a set of pictures of the given sizes.
func noisy(t testing.TB, sizes [][2]int) *dataset.Dataset {
	t.Helper()
	fsys := fstest.MapFS{}
	var samples []dataset.Sample
	for i, s := range sizes {
		name := string(rune('a'+i/26)) + string(rune('a'+i%26)) + ".png"
		fsys[name] = &fstest.MapFile{Data: vggtest.PNG(s[0], s[1], vggtest.Noise(uint64(i)))}
		samples = append(samples, dataset.Sample{Name: name, Label: i % 3})
	}
	d, err := dataset.New("noise", fsys, []string{"a", "b", "c"}, samples)
	if err != nil {
		t.Fatal(err)
	}
	return d
}

// A batch gives every image the bits that it has alone, whatever the size.
func TestBatchesKeepBits(t *testing.T) {
	for _, config := range []string{"A", "D", "A-BN", "A-LRN"} {
		m := narrowModel(t, config)
		rng := rand.New(rand.NewPCG(1, 2))
		for _, s := range []size{{32, 32}, {40, 57}, {64, 33}, {35, 150}, {33, 700}} {
			x := tensor.New(5, 3, s.h, s.w)
			for i := range x.Data {
				x.Data[i] = rng.Float32() - 0.5
			}
			together, err := m.Net.Forward(x)
			if err != nil {
				t.Fatal(err)
			}
			for i := range 5 {
				one, err := tensor.FromSlice(x.Index(i).Data, 1, 3, s.h, s.w)
				if err != nil {
					t.Fatal(err)
				}
				alone, err := m.Net.Forward(one)
				if err != nil {
					t.Fatal(err)
				}
				if !slices.Equal(alone.Data, together.Index(i).Data) {
					t.Errorf("%s, %d×%d: image %d of a batch has other scores than alone", config, s.w, s.h, i)
				}
			}
		}
	}
}

// Images of odd shapes go through every protocol: a panorama, an icon smaller than the
// network's input, a strip; and batches are made of images of one size.
func TestOddSizes(t *testing.T) {
	m := narrowModel(t, "A")
	d := noisy(t, [][2]int{{500, 20}, {2, 2}, {1, 1}, {31, 33}, {64, 48}, {20, 500}, {64, 48}, {128, 96}, {5000, 200}})
	for _, p := range []Protocol{Centre, Dense, MultiCropDense, TenCrop} {
		r, err := Run(t.Context(), m, d, Options{Protocol: p, Scales: []int{32, 50}, Flip: true})
		if err != nil {
			t.Fatal(err)
		}
		if r.Images != d.Len() || r.Unreadable != 0 {
			t.Errorf("%v: %d images and %d unreadable: %v", p, r.Images, r.Unreadable, r.Bad)
		}
	}
}

// However little memory, every image that fits has the same posterior; one that doesn't
// is unreadable, and the error has the numbers.
func TestMemoryBound(t *testing.T) {
	m := narrowModel(t, "A")
	var sizes [][2]int
	for i := range 40 {
		sizes = append(sizes, [2]int{32 + 7*(i%5), 40 + 11*(i%3)})
	}
	sizes = append(sizes, [2]int{9000, 32})
	d := noisy(t, sizes)
	fixed := designOf(m).fixedBytes(true) + answersBytes(d.Len(), 1, 3)
	var first *Result
	for _, images := range []int64{2 << 30, 100 << 20, leastImageBytes} {
		l, err := newLimits(designOf(m), true, resources.Resources{Memory: fixed + images})
		if err != nil {
			t.Fatal(err)
		}
		if sum := l.fixed + l.pass + l.decode + l.queue; sum > l.total {
			t.Errorf("parts of %d bytes of a bound of %d", sum, l.total)
		}
		p := pass{model: m, limits: l, queues: map[size]*queue{}}
		for _, s := range []size{{32, 32}, {224, 224}, {100, 1000}} {
			n, err := p.limit(s)
			if err != nil {
				t.Fatal(err)
			}
			if need, err := designOf(m).passBytes(n, s.h, s.w); err != nil || n > 1 && need > l.pass || n > 1 && n*s.h*s.w > batchPixels {
				t.Errorf("%d images of %v take %d bytes of %d, %v", n, s, need, l.pass, err)
			}
		}
		o := Options{Resources: resources.Resources{Memory: fixed + images}, Protocol: Dense, Scales: []int{32}, Mistakes: 99}
		if images == leastImageBytes {
			o.Scales = []int{96} // 27000×96
		}
		r, err := Run(t.Context(), m, d, o)
		if err != nil {
			t.Fatal(err)
		}
		if images == leastImageBytes {
			if r.Unreadable != 1 || !strings.Contains(r.Bad[0].Err.Error(), "9000×32 pixels rescaled to 27000×96 take") || !strings.Contains(r.Bad[0].Err.Error(), "MiB") {
				t.Errorf("too long an image: %v", r.Bad)
			}
			continue
		}
		if first == nil {
			first = r
		} else if r.Loss != first.Loss || r.Images != first.Images {
			t.Errorf("with %d bytes: loss %v on %d images, want %v on %d", images, r.Loss, r.Images, first.Loss, first.Images)
		}
	}
	if _, err := Run(t.Context(), m, d, Options{Resources: resources.Resources{Memory: fixed + 1}}); err == nil || !strings.Contains(err.Error(), "of which the network takes") {
		t.Errorf("no memory: error %v", err)
	}
}

// Posteriors that are kept in memory count towards the bound.
func TestMemoryOfAnswers(t *testing.T) {
	d := designOf(narrowModel(t, "A"))
	fixed, beside := d.fixedBytes(true), answersBytes(50_000, 2, 1000)
	if posteriors := int64(50_000) * 2 * 1000 * 4; beside < posteriors || beside > posteriors*11/10 {
		t.Errorf("%d bytes of answers, want a little more than %d", beside, posteriors)
	}
	if _, err := limitsBeside(d, true, resources.Resources{Memory: fixed + beside}, beside); err == nil || !strings.Contains(err.Error(), "a result file keeps them out of memory") {
		t.Errorf("no memory beside the answers: %v", err)
	}
	l, err := limitsBeside(d, true, resources.Resources{}, beside)
	if err != nil || l.total != fixed+beside+imageBytes {
		t.Errorf("%+v, %v; want %d bytes by default", l, err, fixed+beside+imageBytes)
	}
}

// An image for which a rank's share of the memory is too little is put off, and the last
// to be done; how many ranks there are makes none unreadable.
func TestLargeImagesOnRanks(t *testing.T) {
	m := narrowModel(t, "A")
	sizes := [][2]int{{600, 32}}
	for range 12 {
		sizes = append(sizes, [2]int{40, 40})
	}
	d := noisy(t, sizes)
	l, err := newLimits(designOf(m), true, resources.Resources{Memory: designOf(m).fixedBytes(true) + leastImageBytes})
	if err != nil {
		t.Fatal(err)
	}
	need, err := designOf(m).passBytes(1, 64, 1200)
	if err != nil {
		t.Fatal(err)
	}
	if need > l.pass || need <= l.pass/3 {
		t.Fatalf("a pass of %d bytes of %d: the test tells nothing", need, l.pass)
	}
	var losses []float64
	for _, ranks := range []int{1, 3} {
		var order []int
		c := &crew{ranks: ranks, pass: pass{model: m, data: d, views: []View{{Dense, 64, true}}, limits: l, workers: 3,
			done: func(image int, p [][]float32, err error) error {
				order = append(order, image)
				return err
			}}}
		if err := c.run(t.Context(), whole().images(d.Len()), func(int) []int { return []int{0} }); err != nil {
			t.Fatal(err)
		}
		if last := order[len(order)-1]; len(order) != d.Len() || ranks > 1 && last != 0 {
			t.Errorf("%d ranks: images done %v, want the wide one last of %d", ranks, order, d.Len())
		}
		r, err := Run(t.Context(), m, d, Options{Resources: resources.Resources{Ranks: ranks, Memory: l.total + answersBytes(d.Len(), 1, 3)}, Protocol: Dense, Flip: true, Scales: []int{64}})
		if err != nil || r.Unreadable != 0 {
			t.Fatalf("%d ranks: %+v, %v", ranks, r, err)
		}
		losses = append(losses, r.Loss)
	}
	if losses[0] != losses[1] {
		t.Errorf("losses %v", losses)
	}
	if _, err := Run(t.Context(), m, d, Options{Resources: resources.Resources{Ranks: 1000, Memory: l.total + answersBytes(d.Len(), 1, 3)}}); err != nil {
		t.Errorf("more ranks than images: %v", err)
	}
	wide := narrowModel(t, "D")
	if _, err := (&crew{ranks: 500, pass: pass{model: wide, limits: l}}).share(500); err == nil || !strings.Contains(err.Error(), "on each of 500 ranks") {
		t.Errorf("hardly any memory a rank: error %v", err)
	}
}

// A header that claims more than there is costs nothing.
func TestHeaderThatLies(t *testing.T) {
	m := narrowModel(t, "A")
	d := noisy(t, [][2]int{{40, 40}, {40, 40}})
	raw, err := d.Read(1)
	if err != nil {
		t.Fatal(err)
	}
	copy(raw[16:24], []byte{0, 1, 0, 0, 0, 1, 0, 0}) // 65536×65536, with a wrong checksum
	fsys := fstest.MapFS{"aa.png": {Data: raw}, "ab.png": {Data: raw[:30]}}
	good, err := d.Read(0)
	if err != nil {
		t.Fatal(err)
	}
	fsys["ac.png"] = &fstest.MapFile{Data: good}
	lies, err := dataset.New("lies", fsys, []string{"a"}, []dataset.Sample{{Name: "aa.png"}, {Name: "ab.png"}, {Name: "ac.png"}})
	if err != nil {
		t.Fatal(err)
	}
	r, err := Run(t.Context(), m, lies, Options{Protocol: Dense})
	if err != nil {
		t.Fatal(err)
	}
	if r.Images != 1 || r.Unreadable != 2 {
		t.Errorf("%+v", r)
	}
}

// The estimate counts the multiplications of what runs.
func TestWork(t *testing.T) {
	m := narrowModel(t, "A")
	d := noisy(t, [][2]int{{64, 48}, {64, 48}, {64, 48}})
	crop, err := m.Net.Chain().MACs(32, 32)
	if err != nil {
		t.Fatal(err)
	}
	whole, err := m.Net.Chain().MACs(36, 48)
	if err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct {
		s    Setting
		want int64
	}{
		{Setting{Centre, []int{40}, false}, crop},
		{Setting{Centre, []int{40, 48}, true}, 4 * crop},
		{Setting{Dense, []int{36}, true}, 2 * whole},
		{Setting{MultiCropDense, []int{36}, false}, 50*crop + whole},
		{Setting{TenCrop, []int{36}, true}, 10 * crop},
	} {
		net := Net{Open: func() (*vgg.Model, error) { return m, nil }, Setting: c.s}
		w, err := Work(t.Context(), []Net{net}, d, Options{}, true)
		if err != nil {
			t.Fatal(err)
		}
		if w.MACs != float64(c.want) || w.Images != 3 || w.Time <= 0 || w.Memory != designOf(m).fixedBytes(c.s.Protocol == Dense || c.s.Protocol == MultiCropDense)+answersBytes(3, 1, 3)+imageBytes {
			t.Errorf("%v: %+v, want %d multiplications", c.s, w, c.want)
		}
	}
}

func TestMiddleSize(t *testing.T) {
	a, b, c, d := size{10, 10}, size{10, 20}, size{30, 10}, size{30, 20}
	for _, test := range []struct {
		sizes  []size
		middle size
		alone  float64
	}{
		{[]size{a}, a, 0},
		{[]size{b, a, b, b}, b, 0.25},
		{[]size{d, a, a, c, c, c, c, a}, c, 0.125},
		{[]size{a, a, a}, a, 0},
		{[]size{d, c, b, a}, c, 1},
	} {
		if middle, alone := middleSize(test.sizes); middle != test.middle || alone != test.alone {
			t.Errorf("%v: %v, %v; want %v, %v", test.sizes, middle, alone, test.middle, test.alone)
		}
	}
}
