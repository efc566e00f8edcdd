// Command vgg16-bn builds VGG-16 with batch normalisation, prints its layers, trains it on the
// built-in photographs, evaluates it and classifies one. With -full it takes days, not a minute.
package main

import (
	"bytes"
	"context"
	"flag"
	"fmt"
	"log"

	"github.com/verydeep/vgg"
	"github.com/verydeep/vgg/dataset/sample"
	"github.com/verydeep/vgg/eval"
	"github.com/verydeep/vgg/network"
	"github.com/verydeep/vgg/train"
)

func main() {
	full := flag.Bool("full", false, "the paper's width and 224×224 pixels, rather than an eighth and 32×32")
	epochs := flag.Int("epochs", 80, "passes over the photographs")
	dir := flag.String("dir", "vgg16-bn-run", "directory to make, for weights and metrics")
	flag.Parse()
	r := train.SampleRecipe()
	r.Config, r.Epochs, r.LearningRate, r.Schedule.Name = "D-BN", *epochs, 0.03, "cosine"
	r.Width, r.FC, r.Input, r.ScaleMin, r.ScaleMax, r.TestScale = 1./8, 128, 32, 36, 48, 40
	if r.Dropout, r.WeightDecay = 0.1, 1e-3; *full {
		r.Width, r.FC, r.Input, r.ScaleMin, r.ScaleMax, r.TestScale = 1, 4096, 224, 256, 320, 256
	}
	ctx := context.Background()
	photos, val, err := sample.Open()
	check(err)
	summary, err := network.Summarise(r.Options(len(photos.Classes)))
	check(err)
	for _, l := range summary.Layers {
		fmt.Printf("%-11s %-10s %-12s %9d\n", l.Name, l.Type, fmt.Sprint(l.Output), l.Weights+l.Biases)
	}
	o := train.DefaultOptions()
	o.Recipe, o.Train, o.Val, o.Dir = r, photos, val, *dir
	o.OnEpoch = func(e train.Epoch) { fmt.Printf("epoch %d: top-1 error %.2f\n", e.Epoch, e.Top1Error) }
	result, err := train.Run(ctx, o)
	check(err)
	model, err := vgg.Open(ctx, result.BestWeights, vgg.OpenOptions{})
	check(err)
	measured, err := eval.Run(ctx, model, val, eval.DefaultOptions())
	check(err)
	fmt.Printf("evaluation: top-1 error %.2f, top-5 error %.2f\n", measured.Top1Error, measured.Top5Error)
	photo, err := val.Read(0)
	check(err)
	top, err := model.ClassifyReader(bytes.NewReader(photo), 3)
	check(err)
	fmt.Println(val.Samples[0].Name, "is", top)
}

func check(err error) {
	if err != nil {
		log.Fatal(err)
	}
}
