package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"time"

	"github.com/verydeep/vgg/internal/vggtest/pids"
)

// training is the command line of a short run with six groups and many checkpoints.
func training(out string) []string {
	return []string{
		"train", "--data", "sample", "--config", "A-BN", "--width", "0.0625", "--fc", "16", "--init", "he", "--set", "standardise=true",
		"--input", "32", "--scale-min", "34", "--scale-max", "40", "--test-scale", "36", "--batch", "48", "--groups", "6", "--learning-rate", "0.001",
		"--epochs", "3", "--threads", "1", "--checkpoint-every", "1ms", "--keep", "2", "--resume", "--out", out,
	}
}

// killRanks kills a random rank of runs of 2 or 3 processes at random moments, runs the command
// again with another number, and compares what comes out with the bits of one process.
func killRanks(ctx context.Context, dir, vgg string, kills int, seed uint64) error {
	alone := filepath.Join(dir, "alone")
	if text, err := exec.CommandContext(ctx, vgg, training(alone)...).CombinedOutput(); err != nil {
		return fmt.Errorf("one process: %w\n%s", err, text)
	}
	rng, began := rand.New(rand.NewPCG(seed, 1)), time.Now()
	const most = 10 * time.Second // until a kill, also where a run was stopped for a while
	killed, results, stuck, longest := 0, 0, 0, most
	for run := 0; killed < kills; run++ {
		out := filepath.Join(dir, fmt.Sprintf("run-%d", run))
		for done := false; !done; {
			l, n := installed()[rng.IntN(len(installed()))], 2+rng.IntN(2)
			c := l.command(ctx, n, vgg, training(out)...)
			var text bytes.Buffer
			c.Stdout, c.Stderr, c.WaitDelay = &text, &text, 5*time.Second
			from := time.Now()
			if err := c.Start(); err != nil {
				return err
			}
			ended := make(chan error, 1)
			go func() { ended <- c.Wait() }()
			err, hit := error(nil), false
			for alive, missed := true, 0; alive; {
				moment := time.Duration(rng.Int64N(int64(longest)))
				if killed >= kills {
					moment = time.Hour
				}
				select {
				case err = <-ended:
					alive = false
				case <-time.After(moment):
					if hit = killOne(c.Process.Pid, vgg, rng); !hit { // there is no rank yet, or no more
						if missed++; missed == 100 {
							c.Process.Kill()
						}
						continue
					}
					if err, alive = end(ended, time.Minute); alive { // Open MPI's launcher can hang when its last rank is gone
						stuck++
						c.Process.Kill()
						err, alive = <-ended, false
					}
				}
			}
			switch {
			case ctx.Err() != nil:
				return ctx.Err()
			case err == nil:
				done = true
				if !hit {
					longest = min(time.Since(from), most)
				}
			case hit:
				killed++
			default:
				return fmt.Errorf("%s: %w, and nothing was killed\n%s", out, err, &text)
			}
		}
		for _, name := range []string{"last.safetensors", "best.safetensors"} {
			a, errA := os.ReadFile(filepath.Join(out, name))
			b, errB := os.ReadFile(filepath.Join(alone, name))
			if err := errors.Join(errA, errB); err != nil || !bytes.Equal(a, b) {
				return fmt.Errorf("%s of %s isn't that of one process (%v)", name, out, err)
			}
		}
		results++
		fmt.Printf("%d kills, %d launchers that didn't end, %d results with the bits of one process, %v\n", killed, stuck, results, time.Since(began).Round(time.Second))
		if err := os.RemoveAll(out); err != nil {
			return err
		}
	}
	return nil
}

// end waits until a launcher has ended. alive says that it hasn't, in a time that leaves out what
// this process was stopped for.
func end(ended <-chan error, within time.Duration) (err error, alive bool) {
	for range within / time.Second {
		select {
		case err := <-ended:
			return err, false
		case <-time.After(time.Second):
		}
	}
	return nil, true
}

// killOne kills a random rank that a launcher started. It reports false if there is none yet, or
// no more.
func killOne(launcher int, vgg string, rng *rand.Rand) bool {
	ranks := pids.StartedBy(launcher, vgg)
	if len(ranks) == 0 {
		return false
	}
	p, err := os.FindProcess(ranks[rng.IntN(len(ranks))])
	return err == nil && p.Kill() == nil
}
