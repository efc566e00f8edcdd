package accel

import (
	"context"
	"fmt"
	"time"

	"github.com/verydeep/vgg/accel/pjrt"
)

// messageValues is the number of values that parameters are put together for, since every
// message costs the network's latency. A larger parameter is a message of its own.
const messageValues = 1 << 14

// messages cuts the learnt parameters into runs, the last layers' first: of each, the places of
// its first and behind its last one.
func (p *plan) messages() (runs [][2]int) {
	n := 0
	to := len(p.learnt)
	for i := to - 1; i >= 0; i-- {
		n += p.params[p.learnt[i]].Len()
		if n >= messageValues || i == 0 {
			runs = append(runs, [2]int{i, to})
			n, to = 0, i
		}
	}
	return runs
}

// exchange makes the sums of this process those of all, on the CPU, and sends them back to its
// devices. The next parameters come from the device meanwhile.
func (t *Trainer) exchange(ctx context.Context) error {
	if t.o.Outer == nil {
		return nil
	}
	began := time.Now()
	defer func() { t.times.ExchangeWaited = time.Since(began) }()
	together := context.WithoutCancel(ctx)
	type message struct {
		from, to int
		parts    [][]float32 // of each node
		err      error
	}
	messages := make(chan message, 1)
	stop := make(chan struct{})
	go func() {
		defer close(messages)
		for _, run := range t.plan.messages() {
			m := message{from: run[0], to: run[1]}
			m.parts, m.err = t.download(run[0], run[1])
			select {
			case messages <- m:
			case <-stop:
				return
			}
		}
	}()
	var err error
	for m := range messages {
		if err = m.err; err == nil {
			from := time.Now()
			err = t.o.Outer.AllReduce(together, t.tree, m.parts)
			t.times.Exchange += time.Since(from)
		}
		if err == nil {
			err = t.uploadSums(m.from, m.to, m.parts[0])
		}
		if err != nil {
			break
		}
	}
	close(stop)
	for range messages { // the devices' sums are in use until then
	}
	return err
}

// download returns the sums of some learnt parameters, one after the other, of each node.
func (t *Trainer) download(from, to int) ([][]float32, error) {
	var parts [][]float32
	for _, sums := range t.stack {
		var part []float32
		for _, b := range sums[0][from:to] {
			v, err := pjrt.Download[float32](b)
			if err != nil {
				return nil, fmt.Errorf("accel: %w", err)
			}
			if to-from == 1 {
				part = v
			} else {
				part = append(part, v...)
			}
		}
		parts = append(parts, part)
	}
	return parts, nil
}

// uploadSums replaces the first node's sums of some learnt parameters on all devices.
func (t *Trainer) uploadSums(from, to int, values []float32) error {
	for i := from; i < to; i++ {
		at := t.plan.learnt[i]
		n := t.plan.params[at].Len()
		for r, row := range t.stack[0] {
			b, err := pjrt.Upload(t.d.devices[r], values[:n], t.plan.dims[at]...)
			if err != nil {
				return fmt.Errorf("accel: %w", err)
			}
			if err := row[i].Free(); err != nil {
				return err
			}
			row[i] = b
		}
		values = values[n:]
	}
	return nil
}
