package main

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"sync"
	"time"

	"github.com/verydeep/vgg/comm"
)

// slow is a rank of a group whose calls take the time that a link would.
type slow struct {
	comm.Group
	sleep func(seconds float64)
}

// after waits until all ranks have come, and then as long as the transfer takes.
func (g slow) after(ctx context.Context, seconds float64) error {
	if err := g.Barrier(ctx); err != nil {
		return err
	}
	g.sleep(seconds)
	return nil
}

// values is the number of gradients that a simulated layer really sums.
const values = 8

// simulate runs a step by ranks that sleep instead of computing, each with a second goroutine
// that exchanges gradients over [comm.Local] meanwhile, and returns its seconds. jitter is the
// greatest deviation of a layer's time, a share of it; times are divided by faster.
// The sums are compared with those of one rank.
func (s *step) simulate(jitter, faster float64) (float64, error) {
	sleep := func(seconds float64) { time.Sleep(time.Duration(seconds / faster * 1e9)) }
	errs, sums := make([]error, s.ranks), s.sumsOfOneRank()
	var wg sync.WaitGroup
	start := time.Now()
	for rank, g := range comm.Local(s.ranks) {
		wg.Go(func() {
			r := rankOf{step: s, sums: sums, group: slow{g, sleep}, rng: rand.New(rand.NewPCG(uint64(rank), 5)), jitter: jitter}
			errs[rank] = r.run(context.Background())
		})
	}
	wg.Wait()
	return faster * time.Since(start).Seconds(), errors.Join(errs...)
}

type rankOf struct {
	*step
	sums   [][]float32 // of one rank, by layer
	group  slow
	rng    *rand.Rand
	jitter float64
}

// compute sleeps for so many seconds, more or less.
func (r *rankOf) compute(seconds float64) {
	r.group.sleep(seconds * (1 + r.jitter*(2*r.rng.Float64()-1)))
}

// run is one rank's step.
func (r *rankOf) run(ctx context.Context) error {
	ready, ended := make(chan int, len(r.layers)), make(chan error, 1)
	factors := make(chan struct{}, len(r.layers)) // those that have come
	go func() {
		for i := range ready {
			if err := r.send(ctx, i); err != nil {
				ended <- err
				return
			}
			if r.factored(r.layers[i]) {
				factors <- struct{}{}
			}
		}
		ended <- nil
	}()
	r.compute(r.forward())
	for i := len(r.layers) - 1; i >= 0; i-- {
		r.compute(r.backward(r.layers[i]))
		ready <- i
	}
	close(ready)
	for i := len(r.layers) - 1; i >= 0; i-- {
		if r.factored(r.layers[i]) {
			<-factors
			r.compute(r.product(r.layers[i]))
		}
	}
	if err := <-ended; err != nil {
		return err
	}
	r.compute(r.update())
	return nil
}

// gradientOf is a rank's gradient of a layer: any numbers whose sum rounds.
func gradientOf(rank, layer int) []float32 {
	rng := rand.New(rand.NewPCG(uint64(rank), uint64(layer)))
	g := make([]float32, values)
	for i := range g {
		g[i] = rng.Float32() - 0.5
	}
	return g
}

// sumsOfOneRank are the layers' sums over all gradients, formed in one place.
func (s *step) sumsOfOneRank() [][]float32 {
	var sums [][]float32
	for i := range s.layers {
		var stack [][]float32
		comm.Tree(s.ranks).Sum(comm.Span{Lo: 0, Hi: s.ranks}, func(rank int) error {
			stack = append(stack, gradientOf(rank, i))
			return nil
		}, func() error {
			a, b := stack[len(stack)-2], stack[len(stack)-1]
			for k := range a {
				a[k] += b[k]
			}
			stack = stack[:len(stack)-1]
			return nil
		})
		sums = append(sums, stack[0])
	}
	return sums
}

// send exchanges a layer and checks its sum.
func (r *rankOf) send(ctx context.Context, i int) error {
	if err := r.group.after(ctx, r.transfer(r.layers[i])); err != nil {
		return err
	}
	sum := gradientOf(r.group.Rank(), i)
	tree := comm.Tree(r.ranks)
	if err := r.group.AllReduce(ctx, tree, [][]float32{sum}); err != nil {
		return err
	}
	for k, v := range sum {
		if want := r.sums[i][k]; v != want {
			return fmt.Errorf("rank %d, %s: sum %d is %g, of one rank %g", r.group.Rank(), r.layers[i].name, k, v, want)
		}
	}
	return nil
}
