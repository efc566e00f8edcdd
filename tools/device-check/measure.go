package main

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"math"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"time"
)

// machine is what is needed to run vgg on the device.
type machine struct {
	ctx         context.Context
	run         func(name string, arguments ...string) *exec.Cmd
	vgg, device string
	python      string
	work        string // a folder
	small       bool
}

// iterations is the number of those that learning is compared over.
const iterations = 40

// learns trains on the embedded sample there and on the processor, and compares the losses.
func (m machine) learns() error {
	losses := map[string][]float64{}
	for _, where := range []string{"processor", "device"} {
		out := filepath.Join(m.work, where)
		// At the sample's own rate rounding grows so fast that two instruction sets of a processor
		// differ by a hundredth in the fourth iteration.
		arguments := []string{"train", "--set", "max_iterations=" + strconv.Itoa(iterations), "--learning-rate", "0.001", "--out", out}
		if where == "device" {
			arguments = append(arguments, "--device", m.device)
		}
		began := time.Now()
		c := m.run(m.vgg, arguments...)
		if err := c.Run(); err != nil {
			return fmt.Errorf("vgg train on the %s: %w", where, err)
		}
		var err error
		if losses[where], err = readLosses(filepath.Join(out, "metrics.jsonl")); err != nil {
			return err
		}
		l := losses[where]
		fmt.Printf("learning the sample on the %-10s loss %.4f, after %d iterations %.4f, in %.1f s\n", where+":", l[0], len(l), l[len(l)-1], time.Since(began).Seconds())
	}
	return compareLosses(losses["device"], losses["processor"])
}

// repeats trains a small network on the device, and again with a stop after half of the epochs, which
// must come to the same bits.
func (m machine) repeats() error {
	began := time.Now()
	var files [2][]byte
	for i, epochs := range [][]string{{"2"}, {"1", "2"}} {
		out := filepath.Join(m.work, fmt.Sprintf("repeat%d", i+1))
		for k, n := range epochs {
			arguments := []string{"train", "--resume", "--out", out, "--epochs", n, "--device", m.device}
			if k == 0 {
				arguments = append(arguments, "--config", "8 LRN 16 M 32 M FC64 FC", "--input", "32", "--scale-min", "36", "--scale-max", "44", "--test-scale", "36",
					"--batch", "32", "--groups", "4", "--set", "standardise=true", "--init", "he")
			}
			if err := m.run(m.vgg, arguments...).Run(); err != nil {
				return m.inTime("training twice", err)
			}
		}
		var err error
		if files[i], err = os.ReadFile(filepath.Join(out, "last.safetensors")); err != nil {
			return err
		}
	}
	if err := compareRuns(files[0], files[1]); err != nil {
		return err
	}
	fmt.Printf("training again, with a stop between: the same bits, in %.1f s\n", time.Since(began).Seconds())
	return nil
}

// compareRuns is an error unless two runs ended with the same weights.
func compareRuns(once, stopped []byte) error {
	if len(once) == 0 || len(once) != len(stopped) {
		return fmt.Errorf("weights of %d bytes, and of %d in the run that was stopped", len(once), len(stopped))
	}
	different := 0
	for i, b := range once {
		if b != stopped[i] {
			different++
		}
	}
	if different > 0 {
		return fmt.Errorf("%d of %d bytes of the weights are others in the run that was stopped: some operation isn't deterministic", different, len(once))
	}
	return nil
}

// readLosses reads the losses of a run's iterations.
func readLosses(file string) (losses []float64, err error) {
	f, err := os.Open(file)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	lines := bufio.NewScanner(f)
	for lines.Scan() {
		var line struct {
			Kind string
			Loss float64
		}
		if err := json.Unmarshal(lines.Bytes(), &line); err != nil {
			return nil, fmt.Errorf("%s: %w", file, err)
		}
		if line.Kind == "iteration" {
			losses = append(losses, line.Loss)
		}
	}
	return losses, lines.Err()
}

// compareLosses is an error unless the losses fall, and those of the device are the processor's.
// Rounding grows from step to step: the first eighth must agree closely, the rest in the mean.
func compareLosses(device, processor []float64) error {
	if len(device) != iterations || len(processor) != iterations {
		return fmt.Errorf("%d and %d iterations, want %d", len(device), len(processor), iterations)
	}
	const early, quarter = iterations / 8, iterations / 4
	for i := range early {
		if !(math.Abs(device[i]-processor[i]) <= 1e-3*processor[i]) {
			return fmt.Errorf("iteration %d: loss %v, on the processor %v", i+1, device[i], processor[i])
		}
	}
	d, p, first := mean(device[3*quarter:]), mean(processor[3*quarter:]), mean(device[:quarter])
	switch {
	case !(math.Abs(d-p) <= 0.1*p):
		return fmt.Errorf("mean loss of the last iterations %v, on the processor %v", d, p)
	case !(d < first):
		return fmt.Errorf("the loss doesn't fall: %v in the first iterations, %v in the last", first, d)
	}
	return nil
}

func mean(v []float64) float64 {
	sum := 0.0
	for _, x := range v {
		sum += x
	}
	return sum / float64(len(v))
}

// speed measures inference and training steps, beside PyTorch if there is one for the device.
func (m machine) speed() error {
	arguments := []string{"tools/compare/devices.py", "--device", m.device, "--python", m.python, "--rounds", "1", "--no-compile"}
	if m.small {
		arguments = append(arguments, "--torch-device", "cpu", "--config", "A", "--batches", "1", "--train-batches", "2", "--precisions", "f32", "--iters", "2", "--warmup", "1")
	} else {
		arguments = append(arguments, "--batches", "1,256", "--train-batches", "256", "--precisions", "f32,bf16", "--iters", "10", "--warmup", "3")
	}
	if m.hasTorch() {
		c := m.run(m.python, arguments...)
		c.Stdout = os.Stdout
		return m.inTime("beside PyTorch", c.Run())
	}
	fmt.Printf("%s has no PyTorch for this device: vgg alone\n", m.python)
	works := [][]string{{"D", "--batch", "1"}, {"D", "--batch", "256"}, {"D", "--mode", "train", "--batch", "256"},
		{"D", "--batch", "256", "--precision", "bf16"}, {"D", "--mode", "train", "--batch", "256", "--precision", "bf16"}}
	if m.small {
		works = [][]string{{"A", "--width", "0.25", "--batch", "4"}, {"A", "--width", "0.25", "--batch", "4", "--mode", "train"}}
	}
	for _, work := range works {
		c := m.run(m.vgg, append([]string{"bench", "--device", m.device}, work...)...)
		c.Stdout = os.Stdout
		if err := m.inTime(fmt.Sprintf("vgg bench %v", work), c.Run()); err != nil {
			return err
		}
	}
	return nil
}

// inTime returns the error of a measurement, but says only so if the time was over.
func (m machine) inTime(what string, err error) error {
	if err == nil {
		return nil
	}
	if errors.Is(m.ctx.Err(), context.DeadlineExceeded) {
		fmt.Printf("%s: left out, for want of time\n", what)
		return nil
	}
	return fmt.Errorf("%s: %w", what, err)
}

// hasTorch reports whether the Python has a PyTorch that can use the device.
func (m machine) hasTorch() bool {
	check := "import torch; assert torch.cuda.is_available()"
	if m.small {
		check = "import torch"
	}
	c := m.run(m.python, "-c", check)
	c.Stderr = nil
	return c.Run() == nil
}
