package perceptual_test

import (
	"context"
	"fmt"
	"log"

	"github.com/verydeep/vgg"
	"github.com/verydeep/vgg/perceptual"
	"github.com/verydeep/vgg/preprocess"
	"github.com/verydeep/vgg/tensor"
)

// LPIPS of two files, by torchvision's weights of configuration D.
func Example() {
	ctx := context.Background()
	m, err := vgg.Open(ctx, "vgg16-397923af.pth", vgg.OpenOptions{Headless: true})
	if err != nil {
		log.Fatal(err)
	}
	metric, err := perceptual.New(m, nil)
	if err != nil {
		log.Fatal(err)
	}
	load := func(ctx context.Context, i int) (a, b *preprocess.Image, err error) {
		if a, err = preprocess.DecodeFile("original.png", preprocess.DecodeOptions{}); err != nil {
			return nil, nil, err
		}
		b, err = preprocess.DecodeFile("compressed.jpg", preprocess.DecodeOptions{})
		return a, b, err
	}
	err = metric.Pairs(ctx, 1, load, perceptual.PairsOptions{}, func(c perceptual.Compared) error {
		if c.Err == nil {
			fmt.Printf("%.4f\n", c.Total)
		}
		return c.Err
	})
	if err != nil {
		log.Fatal(err)
	}
}

// A step of gradient descent towards a picture that looks like the reference.
func ExampleLoss() {
	ctx := context.Background()
	m, err := vgg.Open(ctx, "vgg16-397923af.pth", vgg.OpenOptions{Headless: true})
	if err != nil {
		log.Fatal(err)
	}
	metric, err := perceptual.New(m, nil)
	if err != nil {
		log.Fatal(err)
	}
	reference, x := tensor.New(1, 3, 256, 256), tensor.New(1, 3, 256, 256) // preprocessed pictures
	loss, err := metric.NewLoss(ctx, reference)
	if err != nil {
		log.Fatal(err)
	}
	dx := tensor.New(x.Shape...)
	if _, err := loss.Gradient(ctx, x, dx); err != nil {
		log.Fatal(err)
	}
	for i, d := range dx.Data {
		x.Data[i] -= 0.1 * d
	}
}
