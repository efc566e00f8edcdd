package accel

import (
	"context"
	"errors"
	"fmt"
	"math"
	"slices"

	"github.com/verydeep/vgg/accel/pjrt"
	"github.com/verydeep/vgg/comm"
	"github.com/verydeep/vgg/nn"
)

// Trainer trains a chain on devices. It is an [nn.Trainer].
//
// Each device is a rank, with weights and momenta of its own. Gradients are computed by
// micro-batches of one size, the last one of a group filled up with images that don't count,
// and summed group by group. The groups' sums are added in [comm.Tree]. All ranks run the same
// programs, and what adds up sums has a program of its own, so the number of devices changes no
// bit. The size of a micro-batch does, as does another kind of device.
type Trainer struct {
	d     *Device
	chain *nn.Chain
	o     nn.TrainerOptions
	plan  *plan
	tree  comm.Tree
	at    ranks // of this process
	// spans are the groups whose sums each rank forms; folded says that it adds groups up. nodes
	// are those whose sums the process forms: all, if it is alone.
	spans  [][]comm.Span
	folded bool
	nodes  []comm.Span

	programs map[any]*pjrt.Executable
	resident int64            // bytes of [Device.holds]
	weights  [][]*pjrt.Buffer // of each rank, all parameters
	momenta  [][]*pjrt.Buffer // of each rank, those of learnt parameters
	stack    [][][]*pjrt.Buffer
	err      error // after which weights and momenta are not whole

	times nn.TrainerTimes // of the last step
	next  sentBatches
}

// NewTrainer returns the trainer of a chain whose parameters are set, and those marked that are
// not learnt. Its momenta are zero. It is an error if the chain can't run on such an input, if
// nothing is learnt, or if there are fewer devices than ranks.
func (d *Device) NewTrainer(c *nn.Chain, o nn.TrainerOptions) (_ *Trainer, err error) {
	defer func() { err = failed(err) }()
	all := newRanks(o)
	switch {
	case o.Groups < 1 || o.Ranks < 1 || o.Groups%all.size != 0:
		return nil, fmt.Errorf("accel: %d groups on %d ranks: want a number of ranks that divides the groups", o.Groups, all.size)
	case o.Ranks > len(d.devices):
		return nil, fmt.Errorf("accel: %d ranks on %d devices", o.Ranks, len(d.devices))
	case o.Batch < 1:
		return nil, fmt.Errorf("accel: batches of %d images", o.Batch)
	}
	t := &Trainer{d: d, chain: c, o: o, tree: comm.Tree(o.Groups), at: all, programs: map[any]*pjrt.Executable{}}
	if t.plan, err = d.plan(c, o); err != nil {
		return nil, err
	}
	t.spans, t.folded = all.spans(t.tree)
	t.nodes = t.tree.Spans(all.own(t.tree))
	if err := t.prepare(); err != nil {
		return nil, err
	}
	t.weights, t.momenta = make([][]*pjrt.Buffer, o.Ranks), make([][]*pjrt.Buffer, o.Ranks)
	if err := t.Send(nil); err != nil {
		return nil, errors.Join(err, t.Close())
	}
	return t, nil
}

// plan plans the training of a chain by the largest micro-batches that fit.
func (d *Device) plan(c *nn.Chain, o nn.TrainerOptions) (*plan, error) {
	group := (o.Batch + o.Groups - 1) / o.Groups
	images := group
	if o.Micro > 0 {
		images = min(images, o.Micro)
	}
	for {
		p, err := newPlan(c, o, images, d.precision)
		if err != nil {
			return nil, err
		}
		if len(p.norms) > 0 && images < group {
			return nil, fmt.Errorf("accel: micro-batches of %d images: batch normalisation takes its statistics from whole groups, of %d (batch %d in %d groups): want more groups, or more memory",
				images, group, o.Batch, o.Groups)
		}
		if err = d.tries(p, o); err == nil {
			return p, nil
		}
		if _, large := errors.AsType[*TooLargeError](err); !large && !pjrt.IsCode(err, pjrt.ResourceExhausted) || images == 1 {
			return nil, err
		}
		images = (images + 1) / 2
	}
}

// tries compiles the programs that depend on the size of micro-batches, which tells whether they
// fit.
func (d *Device) tries(p *plan, o nn.TrainerOptions) error {
	f := p.footprint(o)
	code, err := p.gradientProgram(p.loss)
	if err != nil {
		return err
	}
	if _, err := d.compile(code, o.Ranks, true, f.work(p.loss, o)); err != nil || p.loss != hostLoss {
		return err
	}
	if code, err = p.scoresProgram(); err != nil {
		return err
	}
	_, err = d.compile(code, o.Ranks, true, f.work(scores, o))
	return err
}

// footprint is what training holds on each device, in bytes.
type footprint struct {
	params int64 // the weights; validation has them once more
	learnt int64 // of them; as much are momenta, and each sum of gradients
	sums   int64 // number of sums that there are at a time
	own    int64 // of them, those that a rank has formed in the end
	nodes  int64 // number of sums that all ranks' become
	batch  int64 // a rank's images of a batch: there are those of this and of the next one
	images int   // of a micro-batch
}

func (p *plan) footprint(o nn.TrainerOptions) footprint {
	all := newRanks(o)
	tree := comm.Tree(o.Groups)
	spans, _ := all.spans(tree)
	f := footprint{own: int64(len(spans[0])), nodes: int64(len(tree.Spans(all.own(tree)))), images: p.images}
	f.sums = f.own
	for r := range all.count {
		f.sums = max(f.sums, int64(tree.Sums(all.share(tree, r))))
	}
	for i, q := range p.params {
		f.params += 4 * int64(q.Len())
		if slices.Contains(p.learnt, i) {
			f.learnt += 4 * int64(q.Len())
		}
	}
	f.batch = 4 * int64((o.Batch+all.size-1)/all.size*p.in.C*p.in.H*p.in.W)
	return f
}

// resident is what there is between steps.
func (f footprint) resident() int64 { return f.params + f.learnt + 2*f.batch }

// work returns what a program of a step is part of. What validation runs with counts too.
func (f footprint) work(key any, o nn.TrainerOptions) work {
	w, sums, arguments := work{most: o.Memory}, f.sums, int64(0)
	switch key := key.(type) {
	case lossKind:
		arguments, w.images = f.params+f.learnt, f.images
	case updateKey:
		sums, arguments = f.nodes, 3*f.learnt
	case string:
		switch key {
		case scores:
			arguments, w.images = f.params, f.images
		case fold:
			arguments = 2 * f.learnt
		case reduce:
			sums, arguments = f.own, f.own*f.learnt
		}
	}
	w.held = f.resident() + sums*f.learnt + f.params - arguments
	return w
}

// Times implements [nn.Trainer].
func (t *Trainer) Times() nn.TrainerTimes { return t.times }

// Micro implements [nn.Trainer].
func (t *Trainer) Micro() int { return t.plan.images }

// Send implements [nn.Trainer]. Without a function momenta are zero.
func (t *Trainer) Send(momentum func(*nn.Param) []float32) (err error) {
	defer func() { err = failed(err) }()
	if err := t.Close(); err != nil {
		return err
	}
	t.resident = t.plan.footprint(t.o).resident()
	t.d.holds.Add(t.resident)
	for i, p := range t.plan.params {
		v, err := hostValues(p, t.plan.dims[i])
		if err == nil {
			err = t.upload(t.weights, v, t.plan.dims[i])
		}
		if err != nil {
			return fmt.Errorf("accel: %s: %w", p.Name, err)
		}
	}
	for _, at := range t.plan.learnt {
		p := t.plan.params[at]
		v := make([]float32, p.Len())
		if momentum != nil {
			var err error
			if v, err = momentumValues(p, t.plan.dims[at], momentum(p)); err != nil {
				return err
			}
		}
		if err := t.upload(t.momenta, v, t.plan.dims[at]); err != nil {
			return fmt.Errorf("accel: momentum of %s: %w", p.Name, err)
		}
	}
	t.err = nil
	return nil
}

// upload adds values to the row of each rank.
func (t *Trainer) upload(rows [][]*pjrt.Buffer, v []float32, dims []int) error {
	for r := range rows {
		b, err := pjrt.Upload(t.d.devices[r], v, dims...)
		if err != nil {
			return err
		}
		rows[r] = append(rows[r], b)
	}
	return nil
}

// Fetch implements [nn.Trainer].
func (t *Trainer) Fetch(momentum func(*nn.Param) []float32) (err error) {
	defer func() { err = failed(err) }()
	if t.err != nil {
		return t.err
	}
	for i, at := range t.plan.learnt {
		p, dims := t.plan.params[at], t.plan.dims[at]
		v, err := pjrt.Download[float32](t.weights[0][at])
		if err == nil {
			err = setHostValues(p, dims, v)
		}
		if err == nil {
			err = pjrt.DownloadInto(t.momenta[0][i], v)
		}
		if err == nil {
			err = setMomentum(p, dims, momentum(p), v)
		}
		if err != nil {
			return fmt.Errorf("accel: %s: %w", p.Name, err)
		}
	}
	return nil
}

// Close implements [nn.Trainer].
func (t *Trainer) Close() error {
	t.d.holds.Add(-t.resident)
	t.resident = 0
	var errs []error
	for _, rows := range [][][]*pjrt.Buffer{t.weights, t.momenta} {
		for r := range rows {
			errs = append(errs, pjrt.Free(rows[r]...))
			rows[r] = nil
		}
	}
	return errors.Join(append(errs, t.dropSums(), t.next.free())...)
}

// dropSums frees the sums of an unfinished step.
func (t *Trainer) dropSums() error {
	var errs []error
	for _, rows := range t.stack {
		errs = append(errs, freeRows(rows))
	}
	t.stack = nil
	return errors.Join(errs...)
}

func freeRows(rows [][]*pjrt.Buffer) error {
	var errs []error
	for _, row := range rows {
		errs = append(errs, pjrt.Free(row...))
	}
	return errors.Join(errs...)
}

// Step implements [nn.Trainer].
func (t *Trainer) Step(ctx context.Context, b nn.TrainerBatch, u nn.Update) (float64, error) {
	loss, err := t.step(ctx, b, u)
	err = failed(err)
	switch stopped := errors.Is(err, nn.ErrStopped); {
	case stopped && ctx.Err() != nil:
		err = context.Cause(ctx)
	case err != nil && !stopped && t.o.Outer != nil:
		t.o.Outer.Abort(err) // otherwise the others would wait for this process
	}
	return loss, err
}

func (t *Trainer) step(ctx context.Context, b nn.TrainerBatch, u nn.Update) (loss float64, err error) {
	if t.err != nil {
		return 0, t.err
	}
	if err := t.check(b); err != nil {
		return 0, err
	}
	defer func() { err = errors.Join(err, t.dropSums()) }()
	t.times = nn.TrainerTimes{}
	s := newStep(t, b)
	defer func() { err = errors.Join(err, s.close()) }()
	if err := s.sumGroups(ctx); err != nil && !errors.Is(err, nn.ErrStopped) {
		return 0, err
	}
	loss, statistics, err := s.total(ctx)
	if err != nil || math.IsNaN(loss) || math.IsInf(loss, 0) {
		return loss, err
	}
	if err := t.reduce(); err != nil {
		return 0, err
	}
	if err := t.exchange(ctx); err != nil {
		return 0, err
	}
	if err := t.update(u); err != nil {
		return 0, err
	}
	t.chain.MoveStatistics(statistics)
	return loss, nil
}

// check reports a batch that no program takes.
func (t *Trainer) check(b nn.TrainerBatch) error {
	p := t.plan
	if len(b.X.Shape) != 4 || b.X.Shape[1] != p.in.C || b.X.Shape[2] != p.in.H || b.X.Shape[3] != p.in.W || whole(b) < 1 || whole(b) > t.o.Batch {
		return fmt.Errorf("accel: a batch of shape %v, want at most %d images of %v", b.X.Shape, t.o.Batch, p.in)
	}
	n := b.X.Shape[0]
	own := t.at.own(t.tree)
	if from, to := own.Lo*whole(b)/t.o.Groups, own.Hi*whole(b)/t.o.Groups; b.From != from || n != to-from {
		return fmt.Errorf("accel: %d images from number %d of %d on, want %d from %d on for the groups of this process", n, b.From, whole(b), to-from, from)
	}
	switch {
	case b.Loss != nil:
		return nil
	case p.loss == hostLoss:
		return fmt.Errorf("accel: a batch without a Loss, which the options promise (HostLoss)")
	case p.loss == labelsLoss && len(b.LabelSets) != n:
		return fmt.Errorf("accel: labels of %d images for %d", len(b.LabelSets), n)
	case p.loss == softmaxLoss && len(b.Labels) != n:
		return fmt.Errorf("accel: %d labels for %d images", len(b.Labels), n)
	}
	for i, l := range b.Labels {
		if p.loss == softmaxLoss && (l < 0 || l >= p.classes) {
			return fmt.Errorf("accel: label %d of image %d, want 0 … %d", l, i, p.classes-1)
		}
	}
	for i, set := range b.LabelSets {
		for _, l := range set {
			if p.loss == labelsLoss && (l < 0 || l >= p.classes) {
				return fmt.Errorf("accel: label %d of image %d, want 0 … %d", l, i, p.classes-1)
			}
		}
	}
	return nil
}

// Names of programs.
const (
	scores = "scores"
	zeros  = "zeros"
	fold   = "fold"
	reduce = "reduce"
)

// prepare compiles what a step takes besides the programs of micro-batches, so that what doesn't
// fit is told before the first one. The program of updates is the step's: it takes less than
// gradients do.
func (t *Trainer) prepare() error {
	if _, err := t.program(zeros, t.plan.zerosProgram); err != nil {
		return err
	}
	if len(t.spans[0]) < int(t.plan.footprint(t.o).sums) {
		if _, err := t.program(fold, t.plan.foldProgram); err != nil {
			return err
		}
	}
	if t.o.Ranks == 1 {
		return nil
	}
	_, err := t.program(reduce, t.reduceProgram)
	return err
}

func (t *Trainer) reduceProgram() (pjrt.Program, error) {
	return t.plan.reduceProgram(t.tree, t.spans, t.nodes)
}

// program returns the program of a key. write makes it when it is first wanted.
func (t *Trainer) program(key any, write func() (pjrt.Program, error)) (*pjrt.Executable, error) {
	if e := t.programs[key]; e != nil {
		return e, nil
	}
	p, err := write()
	if err != nil {
		return nil, err
	}
	w := t.plan.footprint(t.o).work(key, t.o)
	w.own = t.resident
	e, err := t.d.compile(p, t.o.Ranks, true, w)
	if err != nil {
		return nil, err
	}
	t.programs[key] = e
	return e, nil
}

// start puts a program into the queues of all ranks' devices. write makes the program of that
// key when it is first wanted.
func (t *Trainer) start(key any, write func() (pjrt.Program, error), rows [][]*pjrt.Buffer) (*pjrt.Execution, error) {
	e, err := t.program(key, write)
	if err != nil {
		return nil, err
	}
	x, err := e.Start(rows)
	if err != nil {
		return nil, fmt.Errorf("accel: %w", err)
	}
	return x, nil
}

// finish waits for an execution, and frees its outputs if it failed.
func finish(x *pjrt.Execution) error {
	if err := x.Wait(); err != nil {
		return errors.Join(fmt.Errorf("accel: %w", err), freeRows(x.Outputs))
	}
	return nil
}

// rows returns for each rank the buffers of several rows, one row after another.
func (t *Trainer) rows(parts ...[][]*pjrt.Buffer) [][]*pjrt.Buffer {
	all := make([][]*pjrt.Buffer, t.o.Ranks)
	for r := range all {
		for _, p := range parts {
			all[r] = append(all[r], p[r]...)
		}
	}
	return all
}

// push begins new sums.
func (t *Trainer) push() error {
	x, err := t.start(zeros, t.plan.zerosProgram, make([][]*pjrt.Buffer, t.o.Ranks))
	if err != nil {
		return err
	}
	if err := finish(x); err != nil {
		return err
	}
	t.stack = append(t.stack, x.Outputs)
	return nil
}

// fold adds the last sums to those before.
func (t *Trainer) fold() error {
	n := len(t.stack)
	a, b := t.stack[n-2], t.stack[n-1]
	return t.replace(n-2, fold, t.plan.foldProgram, t.rows(a, b))
}

// reduce makes the process's sums of its ranks' sums.
func (t *Trainer) reduce() error {
	if t.o.Ranks == 1 {
		return nil
	}
	if err := t.replace(0, reduce, t.reduceProgram, t.rows(t.stack...)); err != nil {
		return err
	}
	all, n := t.stack[0], len(t.plan.learnt)
	t.stack = nil
	for i := range t.nodes {
		sums := make([][]*pjrt.Buffer, len(all))
		for r, row := range all {
			sums[r] = row[i*n : (i+1)*n : (i+1)*n]
		}
		t.stack = append(t.stack, sums)
	}
	return nil
}

// replace puts a program's results into the place of the sums from number n on.
func (t *Trainer) replace(n int, key any, write func() (pjrt.Program, error), rows [][]*pjrt.Buffer) error {
	x, err := t.start(key, write, rows)
	if err != nil {
		return err
	}
	if err := finish(x); err != nil {
		return err
	}
	old := t.stack[n:]
	t.stack = append(t.stack[:n:n], x.Outputs)
	for _, rows := range old {
		if err := freeRows(rows); err != nil {
			return err
		}
	}
	return nil
}

// update updates weights and momenta by the sums.
func (t *Trainer) update(u nn.Update) error {
	key := updateKey{u.Momentum, u.Decay, u.ClipNorm, u.DecayBiases, u.Nesterov}
	n := len(t.plan.learnt)
	weights, rate := make([][]*pjrt.Buffer, t.o.Ranks), make([][]*pjrt.Buffer, t.o.Ranks)
	defer func() { freeRows(rate) }()
	for r := range weights {
		for _, at := range t.plan.learnt {
			weights[r] = append(weights[r], t.weights[r][at])
		}
	}
	if err := t.upload(rate, []float32{u.Rate}, nil); err != nil {
		return err
	}
	x, err := t.start(key, func() (pjrt.Program, error) { return t.plan.updateProgram(key) }, t.rows(weights, t.momenta, t.stack[0], rate))
	if err != nil {
		return err
	}
	// From here on the old weights are used up.
	if t.err = failed(finish(x)); t.err != nil {
		return t.err
	}
	var errs []error
	for r, row := range x.Outputs {
		for i, at := range t.plan.learnt {
			errs = append(errs, t.weights[r][at].Free(), t.momenta[r][i].Free())
			t.weights[r][at], t.momenta[r][i] = row[i], row[n+i]
		}
	}
	return errors.Join(errs...)
}
