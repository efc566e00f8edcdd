package train

import (
	"fmt"

	"github.com/verydeep/vgg/comm"
	"github.com/verydeep/vgg/dataset"
	"github.com/verydeep/vgg/internal/kernel"
	"github.com/verydeep/vgg/network"
	"github.com/verydeep/vgg/nn"
	"github.com/verydeep/vgg/resources"
)

// Footprint lists what a run needs memory for.
type Footprint struct {
	Recipe  Recipe
	Classes int // or outputs, of a task
	Images  int // of the training set
	Ranks   int // as in [Options]; 0: 1
	// Processes is the number of those that train together; 0: 1. The memory is that of one.
	Processes int
	Threads   int   // as in [Options], at least 1
	Micro     int   // as in [Options]; 0: a whole group
	Other     int64 // bytes of decoded images and of copies for checkpoints
	Device    bool  // it trains on a device: memory is the processor's alone
}

const (
	// processBytes is the memory of the process besides: code, runtime, images that are being
	// decoded, and garbage that is not yet collected.
	processBytes = 64 << 20
	// decodeBytes is the part of it for images that are being decoded.
	decodeBytes = 32 << 20
)

// valImages is the most images that are validated at a time.
const valImages = 64

// loaderSlots is the number of batches that a loader has at a time: one in use, one ready,
// and those in preparation.
func loaderSlots(batch, threads int) int { return 2 + (threads+batch-1)/batch }

// group returns the number of images of the largest group.
func (f Footprint) group() int { return groupSize(min(f.Recipe.Batch, f.Images), f.Recipe.Groups) }

// micro returns the number of images of the largest micro-batch.
func (f Footprint) micro() int {
	if f.Micro > 0 {
		return min(f.Micro, f.group())
	}
	return f.group()
}

// Bytes estimates the memory of the run in bytes, without building its network: on every
// rank parameters, momentum, gradients, activations of a micro-batch and scratch; the
// batches of images; and validation.
func (f Footprint) Bytes() (int64, error) {
	r := f.Recipe
	ranks, processes, groups := max(1, f.Ranks), max(1, f.Processes), r.Groups
	if all := ranks * processes; groups < all || groups%all != 0 {
		return 0, groupsError(groups, all)
	}
	batch, micro := min(r.Batch, f.Images), f.micro()
	chain, err := f.plan()
	if err != nil {
		return 0, err
	}
	image := 3 * r.Input * r.Input
	val := validationBatch(r, f.Micro)
	images := loaderSlots(batch, f.Threads)*((batch+processes-1)/processes)*image + loaderSlots(val, f.Threads)*val*image
	if f.Device {
		images += (batch + processes - 1) / processes * image // the next batch is sent ahead
		return 4*(int64(chain.ParamFloats())+int64(chain.LearntFloats())+int64(images)) + f.Other + processBytes, nil
	}
	chain.SetThreads((f.Threads + ranks - 1) / ranks)
	trained, in, front, err := f.split(chain)
	if err != nil {
		return 0, err
	}
	rank, err := trained.TrainingFloats(micro, in.H, in.W)
	if err != nil {
		return 0, err
	}
	rank += chain.ParamFloats() + chain.LearntFloats()
	if micro < f.group() || groups > 1 || r.Nesterov || r.ClipNorm > 0 {
		kept, err := trained.GradientFloats(micro, in.H, in.W) // they outlive the backward pass
		if err != nil {
			return 0, err
		}
		rank += kept
	}
	tree, sums := comm.Tree(groups), 1
	for i := range ranks * processes {
		sums = max(sums, tree.Sums(tree.Share(i, ranks*processes)))
	}
	factors, spared := factorFloats(r.Exchange, trained, batch, ranks*processes)
	rank += (sums-1)*(chain.LearntFloats()-spared) + factors

	chain.SetThreads(f.Threads)
	if front == nil {
		front = chain
	} else if front.SetThreads(f.Threads); val > frontImages {
		val = frontImages
	}
	validation, err := front.InferenceFloats(val, r.Input, r.Input)
	if err != nil {
		return 0, err
	}
	return 4*(int64(ranks)*int64(rank)+int64(validation)+int64(images)) + f.Other + processBytes, nil
}

// split returns the layers that are trained with the shape of their input, and those before
// them that are computed apart, nil if there are none.
func (f Footprint) split(chain *nn.Chain) (trained *nn.Chain, in nn.Shape, front *nn.Chain, err error) {
	side := f.Recipe.Input
	n := f.Recipe.frontLayers(chain)
	if n == 0 {
		return chain, nn.Shape{C: 3, H: side, W: side}, nil, nil
	}
	front, trained, in, err = chain.Split(n, side, side)
	return trained, in, front, err
}

// plan returns the network without memory, with the layers frozen that the recipe names.
func (f Footprint) plan() (*nn.Chain, error) {
	chain, err := network.Plan(f.Recipe.Options(f.Classes))
	if err != nil {
		return nil, err
	}
	if err := chain.SetWinograd(f.Recipe.Winograd); err != nil {
		return nil, err
	}
	return chain, freeze(chain.Params(), f.Recipe.Freeze)
}

// validationBatch returns the number of images that are validated at a time: at most the
// micro-batch, where that is bounded.
func validationBatch(r Recipe, micro int) int {
	n := min(r.Batch, valImages)
	if micro > 0 {
		n = min(n, micro)
	}
	return n
}

// MicroBatch returns the largest micro-batch, in images, with which a run needs at most the
// given bytes of memory. It ignores f.Micro. With batch normalisation a micro-batch is a whole
// group. If none fits, the error tells the least memory.
func MicroBatch(f Footprint, memory int64) (int, error) {
	if f.Recipe.Groups < 1 {
		return 0, groupsError(f.Recipe.Groups, max(1, f.Ranks))
	}
	group := f.group()
	bytes := func(micro int) (int64, error) {
		f.Micro = micro
		return f.Bytes()
	}
	least, smallest, err := f.least()
	if err != nil {
		return 0, err
	}
	if smallest > memory {
		why := ""
		if least > 1 {
			why = fmt.Sprintf(", of the %d images of a group, over which batch normalisation takes its statistics: more groups make them smaller", group)
		}
		return 0, fmt.Errorf("train: memory of %s: the least is %s, with micro-batches of %d%s", mebibytes(memory), mebibytes(smallest), least, why)
	}
	low, high := least, group // low fits
	for low < high {
		mid := (low + high + 1) / 2
		b, err := bytes(mid)
		if err != nil {
			return 0, err
		}
		if b <= memory {
			low = mid
		} else {
			high = mid - 1
		}
	}
	return low, nil
}

// least returns the smallest micro-batch that a run can have, and its bytes.
func (f Footprint) least() (micro int, bytes int64, err error) {
	chain, err := f.plan()
	if err != nil {
		return 0, 0, err
	}
	f.Micro = 1
	if chain.StatisticsLen() > 0 {
		f.Micro = f.group()
	}
	bytes, err = f.Bytes()
	return f.Micro, bytes, err
}

// mebibytes formats bytes, rounded up.
func mebibytes(n int64) string { return fmt.Sprintf("%d MiB", (n+1<<20-1)>>20) }

// decodeShare is the divisor of a bounded memory that gives the room reserved for images that
// are being decoded, up to mostReserved, where the network leaves as much. What the largest
// micro-batch leaves is added.
const (
	decodeShare  = 4
	mostReserved = 256 << 20
)

// cacheShare is the divisor of a bounded memory that gives the decoded images which each of
// the two loaders may keep.
const cacheShare = 16

// boundMemory chooses the micro-batch, and limits the decoded images that are kept, where
// the run's memory is bounded.
func (r *run) boundMemory() error {
	if r.o.Memory == 0 || r.o.Device != nil {
		return nil
	}
	r.o.CacheBytes = min(r.o.CacheBytes, r.o.Memory/cacheShare)
	f := r.footprint()
	_, least, err := f.least()
	if err != nil {
		return err
	}
	reserved := max(min(r.o.Memory-least, r.o.Memory/decodeShare, mostReserved)-decodeBytes, 0)
	f.Other += reserved
	if r.o.Batch, err = MicroBatch(f, r.o.Memory); err != nil {
		return err
	}
	f.Micro = r.o.Batch
	taken, err := f.Bytes()
	if err != nil {
		return err
	}
	r.room = resources.NewRoom(decodeBytes+reserved+r.o.Memory-taken, r.o.Memory)
	return nil
}

// checkMachine returns an error if the machine hasn't the memory that the run takes, or that
// its smallest micro-batches take where its memory is bounded. Nothing is allocated for it.
func (r *run) checkMachine() error {
	f := r.footprint()
	f.Other = 0 // decoded images are kept where there is room
	_, least, err := f.least()
	if err != nil {
		return err
	}
	if err := resources.Fits("training", least); err != nil {
		return fmt.Errorf("train: %w: a smaller width, input or fc of the recipe takes less", err)
	}
	if r.o.Memory > 0 && r.o.Device == nil {
		return nil
	}
	whole, err := f.Bytes()
	if err != nil {
		return err
	}
	if err := resources.Fits("training", whole); err != nil {
		return fmt.Errorf("train: %w: bound it (Options.Memory, --memory), which computes a batch in parts, to the same bits; the least is %s", err, mebibytes(least))
	}
	return nil
}

// footprint returns what the run needs memory for.
func (r *run) footprint() Footprint {
	threads := r.o.Workers
	if threads == 0 {
		threads = kernel.Threads()
	}
	f := Footprint{Recipe: r.o.Recipe, Classes: r.o.outputs(), Images: max(1, r.o.Train.Len()), Ranks: r.o.Ranks, Processes: r.o.processes(), Threads: threads, Micro: r.o.Batch, Device: r.o.Device != nil}
	f.Other = r.copyBytes() + r.keptBytes(r.trainLoader, r.trainFeatures)
	if r.o.Val != nil {
		f.Other += r.keptBytes(r.valLoader, r.valFeatures)
	}
	return f
}

// keptBytes returns the most bytes that a loader's decoded images and their features take;
// before there is a loader, what they may take.
func (r *run) keptBytes(l *dataset.Loader, f *features) int64 {
	if l != nil && f != nil && f.keeps {
		return f.bytes() + max(0, l.CacheBytes)
	}
	return r.o.CacheBytes
}

// copyBytes returns the bytes of the copies from which checkpoints are written.
func (r *run) copyBytes() int64 {
	if r.model == nil {
		return 0 // not built yet
	}
	var bytes int64
	for _, p := range r.model.Net.Params() {
		bytes += 4 * int64(p.Len())
		if p.Learnt() {
			bytes += 4 * int64(p.Len())
		}
	}
	if r.o.Keep == 0 || bytes > copyBytes {
		return 0
	}
	return bytes
}
