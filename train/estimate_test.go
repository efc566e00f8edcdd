package train

import (
	"math"
	"testing"

	"github.com/verydeep/vgg/network"
)

// TestWork: frozen layers before the first that is learnt cost forward passes alone, and those of
// which the output is kept cost them once.
func TestWork(t *testing.T) {
	workFor := func(frozen ...string) work {
		chain, err := network.Plan(PaperRecipe().Options(10))
		if err != nil {
			t.Fatal(err)
		}
		if err := freeze(chain.Params(), frozen); err != nil {
			t.Fatal(err)
		}
		w, err := workOf(chain, 224)
		if err != nil {
			t.Fatal(err)
		}
		return w
	}
	all, upper, head := workFor(), workFor("conv[1-4]_*"), workFor("conv*")
	// D's convolutions are 15,346,630,656 multiplications an image, its last block 3·14²·512²·9;
	// the fully connected layers (25088 + 4096 + 10)·4096.
	const convolutions, block, full = 15_346_630_656, 3 * 14 * 14 * 512 * 512 * 9, 25088*4096 + 4096*4096 + 4096*10
	for what, c := range map[string]struct{ got, want float64 }{
		"all layers, front":  {all.front, 0},
		"all layers, rest":   {all.rest, convolutions + full},
		"last block, front":  {upper.front, convolutions - block},
		"last block, rest":   {upper.rest, block + full},
		"head, front":        {head.front, convolutions},
		"head, rest":         {head.rest, full},
		"an epoch of all":    {all.epochs(1, 100, 20, 0), (convolutions + full) * (stepForwards*100 + 20)},
		"an epoch of a head": {head.epochs(1, 100, 20, 0), convolutions*120 + full*(stepForwards*100+20)},
		"ten, two views":     {head.epochs(10, 100, 20, 2), convolutions*(200+20) + 10*full*(stepForwards*100+20)},
		"half, two views":    {head.epochs(0.5, 100, 20, 2), convolutions*(50+20) + 0.5*full*(stepForwards*100+20)},
	} {
		if math.Abs(c.got/c.want-1) > 1e-12 && c.got != c.want {
			t.Errorf("%s: %.0f multiplications, want %.0f", what, c.got, c.want)
		}
	}
}

// TestEstimateFollowsTheRecipe: what is frozen or shown less often takes less time.
func TestEstimateFollowsTheRecipe(t *testing.T) {
	f := someFacts(true)
	seconds := func(change func(*Recipe)) float64 {
		r, err := FineTuneRecipe("d.h5", network.DefaultOptions("D"), f.Weights.Preprocess, f.Side)
		if err != nil {
			t.Fatal(err)
		}
		change(&r)
		c, err := f.Estimate(r)
		if err != nil {
			t.Fatal(err)
		}
		return c.Seconds
	}
	all := seconds(func(*Recipe) {})
	// 30 epochs of 1000 steps of 3.6 passes and 250 of one, of 15.5 G at 0.9 of 800 G a second.
	if want := 30 * (3.6*1000 + 250) * 15.466e9 / (0.9 * 8e11); math.Abs(all/want-1) > 0.01 {
		t.Errorf("%.0f s, want about %.0f", all, want)
	}
	frozen := seconds(func(r *Recipe) { r.Freeze = []string{"conv*"} })
	views := seconds(func(r *Recipe) { r.Freeze, r.Views = []string{"conv*"}, 4 })
	short := seconds(func(r *Recipe) { r.MaxIterations = 32 }) // an epoch
	if !(views < frozen/5 && frozen < all/2) || math.Abs(short*30/all-1) > 1e-9 {
		t.Errorf("all %.0f s, frozen %.0f s, of four views %.0f s, one epoch of thirty %.0f s", all, frozen, views, short)
	}
}
