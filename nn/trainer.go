package nn

import (
	"context"
	"errors"
	"time"

	"github.com/verydeep/vgg/comm"
	"github.com/verydeep/vgg/tensor"
)

// Trainer trains a chain somewhere else than on the CPU. Its parameters and their momenta are
// there between steps; those of the chain on the CPU are as they were at the last
// [Trainer.Fetch]. Only one goroutine at a time may use it.
type Trainer interface {
	// Step updates the weights by a mini-batch and returns the sum of the images' losses. It
	// adds each group's losses image by image, and the groups' in comm.Tree. Weights and momenta
	// stay as they are if the sum is not finite, or if an error occurs before the update. The
	// running statistics of batch normalisation move on the CPU, in the chain. If the context of
	// one of several processes is done, the step is nobody's: it is an error in all of them,
	// [ErrStopped] where the own context isn't done. Any other error fails their group.
	Step(ctx context.Context, b TrainerBatch, u Update) (float64, error)
	// Send replaces weights and momenta by those of the CPU. momentum returns that of a learnt
	// parameter in its packed order.
	Send(momentum func(*Param) []float32) error
	// Fetch sets the chain's parameters and the momenta on the CPU to those of the trainer.
	Fetch(momentum func(*Param) []float32) error
	// Micro is the number of images that are computed at a time.
	Micro() int
	// Ahead sends the images of the next step's batch, of which X, N and From are heeded. Another
	// goroutine may call it while a step is under way. X must stay as it is until that next step
	// is done. What can't be sent ahead is sent when its step begins.
	Ahead(b TrainerBatch)
	// Times says what the last step waited for.
	Times() TrainerTimes
	// Close frees the memory.
	Close() error
}

// TrainerTimes are the times of a step that weren't spent on computing.
type TrainerTimes struct {
	Input          time.Duration // until all images were sent
	Exchange       time.Duration // in which sums went between processes
	ExchangeWaited time.Duration // of it and of what leads there and back, until the step could go on
}

// ErrStopped is the error of a [Trainer]'s step in which another process was to stop. Weights and
// momenta are as they were, in all processes.
var ErrStopped = errors.New("nn: stopped, since another process was to stop")

// ErrDevice is what an error of a [Runner] or a [Trainer] wraps whose device failed: the process
// can't use it any more.
var ErrDevice = errors.New("nn: the device failed")

// TrainerBatch is a mini-batch for a [Trainer].
type TrainerBatch struct {
	X         *tensor.Tensor // (N,C,H,W)
	N, From   int            // images of the whole batch, and the place of X's first among them; N 0: X is all
	Labels    []int          // of each image, in training for one class an image
	LabelSets [][]int        // of each image, ascending, in training for several labels an image
	// Loss, if it isn't nil, is computed on the CPU in the place of the others, of the images
	// counted from 0.
	Loss      Loss
	Seed      uint64 // of the dropout masks
	Iteration int
}

// TrainerOptions says how a [Trainer] splits its work.
type TrainerOptions struct {
	Batch  int // most images of a mini-batch
	Groups int // in which gradients are summed, see package train; at least 1
	Ranks  int // devices of this process that share the groups
	// Outer is the group of the processes that share the groups, each with as many devices; nil:
	// this one alone. The number of all devices divides Groups.
	Outer     comm.Group
	Micro     int     // most images of a group that are computed at a time; 0: a whole group
	H, W      int     // of the input
	Smoothing float32 // of the labels
	Labels    bool    // several labels an image
	HostLoss  bool    // every batch has a Loss, which the CPU computes
	// Memory bounds the memory, in bytes, that a pass may take of each device: micro-batches are
	// halved until they fit. 0: what the device has.
	Memory int64
}
