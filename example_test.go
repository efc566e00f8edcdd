package vgg_test

import (
	"bytes"
	"context"
	"embed"
	"errors"
	"fmt"
	"image"
	"image/png"
	"log"
	"math/rand/v2"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"

	"github.com/verydeep/vgg"
	"github.com/verydeep/vgg/dataset"
	"github.com/verydeep/vgg/preprocess"
	"github.com/verydeep/vgg/tensor"
	"github.com/verydeep/vgg/train"
	"github.com/verydeep/vgg/weights"
)

// Open the weights of a training run and classify an image.
func ExampleOpen() {
	dir := trainedOnSkies() // has a run directory and an image that is not in the training set
	defer os.RemoveAll(dir)

	model, err := vgg.Open(context.Background(), filepath.Join(dir, "run", "best.safetensors"), vgg.OpenOptions{})
	if err != nil {
		log.Fatal(err)
	}
	top, err := model.ClassifyFile(filepath.Join(dir, "new.png"), 2)
	if err != nil {
		log.Fatal(err)
	}
	fmt.Println(top[0].Class, "rather than", top[1].Class)
	// Output: night rather than day
}

// Open weights that are embedded in the program.
func ExampleOpenFS() {
	model, err := vgg.Open(context.Background(), "testdata/compat/v0/net.safetensors", vgg.OpenOptions{})
	if err != nil {
		log.Fatal(err)
	}
	embedded, err := vgg.OpenFS(context.Background(), files, "testdata/compat/v0/net.safetensors", vgg.OpenOptions{})
	if err != nil {
		log.Fatal(err)
	}
	fmt.Println(embedded.Net.Options() == model.Net.Options(), embedded.Classes)
	// Output: true [blue green red]
}

//go:embed testdata/compat/v0/net.safetensors
var files embed.FS

// Open weights that are in memory, from an object store for instance.
func ExampleOpenReader() {
	data, err := files.ReadFile("testdata/compat/v0/net.safetensors")
	if err != nil {
		log.Fatal(err)
	}
	model, err := vgg.OpenReader(context.Background(), "net.safetensors", bytes.NewReader(data), int64(len(data)), vgg.OpenOptions{})
	if err != nil {
		log.Fatal(err)
	}
	fmt.Println(model.Classes)
	// Output: [blue green red]
}

// See what a file of weights holds, then open it.
func ExampleIdentify() {
	f, err := weights.Open(context.Background(), "testdata/compat/v0/net.pth")
	if err != nil {
		log.Fatal(err)
	}
	defer f.Close()
	d, err := vgg.Identify(context.Background(), f, vgg.OpenOptions{})
	if err != nil {
		log.Fatal(err)
	}
	fmt.Println(d.Format, d.Options.Config, d.Classes)
	if d.Options.Classes == 3 {
		if _, err := d.Open(context.Background()); err != nil {
			log.Fatal(err)
		}
	}
	// Output: PyTorch 4 M 4 M 8 M FC8 FC [blue green red]
}

// Classify the picture in the body of an HTTP request.
func ExampleModel_ClassifyReader() {
	model, err := vgg.OpenFS(context.Background(), files, "testdata/compat/v0/net.safetensors", vgg.OpenOptions{})
	if err != nil {
		log.Fatal(err)
	}
	handler := http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		top, err := model.ClassifyReader(r.Body, 1)
		if err != nil {
			http.Error(w, err.Error(), http.StatusBadRequest)
			return
		}
		fmt.Fprintln(w, top[0].Class)
	})
	picture, err := os.Open("testdata/compat/v0/data/val/green/0.png")
	if err != nil {
		log.Fatal(err)
	}
	defer picture.Close()
	answer := httptest.NewRecorder()
	handler.ServeHTTP(answer, httptest.NewRequest(http.MethodPost, "/", picture))
	fmt.Print(answer.Body)
	// Output: green
}

// Classify a picture whose bytes are in memory, from a message queue for instance.
func ExampleModel_ClassifyReader_bytes() {
	model, err := vgg.OpenFS(context.Background(), files, "testdata/compat/v0/net.safetensors", vgg.OpenOptions{})
	if err != nil {
		log.Fatal(err)
	}
	picture, err := os.ReadFile("testdata/compat/v0/data/val/red/0.png")
	if err != nil {
		log.Fatal(err)
	}
	top, err := model.ClassifyReader(bytes.NewReader(picture), 1)
	if err != nil {
		log.Fatal(err)
	}
	fmt.Println(top[0].Class)
	_, err = model.ClassifyReader(bytes.NewReader([]byte("no picture")), 1)
	var format *preprocess.FormatError
	fmt.Println("another format:", errors.As(err, &format))
	// Output:
	// red
	// another format: true
}

// Find the picture that is most like another: the one whose descriptor has the greatest dot
// product with its descriptor.
func ExampleModel_Descriptor() {
	model, err := vgg.OpenFS(context.Background(), files, "testdata/compat/v0/net.safetensors", vgg.OpenOptions{})
	if err != nil {
		log.Fatal(err)
	}
	describe := func(path string) []float32 {
		im, err := preprocess.DecodeFile(path, preprocess.DecodeOptions{Orient: model.Preprocess.Orient})
		if err != nil {
			log.Fatal(err)
		}
		d, err := model.Descriptor(context.Background(), im)
		if err != nil {
			log.Fatal(err)
		}
		return d
	}
	query := describe("testdata/compat/v0/data/val/green/0.png")
	best, nearest := float32(-1), ""
	for _, class := range []string{"blue", "green", "red"} {
		cosine := float32(0)
		for i, x := range describe("testdata/compat/v0/data/train/" + class + "/0.png") {
			cosine += x * query[i]
		}
		if cosine > best {
			best, nearest = cosine, class
		}
	}
	fmt.Println(len(query), "numbers, nearest:", nearest)
	// Output: 8 numbers, nearest: green
}

// Classify pictures of package image together.
func ExampleModel_ClassifyBatch() {
	model, err := vgg.OpenFS(context.Background(), files, "testdata/compat/v0/net.safetensors", vgg.OpenOptions{})
	if err != nil {
		log.Fatal(err)
	}
	var pictures []image.Image
	for _, name := range []string{"red", "green"} {
		f, err := os.Open("testdata/compat/v0/data/val/" + name + "/0.png")
		if err != nil {
			log.Fatal(err)
		}
		picture, _, err := image.Decode(f)
		f.Close()
		if err != nil {
			log.Fatal(err)
		}
		pictures = append(pictures, picture)
	}
	results, err := model.ClassifyBatch(context.Background(), pictures, 1)
	if err != nil {
		log.Fatal(err)
	}
	for _, top := range results {
		fmt.Println(top[0].Class)
	}
	// Output:
	// red
	// green
}

// End a network at a layer, here the one that [vgg.Model.Descriptor] averages over space. The
// picture is preprocessed as for the whole network.
func ExampleModel_Until() {
	model, err := vgg.OpenFS(context.Background(), files, "testdata/compat/v0/net.safetensors", vgg.OpenOptions{})
	if err != nil {
		log.Fatal(err)
	}
	descriptor, err := model.Until(model.Net.DescriptorLayer(), true)
	if err != nil {
		log.Fatal(err)
	}
	picture := image.NewGray(image.Rect(0, 0, 30, 40)) // or any image.Image
	im, err := preprocess.FromImage(picture)
	if err != nil {
		log.Fatal(err)
	}
	spec := model.Preprocess
	im, err = preprocess.ResizeShort(im, spec.Resize, spec.Filter)
	if err != nil {
		log.Fatal(err)
	}
	x := tensor.New(1, 3, im.H, im.W)
	spec.Tensor(x.Data, im, [3]float32{})
	y, err := descriptor.Net.Forward(x)
	if err != nil {
		log.Fatal(err)
	}
	fmt.Println("picture", x.Shape, model.Net.DescriptorLayer(), y.Shape)
	// Output: picture [1 3 24 18] fc4 [1 8 2 1]
}

// trainedOnSkies trains a tiny network to distinguish bright pictures from dark ones. It
// returns a directory with the run directory and new.png, a dark picture that is not in the
// training set.
func trainedOnSkies() string {
	dir, err := os.MkdirTemp("", "vgg-example-")
	if err != nil {
		log.Fatal(err)
	}
	rng := rand.New(rand.NewPCG(1, 1))
	for i := range 12 {
		sky(filepath.Join(dir, "skies", "day", fmt.Sprintf("%d.png", i)), 140, rng)
		sky(filepath.Join(dir, "skies", "night", fmt.Sprintf("%d.png", i)), 0, rng)
	}
	skies, _, err := dataset.Open(context.Background(), filepath.Join(dir, "skies"), dataset.OpenOptions{})
	if err != nil {
		log.Fatal(err)
	}
	r := train.SampleRecipe()
	r.Config, r.Width, r.FC, r.Input, r.ScaleMin, r.ScaleMax, r.TestScale = "A", 1.0/16, 16, 32, 32, 36, 32
	r.Dropout, r.Batch, r.Epochs, r.LearningRate = 0, 8, 10, 0.01
	r.Schedule.Name, r.Schedule.Steps = "step", nil
	o := train.DefaultOptions()
	o.Recipe, o.Train, o.Dir = r, skies, filepath.Join(dir, "run")
	if _, err := train.Run(context.Background(), o); err != nil {
		log.Fatal(err)
	}
	sky(filepath.Join(dir, "new.png"), 0, rng)
	return dir
}

// sky writes a picture of noise that is brighter by the given grey levels.
func sky(path string, brighter int, rng *rand.Rand) {
	im := image.NewRGBA(image.Rect(0, 0, 40, 40))
	for i := range im.Pix {
		im.Pix[i] = uint8(brighter + rng.IntN(100))
	}
	for i := 3; i < len(im.Pix); i += 4 {
		im.Pix[i] = 255
	}
	if err := os.MkdirAll(filepath.Dir(path), 0o777); err != nil {
		log.Fatal(err)
	}
	f, err := os.Create(path)
	if err != nil {
		log.Fatal(err)
	}
	defer f.Close()
	if err := png.Encode(f, im); err != nil {
		log.Fatal(err)
	}
}
