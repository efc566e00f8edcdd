package vgg_test

import (
	"context"
	"fmt"
	"image"
	"image/png"
	"log"
	"math/rand/v2"
	"os"
	"path/filepath"

	"github.com/verydeep/vgg"
	"github.com/verydeep/vgg/dataset"
	"github.com/verydeep/vgg/network"
	"github.com/verydeep/vgg/tensor"
	"github.com/verydeep/vgg/train"
)

// Open weights that a training run left and classify an image.
func ExampleOpen() {
	dir := trainedOnSkies() // holds a run directory, and an image that is new to it
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

// The sizes of configuration D, known as VGG-16, layer by layer.
func ExampleSummarise() {
	s, err := network.Summarise(network.DefaultOptions("D"))
	if err != nil {
		log.Fatal(err)
	}
	for _, l := range s.Layers {
		fmt.Printf("%-8s %-10s %v %d\n", l.Name, l.Type, l.Output, l.Weights+l.Biases)
	}
	fmt.Printf("%d parameters, %.2f G multiplications an image\n", s.Parameters, float64(s.MACs)/1e9)
	// Output:
	// conv1_1  conv3-64   [64 224 224] 1792
	// conv1_2  conv3-64   [64 224 224] 36928
	// pool1    maxpool    [64 112 112] 0
	// conv2_1  conv3-128  [128 112 112] 73856
	// conv2_2  conv3-128  [128 112 112] 147584
	// pool2    maxpool    [128 56 56] 0
	// conv3_1  conv3-256  [256 56 56] 295168
	// conv3_2  conv3-256  [256 56 56] 590080
	// conv3_3  conv3-256  [256 56 56] 590080
	// pool3    maxpool    [256 28 28] 0
	// conv4_1  conv3-512  [512 28 28] 1180160
	// conv4_2  conv3-512  [512 28 28] 2359808
	// conv4_3  conv3-512  [512 28 28] 2359808
	// pool4    maxpool    [512 14 14] 0
	// conv5_1  conv3-512  [512 14 14] 2359808
	// conv5_2  conv3-512  [512 14 14] 2359808
	// conv5_3  conv3-512  [512 14 14] 2359808
	// pool5    maxpool    [512 7 7] 0
	// fc6      FC-4096    [4096 1 1] 102764544
	// fc7      FC-4096    [4096 1 1] 16781312
	// fc8      FC-1000    [1000 1 1] 4097000
	// 138357544 parameters, 15.47 G multiplications an image
}

// An image larger than the crop gives a class score map: the scores of every class at
// every place where the crop fits, 32 pixels apart.
func ExampleNetwork_Forward() {
	o := network.DefaultOptions("A")
	o.Classes, o.Width, o.FC, o.Input = 10, 1.0/16, 32, 64
	net, err := network.New(o)
	if err != nil {
		log.Fatal(err)
	}
	if err := net.Init(network.He, 1); err != nil {
		log.Fatal(err)
	}
	for _, x := range []*tensor.Tensor{tensor.New(1, 3, 64, 64), tensor.New(1, 3, 96, 160)} {
		scores, err := net.Forward(x)
		if err != nil {
			log.Fatal(err)
		}
		fmt.Println(x.Shape, "→", scores.Shape)
	}
	// Output:
	// [1 3 64 64] → [1 10 1 1]
	// [1 3 96 160] → [1 10 2 4]
}

// trainedOnSkies trains a tiny network to tell bright pictures from dark ones. It
// returns a directory with the run directory and new.png, a dark picture that the
// network hasn't seen.
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
