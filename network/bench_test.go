package network

import (
	"fmt"
	"math/rand/v2"
	"testing"

	"github.com/verydeep/vgg/internal/vggtest"
	"github.com/verydeep/vgg/nn"
	"github.com/verydeep/vgg/tensor"
)

func benchNetwork(b *testing.B, config string) *Network {
	n, err := New(DefaultOptions(config))
	if err != nil {
		b.Fatal(err)
	}
	if err := n.Init(He, 1); err != nil {
		b.Fatal(err)
	}
	return n
}

func BenchmarkForward(b *testing.B) {
	for _, config := range []string{"A", "D"} {
		n := benchNetwork(b, config)
		s, err := Summarise(n.Options())
		if err != nil {
			b.Fatal(err)
		}
		for _, batch := range []int{1, 8} {
			b.Run(fmt.Sprintf("%s/batch%d", config, batch), func(b *testing.B) {
				x, y := vggtest.Ramp(tensor.New(batch, 3, 224, 224)), tensor.New(batch, 1000, 1, 1)
				b.ReportAllocs()
				for b.Loop() {
					if err := n.ForwardInto(y, x); err != nil {
						b.Fatal(err)
					}
				}
				report(b, batch, 2*float64(s.MACs))
			})
		}
	}
}

func BenchmarkTrainingStep(b *testing.B) {
	for _, config := range []string{"A", "D"} {
		n := benchNetwork(b, config)
		s, err := Summarise(n.Options())
		if err != nil {
			b.Fatal(err)
		}
		const batch = 8
		b.Run(fmt.Sprintf("%s/batch%d", config, batch), func(b *testing.B) {
			tr, err := n.Chain().NewTraining(batch, 224, 224)
			if err != nil {
				b.Fatal(err)
			}
			opt := nn.NewSGD(n.Chain())
			x, labels := vggtest.Ramp(tensor.New(batch, 3, 224, 224)), rand.New(rand.NewPCG(1, 1)).Perm(1000)[:batch]
			b.ReportAllocs()
			for b.Loop() {
				if _, err := tr.StepSGD(x, labels, nn.Pass{}, opt, nn.Update{Rate: 1e-3, Momentum: 0.9, Decay: 5e-4, DecayBiases: true}); err != nil {
					b.Fatal(err)
				}
			}
			report(b, batch, 6*float64(s.MACs)-2*float64(s.Layers[0].MACs))
		})
	}
}

// report adds images/s and the flops of the direct algorithm a second.
func report(b *testing.B, batch int, flops float64) {
	images := float64(batch*b.N) / b.Elapsed().Seconds()
	b.ReportMetric(images, "images/s")
	b.ReportMetric(images*flops/1e9, "GFLOP/s")
}
