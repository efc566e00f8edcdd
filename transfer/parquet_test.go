package transfer

import (
	"encoding/json"
	"os/exec"
	"path/filepath"
	"slices"
	"testing"

	"github.com/parquet-go/parquet-go"

	"github.com/verydeep/vgg/internal/vggtest"
)

// TestParquet: a file of Parquet has what Open reads of a .npy file of the same images, in a form
// that pyarrow reads as lists of float32.
func TestParquet(t *testing.T) {
	images := open(t, Auto, folder(t))
	npy, _ := extract(t, []Net{smallNet(1)}, images, "f.npy", Options{})
	out, _ := extract(t, []Net{smallNet(1)}, images, "f.parquet", Options{})
	d, x := contents(t, npy)
	rows, err := parquet.ReadFile[parquetRow](out)
	if err != nil {
		t.Fatal(err)
	}
	if len(rows) != d.Len() {
		t.Fatalf("%d rows, want %d", len(rows), d.Len())
	}
	var all []float32
	for r, row := range rows {
		want := d.jsonLine(r, x[r*d.Header.Dim:(r+1)*d.Header.Dim])
		if row.File != want.File || !slices.Equal(row.Labels, want.Labels) || row.Error != want.Error || row.Part != want.Part || !slices.Equal(row.Descriptor, want.Descriptor) {
			t.Errorf("row %d: %+v, want %+v", r, row, want)
		}
		all = append(all, row.Descriptor...)
	}
	python := vggtest.Python(t, "pyarrow")
	script := `
import json, sys, pyarrow.parquet as pq
t = pq.read_table(sys.argv[1])
print(json.dumps({"schema": [str(f.type) for f in t.schema], "sum": sum(sum(v) for v in t["descriptor"].to_pylist()), "files": t["file"].to_pylist(), "dim": json.loads(t.schema.metadata[b"vgg.descriptors"])["dim"]}))`
	text, err := exec.Command(python, "-c", script, filepath.Clean(out)).Output()
	if err != nil {
		t.Fatal(err)
	}
	var got struct {
		Schema, Files []string
		Sum           float64
		Dim           int
	}
	if err := json.Unmarshal(text, &got); err != nil {
		t.Fatal(err)
	}
	sum := 0.0
	for _, v := range all {
		sum += float64(v)
	}
	if !slices.Equal(got.Schema, []string{"string", "list<element: string not null>", "string", "string", "list<element: float not null>"}) || got.Dim != d.Header.Dim || got.Files[0] != d.Rows[0].File || got.Sum-sum > 1e-6 || sum-got.Sum > 1e-6 {
		t.Errorf("pyarrow reads %+v, want a sum of %v", got, sum)
	}
}
