package accel

import (
	"fmt"
	"testing"
	"time"

	"github.com/verydeep/vgg/internal/vggtest/oracle"
	"github.com/verydeep/vgg/network"
)

// BenchmarkDense is D over a photograph of a size with a program of its own, and of one that
// shares a program with others; compile-s is what the first pass takes more.
func BenchmarkDense(b *testing.B) {
	d := testDevice(b, Options{})
	n, err := network.New(network.DefaultOptions("D"))
	if err == nil {
		err = n.Init(network.He, 1)
	}
	if err != nil {
		b.Fatal(err)
	}
	r := d.Runner()
	defer r.Close()
	n.Chain().SetRunner(r)
	if _, err := n.Forward(oracle.Images(b, "1x3x256x256", 0)); err != nil { // sends the weights
		b.Fatal(err)
	}
	for _, w := range []int{352, 351} {
		b.Run(fmt.Sprintf("256x%d", w), func(b *testing.B) {
			x := oracle.Images(b, fmt.Sprintf("1x3x256x%d", w), 0)
			began := time.Now()
			if _, err := n.Forward(x); err != nil {
				b.Fatal(err)
			}
			first := time.Since(began)
			for b.Loop() {
				if _, err := n.Forward(x); err != nil {
					b.Fatal(err)
				}
			}
			b.ReportMetric((first - b.Elapsed()/time.Duration(b.N)).Seconds(), "compile-s")
		})
	}
}
