package nn

import (
	"context"

	"github.com/verydeep/vgg/tensor"
)

// Trainer trains a chain somewhere else than on the CPU. Its parameters and their momenta are
// there between steps; those of the chain on the CPU are as they were at the last
// [Trainer.Fetch]. Only one goroutine at a time may use it.
type Trainer interface {
	// Step updates the weights by a mini-batch and returns the sum of the images' losses. It
	// adds each group's losses image by image, and the groups' in comm.Tree. Weights and momenta
	// stay as they are if the sum is not finite, or if an error occurs before the update. The
	// running statistics of batch normalisation move on the CPU, in the chain.
	Step(ctx context.Context, b TrainerBatch, u Update) (float64, error)
	// Send replaces weights and momenta by those of the CPU. momentum returns that of a learnt
	// parameter in its packed order.
	Send(momentum func(*Param) []float32) error
	// Fetch sets the chain's parameters and the momenta on the CPU to those of the trainer.
	Fetch(momentum func(*Param) []float32) error
	// Close frees the memory.
	Close() error
}

// TrainerBatch is a mini-batch for a [Trainer].
type TrainerBatch struct {
	X         *tensor.Tensor // (N,C,H,W)
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
	Batch     int     // most images of a mini-batch
	Groups    int     // in which gradients are summed, see package train; at least 1
	Ranks     int     // devices that share the groups; divides Groups
	Micro     int     // most images of a group that are computed at a time; 0: a whole group
	H, W      int     // of the input
	Smoothing float32 // of the labels
	Labels    bool    // several labels an image
}
