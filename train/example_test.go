package train_test

import (
	"context"
	"errors"
	"fmt"
	"image"
	"image/color"
	"image/draw"
	"log"
	"os"
	"path/filepath"

	"github.com/verydeep/vgg/dataset"
	"github.com/verydeep/vgg/dataset/sample"
	"github.com/verydeep/vgg/train"
)

// Train a small network on the photographs embedded in the library, here for one epoch
// and so small that it takes a second; [train.SampleRecipe] as it is learns more.
func ExampleRun() {
	photos, val, err := sample.Open()
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
	o := train.DefaultOptions()
	o.Recipe, o.Train, o.Val, o.Dir = r, photos, val, dir
	result, err := train.Run(context.Background(), o)
	if err != nil {
		log.Fatal(err)
	}
	fmt.Println(result.Iterations, "iterations")
	for _, pattern := range []string{"*.safetensors", "checkpoints/*.safetensors"} {
		files, err := filepath.Glob(filepath.Join(dir, filepath.FromSlash(pattern)))
		if err != nil {
			log.Fatal(err)
		}
		for _, file := range files {
			fmt.Println(filepath.Base(file))
		}
	}
	// Output:
	// 13 iterations
	// best.safetensors
	// last.safetensors
	// checkpoint-0000000013.safetensors
}

// Train on pictures that the program draws. They could as well come from a database.
func ExampleRun_pictures() {
	plain := func(c color.Color) (image.Image, error) {
		im := image.NewRGBA(image.Rect(0, 0, 40, 40))
		draw.Draw(im, im.Bounds(), image.NewUniform(c), image.Point{}, draw.Src)
		return im, nil
	}
	pictures := make([]dataset.Picture, 32)
	for i := range pictures {
		shade := uint8(100 + 4*i)
		pictures[i].Label = i % 2
		pictures[i].Load = func() (image.Image, error) {
			if i%2 == 0 {
				return plain(color.RGBA{R: shade, A: 255})
			}
			return plain(color.RGBA{B: shade, A: 255})
		}
	}
	colours, err := dataset.FromPictures("colours", []string{"red", "blue"}, pictures)
	if err != nil {
		log.Fatal(err)
	}
	dir, err := os.MkdirTemp("", "vgg-run-")
	if err != nil {
		log.Fatal(err)
	}
	defer os.RemoveAll(dir)

	o := train.DefaultOptions()
	o.Dir, o.Recipe = dir, train.SampleRecipe()
	if o.Train, o.Val, err = dataset.Split(colours, 0.25, 1); err != nil {
		log.Fatal(err)
	}
	r := &o.Recipe
	r.Config, r.Width, r.FC, r.Dropout = "A", 1.0/16, 16, 0
	r.Input, r.ScaleMin, r.ScaleMax, r.TestScale = 32, 32, 36, 32
	r.Batch, r.Epochs, r.Schedule.Steps = 8, 8, []int{6}
	result, err := train.Run(context.Background(), o)
	if err != nil {
		log.Fatal(err)
	}
	fmt.Printf("top-1 error %.2f\n", result.Top1Error)
	// Output: top-1 error 0.00
}

// Fine-tune a trained network on other classes. Its convolutions are kept as they are; its last
// layer is of the old classes, so a new one is drawn at random.
func ExampleRun_fineTuning() {
	dir, err := os.MkdirTemp("", "vgg-run-")
	if err != nil {
		log.Fatal(err)
	}
	defer os.RemoveAll(dir)

	// A run keeps statistics beside its images, so these are a copy.
	images := filepath.Join(dir, "data")
	if err := os.CopyFS(images, os.DirFS("../testdata/compat/v0/data")); err != nil {
		log.Fatal(err)
	}
	colours, val, err := dataset.Open(context.Background(), images, dataset.OpenOptions{})
	if err != nil {
		log.Fatal(err)
	}

	const file = "../testdata/trained/sample.safetensors" // any file that vgg.Open reads
	r, err := train.LoadRecipe("../testdata/trained/recipe.yaml", train.SampleRecipe())
	if err != nil {
		log.Fatal(err)
	}
	r.InitFrom, r.InitRule, r.Freeze = file, train.FineTune, []string{"conv*"}
	r.Batch, r.Epochs = 4, 3
	o := train.DefaultOptions()
	o.Recipe, o.Train, o.Val, o.Dir = r, colours, val, filepath.Join(dir, "run")
	o.OnStart = func(s train.Start) { fmt.Println("new:", s.Init.Random) }
	result, err := train.Run(context.Background(), o)
	if err != nil {
		log.Fatal(err)
	}
	fmt.Println(colours.Classes, result.Top1Error < 0.5)
	// Output:
	// new: [fc6]
	// [blue green red] true
}

// Find out why a run stopped.
func ExampleDivergedError() {
	photos, _, err := sample.Open()
	if err != nil {
		log.Fatal(err)
	}
	dir, err := os.MkdirTemp("", "vgg-run-")
	if err != nil {
		log.Fatal(err)
	}
	defer os.RemoveAll(dir)

	o := train.DefaultOptions()
	o.Dir, o.Recipe = dir, train.SampleRecipe()
	o.Train = photos.Select(func(s dataset.Sample) bool { return s.Label < 2 })
	o.Recipe.Width, o.Recipe.FC, o.Recipe.LearningRate = 1.0/16, 16, 1e20
	o.NoRescue = true // else the run goes back and lowers the rate, up to three times
	_, err = train.Run(context.Background(), o)
	var diverged *train.DivergedError
	if errors.As(err, &diverged) {
		fmt.Println("epoch", diverged.Epoch, "iteration", diverged.Iteration, "checkpoint", diverged.Checkpoint != "")
	}
	// Output: epoch 1 iteration 2 checkpoint false
}

// A recipe file has only the keys that differ from the recipe that it is read over.
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
