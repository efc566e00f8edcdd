package nn

import (
	"context"

	"github.com/verydeep/vgg/internal/kernel"
)

// front is the leading steps of inference that images go through in groups, one group after
// another. Their maps are large: those of a whole batch would go to memory and come back.
type front struct {
	steps int // of inference, from the first one on
	group int // images of a group
}

// frontPixels is the least number of pixels of the maps of a step that runs by groups.
const frontPixels = 96 * 96

// frontOf returns the front of inference on n images; without steps where a group would be
// the batch.
func frontOf(steps []inferenceStep, shapes []Shape, n, threads int) front {
	f := front{group: groupSize(shapes[0], n, threads)}
	for f.group < n && f.steps < len(steps) && shapes[f.steps].H*shapes[f.steps].W >= frontPixels {
		if conv := steps[f.steps].conv(); conv != nil && conv.connected() {
			break
		}
		f.steps++
	}
	return f
}

// images returns how many of n images are in activation i at a time.
func (f front) images(i, n int) int {
	if i < f.steps {
		return f.group
	}
	return n
}

// buffer returns which buffer holds activation i: two alternate within the front, and two
// after it.
func (f front) buffer(i int) int {
	if i < f.steps {
		return 2 + i%2
	}
	return i % 2
}

// act shapes activation i for so many images of the batch, from image from on.
func (ws *workspace) act(i, images, from int) {
	sh, b, buf := ws.shapes[i], ws.borders[i], ws.buf[ws.front.buffer(i)]
	if i >= ws.front.steps {
		buf = buf[kernel.BorderedLen(from, sh.C, sh.H, sh.W, b.pad, b.end):]
	}
	ws.acts[i].Bordered(images, sh.C, sh.H, sh.W, b.pad, b.end, buf)
}

// run runs all steps on x and calls done, if not nil, after each; step −1 is the change of
// layout. It ends after the step at work when ctx does, and returns the cause.
func (ws *workspace) run(ctx context.Context, x []float32, done func(step int)) error {
	f, image := ws.front, ws.shapes[0].C*ws.h*ws.w
	defer ws.act(f.steps, ws.n, 0)
	step := func(i int) error {
		if ctx.Err() != nil {
			return context.Cause(ctx)
		}
		if i < 0 {
			ws.work.FromNCHW(x[:ws.acts[0].N*image], &ws.acts[0])
			x = x[ws.acts[0].N*image:]
		} else {
			ws.step(i)
		}
		if done != nil {
			done(i)
		}
		return nil
	}
	if f.steps == 0 {
		if err := step(-1); err != nil {
			return err
		}
	}
	for from := 0; f.steps > 0 && from < ws.n; from += f.group {
		for i := range f.steps + 1 {
			ws.act(i, min(f.group, ws.n-from), from)
		}
		for i := -1; i < f.steps; i++ {
			if err := step(i); err != nil {
				return err
			}
		}
	}
	ws.act(f.steps, ws.n, 0)
	for i := f.steps; i < len(ws.steps); i++ {
		if err := step(i); err != nil {
			return err
		}
	}
	return nil
}
