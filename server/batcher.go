package server

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"runtime/debug"
	"slices"
	"sync"
	"time"

	"github.com/verydeep/vgg/network"
	"github.com/verydeep/vgg/nn"
	"github.com/verydeep/vgg/report"
	"github.com/verydeep/vgg/tensor"
)

// batcher puts the images of several requests through one network together. Images of one
// shape that wait at the same time share a pass. The bits of an answer don't depend on what
// else was in its pass, as those of the network don't.
type batcher struct {
	net    *network.Network
	limits Limits
	most   int           // images of a pass
	delay  time.Duration // that the first image of a pass waits for others
	turn   chan struct{} // one element: the pass that runs, of whichever model
	passed func(pass)    // is told every pass
	lost   func(error)   // is told of a device that failed

	mu      sync.Mutex
	queue   []*job // in order of arrival
	images  int    // that wait: in queue, or of requests that are being decoded
	closed  bool
	latest  time.Duration // of the latest pass
	wake    chan struct{} // one element: the queue has changed
	stopped chan struct{} // closed when the last pass is over

	x, y room // of passes that several requests share; of run alone

	fitting sync.Mutex
	fit     map[[2]int]int // what fits has told, by height and width
}

// job is the work of one request: n images of one shape, or work that takes a turn of its own.
type job struct {
	ctx     context.Context
	place   *place
	x, y    *tensor.Tensor
	work    func(context.Context) error
	most    int // images of this shape that a pass may have
	err     error
	queued  time.Time
	started time.Time
	ended   time.Time
	batch   int           // images of its pass
	done    chan struct{} // closed when y or err is there
}

// pass is what a pass took.
type pass struct {
	images          int
	gather, compute time.Duration
	err             error
}

// newBatcher returns a batcher, whose goroutine ends by close.
func newBatcher(net *network.Network, limits Limits, most int, delay time.Duration, turn chan struct{}, passed func(pass), lost func(error)) *batcher {
	b := &batcher{net: net, limits: limits, most: most, delay: delay, turn: turn, passed: passed, lost: lost, wake: make(chan struct{}, 1), stopped: make(chan struct{})}
	go b.run()
	return b
}

// mostFit is of how many shapes the answers of [batcher.fits] are kept. Clients choose the shapes.
const mostFit = 1024

// fits returns how many images of h × w pixels a pass may have, at least 1, or a failure if
// even one takes too much memory.
func (b *batcher) fits(h, w int) (int, error) {
	shape := [2]int{h, w}
	b.fitting.Lock()
	n, ok := b.fit[shape]
	b.fitting.Unlock()
	if ok {
		return n, nil
	}
	n, err := b.computeFit(h, w)
	if err != nil {
		return 0, err
	}
	b.fitting.Lock()
	if len(b.fit) >= mostFit || b.fit == nil {
		b.fit = map[[2]int]int{}
	}
	b.fit[shape] = n
	b.fitting.Unlock()
	return n, nil
}

// fitsPass refuses an image of h × w pixels that needs more bytes in the network than a pass may
// have.
func (b *batcher) fitsPass(h, w int, need int64) error {
	if need > b.limits.Pass {
		return refuse(http.StatusRequestEntityTooLarge, "pass", "an image of %d×%d pixels takes %s in the network, the service gives %s to a pass", w, h, report.Bytes(need), report.Bytes(b.limits.Pass))
	}
	return nil
}

func (b *batcher) computeFit(h, w int) (int, error) {
	need := func(n int) (int64, error) {
		floats, err := b.net.Chain().InferenceFloats(n, h, w)
		return 4 * int64(floats), err
	}
	least, err := need(1)
	if err != nil {
		return 0, badRequest("an image of %d×%d pixels: %w", w, h, err)
	}
	if err := b.fitsPass(h, w, least); err != nil {
		return 0, err
	}
	low, high := 1, b.most
	for low < high { // the largest that fits
		n := (low + high + 1) / 2
		bytes, err := need(n)
		if err == nil && bytes <= b.limits.Pass {
			low = n
		} else {
			high = n - 1
		}
	}
	return low, nil
}

// place is the place of a request in the queue.
type place struct {
	b      *batcher
	images int
}

// enter takes a place in the queue for n images, before they are decoded: what would be
// refused isn't decoded in vain. leave gives it back, if no pass has.
func (b *batcher) enter(n int) (*place, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	switch {
	case b.closed:
		return nil, errStopping
	case b.images > 0 && b.images+n > b.limits.Queue:
		return nil, refuse(http.StatusTooManyRequests, "queue", "%d images wait for this model, the most is %d: ask again later", b.images, b.limits.Queue)
	}
	b.images += n
	return &place{b, n}, nil
}

// enterEach is enter for n images that go their own ways: each has a place of its own.
func (b *batcher) enterEach(n int) ([]*place, error) {
	p, err := b.enter(n)
	if err != nil {
		return nil, err
	}
	places := make([]*place, n)
	for i := range places {
		places[i] = &place{b, 1}
	}
	p.images = 0
	return places, nil
}

// leave gives the place back.
func (p *place) leave() {
	p.b.mu.Lock()
	kept := p.images > 0
	p.left()
	p.b.mu.Unlock()
	if kept {
		p.b.poke() // nobody need wait for it
	}
}

// left is leave for a caller that has the lock.
func (p *place) left() {
	p.b.images -= p.images
	p.images = 0
}

// forward returns the class score maps of images, (N,3,H,W) to (N,K,OH,OW), which have a place
// in the queue. It waits until they are there or ctx is done. x is the batcher's until then.
func (b *batcher) forward(ctx context.Context, p *place, x *tensor.Tensor) (*job, error) {
	n, h, w := x.Shape[0], x.Shape[2], x.Shape[3]
	most, err := b.fits(h, w)
	if err != nil {
		return nil, err
	}
	shape, err := b.net.OutputShape(n, h, w)
	if err != nil {
		return nil, badRequest("images of %d×%d pixels: %w", w, h, err)
	}
	return b.wait(&job{ctx: ctx, place: p, x: x, y: tensor.New(shape...), most: most})
}

// alone does work when its turn comes, with nothing beside it. The work ends with ctx, which
// it is given.
func (b *batcher) alone(ctx context.Context, p *place, work func(context.Context) error) (*job, error) {
	return b.wait(&job{ctx: ctx, place: p, work: work})
}

// wait puts a job into the queue and waits for its end.
func (b *batcher) wait(j *job) (*job, error) {
	j.queued, j.done = time.Now(), make(chan struct{})
	b.mu.Lock()
	if b.closed {
		b.mu.Unlock()
		return nil, errStopping
	}
	b.queue = append(b.queue, j)
	b.mu.Unlock()
	b.poke()
	select {
	case <-j.done:
		return j, j.err
	case <-j.ctx.Done():
	}
	if !b.drop(j) && j.work != nil {
		<-j.done // it uses what the request holds
	}
	return nil, context.Cause(j.ctx)
}

// drop takes a job out of the queue, and reports whether it was still there.
func (b *batcher) drop(j *job) bool {
	b.mu.Lock()
	defer b.mu.Unlock()
	i := slices.Index(b.queue, j)
	if i < 0 {
		return false
	}
	b.queue = slices.Delete(b.queue, i, i+1)
	j.place.left()
	return true
}

// poke tells run that the queue has changed.
func (b *batcher) poke() {
	select {
	case b.wake <- struct{}{}:
	default:
	}
}

// close ends the batcher after what waits is done, and waits for it.
func (b *batcher) close() {
	b.mu.Lock()
	b.closed = true
	b.mu.Unlock()
	b.poke()
	<-b.stopped
}

// run makes passes until close.
func (b *batcher) run() {
	defer close(b.stopped)
	for {
		b.mu.Lock()
		empty, closed := len(b.queue) == 0, b.closed
		b.mu.Unlock()
		switch {
		case empty && closed:
			return
		case empty:
			b.x, b.y = nil, nil // nobody may come for long
			<-b.wake
			continue
		}
		b.linger()
		b.turn <- struct{}{} // more may come while another model runs
		b.pass()
		<-b.turn
	}
}

// patience is the share of the latest pass's time that images wait for others whose pictures
// are being decoded: a pass of several images takes less time for each, and the decoding would
// take its time from the pass. A lone image waits for nothing.
const patience = 0.25

// linger waits for more images of the first one's shape, until they fill a pass, or the delay
// since its arrival is over and nothing is being decoded for which there is patience.
func (b *batcher) linger() {
	var timer *time.Timer
	var until, ahead time.Time
	for {
		b.mu.Lock()
		if len(b.queue) == 0 || b.queue[0].work != nil || b.closed || b.queued() >= b.most {
			b.mu.Unlock()
			return
		}
		now := time.Now()
		if until.IsZero() {
			until = b.queue[0].queued.Add(b.delay)
			ahead = now.Add(time.Duration(patience * float64(b.latest)))
		}
		wait := until.Sub(now)
		if b.decoded() {
			wait = max(wait, ahead.Sub(now))
		}
		b.mu.Unlock()
		if wait <= 0 {
			return
		}
		if timer == nil {
			timer = time.NewTimer(wait)
			defer timer.Stop()
		} else {
			timer.Reset(wait)
		}
		select {
		case <-timer.C:
		case <-b.wake:
		}
	}
}

// decoded tells whether images have a place in the queue that aren't in it yet: their pictures
// are being decoded. The caller has the lock.
func (b *batcher) decoded() bool {
	n := b.images
	for _, j := range b.queue {
		n -= j.place.images
	}
	return n > 0
}

// queued is the number of images in the queue, for a caller that has the lock.
func (b *batcher) queued() int {
	n := 0
	for _, j := range b.queue {
		if j.x != nil {
			n += j.x.Shape[0]
		}
	}
	return n
}

// gather takes the jobs of the next pass from the queue: the first one and those of its shape
// that fit beside it, or the first one's work. Jobs whose requests have gone are dropped.
func (b *batcher) gather() []*job {
	b.mu.Lock()
	defer b.mu.Unlock()
	var taken, left []*job
	n := 0
	for _, j := range b.queue {
		if j.ctx.Err() != nil {
			j.place.left()
			j.end(context.Cause(j.ctx))
			continue
		}
		if taken != nil && !j.beside(taken[0], n) {
			left = append(left, j)
			continue
		}
		taken = append(taken, j)
		if j.x != nil {
			n += j.x.Shape[0]
		}
		j.place.left()
	}
	b.queue = left
	return taken
}

// beside tells whether a job fits into the pass of the first one, which has n images.
func (j *job) beside(first *job, n int) bool {
	if j.work != nil || first.work != nil {
		return false
	}
	return j.x.Shape[2] == first.x.Shape[2] && j.x.Shape[3] == first.x.Shape[3] && n+j.x.Shape[0] <= j.most
}

// end hands the result to the request.
func (j *job) end(err error) {
	j.err = err
	close(j.done)
}

// pass runs the next images through the network.
func (b *batcher) pass() {
	jobs := b.gather()
	if len(jobs) == 0 {
		return
	}
	start := time.Now()
	// The pass ends early only once all its requests have gone.
	ctx, cancel := context.WithCancelCause(context.Background())
	defer cancel(nil)
	var mu sync.Mutex
	waiting := len(jobs)
	for _, j := range jobs {
		stop := context.AfterFunc(j.ctx, func() {
			mu.Lock()
			defer mu.Unlock()
			if waiting--; waiting == 0 {
				cancel(context.Cause(j.ctx))
			}
		})
		defer stop()
	}
	if jobs[0].work != nil {
		jobs[0].started = start
		err := protected(func() error { return jobs[0].work(ctx) })
		jobs[0].ended = time.Now()
		b.tell(err)
		jobs[0].end(err)
		return
	}
	n := 0
	for _, j := range jobs {
		n += j.x.Shape[0]
	}
	computing := start
	err := protected(func() (err error) { computing, err = b.compute(ctx, jobs, n); return err })
	end := time.Now()
	b.tell(err)
	b.mu.Lock()
	b.latest = end.Sub(start)
	b.mu.Unlock()
	b.passed(pass{images: n, gather: computing.Sub(start), compute: end.Sub(computing), err: err})
	for _, j := range jobs {
		j.started, j.ended, j.batch = start, end, n
		j.end(err)
	}
}

// tell tells of a device that failed.
func (b *batcher) tell(err error) {
	if errors.Is(err, nn.ErrDevice) {
		b.lost(err)
	}
}

// protected turns a panic into an error.
func protected(work func() error) (err error) {
	defer func() {
		if p := recover(); p != nil {
			err = fmt.Errorf("panic: %v\n%s", p, debug.Stack())
		}
	}()
	return work()
}

// compute runs the images of jobs, n in all, through the network, at most as many at a time
// as fit. It returns when the first pass began.
func (b *batcher) compute(ctx context.Context, jobs []*job, n int) (computing time.Time, err error) {
	computing = time.Now()
	first := jobs[0]
	if len(jobs) == 1 {
		for start := 0; start < n; start += first.most {
			end := min(start+first.most, n)
			if err := b.net.ForwardContext(ctx, rows(first.y, start, end), rows(first.x, start, end)); err != nil {
				return computing, fmt.Errorf("%w: %w", errPass, err)
			}
		}
		return computing, nil
	}
	x := b.x.of(n, first.x.Shape)
	y := b.y.of(n, first.y.Shape)
	at := 0
	for _, j := range jobs {
		copy(x.Data[at:], j.x.Data)
		at += len(j.x.Data)
	}
	computing = time.Now()
	if err := b.net.ForwardContext(ctx, y, x); err != nil {
		return computing, fmt.Errorf("%w: %w", errPass, err)
	}
	at = 0
	for _, j := range jobs {
		at += copy(j.y.Data, y.Data[at:])
	}
	return computing, nil
}

// room is memory for the images of a pass, which the next one uses again.
type room []float32

// of returns n images, each of the shape of those in like.
func (r *room) of(n int, like []int) *tensor.Tensor {
	shape := append([]int{n}, like[1:]...)
	size := n
	for _, d := range like[1:] {
		size *= d
	}
	if len(*r) < size {
		*r = make(room, size)
	}
	return &tensor.Tensor{Shape: shape, Data: (*r)[:size]}
}

// errPass is the error of a pass that didn't come to its end.
var errPass = errors.New("a pass through the network failed")

// rows returns the images [start,end) of a batch.
func rows(t *tensor.Tensor, start, end int) *tensor.Tensor {
	size := len(t.Data) / t.Shape[0]
	shape := append([]int{end - start}, t.Shape[1:]...)
	return &tensor.Tensor{Shape: shape, Data: t.Data[start*size : end*size]}
}
