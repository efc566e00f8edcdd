package vgg

import (
	"bytes"
	"testing"

	"github.com/verydeep/vgg/internal/interchange"
	"github.com/verydeep/vgg/internal/vggtest"
	"github.com/verydeep/vgg/network"
	"github.com/verydeep/vgg/weights"
)

// FuzzIdentify: any file is an error or a network that can be built from the tensors in the
// file.
func FuzzIdentify(f *testing.F) {
	// One small valid file of each format: a mutation of a large one costs more and says no more.
	for _, name := range []string{
		"caffe/a-lrn_v1.caffemodel", "torch/a_zip.pth", "torch/b_legacy.pth", "keras/nested.h5", "keras/branched.keras",
		"mat/a_new.mat", "npz/deflated.npz", "onnx/torch_a_op9.onnx",
	} {
		f.Add(readFile(f, vggtest.Fixture(f, "weights/testdata/"+name)), "")
	}
	for _, config := range []string{"A", "D-BN"} {
		f.Add(readFile(f, save(f, tinyModel(f, config))), config)
	}
	f.Fuzz(func(t *testing.T, data []byte, config string) {
		w, err := weights.OpenReader(t.Context(), "fuzz", bytes.NewReader(data), int64(len(data)))
		if err != nil {
			return
		}
		c, err := Identify(t.Context(), w, OpenOptions{Preprocess: "vgg", Config: config})
		if err != nil {
			return
		}
		if err := c.Options.Validate(); err != nil {
			t.Fatalf("identified as %+v: %v", c.Options, err)
		}
		n, err := network.New(c.Options)
		if err != nil {
			t.Fatal(err)
		}
		if len(c.from) != len(n.Params()) {
			t.Fatalf("%d supplies of %d parameters", len(c.from), len(n.Params()))
		}
		if err := interchange.Load(t.Context(), w, n.Params(), c.from, nil); err != nil {
			return // data that can't be read or unpacked
		}
		_ = interchange.SwapInput(n)
	})
}
