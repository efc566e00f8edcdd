package transfer

import (
	"os"
	"path/filepath"
	"testing"

	"github.com/verydeep/vgg/weights"
)

// Whatever an index beside two rows of three numbers says, opening them is done or an error.
func FuzzIndex(f *testing.F) {
	const head = `{"format":"vgg descriptors 1","data":{"name":"d","fingerprint":"","images":2,"classes":["a","b"]},"layout":"one class","nets":[{"weights":"w","scales":[40],"channels":3}],"regions":["image"],"shard":{"index":1,"count":1},"dim":3}` + "\n"
	f.Add([]byte(head + `{"column":0,"image":0,"file":"x","labels":[0]}` + "\n" + `{"column":0,"image":1,"file":"y","labels":[1],"error":"bad"}` + "\n"))
	f.Add([]byte(head + `{"column":0,"image":1,"file":"x","labels":[0]}` + "\n" + `{"column":`))
	f.Add([]byte(`{"format":"vgg descriptors 1","data":{"images":1099511627776},"nets":[{"scales":[1],"channels":16777216}],"regions":["box"],"shard":{"index":1,"count":1},"dim":16777216}` + "\n"))
	f.Add([]byte("{}\n{}\n"))
	dir := f.TempDir()
	f.Fuzz(func(t *testing.T, index []byte) {
		path := filepath.Join(dir, "f.npy")
		if err := os.WriteFile(path, append(weights.NPYHeader(2, 3), make([]byte, 24)...), 0o666); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(path+indexSuffix, index, 0o666); err != nil {
			t.Fatal(err)
		}
		d, err := Open(t.Context(), path)
		if err != nil {
			return
		}
		defer d.Close()
		if x, err := d.Load(t.Context()); err != nil || len(x) != 6 || d.Len() != 2 {
			t.Errorf("%d rows, %d numbers, %v", d.Len(), len(x), err)
		}
		for r := range d.Rows {
			d.jsonLine(r, nil)
		}
	})
}
