// Package kernel holds the float32 kernels of the network's layers on flat slices:
// a portable Go twin of each, generated assembly for AVX-512 and AVX2+FMA, the
// choice between them by CPU feature, and the loops that split a layer call over
// cores.
//
// Activations are blocked by channel, [N][C/16][H+2P][W+2P][16] (see [Act]);
// weights are stored in panels of 32 out-channels, [K/32][tap][C][32] (see [Conv]). The
// inner loop reads both in order, so nothing is re-ordered between layers.
//
// Work is split over outputs, and the order of every sum depends on the shapes alone:
// results have the same bits for any number of threads.
package kernel

//go:generate sh -c "cd _asm && go run . -out ../kernels_amd64.s -stubs ../kernels_amd64.go -pkg kernel && go run ./neon -out ../kernels_arm64.s -stubs ../kernels_arm64.go"

const (
	// Block is the number of channels that an activation stores together.
	Block = 16
	// Panel is the number of out-channels that packed weights store together.
	Panel = 32
)

// blocks returns the number of channel blocks that hold c channels.
func blocks(c int) int { return (c + Block - 1) / Block }

// panels returns the number of weight panels that hold k out-channels.
func panels(k int) int { return (k + Panel - 1) / Panel }
