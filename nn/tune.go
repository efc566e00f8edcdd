package nn

import (
	"context"
	"fmt"
	"slices"
	"time"

	"github.com/verydeep/vgg/internal/kernel"
	"github.com/verydeep/vgg/progress"
	"github.com/verydeep/vgg/tensor"
)

// LayerPlan is how a convolution or fully connected layer is computed, and the cost of one
// forward pass over a batch.
type LayerPlan struct {
	Layer       string
	Algorithm   string // "F(6×6,3×3), 28 tiles, by panel", "direct", "packed", "packed, f16"
	Connected   bool   // fully connected
	Direct      int64  // multiplications of the direct convolution
	Computed    int64  // multiplications that Algorithm computes, fewer by Winograd
	WeightBytes int64  // weights, in the form that is multiplied
}

// Plans lists the plans of the convolutions and fully connected layers, first to last,
// for n images of h × w.
func (c *Chain) Plans(n, h, w int, train bool) ([]LayerPlan, error) {
	shapes, err := c.Shapes(h, w)
	if err != nil {
		return nil, err
	}
	var plans []LayerPlan
	in := Shape{c.in, h, w}
	for i, l := range c.layers {
		if conv, ok := l.(*Conv); ok {
			plans = append(plans, conv.plan(n, in, c.Threads(), train))
		}
		in = shapes[i]
	}
	return plans, nil
}

// Plans lists the plans of the convolutions and fully connected layers of a training step
// on the most images, first to last. Where fewer images go through a layer at a time, the
// algorithm says so.
func (t *Training) Plans() []LayerPlan {
	l := t.layout
	var plans []LayerPlan
	for i, k := range l.fused {
		if k.conv == nil {
			continue
		}
		p := k.conv.plan(l.n, l.shapes[i], l.chain.Threads(), i >= l.first)
		s := l.sectionOf(i)
		if g := s.imageGroup(s.groupCount(l.n)-1, l.n); g.from > 0 { // the last group is the largest
			n, together := g.to-g.from, "image by image"
			if n > 1 {
				together = fmt.Sprintf("%d images together", n)
			}
			p.Algorithm = k.conv.plan(n, l.shapes[i], l.chain.Threads(), i >= l.first).Algorithm + ", " + together
		}
		plans = append(plans, p)
	}
	return plans
}

func (l *Conv) plan(n int, in Shape, threads int, train bool) LayerPlan {
	direct := l.g.Multiplications(n, in.H, in.W)
	p := LayerPlan{
		Layer: l.name, Algorithm: l.g.Algorithm(in.H, in.W), Connected: l.connected(),
		Direct: direct, Computed: direct, WeightBytes: 4 * int64(l.Weight.packed),
	}
	if l.Weight.inFile {
		p.Algorithm = "packed, " + string(InFile)
	} else if l.Weight.format != 0 {
		format := F16
		if l.Weight.format == kernel.BF16 {
			format = BF16
		}
		p.Algorithm = "packed, " + string(format)
		p.WeightBytes /= 2
	} else if wino, ok := l.winograd(n, in, threads, train); ok {
		p.Algorithm = wino.Name(l.g, n, in.H, in.W)
		p.Computed = wino.Multiplications(l.g, n, in.H, in.W)
		p.WeightBytes = 4 * int64(wino.FilterLen(l.g))
	}
	return p
}

// Candidate is a way to compute a layer, with its time by [Chain.Tune].
type Candidate struct {
	Algorithm    string
	Chosen       bool    // by the plan
	Cost         float64 // by the plan's model, in multiplications of one thread; 0 where it has none
	Median, Best float64 // seconds
}

// Tuning is the candidates of one layer.
type Tuning struct {
	Layer      string
	Pool       bool // the max-pooling after the layer is part of it
	Candidates []Candidate
}

// Chosen is the candidate that the plan chose.
func (t Tuning) Chosen() Candidate {
	return t.Candidates[slices.IndexFunc(t.Candidates, func(c Candidate) bool { return c.Chosen })]
}

// Fastest is the candidate of the least median.
func (t Tuning) Fastest() Candidate {
	return slices.MinFunc(t.Candidates, func(a, b Candidate) int {
		switch {
		case a.Median < b.Median:
			return -1
		case a.Median > b.Median:
			return 1
		}
		return 0
	})
}

// Behind returns the chosen candidate, and those that it is behind by more than the given
// fraction of their time; ok is false if there are none.
func (t Tuning) Behind(fraction float64) (behind Tuning, ok bool) {
	behind = t
	behind.Candidates = nil
	chosen := t.Chosen()
	for _, c := range t.Candidates {
		if c.Chosen || chosen.Median > (1+fraction)*c.Median {
			behind.Candidates = append(behind.Candidates, c)
		}
	}
	return behind, len(behind.Candidates) > 1
}

// Tune times the candidates of every layer that Winograd's algorithm can compute: the plans
// of the form that the layer's shape requires, and the direct algorithm. It runs the whole
// network on x again and again, each layer by another candidate each time, so that
// candidates are timed in turns and find the caches as the network leaves them. Every
// candidate is timed rounds times, after one pass to warm up. If only isn't nil, only its
// layers and candidates are timed. done is told the passes.
func (c *Chain) Tune(ctx context.Context, x *tensor.Tensor, rounds int, only []Tuning, done progress.Func) ([]Tuning, error) {
	n, h, w, err := c.checkInput(x)
	if err != nil {
		return nil, err
	}
	if rounds < 1 {
		return nil, fmt.Errorf("nn: %d rounds of tuning, want at least 1", rounds)
	}
	t, err := c.newTuner(n, h, w, only)
	if err != nil {
		return nil, err
	}
	passes := progress.NewCounter(done, int64((rounds+1)*t.turns()))
	for round := range rounds + 1 {
		for turn := range t.turns() {
			if err := ctx.Err(); err != nil {
				return nil, err
			}
			t.ws.work.FromNCHW(x.Data, &t.ws.acts[0])
			for i := range t.ws.steps {
				t.step(i, turn+round, round > 0)
			}
			passes.Add(1)
		}
	}
	return t.result(), nil
}

// tuner runs inference whose layers change their algorithm from pass to pass.
type tuner struct {
	ws     *workspace
	layers []*tuned  // of each step, nil where there is no choice
	whole  []float32 // the output of a direct convolution before its pooling
}

// tuned is a layer with its candidates.
type tuned struct {
	conv       *Conv
	pool       bool
	plans      []*kernel.Winograd // nil: direct
	candidates []Candidate
	seconds    [][]float64 // of each candidate
}

func (c *Chain) newTuner(n, h, w int, only []Tuning) (*tuner, error) {
	work := kernel.NewWork(c.team.Load())
	threads := work.Team.Threads()
	steps, shapes, err := c.inferenceSteps(n, h, w, threads)
	if err != nil {
		return nil, err
	}
	t := &tuner{
		ws:     &workspace{work: work, n: n, h: h, w: w, steps: steps, acts: make([]kernel.Act, len(shapes))},
		layers: make([]*tuned, len(steps)),
	}
	borders, whole := make([]border, len(shapes)), 0
	var lens [2]int
	for i, in := range shapes {
		b := borderOf(steps, shapes, i, n, threads)
		if i < len(steps) {
			if l := newTuned(steps[i], n, in, threads, only); l != nil {
				t.layers[i] = l
				for _, p := range l.plans {
					if p != nil { // Winograd needs a wider border than the direct algorithm
						b = border{max(b.pad, l.conv.g.Pad), max(b.end, p.End(l.conv.g, in.H, in.W))}
					}
				}
				if l.pool {
					whole = max(whole, kernel.ActLen(n, l.conv.g.K, in.H, in.W, 0))
				}
			}
		}
		borders[i] = b
		lens[i%2] = max(lens[i%2], kernel.BorderedLen(n, in.C, in.H, in.W, b.pad, b.end))
	}
	t.whole = kernel.Alloc(whole)
	for i, l := range lens {
		t.ws.buf[i] = kernel.Alloc(l)
	}
	for i, s := range shapes {
		t.ws.acts[i].Bordered(n, s.C, s.H, s.W, borders[i].pad, borders[i].end, t.ws.buf[i%2])
	}
	return t, nil
}

// newTuned lists the candidates of a step, or returns nil where it has no choice.
func newTuned(s inferenceStep, n int, in Shape, threads int, only []Tuning) *tuned {
	conv := s.conv()
	if conv == nil || !conv.Weight.held() {
		return nil
	}
	wanted := func(string) bool { return true }
	if only != nil {
		i := slices.IndexFunc(only, func(t Tuning) bool { return t.Layer == conv.name })
		if i < 0 {
			return nil
		}
		wanted = func(algorithm string) bool {
			return slices.ContainsFunc(only[i].Candidates, func(c Candidate) bool { return c.Algorithm == algorithm })
		}
	}
	plans := conv.g.WinogradPlans(n, in.H, in.W, threads)
	if len(plans) == 0 {
		return nil
	}
	chosen, winograd := conv.winograd(n, in, threads, false)
	l := &tuned{conv: conv, pool: s.pool}
	add := func(p *kernel.Winograd, c Candidate) {
		if wanted(c.Algorithm) {
			l.plans = append(l.plans, p)
			l.candidates = append(l.candidates, c)
			l.seconds = append(l.seconds, nil)
		}
	}
	for _, p := range plans {
		add(&p, Candidate{
			Algorithm: p.Name(conv.g, n, in.H, in.W), Chosen: winograd && p == chosen,
			Cost: p.Cost(conv.g, n, in.H, in.W, threads),
		})
	}
	add(nil, Candidate{Algorithm: conv.g.Algorithm(in.H, in.W), Chosen: !winograd})
	return l
}

// turns is the number of passes in which every candidate has a turn.
func (t *tuner) turns() int {
	most := 0
	for _, l := range t.layers {
		if l != nil {
			most = max(most, len(l.candidates))
		}
	}
	return most
}

// step runs step i of inference, by the candidate whose turn it is.
func (t *tuner) step(i, turn int, timed bool) {
	l := t.layers[i]
	if l == nil {
		t.ws.step(i)
		return
	}
	work, x, y := t.ws.work, &t.ws.acts[i], &t.ws.acts[i+1]
	k := turn % len(l.candidates)
	p := l.plans[k]
	var u []float32
	if p != nil {
		u = l.conv.filter(work, *p)
	}
	start := time.Now()
	y.ClearBorder()
	switch conv := l.conv; {
	case p != nil:
		work.WinogradForward(*p, conv.g, x, u, conv.Bias.Value, conv.ReLU, l.pool, y)
	case l.pool:
		var whole kernel.Act
		whole.Shape(x.N, conv.g.K, x.H, x.W, 0, t.whole)
		work.ConvForward(conv.g, x, conv.Weight.Value, conv.Bias.Value, conv.ReLU, &whole)
		work.MaxPool(&whole, y)
	default:
		work.ConvForward(conv.g, x, conv.Weight.Value, conv.Bias.Value, conv.ReLU, y)
	}
	if timed {
		l.seconds[k] = append(l.seconds[k], time.Since(start).Seconds())
	}
}

// result lists the times.
func (t *tuner) result() []Tuning {
	var all []Tuning
	for _, l := range t.layers {
		if l == nil {
			continue
		}
		for k := range l.candidates {
			s := slices.Sorted(slices.Values(l.seconds[k]))
			l.candidates[k].Best = s[0]
			l.candidates[k].Median = (s[(len(s)-1)/2] + s[len(s)/2]) / 2
		}
		all = append(all, Tuning{l.conv.name, l.pool, l.candidates})
	}
	return all
}
