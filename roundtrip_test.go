package vgg

import (
	"encoding/json"
	"errors"
	"fmt"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/verydeep/vgg/internal/vggtest"
	"github.com/verydeep/vgg/network"
	"github.com/verydeep/vgg/nn"
	"github.com/verydeep/vgg/tensor"
)

// TestRoundTrip: an exported file gives the scores of this network in the tool that it is
// for. That is torchvision's own VGG, which takes every tensor by its name, and
// TensorFlow's way of computing.
func TestRoundTrip(t *testing.T) {
	vggtest.SkipShort(t, "starts PyTorch")
	python := vggtest.Python(t, "torch", "torchvision")
	dir := t.TempDir()
	args := []string{filepath.Join("tools", "oracle", "roundtrip.py")}
	want := map[string][]float32{}
	for _, config := range []string{"A", "B", "C", "D", "E", "D-BN"} {
		n, err := network.New(network.Options{Config: config, Classes: 5, Width: 1. / 64, FC: 8, Input: 64, LRN: nn.Krizhevsky})
		if err != nil {
			t.Fatal(err)
		}
		if err := n.Init(network.He, 7); err != nil {
			t.Fatal(err)
		}
		for _, p := range n.Params() {
			if len(p.Shape) > 1 {
				continue
			}
			v := tensor.New(p.Shape...)
			for i := range v.Data {
				v.Data[i] = 0.1 + 0.05*float32(i%7)
				if strings.HasSuffix(p.Name, "running_var") {
					v.Data[i] += 0.5
				}
			}
			if err := p.Set(v.Data); err != nil {
				t.Fatal(err)
			}
		}
		m := tinyModel(t, "A")
		m.Net, m.Classes = n, strings.Fields("0 1 2 3 4")
		scores := forward(t, n, oracleImage(2, 64, 64)).Data
		for _, name := range []string{"a.pth", "a.npz", "a.safetensors"} {
			path := filepath.Join(dir, config+name)
			o := ExportOptions{}
			if strings.HasSuffix(name, ".safetensors") {
				o.Names = "torchvision"
			}
			if err := m.Export(t.Context(), path, o); err != nil {
				t.Fatal(err)
			}
			args = append(args, config+"="+path)
			want[path] = scores
		}
	}
	out, err := exec.Command(python, args...).Output()
	if err != nil {
		exit, ok := errors.AsType[*exec.ExitError](err)
		if ok {
			err = fmt.Errorf("%w: %s", err, exit.Stderr)
		}
		t.Fatal(err)
	}
	var got map[string][]float32
	if err := json.Unmarshal(out, &got); err != nil {
		t.Fatal(err)
	}
	for path, scores := range want {
		near(t, filepath.Base(path), got[path], scores)
	}
}
