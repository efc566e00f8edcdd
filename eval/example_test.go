package eval_test

import (
	"context"
	"fmt"
	"log"

	"github.com/verydeep/vgg"
	"github.com/verydeep/vgg/dataset/sample"
	"github.com/verydeep/vgg/eval"
	"github.com/verydeep/vgg/network"
	"github.com/verydeep/vgg/preprocess"
)

func ExampleRun() {
	_, val, err := sample.Open()
	if err != nil {
		log.Fatal(err)
	}
	// Weights come from vgg.Open; this network has learnt nothing.
	o := network.DefaultOptions("A")
	o.Classes, o.Width, o.FC, o.Input = len(val.Classes), 0.05, 16, 32
	net, err := network.New(o)
	if err != nil {
		log.Fatal(err)
	}
	spec, err := preprocess.Preset("vgg")
	if err != nil {
		log.Fatal(err)
	}
	spec.Crop, spec.Resize = 32, 36
	model := &vgg.Model{Net: net, Classes: val.Classes, Preprocess: spec}

	options := eval.DefaultOptions()
	options.Protocol, options.Flip = eval.Dense, true
	r, err := eval.Run(context.Background(), model, val, options)
	if err != nil {
		log.Fatal(err)
	}
	fmt.Printf("top-1 error %.2f, top-5 error %.2f on %d images", r.Top1Error, r.Top5Error, r.Images)
	// Output: top-1 error 0.90, top-5 error 0.50 on 100 images
}
