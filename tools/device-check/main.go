// Command device-check checks a device: the tests of package accel and of those below it run on it,
// a network learns there what it learns on the processor, and the same bits again, evaluation and
// descriptors come to the processor's numbers, and speed is measured, beside PyTorch's if the Python
// on PATH has it for the device.
//
//	go run ./tools/device-check                # an NVIDIA GPU
//	go run ./tools/device-check -device rocm   # or tpu, oneapi, cpu, the file of a plugin
//
// It ends within ten minutes, most of which is compilation, prints tables, and has the exit code
// 1 if anything failed. The tests have six minutes: one that isn't done by then has failed, and the
// rest follows. A measurement that the time doesn't allow is left out, and said. Run it in the
// folder of the source; it needs Go and the plugin (vgg devices says how to install one).
//
// -small measures a network that a processor can run, as it does with -device cpu.
package main

import (
	"context"
	"flag"
	"fmt"
	"log"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"strings"
	"time"

	"github.com/verydeep/vgg/accel/plugins"
)

// limit is the time that all of it may take.
const limit = 10 * time.Minute

// testShare is the part of it that the tests may take.
const testShare = 6 * time.Minute

func main() {
	log.SetFlags(0)
	log.SetPrefix("device-check: ")
	device := flag.String("device", "cuda", "kind of device, or the file of a plugin")
	small := flag.Bool("small", false, "measure a small network, in small batches")
	python := flag.String("python", "python3", "a Python with PyTorch for the device")
	flag.Parse()
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt)
	defer stop()
	ctx, cancel := context.WithTimeoutCause(ctx, limit, fmt.Errorf("not done in %v", limit))
	defer cancel()
	failed, err := check(ctx, *device, *python, *small)
	if err != nil && ctx.Err() != nil {
		err = context.Cause(ctx)
	}
	if err != nil {
		log.Fatal(err)
	}
	if failed > 0 {
		os.Exit(1)
	}
}

// check checks a device and returns how many checks failed.
func check(ctx context.Context, device, python string, small bool) (failed int, err error) {
	plugin, err := plugins.Find(device, os.Getenv)
	if err != nil {
		return 0, err
	}
	path, err := filepath.Abs(plugin.Path)
	if err != nil {
		return 0, err
	}
	work, err := os.MkdirTemp("", "device-check")
	if err != nil {
		return 0, err
	}
	defer os.RemoveAll(work)
	vgg := filepath.Join(work, "vgg")
	if out, err := exec.CommandContext(ctx, "go", "build", "-tags", "accel", "-o", vgg, "./cmd/vgg").CombinedOutput(); err != nil {
		return 0, fmt.Errorf("go build: %w\n%s", err, out)
	}
	run := func(name string, arguments ...string) *exec.Cmd {
		c := exec.CommandContext(ctx, name, arguments...)
		c.Env = append(os.Environ(), plugins.Variable+"="+path)
		c.Stderr = os.Stderr
		return c
	}
	devices := run(vgg, "devices")
	devices.Stdout = os.Stdout
	if err := devices.Run(); err != nil {
		return 0, err
	}

	n, err := runTests(ctx, run, os.Stdout)
	if err != nil {
		return 0, err
	}
	small = small || plugin.Kind == "cpu" || strings.Contains(path, "cpu")
	kind := plugin.Kind
	if kind == "" {
		kind = path
	}
	m := machine{ctx: ctx, run: run, vgg: vgg, device: kind, python: python, work: work, small: small}
	for _, c := range []struct {
		name  string
		check func() error
	}{{"learning", m.learns}, {"same bits", m.repeats}, {"answers", m.answers}, {"speed", m.speed}} {
		fmt.Println()
		if err := c.check(); err != nil {
			fmt.Printf("%s: FAILED: %v\n", c.name, err)
			n.failed++
		}
	}
	return n.failed, nil
}
