// Command killtest shows that a training run can't be lost. It kills a run again and again
// at random moments, resumes it each time, and compares the final weights and metrics, bit
// for bit, with those of an undisturbed run.
//
//	go build -o vgg ./cmd/vgg
//	go run ./tools/killtest -vgg ./vgg -kills 30
//
// A checkpoint is written after nearly every iteration, so that many kills happen while one
// is being written. If a run ends before all kills are done, it is compared and another one
// begins. The exit code is 0 if all bits are the same.
package main

import (
	"bufio"
	"bytes"
	"crypto/sha256"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"image"
	"image/color"
	"image/png"
	"io"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"time"
)

func main() {
	t := killTest{out: os.Stdout}
	flag.StringVar(&t.vgg, "vgg", "vgg", "the program")
	flag.IntVar(&t.kills, "kills", 30, "number of kills")
	flag.IntVar(&t.epochs, "epochs", 40, "epochs of the run")
	flag.Uint64Var(&t.seed, "seed", 1, "seed of the moments")
	flag.StringVar(&t.config, "config", "A-BN", "configuration to train")
	flag.Parse()
	dir, err := os.MkdirTemp("", "killtest-")
	if err == nil {
		t.dir = dir
		err = t.run()
		os.RemoveAll(dir)
	}
	if err != nil {
		fmt.Fprintf(os.Stderr, "killtest: %v\n", err)
		os.Exit(1)
	}
}

// killTest is one series of kills.
type killTest struct {
	vgg    string
	kills  int
	epochs int
	seed   uint64
	config string
	dir    string
	out    io.Writer

	rng *rand.Rand
}

// outcome is the part of a run's files that must not depend on kills.
type outcome struct {
	last, best [sha256.Size]byte
	metrics    string // without measured times
}

func (t *killTest) run() error {
	t.rng = rand.New(rand.NewPCG(t.seed, 0))
	if err := t.pictures(); err != nil {
		return err
	}
	alone := filepath.Join(t.dir, "alone")
	begin := time.Now()
	if _, err := t.train(alone, 0, false); err != nil {
		return err
	}
	took := time.Since(begin)
	want, err := outcomeOf(alone)
	if err != nil {
		return err
	}
	fmt.Fprintf(t.out, "left alone: %d lines of metrics in %v, weights %x\n", strings.Count(want.metrics, "\n"), took.Round(time.Millisecond), want.last[:8])

	killed, writing, runs := 0, 0, 0
	for killed < t.kills || runs == 0 {
		runs++
		dir := filepath.Join(t.dir, fmt.Sprintf("run%d", runs))
		for {
			within := time.Duration(0)
			if killed < t.kills {
				within = max(took/6, 10*time.Millisecond)
			}
			was, err := t.train(dir, within, t.rng.IntN(6) == 0)
			if err != nil {
				return err
			}
			if !was {
				break
			}
			killed++
			state, temporary := stateOf(dir)
			if temporary {
				writing++
			}
			fmt.Fprintf(t.out, "kill %d: %s\n", killed, state)
		}
		got, err := outcomeOf(dir)
		if err != nil {
			return err
		}
		if got != want {
			return fmt.Errorf("run %d ended otherwise than the one left alone: last weights %x, want %x; best %x, want %x; metrics the same: %v", runs, got.last[:8], want.last[:8], got.best[:8], want.best[:8], got.metrics == want.metrics)
		}
		fmt.Fprintf(t.out, "run %d ended with weights %x: the same bits\n", runs, got.last[:8])
	}
	fmt.Fprintf(t.out, "%d kills, %d of them while a file of weights was written, in %d runs: all ended with the same weights, bit for bit, and the same metrics\n", killed, writing, runs)
	return nil
}

// train begins or resumes a run in dir. Unless within is 0, the run is killed at a random
// moment of that time, which begins with the process (early) or with the first iteration.
func (t *killTest) train(dir string, within time.Duration, early bool) (killed bool, err error) {
	cmd := exec.Command(t.vgg, "train", "--data", filepath.Join(t.dir, "pictures"), "--out", dir, "--resume",
		"--config", t.config, "--width", "0.0625", "--fc", "16", "--input", "32", "--init", "he",
		"--scale-min", "34", "--scale-max", "40", "--test-scale", "36", "--batch", "8", "--learning-rate", "0.001",
		"--epochs", fmt.Sprint(t.epochs), "--set", "standardise=true", "--checkpoint-every", "1ms", "--keep", "2")
	var stderr bytes.Buffer
	cmd.Stderr = &stderr
	stdout, err := cmd.StdoutPipe()
	if err != nil {
		return false, err
	}
	if err := cmd.Start(); err != nil {
		return false, err
	}
	kill := func() {}
	if within > 0 {
		moment := time.Duration(t.rng.Int64N(int64(within)))
		kill = func() { time.AfterFunc(moment, func() { cmd.Process.Kill() }) }
	}
	if early {
		kill()
	}
	lines := bufio.NewScanner(stdout)
	for lines.Scan() {
		if !early && strings.HasPrefix(lines.Text(), "Time ") { // the last line before the first iteration
			kill()
		}
	}
	err = cmd.Wait()
	if within > 0 && err != nil && cmd.ProcessState.ExitCode() == -1 {
		return true, nil
	}
	if err != nil {
		return false, fmt.Errorf("%s: %w\n%s", cmd, err, &stderr)
	}
	if stderr.Len() > 0 {
		return false, fmt.Errorf("%s: unexpected: %s", cmd, &stderr)
	}
	return false, nil
}

// stateOf describes the files that a killed process has left, and tells whether it was
// writing weights.
func stateOf(dir string) (text string, temporary bool) {
	checkpoints, _ := filepath.Glob(filepath.Join(dir, "checkpoints", "checkpoint-*.safetensors"))
	text = "before the first checkpoint"
	if len(checkpoints) > 0 {
		text = "newest is " + filepath.Base(slices.Max(checkpoints))
	}
	for _, pattern := range []string{".*.tmp", "checkpoints/.*.tmp"} {
		left, _ := filepath.Glob(filepath.Join(dir, pattern))
		for _, path := range left {
			if info, err := os.Stat(path); err == nil {
				text += fmt.Sprintf(", %d bytes of %s written", info.Size(), filepath.Base(path))
				temporary = true
			}
		}
	}
	return text, temporary
}

func outcomeOf(dir string) (o outcome, err error) {
	for name, sum := range map[string]*[sha256.Size]byte{"last.safetensors": &o.last, "best.safetensors": &o.best} {
		data, err := os.ReadFile(filepath.Join(dir, name))
		if err != nil {
			return o, err
		}
		*sum = sha256.Sum256(data)
	}
	f, err := os.Open(filepath.Join(dir, "metrics.jsonl"))
	if err != nil {
		return o, err
	}
	defer f.Close()
	var text strings.Builder
	for lines := bufio.NewScanner(f); lines.Scan(); {
		var m map[string]any
		if err := json.Unmarshal(lines.Bytes(), &m); err != nil {
			return o, fmt.Errorf("%s: %q: %w", f.Name(), lines.Text(), err)
		}
		for _, k := range []string{"images_per_second", "seconds", "wait_seconds"} {
			delete(m, k)
		}
		line, err := json.Marshal(m) // keys in order
		if err != nil {
			return o, err
		}
		fmt.Fprintf(&text, "%s\n", line)
	}
	o.metrics = text.String()
	return o, nil
}

// pictures writes the images to train on: noise, brightest in the colour of its class.
func (t *killTest) pictures() error {
	rng := rand.New(rand.NewPCG(7, 0))
	var errs []error
	for class, name := range []string{"red", "green", "blue"} {
		dir := filepath.Join(t.dir, "pictures", name)
		errs = append(errs, os.MkdirAll(dir, 0o777))
		for i := range 20 {
			im := image.NewRGBA(image.Rect(0, 0, 48, 40))
			for y := range 40 {
				for x := range 48 {
					c := [3]uint8{uint8(rng.UintN(128)), uint8(rng.UintN(128)), uint8(rng.UintN(128))}
					c[class] += 60
					im.SetRGBA(x, y, color.RGBA{c[0], c[1], c[2], 255})
				}
			}
			var b bytes.Buffer
			errs = append(errs, png.Encode(&b, im), os.WriteFile(filepath.Join(dir, fmt.Sprintf("%02d.png", i)), b.Bytes(), 0o666))
		}
	}
	return errors.Join(errs...)
}
