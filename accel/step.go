package accel

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/verydeep/vgg/accel/pjrt"
	"github.com/verydeep/vgg/comm"
	"github.com/verydeep/vgg/nn"
)

// step is a step of a trainer: it forms the sums of gradients of a mini-batch.
type step struct {
	t     *Trainer
	b     nn.TrainerBatch
	n     int                    // images of the whole batch
	scale [][]*pjrt.Buffer       // of each rank
	keys  [][]*pjrt.Buffer       // of each rank; none without dropout
	sent  map[place]*pjrt.Buffer // images that are on the devices already
	parts []part
}

// part is a micro-batch of each rank, whose programs are in the queue.
type part struct {
	execution *pjrt.Execution
	group     []int // of each rank; -1 where no image counts
	images    []int // that count
	sums      int   // results before the losses
	losses    [][]float64
	waited    bool // for the execution, whose error is known
}

// groupSum is the loss of a group or several, then whether a process is to stop, then the
// statistics, times the number of images.
type groupSum []float64

// Places in a groupSum.
const (
	lossSum = iota
	stopSum
	statisticSums // and following
)

// whole is the number of images of the whole batch.
func whole(b nn.TrainerBatch) int {
	if b.N == 0 {
		return b.X.Shape[0]
	}
	return b.N
}

func newStep(t *Trainer, b nn.TrainerBatch) *step {
	return &step{t: t, b: b, n: whole(b), scale: make([][]*pjrt.Buffer, t.o.Ranks), keys: make([][]*pjrt.Buffer, t.o.Ranks), sent: t.next.take(b)}
}

// close frees what the step made.
func (s *step) close() error {
	errs := []error{freeRows(s.scale), freeRows(s.keys)}
	for _, b := range s.sent {
		errs = append(errs, b.Free())
	}
	for _, p := range s.parts {
		// Not only for the error: what has begun holds events until it is waited for.
		if err := p.execution.Wait(); err != nil && !p.waited {
			errs = append(errs, fmt.Errorf("accel: %w", err))
		}
		for _, row := range p.execution.Outputs {
			errs = append(errs, pjrt.Free(row[p.sums:]...))
		}
	}
	return errors.Join(errs...)
}

// start is the place in the batch at which a group begins.
func (s *step) start(group int) int { return group * s.n / s.t.o.Groups }

// sumGroups forms each rank's sums. On return the devices have computed them, or will. If the
// context is done, it is [nn.ErrStopped].
func (s *step) sumGroups(ctx context.Context) error {
	t := s.t
	if err := s.constants(); err != nil {
		return err
	}
	share := t.at.share(t.tree, 0)
	leaf := func(i int) error { return s.group(ctx, i-share.Lo) }
	if t.folded {
		return t.tree.Sum(share, leaf, t.fold)
	}
	for i := share.Lo; i < share.Hi; i++ {
		if err := leaf(i); err != nil {
			return err
		}
	}
	return nil
}

// constants sends what all micro-batches have.
func (s *step) constants() error {
	t := s.t
	var keys []uint32
	for _, l := range t.plan.dropouts {
		key := l.MaskKey(s.b.Seed, s.b.Iteration)
		keys = append(keys, uint32(key>>32), uint32(key))
	}
	err := t.upload(s.scale, []float32{1 / float32(s.n)}, nil)
	for r := 0; r < t.o.Ranks && len(keys) > 0 && err == nil; r++ {
		var k *pjrt.Buffer
		if k, err = pjrt.Upload(t.d.devices[r], keys, len(keys)/2, 2); err == nil {
			s.keys[r] = append(s.keys[r], k)
		}
	}
	return err
}

// group adds new sums: of group i of each rank's share.
func (s *step) group(ctx context.Context, i int) error {
	t := s.t
	if err := t.push(); err != nil {
		return err
	}
	groups := make([]int, t.o.Ranks)
	longest := 0
	for r := range groups {
		groups[r] = t.at.share(t.tree, r).Lo + i
		longest = max(longest, s.start(groups[r]+1)-s.start(groups[r]))
	}
	for from := 0; from < longest; from += t.plan.images {
		if ctx.Err() != nil {
			return nn.ErrStopped
		}
		if err := s.micro(groups, from); err != nil {
			return err
		}
	}
	return nil
}

// micro adds the gradients of a micro-batch of each rank to the last sums: of the images from a
// place in the rank's group on.
func (s *step) micro(groups []int, from int) error {
	t := s.t
	p := part{group: make([]int, len(groups)), images: make([]int, len(groups)), sums: len(t.plan.learnt)}
	inputs := make([][]*pjrt.Buffer, len(groups))
	defer func() { freeRows(inputs) }() // the devices have them as long as they need them
	first := make([]int, len(groups))
	for r, g := range groups {
		first[r] = s.start(g) + from
		p.group[r], p.images[r] = g, min(t.plan.images, max(0, s.start(g+1)-first[r]))
		if p.images[r] == 0 {
			first[r] = s.b.From
		}
		if err := s.inputs(&inputs[r], r, first[r], p.images[r]); err != nil {
			return err
		}
	}
	loss := t.plan.loss
	targets := make([][]*pjrt.Buffer, len(groups))
	defer func() { freeRows(targets) }() // likewise
	if s.b.Loss != nil {
		loss = hostLoss // also where the options promised another
		if err := s.hostTargets(&p, targets, inputs, first); err != nil {
			return err
		}
	} else if err := s.targets(targets, first, p.images); err != nil {
		return err
	}
	last := len(t.stack) - 1
	x, err := t.start(loss, func() (pjrt.Program, error) { return t.plan.gradientProgram(loss) }, t.rows(t.weights, t.stack[last], inputs, s.keys, targets, s.scale))
	if err != nil {
		return err
	}
	old := t.stack[last]
	sums := make([][]*pjrt.Buffer, len(groups))
	for r, row := range x.Outputs {
		sums[r] = row[:p.sums:p.sums]
	}
	t.stack[last] = sums
	p.execution = x
	s.parts = append(s.parts, p)
	return freeRows(old)
}

// inputs sends a rank's images from … on, which are filled up, and what goes with them.
func (s *step) inputs(row *[]*pjrt.Buffer, rank, from, count int) error {
	t := s.t
	d, n := t.d.devices[rank], t.plan.images
	real := make([]float32, n)
	for i := range count {
		real[i] = 1
	}
	at := place{rank, from}
	x := s.sent[at]
	if delete(s.sent, at); x == nil {
		began := time.Now()
		var err error
		if x, err = t.sendImages(s.b, rank, from, count); err != nil {
			return err
		}
		t.times.Input += time.Since(began)
	}
	*row = append(*row, x)
	mask, err := pjrt.Upload(d, real, n)
	if err != nil {
		return err
	}
	*row = append(*row, mask)
	if len(t.plan.dropouts) == 0 {
		return nil
	}
	first, err := pjrt.Upload(d, []uint32{uint32(from)})
	if err != nil {
		return err
	}
	*row = append(*row, first)
	return nil
}

// targets sends labels.
func (s *step) targets(rows [][]*pjrt.Buffer, first, count []int) error {
	t := s.t
	n, k := t.plan.images, t.plan.classes
	for r := range rows {
		at := first[r] - s.b.From
		var b *pjrt.Buffer
		var err error
		if t.plan.loss == softmaxLoss {
			labels := make([]int32, n)
			for i := range count[r] {
				labels[i] = int32(s.b.Labels[at+i])
			}
			b, err = pjrt.Upload(t.d.devices[r], labels, n)
		} else {
			targets := make([]float32, n*k)
			for i := range count[r] {
				row := targets[i*k : (i+1)*k]
				for j := range row {
					row[j] = t.plan.smoothing / 2
				}
				for _, j := range s.b.LabelSets[at+i] {
					row[j] = 1 - t.plan.smoothing/2
				}
			}
			b, err = pjrt.Upload(t.d.devices[r], targets, n, k)
		}
		if err != nil {
			return err
		}
		rows[r] = append(rows[r], b)
	}
	return nil
}

// hostTargets computes the losses and their derivatives on the CPU, from the scores of a forward
// pass of its own.
func (s *step) hostTargets(p *part, rows, inputs [][]*pjrt.Buffer, first []int) error {
	t := s.t
	x, err := t.start(scores, t.plan.scoresProgram, t.rows(t.weights, inputs, s.keys))
	if err == nil {
		err = finish(x)
	}
	if err != nil {
		return err
	}
	defer func() { freeRows(x.Outputs) }() // they have been read
	n, k := t.plan.images, t.plan.classes
	for r, row := range x.Outputs {
		y, err := pjrt.Download[float32](row[0])
		if err != nil {
			return err
		}
		d, losses := make([]float32, n*k), []float64{}
		for i := range p.images[r] {
			losses = append(losses, s.b.Loss(first[r]-s.b.From+i, y[i*k:(i+1)*k], d[i*k:(i+1)*k], 1))
		}
		p.losses = append(p.losses, losses)
		b, err := pjrt.Upload(t.d.devices[r], d, n, k)
		if err != nil {
			return err
		}
		rows[r] = append(rows[r], b)
	}
	return nil
}

// total waits for all parts and returns the sum of the losses and the mean statistics, of all
// processes. If the context of one of them is done, it is [nn.ErrStopped] in all.
func (s *step) total(ctx context.Context) (float64, []float64, error) {
	t := s.t
	at := map[comm.Span]groupSum{}
	own := t.at.own(t.tree)
	for i := own.Lo; i < own.Hi; i++ {
		at[comm.Span{Lo: i, Hi: i + 1}] = make(groupSum, statisticSums+t.chain.StatisticsLen())
	}
	for i := range s.parts {
		if err := s.read(&s.parts[i], at); err != nil {
			return 0, nil, err
		}
	}
	if ctx.Err() != nil {
		at[comm.Span{Lo: own.Lo, Hi: own.Lo + 1}][stopSum] = 1
	}
	var sums [][]float64
	for _, node := range t.nodes {
		sums = append(sums, sumNode(node, at, func(a, b groupSum) groupSum {
			c := slices.Clone(a)
			for i, v := range b {
				c[i] += v
			}
			return c
		}))
	}
	if t.o.Outer != nil {
		if err := t.o.Outer.AllReduce64(context.WithoutCancel(ctx), t.tree, sums); err != nil {
			return 0, nil, err
		}
	}
	sum := sums[0]
	if sum[stopSum] > 0 {
		return 0, nil, nn.ErrStopped
	}
	for i := range sum[statisticSums:] {
		sum[statisticSums+i] /= float64(s.n)
	}
	return sum[lossSum], sum[statisticSums:], nil
}

// read adds a part's losses and statistics to those of its groups.
func (s *step) read(p *part, groups map[comm.Span]groupSum) error {
	p.waited = true
	if err := p.execution.Wait(); err != nil {
		return fmt.Errorf("accel: %w", err)
	}
	for r, row := range p.execution.Outputs {
		if p.images[r] == 0 {
			continue
		}
		g, rest := groups[comm.Span{Lo: p.group[r], Hi: p.group[r] + 1}], row[p.sums:]
		losses := []float64{}
		if p.losses != nil {
			losses = p.losses[r]
		} else {
			v, err := pjrt.Download[float32](rest[0])
			if err != nil {
				return err
			}
			for _, l := range v[:p.images[r]] {
				losses = append(losses, float64(l))
			}
			rest = rest[1:]
		}
		for _, l := range losses {
			g[lossSum] += l
		}
		at := statisticSums
		for _, b := range rest {
			v, err := pjrt.Download[float32](b)
			if err != nil {
				return err
			}
			for _, x := range v {
				g[at] += float64(x) * float64(p.images[r])
				at++
			}
		}
	}
	return nil
}
