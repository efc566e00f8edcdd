package network

import (
	"fmt"

	"github.com/verydeep/vgg/nn"
)

// Summary lists a network's layers and sizes. Its JSON keys are those of
// `vgg summary --json`.
type Summary struct {
	Config     string         `json:"config"`
	Layers     []LayerSummary `json:"layers"`
	Weights    int64          `json:"weights"`
	Biases     int64          `json:"biases"`
	Parameters int64          `json:"parameters"`
	MACs       int64          `json:"macs"` // multiplications of one image of the input side
}

// LayerSummary is one layer's line.
type LayerSummary struct {
	Name    string `json:"name"`
	Type    string `json:"type"`   // as the paper writes it: conv3-64, maxpool, FC-4096
	Output  [3]int `json:"output"` // channels, height, width
	Weights int64  `json:"weights"`
	Biases  int64  `json:"biases"`
	MACs    int64  `json:"macs"`
}

// Summarise computes the summary of a network without building it. Learnt scales and
// shifts of batch normalisation count as weights and biases; its running statistics do
// not count.
func Summarise(o Options) (Summary, error) {
	a, chain, err := o.plan()
	if err != nil {
		return Summary{}, err
	}
	shapes, err := chain.Shapes(o.Input, o.Input)
	if err != nil {
		return Summary{}, err
	}
	s := Summary{Config: a.Name}
	for i, l := range chain.Layers() {
		out := shapes[i]
		row := LayerSummary{Name: l.Name(), Output: [3]int{out.C, out.H, out.W}}
		switch l := l.(type) {
		case *nn.Conv:
			row.Type = fmt.Sprintf("FC-%d", out.C)
			if len(l.Weight.Shape) == 4 {
				row.Type = fmt.Sprintf("conv%d-%d", l.Weight.Shape[2], out.C)
			}
			row.Weights, row.Biases = int64(l.Weight.Len()), int64(l.Bias.Len())
			row.MACs = row.Weights * int64(out.H*out.W)
		case *nn.BatchNorm:
			row.Type = "BN"
			row.Weights, row.Biases = int64(l.Gamma.Len()), int64(l.Beta.Len())
		case *nn.MaxPool:
			row.Type = "maxpool"
		case *nn.LRN:
			row.Type = "LRN"
		case *nn.GlobalPool:
			row.Type = "global avgpool"
			if l.Max {
				row.Type = "global maxpool"
			}
		case *nn.GlobalMaxAverage:
			row.Type = "global max+avgpool"
		case *nn.AdaptivePool:
			row.Type = "adaptive avgpool"
		case *nn.Flatten:
			row.Type = "flatten"
		case *nn.Euclidean:
			row.Type = "L2"
		case *nn.ReLU:
			row.Type = "ReLU"
		case *nn.Activation:
			row.Type = string(l.Function)
			if l.Function == nn.LeakyReLU {
				row.Type = fmt.Sprintf("%s %g", l.Function, l.Slope)
			}
		case *nn.Binary:
			row.Type = "two classes"
		case *nn.Dropout:
			continue // has neither parameters nor a shape of its own
		}
		s.Layers = append(s.Layers, row)
		s.Weights += row.Weights
		s.Biases += row.Biases
		s.MACs += row.MACs
	}
	s.Parameters = s.Weights + s.Biases
	return s, nil
}

// Memory is the memory that a network needs, in bytes.
type Memory struct {
	Inference int64 `json:"inference_bytes"` // a forward pass over the batch
	Training  int64 `json:"training_bytes"`  // a training step with momentum over the batch
	Batch     int   `json:"batch"`
}

// processBytes is the memory of a Go process of this library without a network: code,
// runtime, stacks and the collector's own structures.
const processBytes = 14 << 20

// maxBatch bounds the batches that memory is estimated for, so that no sum overflows.
const maxBatch = 1 << 16

// EstimateMemory computes what passes over batch images of the input side need, without
// building the network: parameters in o.FCStorage, buffers, scratch memory of each thread,
// the batch itself and, in training, gradients and momentum. Training is in float32
// whatever the storage.
func EstimateMemory(o Options, batch, threads int) (Memory, error) {
	if batch < 1 || batch > maxBatch {
		return Memory{}, fmt.Errorf("vgg: batch of %d images, want 1 to %d", batch, maxBatch)
	}
	c, err := Plan(o)
	if err != nil {
		return Memory{}, err
	}
	c.SetThreads(threads)
	train, err := c.TrainingFloats(batch, o.Input, o.Input)
	if err != nil {
		return Memory{}, err
	}
	if err := c.StoreFC(o.storage()); err != nil {
		return Memory{}, err
	}
	infer, err := c.InferenceFloats(batch, o.Input, o.Input)
	if err != nil {
		return Memory{}, err
	}
	plans, err := c.Plans(batch, o.Input, o.Input, false)
	if err != nil {
		return Memory{}, err
	}
	var saved int64
	for _, p := range plans {
		if p.Connected && o.storage() != nn.F32 {
			saved += p.WeightBytes // 16 bits save as much as they take
		}
	}
	input := batch * 3 * o.Input * o.Input
	bytes := func(floats int) int64 { return 4*int64(floats) + processBytes }
	return Memory{
		Inference: bytes(c.ParamFloats()+infer+input) - saved,
		Training:  bytes(c.ParamFloats() + train + c.LearntFloats() + input),
		Batch:     batch,
	}, nil
}
