package server

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"testing"

	"github.com/verydeep/vgg"
	"github.com/verydeep/vgg/internal/vggtest/tiny"
	"github.com/verydeep/vgg/transfer"
)

// withIndex gives a service an index of six red and six blue pictures, one of them twice.
func withIndex(t *testing.T, s *Server) {
	t.Helper()
	dir, m := t.TempDir(), tiny.Random(16, 1)
	files := append(reds(6), blues(6)...)
	files = append(files, files[3])
	for i, f := range files {
		if err := os.WriteFile(filepath.Join(dir, fmt.Sprintf("%02d.png", i)), f, 0o666); err != nil {
			t.Fatal(err)
		}
	}
	images, err := transfer.OpenImages(t.Context(), transfer.ImageOptions{Layout: transfer.Files}, dir)
	if err != nil {
		t.Fatal(err)
	}
	file := filepath.Join(t.TempDir(), "index.npy")
	net := transfer.Net{Weights: "tiny", Layer: "pool5", Open: func() (*vgg.Model, error) { return m, nil }}
	if _, err := transfer.Extract(t.Context(), []transfer.Net{net}, images, file, transfer.DefaultOptions()); err != nil {
		t.Fatal(err)
	}
	err = s.SetIndex(t.Context(), IndexSource{
		Open: func(ctx context.Context) (*transfer.Index, error) {
			return transfer.OpenIndex(ctx, file, transfer.SearchOptions{})
		},
		Network:  func(context.Context, transfer.NetID) (*vgg.Model, error) { return m, nil },
		Pictures: dir,
	})
	if err != nil {
		t.Fatal(err)
	}
}

// withBoxes gives a service a localisation network.
func withBoxes(t *testing.T, s *Server) {
	t.Helper()
	boxes := tiny.Boxes(1)
	boxes.Preprocess.Resize = 64
	if err := s.SetLocaliser(t.Context(), Source{Name: "boxes", Open: func(context.Context) (*vgg.Model, error) { return boxes, nil }}); err != nil {
		t.Fatal(err)
	}
}
