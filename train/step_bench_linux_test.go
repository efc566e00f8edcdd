package train

import (
	"context"
	"fmt"
	"syscall"
	"testing"
	"time"

	"github.com/verydeep/vgg/dataset"
	"github.com/verydeep/vgg/network"
	"github.com/verydeep/vgg/tensor"
)

// BenchmarkStep is a step of A at 224, by numbers of groups, ranks and micro-batches:
// what they cost beside one group on one rank.
func BenchmarkStep(b *testing.B) {
	const batch = 16
	x := &dataset.Batch{X: tensor.New(batch, 3, 224, 224), Labels: make([]int, batch)}
	for i := range x.X.Data {
		x.X.Data[i] = float32(i%255)/127 - 1
	}
	for i := range x.Labels {
		x.Labels[i] = i
	}
	for _, c := range []struct{ groups, ranks, micro int }{{1, 1, 0}, {1, 1, 8}, {1, 1, 2}, {2, 1, 0}, {4, 1, 0}, {2, 2, 0}, {4, 2, 0}} {
		b.Run(fmt.Sprintf("groups%d/ranks%d/micro%d", c.groups, c.ranks, c.micro), func(b *testing.B) {
			r := PaperRecipe()
			r.Config, r.Groups = "A", c.groups
			net, err := network.New(r.Options(1000))
			if err != nil {
				b.Fatal(err)
			}
			if err := net.Init(network.He, 1); err != nil {
				b.Fatal(err)
			}
			s := newTestStepper(b, net, stepOptions{Recipe: r, Batch: batch, Micro: c.micro, Ranks: c.ranks})
			step := func() {
				if _, err := s.step(context.Background(), whole(x), 1, 1e-6); err != nil {
					b.Fatal(err)
				}
			}
			step() // takes memory
			before := processorSeconds(b)
			for b.Loop() {
				step()
			}
			b.ReportMetric((processorSeconds(b)-before)/batch/float64(b.N), "cpu-s/image")
			b.ReportMetric(batch*float64(b.N)/b.Elapsed().Seconds(), "images/s")
		})
	}
}

// processorSeconds is the processor's time that the process has taken: where others use
// the machine too, it says more than the clock.
func processorSeconds(b *testing.B) float64 {
	var u syscall.Rusage
	if err := syscall.Getrusage(syscall.RUSAGE_SELF, &u); err != nil {
		b.Fatal(err)
	}
	return (time.Duration(u.Utime.Nano()) + time.Duration(u.Stime.Nano())).Seconds()
}
