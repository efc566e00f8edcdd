package nn

import (
	"fmt"

	"github.com/verydeep/vgg/internal/kernel"
)

// Storage is the format in which weights are stored in memory.
type Storage string

const (
	F32  Storage = "f32"
	F16  Storage = "f16"  // IEEE half precision: 11 significant bits
	BF16 Storage = "bf16" // the upper half of a float32: 8 significant bits
	// InFile leaves the weights where they were read from: every pass reads, packs and
	// multiplies by them, panel by panel, in little memory. Nor are the convolutions' weights
	// kept as Winograd's algorithm multiplies by them; every pass transforms them. A single
	// pass takes less time so than with weights that are first brought into memory, and every
	// further one as long again.
	InFile Storage = "file"
)

// StoreFC changes the format in which memory holds the weights of the fully connected
// layers. They are most of a network's weights, and reading them is most of what a single
// image waits for; 16 bits halve both. Products and sums stay in float32. Every weight is
// rounded when it is set. A network in 16 bits can infer and be saved, but not be trained.
//
// If it is called before the chain has memory ([Chain.Alloc]), the weights are never held
// in 32 bits. It must not be called while a pass runs. It is an error if s isn't a format.
//
// Layers that are [InFile] need [Param.KeepIn] before the first pass. A layer before a batch
// normalisation, which inference folds into its weights, stays in memory, and so do weights
// that are there already.
func (c *Chain) StoreFC(s Storage) error {
	var format kernel.Half
	switch s {
	case F32:
		return nil
	case F16:
		format = kernel.F16
	case BF16:
		format = kernel.BF16
	case InFile:
	default:
		return fmt.Errorf("nn: storage %q: want %q, %q, %q or %q", s, F32, F16, BF16, InFile)
	}
	for i, l := range c.layers {
		conv, ok := l.(*Conv)
		if ok {
			conv.passing = s == InFile
		}
		if !ok || !conv.connected() {
			continue
		}
		if s != InFile {
			conv.Weight.narrow(format, c.team.Load())
		} else if !c.folds(i) {
			conv.Weight.inFile = conv.Weight.format == 0 && conv.Weight.Value == nil
		}
	}
	c.Release() // workspaces are planned for the other format
	return nil
}

// connected reports whether the layer was made by [NewFC].
func (l *Conv) connected() bool { return l.Weight.connected() }
