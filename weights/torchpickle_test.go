package weights

import (
	"bytes"
	"os"
	"strings"
	"testing"

	"github.com/verydeep/vgg/internal/pickle"
	"github.com/verydeep/vgg/internal/vggtest"
)

// PyTorch's own values that a checkpoint has besides its tensors.
func TestTorchLibrary(t *testing.T) {
	for _, c := range []struct {
		pickle string
		want   any
	}{
		{"\x80\x02ctorch\nfloat32\nq\x00.", pickle.Global{Module: "torch", Name: "float32"}},
		{"\x80\x02ctorch\ndevice\nq\x00X\x03\x00\x00\x00cpu\x85R.", pickle.Opaque{}},
	} {
		v, n, err := loadPickle(strings.NewReader(c.pickle), 0, int64(len(c.pickle)), torchLibrary(nil))
		if err != nil || v != c.want || n != int64(len(c.pickle)) {
			t.Errorf("%q: %v, %v; want %v", c.pickle, v, err, c.want)
		}
	}
	size := "\x80\x02ctorch\nSize\nq\x00K\x02K\x03\x86q\x01\x85q\x02Rq\x03."
	v, _, err := loadPickle(strings.NewReader("..."+size), 3, int64(3+len(size)), torchLibrary(nil))
	if shape := pickle.Items(v); err != nil || len(shape) != 2 || shape[0] != int64(2) || shape[1] != int64(3) {
		t.Errorf("torch.Size((2, 3)): %v, %v", v, err)
	}
}

func FuzzPyTorch(f *testing.F) {
	// Seeds are small: the fuzzer spends its time on making large ones smaller.
	b, err := os.ReadFile(vggtest.Fixture(f, "testdata/torch/views_legacy.pth"))
	if err != nil {
		f.Fatal(err)
	}
	f.Add(b)
	var written bytes.Buffer
	if err := encodeTorch(&written, map[string]string{"k": "v"}, []Source{source("module.w", 2, 3), source("module.b", 2)}); err != nil {
		f.Fatal(err)
	}
	f.Add(written.Bytes())
	for _, c := range torchBad() {
		if len(c.pickle) < 4096 {
			f.Add([]byte(c.pickle))
		}
	}
	for _, c := range torchBadFiles() {
		f.Add(c.file)
	}
	f.Add([]byte(stateOf(torchTensorOf(torchStorageID("torch\nFloatStorage", "0", "K\x04"), "K\x00", "K\x02K\x02", "K\x01K\x02"))))
	f.Fuzz(func(t *testing.T, b []byte) {
		// What isn't a file is used as the pickle of one.
		if !isZip(b) && !isTorchLegacy(b, nil, 0) {
			b = torchPickled(string(b))
		}
		fuzzReads(t, b)
	})
}
