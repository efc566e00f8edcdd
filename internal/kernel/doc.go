// Package kernel holds the fp32 kernels of the network's layers on flat slices:
// a portable Go twin of each, generated assembly for AVX-512 and AVX2+FMA, the
// choice between them by CPU feature, and the loops that split a layer call over
// cores.
//
// Activations are blocked by channel, [N][C/16][H+2P][W+2P][16] (see [Act]);
// weights lie in panels of 32 out-channels, [K/32][tap][C][32] (see [Conv]). Both
// are what the inner loop reads in order, so nothing is re-ordered between layers.
//
// Work is split over outputs and every sum runs in an order that depends on the
// shapes alone: results have the same bits for any number of threads.
package kernel

//go:generate sh -c "cd _asm && go run . -out ../kernels_amd64.s -stubs ../kernels_amd64.go -pkg kernel"

const (
	// Block is the number of channels that lie together in an activation.
	Block = 16
	// Panel is the number of out-channels that lie together in packed weights.
	Panel = 32
)

// blocks returns the number of channel blocks that hold c channels.
func blocks(c int) int { return (c + Block - 1) / Block }

// panels returns the number of weight panels that hold k out-channels.
func panels(k int) int { return (k + Panel - 1) / Panel }
