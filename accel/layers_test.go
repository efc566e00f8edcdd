package accel

import (
	"fmt"
	"math"
	"strings"
	"testing"

	"github.com/verydeep/vgg/accel/hlo"
	"github.com/verydeep/vgg/accel/pjrt"
	"github.com/verydeep/vgg/internal/vggtest"
	"github.com/verydeep/vgg/internal/vggtest/oracle"
	"github.com/verydeep/vgg/nn"
	"github.com/verydeep/vgg/tensor"
)

// recorded are the values of one training pass, by the names of layers.
type recorded struct {
	acts, grads map[string]*tensor.Tensor // (N,C,H,W); "input" is the gradient of the images
	params      map[*nn.Param][]float32   // gradients in the order of each shape
	losses      []float32
}

// record runs a pass of training whose program returns everything.
func record(t *testing.T, d *Device, c *nn.Chain, x *tensor.Tensor, labels []int, seed uint64, iteration int) recorded {
	t.Helper()
	n := len(labels)
	p, err := newPlan(c, nn.TrainerOptions{Batch: n, Groups: 1, Ranks: 1, H: x.Shape[2], W: x.Shape[3]}, n, d.precision)
	if err != nil {
		t.Fatal(err)
	}
	g, in, _ := p.pass(false)
	y, tapes, err := g.forward(p.layers, in)
	if err != nil {
		t.Fatal(err)
	}
	losses, dy := g.softmax(g.flat(y), g.Arg(hlo.I32, n), 0)
	var names []string
	results := []hlo.Value{losses}
	grads, dx, err := g.backward(tapes, g.Reshape(g.Scale(dy, 1/float32(n)), y.Dims...), func(tp tape, dy hlo.Value) {
		names = append(names, tp.layer.Name())
		results = append(results, g.Transpose(tp.y, 0, 3, 1, 2), g.Transpose(dy, 0, 3, 1, 2))
	})
	if err != nil {
		t.Fatal(err)
	}
	results = append(results, g.Transpose(dx, 0, 3, 1, 2))
	for _, at := range p.learnt {
		results = append(results, grads[p.params[at]])
	}
	code, err := program("everything", g.Func, 1, results...)
	if err != nil {
		t.Fatal(err)
	}
	e, err := d.compile(code, 1, true, work{})
	if err != nil {
		t.Fatal(err)
	}
	var args []*pjrt.Buffer
	add := func(b *pjrt.Buffer, err error) {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
		args = append(args, b)
	}
	device := d.devices[0]
	for i, q := range p.params {
		v, err := hostValues(q, p.dims[i])
		if err != nil {
			t.Fatal(err)
		}
		add(pjrt.Upload(device, v, p.dims[i]...))
	}
	real, classes := make([]float32, n), make([]int32, n)
	for i, l := range labels {
		real[i], classes[i] = 1, int32(l)
	}
	add(pjrt.Upload(device, x.Data, x.Shape...))
	add(pjrt.Upload(device, real, n))
	if len(p.dropouts) > 0 {
		var keys []uint32
		for _, l := range p.dropouts {
			key := l.MaskKey(seed, iteration)
			keys = append(keys, uint32(key>>32), uint32(key))
		}
		add(pjrt.Upload(device, []uint32{0}))
		add(pjrt.Upload(device, keys, len(keys)/2, 2))
	}
	add(pjrt.Upload(device, classes, n))
	out, err := e.Run(args...)
	if err != nil {
		t.Fatal(err)
	}
	defer pjrt.Free(out...)
	defer pjrt.Free(args...)
	next := func() *tensor.Tensor {
		t.Helper()
		v, err := pjrt.Download[float32](out[0])
		if err != nil {
			t.Fatal(err)
		}
		shape := out[0].Shape.Dims
		out[0].Free()
		out = out[1:]
		return &tensor.Tensor{Shape: shape, Data: v}
	}
	r := recorded{acts: map[string]*tensor.Tensor{}, grads: map[string]*tensor.Tensor{}, params: map[*nn.Param][]float32{}}
	r.losses = next().Data
	for _, name := range names {
		r.acts[name], r.grads[name] = next(), next()
	}
	r.grads["input"] = next()
	for _, at := range p.learnt {
		q := p.params[at]
		packed := make([]float32, len(q.Value))
		if err := setMomentum(q, p.dims[at], packed, next().Data); err != nil {
			t.Fatal(err)
		}
		v := make([]float32, q.Len())
		if err := q.Unpack(v, packed); err != nil {
			t.Fatal(err)
		}
		r.params[q] = v
	}
	return r
}

// TestActivationsAndGradientsAgainstPyTorch: of every layer and every parameter.
func TestActivationsAndGradientsAgainstPyTorch(t *testing.T) {
	d := testDevice(t, Options{})
	for _, net := range oracle.Nets {
		t.Run(net, func(t *testing.T) {
			init, acts, grads := oracle.Read(t, "..", net, "init"), oracle.Read(t, "..", net, "acts"), oracle.Read(t, "..", net, "grads")
			n := tinyNet(t, net, 32, init)
			r := record(t, d, n.Chain(), init["x"], init.Labels(t), 0, 0)
			compared := 0
			for _, l := range n.Chain().Layers() {
				name := oracle.Activation(l, strings.HasSuffix(net, "-BN"))
				if name == "" {
					continue
				}
				compared++
				vggtest.Near(t, "act."+name, r.acts[l.Name()].Data, acts.Want(t, "act."+name).Data)
				vggtest.Near(t, "dact."+name, r.grads[l.Name()].Data, grads.Want(t, "dact."+name).Data)
			}
			if compared != len(acts)-1 {
				t.Errorf("%d activations compared, the oracle has %d", compared, len(acts)-1)
			}
			vggtest.Near(t, "dx", r.grads["input"].Data, grads["dx"].Data)
			for p, g := range r.params {
				grads.NearGradient(t, p, g)
			}
		})
	}
}

// TestHeadsAgainstTheCPU: layers of heads, whose gradients on the CPU are compared with
// PyTorch's by package nn. Dropout has ratio 0.4, so the masks are those of the CPU.
func TestHeadsAgainstTheCPU(t *testing.T) {
	d := testDevice(t, Options{})
	activation := func(f nn.Function, slope float32) nn.Layer {
		l, err := nn.NewActivation("act", f, slope)
		if err != nil {
			t.Fatal(err)
		}
		return l
	}
	for name, layers := range map[string][]nn.Layer{
		"global average": {nn.NewGlobalPool("gap", false), nn.NewFC("fc", 6, 1, 4, false)},
		"global maximum": {nn.NewGlobalPool("gmp", true), nn.NewFC("fc", 6, 1, 4, false)},
		"both":           {nn.NewGlobalMaxAverage("gmap"), nn.NewFC("fc", 12, 1, 4, false)},
		"adaptive":       {nn.NewAdaptivePool("adapt", 3), nn.NewFC("fc", 6, 3, 4, false)},
		"flatten":        {nn.NewFlatten("flat", 5), nn.NewBatchNorm("norm", 150, true), nn.NewFC("fc", 150, 1, 4, false)},
		"norm of map":    {nn.NewEuclidean("l2", 5), nn.NewFC("fc", 6, 5, 4, false)},
		"norm of pixel":  {nn.NewEuclidean("l2", 1), nn.NewFC("fc", 6, 5, 4, false)},
		"dropout of map": {nn.NewDropout("drop", 0.4, 7), nn.NewFC("fc", 6, 5, 4, false)},
		"one unit":       {nn.NewFC("fc", 6, 5, 1, false), nn.NewBinary("binary")},
		"rectification":  {nn.NewReLU("relu"), nn.NewFC("fc", 6, 5, 4, false)},
		"leaky":          {activation(nn.LeakyReLU, 0.2), nn.NewFC("fc", 6, 5, 4, false)},
		"elu":            {activation(nn.ELU, 0), nn.NewFC("fc", 6, 5, 4, false)},
		"gelu":           {activation(nn.GELU, 0), nn.NewFC("fc", 6, 5, 4, false)},
		"silu":           {activation(nn.SiLU, 0), nn.NewFC("fc", 6, 5, 4, false)},
		"tanh":           {activation(nn.Tanh, 0), nn.NewFC("fc", 6, 5, 4, false)},
		"sigmoid":        {activation(nn.Sigmoid, 0), nn.NewFC("fc", 6, 5, 4, false)},
	} {
		t.Run(name, func(t *testing.T) {
			c := nn.NewChain(3, append([]nn.Layer{nn.NewConv("conv", 3, 6, 3, 1, false)}, layers...)...)
			setWaves(t, c)
			x := oracle.Images(t, "3x3x5x5", 4)
			labels := []int{1, 0, 1}
			tr, err := c.NewTraining(3, 5, 5)
			if err != nil {
				t.Fatal(err)
			}
			acts, grads := map[string][]float32{}, map[string][]float32{}
			tr.Hook = func(layer string, act, grad *tensor.Tensor) { acts[layer], grads[layer] = act.Data, grad.Data }
			if _, err := tr.Step(x, labels, nn.Pass{Seed: 9, Iteration: 4}); err != nil {
				t.Fatal(err)
			}
			losses := tr.Losses()
			r := record(t, d, c, x, labels, 9, 4)
			for i, l := range losses {
				vggtest.Near(t, fmt.Sprintf("loss %d", i), r.losses[i:i+1], []float32{float32(l)})
			}
			for layer, act := range acts {
				if layer != "input" {
					vggtest.Near(t, "activation of "+layer, r.acts[layer].Data, act)
				}
				vggtest.Near(t, "gradient of "+layer, r.grads[layer].Data, grads[layer])
			}
			for p, g := range r.params {
				if name == "flatten" && p.Name == "conv.bias" {
					continue // 0 but for rounding, before a normalisation
				}
				v := make([]float32, p.Len())
				if err := p.Unpack(v, p.Grad); err != nil {
					t.Fatal(err)
				}
				vggtest.Near(t, "gradient of "+p.Name, g, v)
			}
		})
	}
}

// setWaves sets weights and biases to different values, and leaves normalisations as they are.
func setWaves(t *testing.T, c *nn.Chain) {
	t.Helper()
	for i, p := range c.Params() {
		if p.Running || strings.HasPrefix(p.Name, "norm") {
			continue
		}
		v := make([]float32, p.Len())
		for j := range v {
			v[j] = float32(math.Sin(float64(j*(i+3)))) / 4
		}
		if err := p.Set(v); err != nil {
			t.Fatal(err)
		}
	}
}
