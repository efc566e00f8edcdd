// Command device-aot compiles the programs of configuration D for a GPU that this machine doesn't
// have, and checks that XLA's compiler makes calls of NVIDIA's libraries of all of D's
// convolutions and products. Nothing of them runs.
//
//	pip download --no-deps jax-cuda13-pjrt==0.12.0.1 nvidia-cuda-nvcc nvidia-nvvm   # 257 MB; unzip all into one folder
//	PYTHONPATH=FOLDER go run ./tools/device-aot [-batch 32] [-target h100.txt]
//
// It takes the plugin that vgg's --device cuda would, and a minute.
package main

import (
	"bytes"
	_ "embed"
	"errors"
	"flag"
	"fmt"
	"log"
	"os"
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
	batch := flag.Int("batch", 32, "images of a batch")
	precision := flag.String("precision", "f32", "f32, tf32 or bf16")
	flag.Parse()
	if err := run(*device, *target, *batch, accel.Precision(*precision)); err != nil {
		log.Fatal(err)
	}
}

// counts are calls of libraries: cuDNN's convolutions forward, to data and to filters, and
// cuBLASLt's products.
type counts struct{ forward, data, filter, product int }

// targets are the names that XLA gives its calls. The first two are forward.
var targets = []string{"__cudnn$convForward", "__cudnn$convBiasActivationForward", "__cudnn$convBackwardInput", "__cudnn$convBackwardFilter", "__cublas$lt$matmul"}

func run(device, target string, batch int, precision accel.Precision) error {
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
	gpu, err := p.NewTopology("", pjrt.Settings{"topology": "1x1x1", "target_config": h100})
	if err != nil {
		return err
	}
	defer gpu.Close()
	fmt.Printf("PJRT %d.%d, for %s, batches of %d\n\n", p.Major, p.Minor, gpu.Devices[0].Kind, batch)
	chain, err := network.Plan(network.DefaultOptions("D"))
	if err != nil {
		return err
	}
	const side = 224
	inference, err := accel.InferenceProgram(chain, batch, side, side, precision)
	if err != nil {
		return err
	}
	o := nn.TrainerOptions{Batch: batch, Groups: 1, Ranks: 1, H: side, W: side}
	gradients, update, err := accel.TrainingPrograms(chain, o, nn.Update{Rate: 0.01, Momentum: 0.9, Decay: 5e-4}, batch, precision)
	if err != nil {
		return err
	}
	fmt.Printf("%-28s %8s %8s %8s %8s %9s %10s %8s\n", "", "forward", "data", "filter", "cuBLAS", "temp MiB", "total MiB", "seconds")
	var wrong error
	for _, test := range []struct {
		name    string
		program pjrt.Program
		want    counts
	}{
		// D has 13 convolutions and 3 products. The first convolution's input has no gradient.
		{"inference", inference, counts{forward: 13, product: 3}},
		{"gradients", gradients, counts{forward: 13, data: 12, filter: 13, product: 9}},
		{"update", update, counts{}},
	} {
		got, err := compile(gpu, test.name, test.program)
		if err != nil {
			return err
		}
		if got != test.want {
			wrong = errors.Join(wrong, fmt.Errorf("%s: %+v calls, want %+v", test.name, got, test.want))
		}
	}
	return wrong
}

// compile compiles a program and counts its calls.
func compile(gpu *pjrt.Topology, name string, program pjrt.Program) (n counts, err error) {
	started := time.Now()
	c, err := gpu.Compile(program, pjrt.CompileOptions{Flags: map[string]any{
		"xla_gpu_deterministic_ops":  true,  // as in training
		"xla_gpu_autotune_level":     0,     // there is nothing to measure on
		"xla_gpu_enable_triton_gemm": false, // which would be chosen by measuring
	}})
	if err != nil {
		return n, err
	}
	defer func() { err = errors.Join(err, c.Free()) }()
	module, err := c.Optimized()
	if err != nil {
		return n, err
	}
	calls := func(i int) int { return bytes.Count(module, []byte(targets[i])) }
	n = counts{calls(0) + calls(1), calls(2), calls(3), calls(4)}
	m, err := c.Memory()
	const mib = 1 << 20
	fmt.Printf("%-28s %8d %8d %8d %8d %9d %10d %8.1f\n", name, n.forward, n.data, n.filter, n.product, m.Temp/mib, m.Total()/mib, time.Since(started).Seconds())
	return n, err
}
