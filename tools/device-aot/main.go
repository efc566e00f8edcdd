// Command device-aot compiles the programs of configuration D for a GPU that this machine doesn't
// have, and checks that XLA's compiler makes calls of NVIDIA's libraries of all of D's
// convolutions and products, and that they ask for the precision that was named: with f32 not for
// TF32, with tf32 for it. Nothing of them runs.
//
//	pip download --no-deps jax-cuda13-pjrt==0.12.0.1 nvidia-cuda-nvcc nvidia-nvvm   # 257 MB; unzip all into one folder
//	PYTHONPATH=FOLDER go run ./tools/device-aot [-batch 32] [-target h100.txt]
//
// It takes the plugin that vgg's --device cuda would, and a minute for each precision. For another
// kind of device -topology names what to compile for; there are no calls to count. A TPU:
//
//	pip install libtpu
//	TPU_SKIP_MDS_QUERY=1 TPU_ACCELERATOR_TYPE=v5litepod-4 TPU_WORKER_HOSTNAMES=localhost \
//	    go run ./tools/device-aot -device tpu -topology v5e:2x2 -config A -width 0.25 -side 64
package main

import (
	_ "embed"
	"errors"
	"flag"
	"fmt"
	"log"
	"os"
	"slices"
	"strings"
	"time"

	"github.com/verydeep/vgg/accel"
	"github.com/verydeep/vgg/accel/pjrt"
	"github.com/verydeep/vgg/accel/plugins"
	"github.com/verydeep/vgg/network"
	"github.com/verydeep/vgg/nn"
)

//go:embed h100.txt
var h100 string

func main() {
	log.SetFlags(0)
	log.SetPrefix("device-aot: ")
	device := flag.String("device", "cuda", "kind or file of the plugin")
	target := flag.String("target", "", "file with a GpuTargetConfigProto as text (an H100)")
	var o options
	flag.StringVar(&o.topology, "topology", "", "name of what to compile for, for other devices than cuda")
	flag.StringVar(&o.network.Config, "config", "D", "configuration")
	flag.Float64Var(&o.network.Width, "width", 1, "factor of the channels")
	flag.IntVar(&o.network.Input, "side", 224, "side of the images")
	flag.IntVar(&o.batch, "batch", 32, "images of a batch")
	precisions := flag.String("precision", "f32,tf32,bf16", "of f32, tf32 and bf16")
	flag.Parse()
	if err := run(*device, *target, o, strings.Split(*precisions, ",")); err != nil {
		log.Fatal(err)
	}
}

// options say what is compiled, and for what.
type options struct {
	topology string // "" for a GPU of NVIDIA's
	network  network.Options
	batch    int
}

// counts are calls of libraries: cuDNN's convolutions forward, to data and to filters, and
// cuBLASLt's products.
type counts struct{ forward, data, filter, product int }

// targets are the names that XLA gives its calls, by what of the counts they are.
var targets = map[string]func(*counts) *int{
	"__cudnn$convForward":               func(n *counts) *int { return &n.forward },
	"__cudnn$convBiasActivationForward": func(n *counts) *int { return &n.forward },
	"__cudnn$convBackwardInput":         func(n *counts) *int { return &n.data },
	"__cudnn$convBackwardFilter":        func(n *counts) *int { return &n.filter },
	"__cublas$lt$matmul":                func(n *counts) *int { return &n.product },
}

// asked is the precision that calls must have: that of the program's operations.
var asked = map[accel.Precision]precision{accel.F32: 2, accel.TF32: 1, accel.BF16: 0}

func run(device, target string, o options, precisions []string) error {
	for _, p := range precisions {
		if !slices.Contains(accel.Precisions(), accel.Precision(p)) {
			return fmt.Errorf("-precision %q, want of f32, tf32 and bf16", p)
		}
	}
	if target != "" {
		text, err := os.ReadFile(target)
		if err != nil {
			return err
		}
		h100 = string(text)
	}
	plugin, err := plugins.Find(device, os.Getenv)
	if err != nil {
		return err
	}
	p, err := pjrt.Open(plugin.Path)
	if err != nil {
		return err
	}
	settings := pjrt.Settings{"topology": "1x1x1", "target_config": h100}
	if o.topology != "" {
		settings = nil
	}
	gpu, err := p.NewTopology(o.topology, settings)
	if err != nil {
		return err
	}
	defer gpu.Close()
	fmt.Printf("PJRT %d.%d, for %s, batches of %d\n\n", p.Major, p.Minor, gpu.Devices[0].Kind, o.batch)
	size := network.DefaultOptions(o.network.Config)
	size.Width, size.Input = o.network.Width, o.network.Input
	chain, err := network.Plan(size)
	if err != nil {
		return err
	}
	fmt.Printf("%-10s %-12s %8s %8s %8s %8s %9s %10s %8s  %s\n", "", "", "forward", "data", "filter", "cuBLAS", "temp MiB", "total MiB", "seconds", "precision")
	var wrong error
	for _, p := range precisions {
		wrong = errors.Join(wrong, compileAll(gpu, chain, o, accel.Precision(p)))
	}
	return wrong
}

// compileAll compiles D's programs in a precision and checks their calls.
func compileAll(gpu *pjrt.Topology, chain *nn.Chain, of options, precision accel.Precision) error {
	batch, side := of.batch, of.network.Input
	inference, err := accel.InferenceProgram(chain, batch, side, side, precision)
	if err != nil {
		return err
	}
	o := nn.TrainerOptions{Batch: batch, Groups: 1, Ranks: 1, H: side, W: side}
	gradients, update, err := accel.TrainingPrograms(chain, o, nn.Update{Rate: 0.01, Momentum: 0.9, Decay: 5e-4}, batch, precision)
	if err != nil {
		return err
	}
	forward, backward := 3, 9 // products
	if batch == 1 {
		forward, backward = 0, 0 // of a matrix and a vector, which the compiler writes itself
	}
	var wrong error
	for _, test := range []struct {
		name    string
		program pjrt.Program
		want    counts
	}{
		// D has 13 convolutions and 3 products. The first convolution's input has no gradient.
		{"inference", inference, counts{forward: 13, product: forward}},
		{"gradients", gradients, counts{forward: 13, data: 12, filter: 13, product: backward}},
		{"update", update, counts{}},
	} {
		got, calls, err := compile(gpu, of.topology == "", precision, test.name, test.program)
		if err != nil {
			return err
		}
		if of.topology != "" || of.network.Config != "D" {
			continue
		}
		if got != test.want {
			wrong = errors.Join(wrong, fmt.Errorf("%s, %s: %+v calls, want %+v", precision, test.name, got, test.want))
		}
		for _, c := range calls {
			if c.precision != asked[precision] {
				wrong = errors.Join(wrong, fmt.Errorf("%s, %s: a call of %s with the precision %v, want %v", precision, test.name, c.target, c.precision, asked[precision]))
			}
		}
	}
	return wrong
}

// compile compiles a program and counts its calls.
func compile(gpu *pjrt.Topology, cuda bool, p accel.Precision, name string, program pjrt.Program) (n counts, calls []libraryCall, err error) {
	started := time.Now()
	var flags map[string]any
	if cuda {
		flags = map[string]any{
			"xla_gpu_deterministic_ops":  true,  // as in training
			"xla_gpu_autotune_level":     0,     // there is nothing to measure on
			"xla_gpu_enable_triton_gemm": false, // which would be chosen by measuring
		}
	}
	c, err := gpu.Compile(program, pjrt.CompileOptions{Flags: flags})
	if err != nil {
		return n, nil, err
	}
	defer func() { err = errors.Join(err, c.Free()) }()
	if cuda {
		module, err := c.Optimized()
		if err != nil {
			return n, nil, err
		}
		if calls, err = libraryCalls(module); err != nil {
			return n, nil, fmt.Errorf("the compiled program: %w", err)
		}
	}
	var precisions []string
	for _, call := range calls {
		count, ok := targets[call.target]
		if !ok {
			return n, nil, fmt.Errorf("a call of %s, which isn't known", call.target)
		}
		*count(&n)++
		precisions = append(precisions, call.precision.String())
	}
	slices.Sort(precisions)
	m, err := c.Memory()
	const mib = 1 << 20
	fmt.Printf("%-10s %-12s %8d %8d %8d %8d %9d %10d %8.1f  %s\n", p, name, n.forward, n.data, n.filter, n.product, m.Temp/mib, m.Total()/mib, time.Since(started).Seconds(),
		strings.Join(slices.Compact(precisions), ", "))
	return n, calls, err
}
