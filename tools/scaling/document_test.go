package main

import (
	"os"
	"path/filepath"
	"testing"

	"github.com/verydeep/vgg/internal/vggtest"
)

func TestMain(m *testing.M) { vggtest.Main(m) }

// TestDocuments: the documents have the tables that the command writes.
func TestDocuments(t *testing.T) {
	for _, d := range documents {
		text, err := os.ReadFile(filepath.Join("..", "..", d.file))
		if err != nil {
			t.Fatal(err)
		}
		_, table, _, err := marked(string(text), d.mark)
		if err != nil {
			t.Fatalf("%s: %v", d.file, err)
		}
		want, err := d.table()
		if err != nil {
			t.Fatal(err)
		}
		if table != want {
			t.Errorf("%s has\n%s\nwant, by go run ./tools/scaling write,\n%s", d.file, table, want)
		}
	}
}
