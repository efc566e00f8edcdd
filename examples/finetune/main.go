// Command finetune trains the network of a file of weights on photographs of one's own:
//
//	finetune vgg16.pth photos tuned
//
// photos has a folder for each class. The weights are in tuned/best.safetensors.
package main

import (
	"context"
	"fmt"
	"log"
	"os"
	"os/signal"

	"github.com/verydeep/vgg"
	"github.com/verydeep/vgg/dataset"
	"github.com/verydeep/vgg/train"
)

func main() {
	if len(os.Args) != 4 {
		log.Fatal("want three arguments: WEIGHTS PHOTOS DIR")
	}
	weights, photos, dir := os.Args[1], os.Args[2], os.Args[3]
	// The first Ctrl-C writes a checkpoint and stops.
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt)
	defer stop()

	o := train.DefaultOptions()
	var err error
	o.Train, o.Val, err = dataset.Open(ctx, photos, dataset.OpenOptions{})
	check(err)
	if o.Val == nil {
		o.Train, o.Val, err = dataset.Split(o.Train, 0.2, 1)
		check(err)
	}
	model, err := vgg.Open(ctx, weights, vgg.OpenOptions{})
	check(err)
	side, err := o.Train.TypicalSide(ctx)
	check(err)
	o.Recipe, err = train.FineTuneRecipe(weights, model.Net.Options(), model.Preprocess, side)
	check(err)
	o.Recipe.Freeze = []string{"conv*"} // learn the fully connected layers only
	o.Recipe.Epochs, o.Dir, o.Resume = 10, dir, true
	o.OnEpoch = func(e train.Epoch) { fmt.Printf("epoch %d: top-1 error %.3f\n", e.Epoch, e.Top1Error) }
	result, err := train.Run(ctx, o)
	check(err)
	fmt.Printf("best: epoch %d, top-1 error %.3f, %s\n", result.BestEpoch, result.Top1Error, result.BestWeights)
}

func check(err error) {
	if err != nil {
		log.Fatal(err)
	}
}
