package dataset

import (
	"bytes"
	"context"
	"encoding/gob"
	"errors"
	"fmt"
	"runtime"
	"sync"
	"sync/atomic"
	"time"

	"github.com/verydeep/vgg/comm"
	"github.com/verydeep/vgg/internal/remote"
	"github.com/verydeep/vgg/internal/wholefile"
	"github.com/verydeep/vgg/preprocess"
	"github.com/verydeep/vgg/resources"
)

// surveyPart is what a survey has of some of the images, which are consecutive. Sums are integers,
// so it doesn't matter how images are divided.
type surveyPart struct {
	Pixels    preprocess.StatsAccumulator
	Sizes     [][2]int // width and height of each image; 0 of an unreadable one
	Grey16    int
	LacksRoom bool // an image is unreadable because it didn't fit into memory
	bad       []BadImage
}

// surveyPart surveys the images first … end−1, and calls done for each.
func (d *Dataset) surveyPart(ctx context.Context, first, end int, o StatsOptions, done func(n int)) (surveyPart, error) {
	workers := o.Workers
	if workers == 0 {
		workers = runtime.GOMAXPROCS(0)
	}
	var (
		wg     sync.WaitGroup
		mu     sync.Mutex // of next and part.Pixels
		next   = first
		part   = surveyPart{Sizes: make([][2]int, end-first)}
		bad    = make([]error, end-first)
		grey16 atomic.Int64
	)
	ctx, stop := context.WithCancelCause(ctx)
	defer stop(nil)
	decode := DecodeOptions{DecodeOptions: preprocess.DecodeOptions{MaxPixels: o.MaxPixels}, Room: o.Room, OnHeader: func(h preprocess.Header) {
		if h.Grey16 {
			grey16.Add(1)
		}
	}}
	take := func() int {
		mu.Lock()
		defer mu.Unlock()
		next++
		return next - 1
	}
	order := make([]int, end-first)
	for i := range order {
		order[i] = first + i
	}
	defer d.Ahead(ctx, order)()
	for range min(workers, end-first) {
		wg.Go(func() {
			var own preprocess.StatsAccumulator
			for i := take(); i < end && ctx.Err() == nil; i = take() {
				im, err := d.Decode(ctx, i, decode)
				if err == nil {
					own.Add(im.Image)
					part.Sizes[i-first] = [2]int{im.W, im.H}
					im.Release()
				}
				bad[i-first] = err
				if Environment(ctx, err) {
					stop(err)
				}
				done(1)
			}
			mu.Lock()
			defer mu.Unlock()
			part.Pixels.Merge(&own)
		})
	}
	wg.Wait()
	if err := context.Cause(ctx); wholefile.Exhausted(err) || remote.Failed(err) {
		return part, err
	}
	if ctx.Err() != nil {
		return part, fmt.Errorf("dataset: %s: %w", d.Name, context.Cause(ctx))
	}
	for i, err := range bad {
		if err != nil {
			part.bad = append(part.bad, BadImage{Name: d.Samples[first+i].Name, Index: first + i, Err: err})
			if _, ok := errors.AsType[*resources.RoomError](err); ok {
				part.LacksRoom = true
			}
		}
	}
	part.Grey16 = int(grey16.Load())
	return part, nil
}

// toldEvery is how often processes tell each other how many images they have surveyed.
const toldEvery = 200 * time.Millisecond

// surveyTogether surveys this process's part of the images and returns the parts of all
// processes, in order. While one works, all meet now and then: for the progress, and to end
// together if one is to stop.
func (d *Dataset) surveyTogether(ctx context.Context, o StatsOptions) ([]surveyPart, error) {
	g, images := o.Processes, d.Len()
	work, stop := context.WithCancel(ctx)
	var (
		mine   surveyPart
		failed error
		done   atomic.Int64
		ended  = make(chan struct{})
	)
	go func() {
		defer close(ended)
		mine, failed = d.surveyPart(work, g.Rank()*images/g.Size(), (g.Rank()+1)*images/g.Size(), o, func(n int) { done.Add(int64(n)) })
	}()
	defer func() {
		stop()
		<-ended
	}()
	tick := time.NewTicker(toldEvery)
	defer tick.Stop()
	const surveyed, finished, stopped = 0, 1, 2
	for {
		told := make([]float64, 3)
		select {
		case <-ended:
			told[finished] = 1
		case <-tick.C:
		}
		switch {
		case ctx.Err() != nil:
			told[stopped] = 1
		case told[finished] > 0 && failed != nil:
			return nil, failed
		}
		told[surveyed] = float64(done.Load())
		if err := g.AllReduce64(context.WithoutCancel(ctx), comm.Tree(g.Size()), [][]float64{told}); err != nil {
			return nil, err
		}
		if ctx.Err() != nil {
			return nil, fmt.Errorf("dataset: %s: %w", d.Name, context.Cause(ctx))
		}
		if told[stopped] > 0 {
			return nil, fmt.Errorf("dataset: %s: another process was to stop: %w", d.Name, context.Canceled)
		}
		o.Progress.Report(int64(told[surveyed]), int64(images))
		if int(told[finished]) == g.Size() {
			break
		}
	}
	return gatherParts(ctx, d, g, mine)
}

// toldPart is a part as a process tells others of it: of errors, the texts.
type toldPart struct {
	Part       surveyPart
	Unreadable []int // indices
	Texts      []string
}

// gatherParts returns the parts of all processes.
func gatherParts(ctx context.Context, d *Dataset, g comm.Group, mine surveyPart) ([]surveyPart, error) {
	told := toldPart{Part: mine}
	for _, b := range mine.bad {
		told.Unreadable, told.Texts = append(told.Unreadable, b.Index), append(told.Texts, b.Err.Error())
	}
	var message bytes.Buffer
	if err := gob.NewEncoder(&message).Encode(&told); err != nil {
		return nil, err
	}
	messages, err := comm.Gather(context.WithoutCancel(ctx), g, message.Bytes())
	if err != nil {
		return nil, err
	}
	parts := make([]surveyPart, g.Size())
	for rank, text := range messages {
		if rank == g.Rank() {
			parts[rank] = mine // with its errors themselves
			continue
		}
		var told toldPart
		if err := gob.NewDecoder(bytes.NewReader(text)).Decode(&told); err != nil {
			return nil, fmt.Errorf("dataset: %s: survey of rank %d: %w", d.Name, rank, err)
		}
		parts[rank] = told.Part
		for i, index := range told.Unreadable {
			parts[rank].bad = append(parts[rank].bad, BadImage{Name: d.Samples[index].Name, Index: index, Err: errors.New(told.Texts[i])})
		}
	}
	return parts, nil
}
