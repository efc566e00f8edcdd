package train

import (
	"bytes"
	"os"
	"path/filepath"
	"testing"

	"github.com/verydeep/vgg/weights"
)

// FuzzCheckpoint: no bytes make reading a checkpoint panic, and none but those that were
// written are taken for whole.
func FuzzCheckpoint(f *testing.F) {
	path := filepath.Join(f.TempDir(), "c.safetensors")
	s := runState{Version: stateVersion, Recipe: string(tinyRecipe().YAML()), Epoch: 2, Batches: 1, Iteration: 5, Unreadable: []string{}}
	if err := writeCheckpoint(path, s, []weights.Source{
		{Name: "conv1_1.weight", Shape: []int{2, 3}, Data: func(yield func([]float32) bool) { yield([]float32{1, 2, 3, 4, 5, 6}) }},
		{Name: "momentum/conv1_1.weight", Shape: []int{2, 3}, Data: func(yield func([]float32) bool) { yield([]float32{6, 5, 4, 3, 2, 1}) }},
	}); err != nil {
		f.Fatal(err)
	}
	whole, err := os.ReadFile(path)
	if err != nil {
		f.Fatal(err)
	}
	f.Add(whole)
	f.Add(whole[:len(whole)-1])
	f.Add(bytes.Replace(whole, []byte(checksumTensor), []byte("checksun"), 1))
	f.Add(bytes.Replace(whole, []byte(`\"epoch\":2`), []byte(`\"epoch\":0`), 1))
	f.Add([]byte{})
	f.Fuzz(func(t *testing.T, data []byte) {
		file, err := weights.OpenReader(t.Context(), "fuzz", bytes.NewReader(data), int64(len(data)))
		if err != nil {
			return
		}
		s, err := readState(file)
		if err != nil {
			return
		}
		if err := verify(t.Context(), file); err != nil {
			return
		}
		if s.Epoch < 1 || s.Iteration < 0 {
			t.Errorf("state %+v is taken for one of a run", s)
		}
		if _, err := s.recipe(); err != nil {
			return
		}
	})
}

// TestEveryBitOfACheckpointCounts: one flipped anywhere is found.
func TestEveryBitOfACheckpointCounts(t *testing.T) {
	path := filepath.Join(t.TempDir(), "c.safetensors")
	s := runState{Version: stateVersion, Epoch: 1, Unreadable: []string{}}
	if err := writeCheckpoint(path, s, []weights.Source{
		{Name: "w", Shape: []int{3}, Data: func(yield func([]float32) bool) { yield([]float32{1, -2, 3e-40}) }},
	}); err != nil {
		t.Fatal(err)
	}
	whole := read(t, path)
	if f, _, err := openWhole(t.Context(), path); err != nil {
		t.Fatal(err)
	} else if err := f.Close(); err != nil {
		t.Fatal(err)
	}
	for i := range whole {
		for bit := range 8 {
			whole[i] ^= 1 << bit
			f, err := weights.OpenReader(t.Context(), "flipped", bytes.NewReader(whole), int64(len(whole)))
			if err == nil {
				if _, err = readState(f); err == nil {
					err = verify(t.Context(), f)
				}
			}
			if err == nil {
				t.Errorf("byte %d, bit %d flipped: the file is taken for whole", i, bit)
			}
			whole[i] ^= 1 << bit
		}
	}
}
