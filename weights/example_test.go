package weights_test

import (
	"bytes"
	"context"
	"embed"
	"errors"
	"fmt"
	"log"
	"os"

	"github.com/verydeep/vgg/weights"
)

// The content of the file tells which of the Formats it has.
func ExampleOpen() {
	f, err := weights.Open(context.Background(), "testdata/example/d_checkpoint.pth")
	if err != nil {
		log.Fatal(err)
	}
	defer f.Close()
	w, err := f.Read("features.0.weight")
	if err != nil {
		log.Fatal(err)
	}
	fmt.Println(f.Format(), len(f.Tensors()), w.Shape)
	// Output: PyTorch 32 [1 3 3 3]
}

// Weights in memory, or in an object store, are read through an io.ReaderAt.
func ExampleOpenReader() {
	data, err := os.ReadFile("testdata/f32.safetensors")
	if err != nil {
		log.Fatal(err)
	}
	f, err := weights.OpenReader(context.Background(), "f32.safetensors", bytes.NewReader(data), int64(len(data)))
	if err != nil {
		log.Fatal(err)
	}
	defer f.Close()
	_, err = f.Read("fc9.weight")
	if missing, ok := errors.AsType[*weights.NotFoundError](err); ok {
		fmt.Printf("no %s among %d tensors", missing.Tensor, missing.Count)
	}
	// Output: no fc9.weight among 4 tensors
}

//go:embed testdata/example/a_external_op17.onnx testdata/example/a_external_op17.onnx_data
var model embed.FS

// A program can embed its weights. The data of this model is in a second file.
func ExampleOpenFS() {
	f, err := weights.OpenFS(context.Background(), model, "testdata/example/a_external_op17.onnx")
	if err != nil {
		log.Fatal(err)
	}
	defer f.Close()
	first := f.Layers()[0]
	w, err := f.Read(first.Tensors["weight"])
	if err != nil {
		log.Fatal(err)
	}
	fmt.Println(f.Format(), first.Op, w.Shape)
	// Output: ONNX conv [1 3 3 3]
}
