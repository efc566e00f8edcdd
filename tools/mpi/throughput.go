package main

import (
	"bufio"
	"context"
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
)

// throughput measures steps of D with batches of 32 at 224, in turn: one process of two threads,
// and two processes of a thread under each launcher. It prints the median images/s and, over
// MPI, the exchange.
func throughput(ctx context.Context, dir, vgg string, iterations, turns int) error {
	arguments := func(out string, threads int) []string {
		return []string{
			"train", "--data", "sample", "--recipe", "paper", "--batch", "32", "--groups", "2", "--epochs", "1", "--keep", "0",
			"--set", fmt.Sprintf("max_iterations=%d", iterations), "--threads", fmt.Sprint(threads), "--out", out,
		}
	}
	kinds := []launcher{{name: "one process, 2 threads"}}
	kinds = append(kinds, installed()...)
	speeds := make([][]step, len(kinds))
	for turn := range turns {
		for i, l := range kinds {
			out := filepath.Join(dir, fmt.Sprintf("%d-%d", i, turn))
			c := exec.CommandContext(ctx, vgg, arguments(out, 2)...)
			if i > 0 {
				c = l.command(ctx, 2, vgg, arguments(out, 1)...)
			}
			if text, err := c.CombinedOutput(); err != nil {
				return fmt.Errorf("%s: %w\n%s", l.name, err, text)
			}
			steps, err := stepsOf(out)
			if err != nil {
				return err
			}
			speeds[i] = append(speeds[i], steps[min(1, len(steps)-1):]...)
			if err := os.RemoveAll(out); err != nil {
				return err
			}
		}
	}
	for i, l := range kinds {
		s := speeds[i]
		slices.SortFunc(s, func(a, b step) int { return int(1e6 * (a.ImagesPerSecond - b.ImagesPerSecond)) })
		mid := s[len(s)/2]
		seconds := 32 / mid.ImagesPerSecond
		fmt.Printf("%-24s %6.2f images/s (%.2f to %.2f), exchange %.2f s of %.2f s, %.2f s of it after the backward pass\n", l.name,
			mid.ImagesPerSecond, s[0].ImagesPerSecond, s[len(s)-1].ImagesPerSecond, mid.Exchange, seconds, mid.Waited)
	}
	return nil
}

// step is a line of a run's metrics.
type step struct {
	Kind            string  `json:"kind"`
	ImagesPerSecond float64 `json:"images_per_second"`
	Exchange        float64 `json:"exchange_seconds"`
	Waited          float64 `json:"exchange_wait_seconds"`
}

// stepsOf reads the steps of a run.
func stepsOf(dir string) ([]step, error) {
	f, err := os.Open(filepath.Join(dir, "metrics.jsonl"))
	if err != nil {
		return nil, err
	}
	defer f.Close()
	var steps []step
	lines := bufio.NewScanner(f)
	lines.Buffer(nil, 1<<20)
	for lines.Scan() {
		var s step
		if err := json.Unmarshal(lines.Bytes(), &s); err != nil {
			return nil, err
		}
		if s.Kind == "iteration" {
			steps = append(steps, s)
		}
	}
	return steps, lines.Err()
}
