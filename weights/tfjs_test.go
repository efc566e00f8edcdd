package weights

import (
	"encoding/binary"
	"math"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/verydeep/vgg/internal/vggtest"
)

// tfjsTrained is a trained network in the format, with its published description.
const tfjsTrained = "weights/cifar10-vgg6-bn-tfjs"

func openTrained(t *testing.T) *File {
	t.Helper()
	f, err := Open(t.Context(), filepath.Join(vggtest.Shared(t, tfjsTrained), "model.json"))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { f.Close() })
	return f
}

func TestTFJSTrained(t *testing.T) {
	f := openTrained(t)
	if f.Format() != TFJS {
		t.Errorf("format %s, want %s", f.Format(), TFJS)
	}
	parameters := 0
	for _, e := range f.Tensors() {
		x, err := f.Read(e.Name)
		if err != nil {
			t.Fatal(err)
		}
		parameters += x.Len()
	}
	if want := 815_018; parameters != want { // summary.txt beside the file
		t.Errorf("%d parameters, want %d", parameters, want)
	}
	// The data are the shard's, in the order of the manifest.
	shard, err := os.ReadFile(filepath.Join(vggtest.Shared(t, tfjsTrained), "group1-shard1of1.bin"))
	if err != nil {
		t.Fatal(err)
	}
	x, err := f.Read("dense_1/bias") // the last
	if err != nil {
		t.Fatal(err)
	}
	for i, v := range x.Data {
		at := len(shard) - 4*len(x.Data) + 4*i
		if want := math.Float32frombits(binary.LittleEndian.Uint32(shard[at:])); v != want {
			t.Errorf("dense_1/bias[%d] = %v, want %v", i, v, want)
		}
	}
	var chain []string
	for _, l := range f.Layers() {
		chain = append(chain, l.Op)
	}
	const want = "input rescaling conv batchnorm relu conv relu maxpool dropout" +
		" conv batchnorm relu conv relu maxpool dropout conv batchnorm relu conv relu maxpool dropout" +
		" flatten fc relu dropout fc softmax"
	if got := strings.Join(chain, " "); got != want {
		t.Errorf("layers %s\nwant %s", got, want)
	}
	bn := f.Layers()[3]
	if bn.Name != "batch_normalization" || !slices.Equal(bn.Attributes["epsilon"], []float64{0.001}) ||
		bn.Tensors["variance"] != "batch_normalization/moving_variance" || len(bn.Tensors) != 4 {
		t.Errorf("batch normalisation: %+v", bn)
	}
	conv := f.Layers()[2]
	if !slices.Equal(conv.Attributes["kernel_shape"], []float64{3, 3}) || !slices.Equal(conv.Attributes["padding"], []float64{1}) ||
		conv.Tensors["weight"] != "conv2d/kernel" {
		t.Errorf("convolution: %+v", conv)
	}
	if m := f.Metadata(); m["generator"] != "keras v3.12.0" || m["backend"] != "tensorflow" {
		t.Errorf("metadata %q", m)
	}
}
