package train_test

import (
	"context"
	"fmt"
	"log"
	"os"
	"path/filepath"

	"github.com/verydeep/vgg/dataset"
	"github.com/verydeep/vgg/train"
)

// Train a small network on the photographs embedded in the library, here for one epoch
// and so small that it takes a second; [train.SampleRecipe] as it is learns more.
func ExampleRun() {
	photos, val, err := dataset.OpenSample()
	if err != nil {
		log.Fatal(err)
	}
	dir, err := os.MkdirTemp("", "vgg-run-")
	if err != nil {
		log.Fatal(err)
	}
	defer os.RemoveAll(dir)

	r := train.SampleRecipe()
	r.Config, r.Width, r.FC = "A", 1.0/16, 32
	r.Input, r.ScaleMin, r.ScaleMax, r.TestScale = 32, 36, 48, 36
	r.Batch, r.Epochs = 32, 1
	result, err := train.Run(context.Background(), train.Options{Recipe: r, Train: photos, Val: val, Dir: dir})
	if err != nil {
		log.Fatal(err)
	}
	fmt.Println(result.Iterations, "iterations")
	left, err := filepath.Glob(filepath.Join(dir, "*.safetensors"))
	if err != nil {
		log.Fatal(err)
	}
	for _, file := range left {
		fmt.Println(filepath.Base(file))
	}
	// Output:
	// 13 iterations
	// best.safetensors
	// last.safetensors
}

// A recipe file says only what differs from the recipe it is read over.
func ExampleLoadRecipe() {
	dir, err := os.MkdirTemp("", "vgg-recipe-")
	if err != nil {
		log.Fatal(err)
	}
	defer os.RemoveAll(dir)

	file := filepath.Join(dir, "jitter.yaml")
	if err := os.WriteFile(file, []byte("config: E\nscale_min: 256\nscale_max: 512\n"), 0o666); err != nil {
		log.Fatal(err)
	}
	r, err := train.LoadRecipe(file, train.PaperRecipe())
	if err != nil {
		log.Fatal(err)
	}
	fmt.Printf("%s: batch %d, S from [%d, %d]\n", r.Config, r.Batch, r.ScaleMin, r.ScaleMax)
	// Output: E: batch 256, S from [256, 512]
}
