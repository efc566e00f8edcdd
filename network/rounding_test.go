package network_test

import (
	"math"
	"math/rand/v2"
	"os"
	"runtime"
	"strings"
	"sync"
	"testing"

	"github.com/verydeep/vgg/internal/kernel"
	"github.com/verydeep/vgg/internal/vggtest"
	"github.com/verydeep/vgg/network"
	"github.com/verydeep/vgg/nn"
	"github.com/verydeep/vgg/tensor"
)

// TestRoundingEndToEnd bounds what float32 and Winograd's transforms do to D and E at
// their full width: the relative L2 error of the last convolution's activation and of the
// class scores, against direct convolution in float64. The weights are He et al.'s.
func TestRoundingEndToEnd(t *testing.T) {
	vggtest.SkipShort(t, "ten thousand million multiplications in float64")
	const bound = 1e-5
	side := 96
	if os.Getenv("VGG_FULL_SIZE") != "" {
		side = 224
	}
	for _, config := range []string{"D", "E"} {
		t.Run(config, func(t *testing.T) {
			options := network.DefaultOptions(config)
			options.Input = side
			net, err := network.New(options)
			if err != nil {
				t.Fatal(err)
			}
			if err := net.Init(network.He, 1); err != nil {
				t.Fatal(err)
			}
			rng := rand.New(rand.NewPCG(1, 1))
			x := tensor.New(1, 3, side, side)
			for i := range x.Data {
				x.Data[i] = float32(60 * rng.NormFloat64())
			}
			last := "conv5_3"
			if config == "E" {
				last = "conv5_4"
			}
			features, err := net.Until(last, true)
			if err != nil {
				t.Fatal(err)
			}
			wantFeatures, wantScores := reference(t, net.Chain(), x, last)
			for _, isa := range kernel.ISAs() {
				if isa.Name() == "go" {
					continue // minutes
				}
				t.Run(isa.Name(), func(t *testing.T) {
					if err := kernel.Use(isa.Name()); err != nil {
						t.Fatal(err)
					}
					defer kernel.Use("")
					for _, part := range []struct {
						what string
						net  *network.Network
						want []float64
					}{{last, features, wantFeatures}, {"scores", net, wantScores}} {
						y, err := part.net.Forward(x)
						if err != nil {
							t.Fatal(err)
						}
						if len(y.Data) != len(part.want) {
							t.Fatalf("%s: %d values, want %d", part.what, len(y.Data), len(part.want))
						}
						var diff, size float64
						for i, w := range part.want {
							d := float64(y.Data[i]) - w
							diff += d * d
							size += w * w
						}
						e := math.Sqrt(diff / size)
						t.Logf("%s: relative error %.2g", part.what, e)
						if !(e <= bound) {
							t.Errorf("%s: relative error %.2g, want at most %.0g", part.what, e, bound)
						}
					}
				})
			}
		})
	}
}

// reference computes the activation of the layer called last and the class scores in
// float64.
func reference(t *testing.T, c *nn.Chain, x *tensor.Tensor, last string) (features, scores []float64) {
	t.Helper()
	h, w := x.Shape[2], x.Shape[3]
	act := make([]float64, len(x.Data))
	for i, v := range x.Data {
		act[i] = float64(v)
	}
	for _, l := range c.Layers() {
		switch l := l.(type) {
		case *nn.Conv:
			weights, bias := make([]float32, l.Weight.Len()), make([]float32, l.Bias.Len())
			if err := l.Weight.Get(weights); err != nil {
				t.Fatal(err)
			}
			if err := l.Bias.Get(bias); err != nil {
				t.Fatal(err)
			}
			if strings.HasPrefix(l.Name(), "fc") {
				act = connect64(act, weights, bias)
				h, w = 1, 1
			} else {
				act = convolve64(act, weights, bias, h, w)
			}
			if l.ReLU {
				for i, v := range act {
					act[i] = max(0, v)
				}
			}
		case *nn.MaxPool:
			act = pool64(act, h, w)
			h, w = h/2, w/2
		case *nn.Dropout:
		default:
			t.Fatalf("no reference of %s", l.Name())
		}
		if l.Name() == last {
			features = act
		}
	}
	return features, act
}

// eachUnit calls f with 0 … n−1 on all processors.
func eachUnit(n int, f func(k int)) {
	var wg sync.WaitGroup
	threads := runtime.GOMAXPROCS(0)
	for part := range threads {
		wg.Go(func() {
			for k := part; k < n; k += threads {
				f(k)
			}
		})
	}
	wg.Wait()
}

// convolve64 is a 3×3 convolution with a border of one zero: x is (C,H,W), w is (K,C,3,3).
func convolve64(x []float64, weights, bias []float32, h, w int) []float64 {
	channels, k := len(x)/(h*w), len(bias)
	y := make([]float64, k*h*w)
	eachUnit(k, func(k int) {
		out := y[k*h*w:][:h*w]
		for i := range out {
			out[i] = float64(bias[k])
		}
		for c := range channels {
			in := x[c*h*w:][:h*w]
			for r := range 3 {
				taps := weights[(k*channels+c)*9+3*r:][:3]
				left, mid, right := float64(taps[0]), float64(taps[1]), float64(taps[2])
				for row := max(0, 1-r); row < min(h, h+1-r); row++ {
					to, from := out[row*w:][:w], in[(row+r-1)*w:][:w]
					to[0] += mid * from[0]
					to[w-1] += mid * from[w-1]
					if w > 1 {
						to[0] += right * from[1]
						to[w-1] += left * from[w-2]
					}
					for i := 1; i < len(from)-1; i++ {
						to[i] += left*from[i-1] + mid*from[i] + right*from[i+1]
					}
				}
			}
		}
	})
	return y
}

// connect64 is a fully connected layer.
func connect64(x []float64, weights, bias []float32) []float64 {
	y := make([]float64, len(bias))
	eachUnit(len(y), func(k int) {
		sum := float64(bias[k])
		for i, v := range weights[k*len(x):][:len(x)] {
			sum += float64(v) * x[i]
		}
		y[k] = sum
	})
	return y
}

func pool64(x []float64, h, w int) []float64 {
	channels := len(x) / (h * w)
	y := make([]float64, 0, len(x)/4)
	for c := range channels {
		for r := 0; r+1 < h; r += 2 {
			top, low := x[(c*h+r)*w:], x[(c*h+r+1)*w:]
			for i := 0; i+1 < w; i += 2 {
				y = append(y, max(top[i], top[i+1], low[i], low[i+1]))
			}
		}
	}
	return y
}
