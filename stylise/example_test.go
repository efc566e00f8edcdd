package stylise_test

import (
	"context"
	"fmt"
	"log"

	"github.com/verydeep/vgg"
	"github.com/verydeep/vgg/preprocess"
	"github.com/verydeep/vgg/stylise"
)

func Example() {
	ctx := context.Background()
	m, err := vgg.Open(ctx, "vgg16-397923af.pth", vgg.OpenOptions{Headless: true})
	if err != nil {
		log.Fatal(err)
	}
	content, err := preprocess.DecodeFile("photo.jpg", preprocess.DecodeOptions{})
	if err != nil {
		log.Fatal(err)
	}
	style, err := preprocess.DecodeFile("painting.jpg", preprocess.DecodeOptions{})
	if err != nil {
		log.Fatal(err)
	}
	o := stylise.DefaultOptions()
	o.Size = 768
	o.OnIteration = func(i stylise.Iteration) error {
		fmt.Printf("%d of %d: %.4g\n", i.Done, i.Of, i.Loss.Total)
		return nil
	}
	r, err := stylise.Run(ctx, m, content, style, o)
	if err != nil {
		log.Fatal(err)
	}
	fmt.Println(r.Picture.W, r.Picture.H)
}
