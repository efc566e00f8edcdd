//go:build unix

package main

import (
	"bufio"
	"bytes"
	"context"
	"encoding/binary"
	"encoding/json"
	"fmt"
	"image"
	"image/color"
	"image/png"
	"math"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/verydeep/vgg/dataset"
	"github.com/verydeep/vgg/eval"
	"github.com/verydeep/vgg/internal/atomicfile"
	"github.com/verydeep/vgg/report"
	"github.com/verydeep/vgg/transfer"
	"github.com/verydeep/vgg/weights"
)

// fileWriter is a way in which the program writes a file.
type fileWriter struct {
	file string // in the folder
	// prepare makes what write reads.
	prepare func(dir string) error
	// write writes version v, 0 or 1, to path.
	write func(dir, path string, v int) error
	// whole reports what of the file is not whole.
	whole func(t *testing.T, dir, path string)
	left  []string // files that belong to the written one
}

// writers lists the ways in which the program writes files that take long.
func writers() []fileWriter {
	list := []fileWriter{
		{
			file: "f.npy", prepare: prepareDescriptors, write: writeDescriptors, left: []string{"f.npy.jsonl"},
			whole: func(t *testing.T, dir, path string) {
				d, err := transfer.Open(t.Context(), path)
				if err != nil {
					t.Fatal(err)
				}
				defer d.Close()
				x, err := d.Load(t.Context())
				if err != nil {
					t.Fatal(err)
				}
				for r, row := range d.Rows {
					for _, v := range x[r*dim : (r+1)*dim] {
						if row.File != version(int(x[0]), r) || v != x[0] {
							t.Fatalf("row %d of version %v: %s, %v", r, x[0], row.File, v)
						}
					}
				}
			},
		},
		{file: "f.jsonl", prepare: prepareDescriptors, write: writeDescriptors},
		{file: "w.safetensors", write: func(_, path string, v int) error {
			return weights.WriteSafetensors(path, nil, []weights.Source{tensor(v)})
		}},
		{file: "w.onnx", write: func(_, path string, v int) error {
			port := func(name string) []weights.ONNXPort {
				return []weights.ONNXPort{{Name: name, Shape: []weights.ONNXDim{{Size: floats}}}}
			}
			return weights.WriteONNX(path, weights.ONNXModel{
				Producer: "test", Graph: "g", Inputs: port("x"), Outputs: port("y"), Tensors: []weights.Source{tensor(v)},
				Nodes: []weights.ONNXNode{{Op: "Add", Name: "add", Inputs: []string{"x", "w"}, Outputs: []string{"y"}}},
			})
		}},
		{file: "curve.png", write: func(_, path string, v int) error {
			return report.Curve{Title: version(v, 0), Epochs: []report.EpochPoint{{Epoch: 1, Loss: 1, Top1: 0.5, Top5: 0.5, LearningRate: 0.1}}}.WritePNG(path)
		}},
		{
			file: dataset.StatsFile, left: []string{"a", "b"},
			prepare: func(dir string) error {
				for i := range 8 {
					file := filepath.Join(dir, string(rune('a'+i%2)), fmt.Sprint(i, ".png"))
					im := image.NewGray(image.Rect(0, 0, 4, 4))
					im.Set(0, 0, color.White)
					var b bytes.Buffer
					if err := png.Encode(&b, im); err != nil {
						return err
					}
					if err := os.MkdirAll(filepath.Dir(file), 0o777); err != nil {
						return err
					}
					if err := os.WriteFile(file, b.Bytes(), 0o666); err != nil {
						return err
					}
				}
				return nil
			},
			write: func(dir, path string, v int) error {
				d, _, err := dataset.Open(context.Background(), dir, dataset.OpenOptions{})
				if err != nil {
					return err
				}
				for { // until a part is met that wasn't surveyed before
					part, _, err := dataset.Split(d, 0.5, rand.Uint64())
					if err != nil {
						return err
					}
					if _, kept, err := dataset.CachedSurvey(context.Background(), part, dataset.StatsOptions{}); err != nil || !kept {
						return err
					}
				}
			},
			whole: func(t *testing.T, _, path string) {
				data, err := os.ReadFile(path)
				var kept []struct{ Survey dataset.Survey }
				if err == nil {
					err = json.Unmarshal(data, &kept)
				}
				if err != nil || len(kept) == 0 {
					t.Fatalf("%d surveys, %v", len(kept), err)
				}
				for _, k := range kept {
					if k.Survey.Images != 4 {
						t.Fatalf("a survey of %d images, want 4", k.Survey.Images)
					}
				}
			},
		},
	}
	for i := range list {
		if w := &list[i]; w.whole == nil {
			w.whole = func(t *testing.T, dir, path string) { oneOfTwo(t, w, dir, path) }
		}
	}
	return list
}

// oneOfTwo fails unless the file is version 0 or 1, to the byte.
func oneOfTwo(t *testing.T, w *fileWriter, dir, path string) {
	got, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	for v := range 2 {
		other := filepath.Join(t.TempDir(), w.file)
		if err := w.write(dir, other, v); err != nil {
			t.Fatal(err)
		}
		if want, err := os.ReadFile(other); err != nil {
			t.Fatal(err)
		} else if bytes.Equal(got, want) {
			return
		}
	}
	t.Fatalf("%d bytes of neither version", len(got))
}

const (
	floats    = 1 << 18 // of a file of weights
	rows, dim = 2000, 64
)

func tensor(v int) weights.Source {
	return weights.Source{Name: "w", Shape: []int{floats}, Data: func(yield func([]float32) bool) {
		piece := make([]float32, floats/64)
		for i := range piece {
			piece[i] = float32(v)
		}
		for range 64 {
			if !yield(piece) {
				return
			}
		}
	}}
}

func version(v, row int) string { return fmt.Sprintf("version %d, row %d", v, row) }

// prepareDescriptors makes two files of descriptors; all numbers of version v are v.
func prepareDescriptors(dir string) error {
	for v := range 2 {
		h := transfer.Header{
			Format: "vgg descriptors 1", Data: eval.DataID{Name: "d", Images: rows, Classes: []string{"a"}},
			Nets:    []transfer.NetID{{Weights: "w", Scales: []int{32}, Channels: dim}},
			Regions: []transfer.Region{transfer.WholeImage}, Shard: eval.Shard{Index: 1, Count: 1}, Dim: dim,
		}
		var index bytes.Buffer
		e := json.NewEncoder(&index)
		if err := e.Encode(h); err != nil {
			return err
		}
		numbers := weights.NPYHeader(rows, dim)
		for r := range rows {
			if err := e.Encode(transfer.Row{Image: r, File: version(v, r)}); err != nil {
				return err
			}
			for range dim {
				numbers = binary.LittleEndian.AppendUint32(numbers, math.Float32bits(float32(v)))
			}
		}
		source := filepath.Join(dir, fmt.Sprint(v, ".npy"))
		if err := os.WriteFile(source, numbers, 0o666); err != nil {
			return err
		}
		if err := os.WriteFile(source+".jsonl", index.Bytes(), 0o666); err != nil {
			return err
		}
	}
	return nil
}

func writeDescriptors(dir, path string, v int) error {
	d, err := transfer.Open(context.Background(), filepath.Join(dir, fmt.Sprint(v, ".npy")))
	if err != nil {
		return err
	}
	defer d.Close()
	return d.Write(context.Background(), path)
}

// killedWriter names the file that the process which is killed writes.
const killedWriter = "VGG_TEST_KILLED"

// writeForever is the process that is killed: it writes both versions of the file in turn, and
// says when it has written the first.
func writeForever(path string) {
	dir, file := filepath.Split(path)
	for _, w := range writers() {
		for v := 0; w.file == file; v = 1 - v {
			if err := w.write(dir, path, v); err != nil {
				fmt.Println(err)
				os.Exit(1)
			}
			fmt.Println("written")
		}
	}
}

// However a process is killed while it replaces a file, the file is the earlier one or the
// new one, and the next process leaves nothing of the killed one.
func TestKilledWriter(t *testing.T) {
	kills := 15
	if testing.Short() {
		kills = 5
	}
	for _, w := range writers() {
		t.Run(w.file, func(t *testing.T) {
			dir := t.TempDir()
			path := filepath.Join(dir, w.file)
			if w.prepare != nil {
				if err := w.prepare(dir); err != nil {
					t.Fatal(err)
				}
			}
			if err := w.write(dir, path, 1); err != nil {
				t.Fatal(err)
			}
			interrupted := 0
			for range kills {
				killWriter(t, path)
				if left, err := filepath.Glob(filepath.Join(dir, ".*.tmp")); err != nil || len(left) > 1 {
					t.Errorf("%v: want one temporary file at most", left)
				} else if len(left) == 1 {
					interrupted++
				}
				w.whole(t, dir, path)
			}
			t.Logf("killed %d times, %d of them with a temporary file", kills, interrupted)
			if err := w.write(dir, path, 0); err != nil {
				t.Fatal(err)
			}
			w.whole(t, dir, path)
			entries, err := os.ReadDir(dir)
			if err != nil {
				t.Fatal(err)
			}
			for _, e := range entries {
				source := w.prepare != nil && (strings.HasPrefix(e.Name(), "0.npy") || strings.HasPrefix(e.Name(), "1.npy"))
				if !source && e.Name() != w.file && !slices.Contains(w.left, e.Name()) {
					t.Errorf("left behind: %s, a temporary file: %v", e.Name(), atomicfile.IsTemporary(e.Name()))
				}
			}
		})
	}
}

// killWriter starts a process that writes the file again and again, and kills it.
func killWriter(t *testing.T, path string) {
	t.Helper()
	c := exec.Command(os.Args[0])
	c.Env = append(os.Environ(), killedWriter+"="+path)
	out, err := c.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := c.Start(); err != nil {
		t.Fatal(err)
	}
	lines := bufio.NewScanner(out)
	if lines.Scan(); lines.Text() != "written" {
		t.Errorf("the process says %q", lines.Text())
	}
	time.Sleep(time.Duration(rand.Int64N(int64(30 * time.Millisecond))))
	if err := c.Process.Kill(); err != nil {
		t.Error(err)
	}
	c.Wait() // it was killed: an error
}
