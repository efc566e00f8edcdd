package main

import (
	"bufio"
	"bytes"
	"encoding/binary"
	"encoding/json"
	"fmt"
	"math"
	"os"
	"path/filepath"
	"slices"
	"time"
)

// answers evaluates the network that learned on the processor, by crops and over images of several
// sizes, and takes descriptors, there and on the processor, and compares the numbers.
func (m machine) answers() error {
	network := filepath.Join(m.work, "processor", "last.safetensors")
	for _, work := range []struct {
		name      string
		arguments []string
	}{
		{"crops", []string{"eval", network, "--protocol", "multi-crop", "--flip"}},
		{"dense", []string{"eval", network, "--protocol", "dense", "--scales", "64,73"}},
		{"descriptors", []string{"features", network, "sample", "--layer", "fc7"}},
	} {
		answers := map[string]map[string][]float64{}
		began := time.Now()
		for _, where := range []string{"processor", "device"} {
			file := filepath.Join(m.work, where+"-"+work.name+".jsonl")
			arguments := append(slices.Clone(work.arguments), "--out", file)
			if where == "device" {
				arguments = append(arguments, "--device", m.device)
			}
			c := m.run(m.vgg, arguments...)
			if err := c.Run(); err != nil {
				return m.inTime(fmt.Sprintf("%s on the %s", work.name, where), err)
			}
			var err error
			if answers[where], err = readAnswers(file); err != nil {
				return err
			}
		}
		off, err := compareAnswers(answers["device"], answers["processor"])
		if err != nil {
			return fmt.Errorf("%s: %w", work.name, err)
		}
		fmt.Printf("answers, %-12s %d photographs, at most %.1e off the processor's, in %.1f s\n", work.name+":", len(answers["device"]), off, time.Since(began).Seconds())
	}
	return nil
}

// readAnswers reads the numbers of each image: of descriptors, or of classes.
func readAnswers(file string) (map[string][]float64, error) {
	data, err := os.ReadFile(file)
	if err != nil {
		return nil, err
	}
	all := map[string][]float64{}
	lines := bufio.NewScanner(bytes.NewReader(data))
	lines.Buffer(nil, 1<<24)
	for lines.Scan() {
		var line struct {
			File       string
			Descriptor []float64
			Posterior  []byte // float32 in base64
		}
		if err := json.Unmarshal(lines.Bytes(), &line); err != nil {
			return nil, fmt.Errorf("%s: %w", file, err)
		}
		for raw := line.Posterior; len(raw) >= 4; raw = raw[4:] {
			line.Descriptor = append(line.Descriptor, float64(math.Float32frombits(binary.LittleEndian.Uint32(raw))))
		}
		if line.File != "" && len(line.Descriptor) > 0 {
			all[line.File] = line.Descriptor
		}
	}
	return all, lines.Err()
}

// compareAnswers returns the largest difference between two devices' numbers, relative to the
// largest number of their image. It is an error if one is above a thousandth, or if images miss.
func compareAnswers(device, processor map[string][]float64) (off float64, err error) {
	if len(processor) == 0 || len(device) != len(processor) {
		return 0, fmt.Errorf("%d images, on the processor %d", len(device), len(processor))
	}
	for name, want := range processor {
		got := device[name]
		if len(got) != len(want) {
			return 0, fmt.Errorf("%s: %d numbers, on the processor %d", name, len(got), len(want))
		}
		largest := 0.0
		for _, v := range want {
			largest = max(largest, math.Abs(v))
		}
		for i, v := range want {
			d := math.Abs(got[i] - v)
			if !(d <= 1e-3*largest) {
				return 0, fmt.Errorf("%s: number %d is %v, on the processor %v", name, i, got[i], v)
			}
			if d > 0 {
				off = max(off, d/largest)
			}
		}
	}
	return off, nil
}
