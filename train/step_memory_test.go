package train

import (
	"context"
	"fmt"
	"runtime"
	"strings"
	"testing"

	"github.com/verydeep/vgg/network"
	"github.com/verydeep/vgg/tensor"
)

// TestFootprint: what a stepper takes is what its estimate says, on one rank and on
// several, with groups whose sums wait for each other, and with frozen layers.
func TestFootprint(t *testing.T) {
	heap := func() int64 {
		runtime.GC()
		runtime.GC()
		var m runtime.MemStats
		runtime.ReadMemStats(&m)
		return int64(m.HeapAlloc)
	}
	for _, test := range []struct {
		config               string
		groups, ranks, micro int
		freeze               []string
		exchange             ExchangeForm
	}{
		{"A", 1, 1, 0, nil, Sums},
		{"A", 1, 1, 2, nil, Sums},
		{"A-BN", 2, 2, 0, nil, Sums},
		{"A", 6, 1, 1, nil, Sums},
		{"A", 6, 3, 0, nil, Sums},
		{"A", 6, 3, 0, nil, Factored},
		{"A", 1, 1, 0, []string{"conv*"}, Sums},
	} {
		t.Run(fmt.Sprintf("%s_%d_groups_%d_ranks_%d_frozen_%v", test.config, test.groups, test.ranks, len(test.freeze), test.exchange), func(t *testing.T) {
			r := tinyRecipe()
			r.Config, r.Width, r.FC, r.Input = test.config, 0.5, 512, 64
			r.Batch, r.Groups, r.Freeze, r.Exchange = 6, test.groups, test.freeze, test.exchange
			if r.Freeze == nil {
				r.Freeze = []string{}
			}
			f := Footprint{Recipe: r, Classes: stepClasses, Images: 100, Ranks: test.ranks, Threads: 2, Micro: test.micro}
			want, err := f.Bytes()
			if err != nil {
				t.Fatal(err)
			}
			image := int64(4 * 3 * 64 * 64)
			want -= processBytes + int64(loaderSlots(6, 2)*6+loaderSlots(validationBatch(r, test.micro), 2)*validationBatch(r, test.micro))*image

			before := heap()
			net, err := network.New(r.Options(stepClasses))
			if err != nil {
				t.Fatal(err)
			}
			if err := net.Init(network.He, 1); err != nil {
				t.Fatal(err)
			}
			if err := freeze(net.Params(), r.Freeze); err != nil {
				t.Fatal(err)
			}
			net.SetThreads(2)
			s := newTestStepper(t, net, stepOptions{Recipe: r, Batch: 6, Micro: test.micro, Ranks: test.ranks, Threads: 2})
			b := stepBatch(1, 6)
			b.X = tensor.New(6, 3, 64, 64)
			if _, err := s.step(context.Background(), whole(b), 1, 1e-4); err != nil {
				t.Fatal(err)
			}
			if _, err := net.Forward(tensor.New(validationBatch(r, test.micro), 3, 64, 64)); err != nil {
				t.Fatal(err)
			}
			got := heap() - before - 6*image
			least := 0.9
			if test.freeze != nil {
				least = 0.6 // weights transformed for inference and for training's first layers are the same
			}
			if ratio := float64(got) / float64(want); ratio < least || ratio > 1.02 {
				t.Errorf("%d KB taken, %d KB estimated: a ratio of %.2f", got>>10, want>>10, ratio)
			}
			runtime.KeepAlive(s)
		})
	}
}

// TestMicroBatch: the micro-batch that is chosen fits, and a larger one doesn't.
func TestMicroBatch(t *testing.T) {
	paper := PaperRecipe()
	for _, test := range []struct {
		name   string
		f      Footprint
		edit   func(*Recipe)
		memory int64
		want   string // error
	}{
		{"D at 224", Footprint{Recipe: paper, Ranks: 1}, nil, 8 << 30, ""},
		{"D at 224 in little", Footprint{Recipe: paper, Ranks: 1}, nil, 4 << 30, ""},
		{"on ranks", Footprint{Recipe: paper, Ranks: 4}, func(r *Recipe) { r.Groups = 4 }, 16 << 30, ""},
		{"all of it", Footprint{Recipe: paper, Ranks: 1}, func(r *Recipe) { r.Config, r.Width, r.FC, r.Input = "A", 0.25, 256, 32 }, 8 << 30, ""},
		{"too little", Footprint{Recipe: paper, Ranks: 1}, nil, 1 << 30, "train: memory of 1024 MiB: the least is "},
		{"batch normalisation", Footprint{Recipe: paper, Ranks: 1}, func(r *Recipe) { r.Config, r.Groups = "D-BN", 32 }, 8 << 30, ""},
		{"too little for a group", Footprint{Recipe: paper, Ranks: 1}, func(r *Recipe) { r.Config, r.Groups = "D-BN", 4 }, 8 << 30,
			"with micro-batches of 64, of the 64 images of a group, over which batch normalisation takes its statistics"},
		{"frozen batch normalisation", Footprint{Recipe: paper, Ranks: 1}, func(r *Recipe) { r.Config, r.Freeze = "D-BN", []string{"conv*"} }, 8 << 30, ""},
		{"ranks", Footprint{Recipe: paper, Ranks: 3}, nil, 8 << 30, "train: 1 groups on 3 ranks"},
	} {
		t.Run(strings.ReplaceAll(test.name, " ", "_"), func(t *testing.T) {
			f := test.f
			f.Classes, f.Images, f.Threads = 1000, 1_281_167, 2
			if test.edit != nil {
				test.edit(&f.Recipe)
			}
			micro, err := MicroBatch(f, test.memory)
			if test.want != "" {
				if err == nil || !strings.Contains(err.Error(), test.want) {
					t.Errorf("micro-batches of %d, %v, want an error %s", micro, err, test.want)
				}
				return
			}
			if err != nil {
				t.Fatal(err)
			}
			bytes := func(micro int) int64 {
				g := f
				g.Micro = micro
				b, err := g.Bytes()
				if err != nil {
					t.Fatal(err)
				}
				return b
			}
			group := groupSize(f.Recipe.Batch, f.Recipe.Groups)
			if micro < 1 || micro > group || bytes(micro) > test.memory || micro < group && bytes(micro+1) <= test.memory {
				t.Errorf("micro-batches of %d take %d bytes, of %d %d; the bound is %d", micro, bytes(micro), micro+1, bytes(micro+1), test.memory)
			}
			t.Logf("micro-batches of %d: %d MiB", micro, bytes(micro)>>20)
		})
	}
}
