package dataset_test

import (
	"context"
	"fmt"
	"image"
	"image/color"
	"log"

	"github.com/verydeep/vgg/dataset"
	"github.com/verydeep/vgg/dataset/sample"
	"github.com/verydeep/vgg/preprocess"
)

// Augmented training batches from the embedded sample: crops of 64×64 from images rescaled to a smallest side of 72 to 96.
func ExampleLoader() {
	train, _, err := sample.Open()
	if err != nil {
		fmt.Println(err)
		return
	}
	spec, err := preprocess.Preset("vgg")
	if err != nil {
		fmt.Println(err)
		return
	}
	l := &dataset.Loader{
		Data: train, Spec: spec, Batch: 32, Crop: 64,
		Train: true, SMin: 72, SMax: 96, Flip: true, Seed: 1,
	}
	for batch, err := range l.Epoch(context.Background(), 0) {
		if err != nil {
			fmt.Println(err)
			return
		}
		fmt.Println(batch.X.Shape, len(batch.Labels), "labels,", len(batch.Bad), "bad")
		break
	}
	// Output:
	// [32 3 64 64] 32 labels, 0 bad
}

// plain is a picture of one colour.
func plain(c color.Color) image.Image {
	im := image.NewRGBA(image.Rect(0, 0, 48, 48))
	for y := range 48 {
		for x := range 48 {
			im.Set(x, y, c)
		}
	}
	return im
}

// A dataset of pictures that are decoded already, divided for training and validation.
func ExampleFromPictures() {
	var pictures []dataset.Picture
	for i := range uint8(10) {
		pictures = append(pictures,
			dataset.Picture{Label: 0, Image: plain(color.RGBA{R: 200 + i, A: 255})},
			dataset.Picture{Label: 1, Image: plain(color.RGBA{B: 200 + i, A: 255})})
	}
	all, err := dataset.FromPictures("colours", []string{"red", "blue"}, pictures)
	if err != nil {
		log.Fatal(err)
	}
	train, val, err := dataset.Split(all, 0.2, 1)
	if err != nil {
		log.Fatal(err)
	}
	fmt.Println(train.Counts(), val.Counts())
	// Output: [8 8] [2 2]
}

// Pictures that are made whenever they are used, so that they take no memory; their labels
// are known before.
func ExamplePicture() {
	draw := func(i int) (image.Image, int) {
		if i%2 == 0 {
			return plain(color.RGBA{R: uint8(200 + i), A: 255}), 0
		}
		return plain(color.RGBA{B: uint8(200 + i), A: 255}), 1
	}
	pictures := make([]dataset.Picture, 20)
	for i := range pictures {
		pictures[i].Label = i % 2
		pictures[i].Load = func() (image.Image, error) {
			im, _ := draw(i)
			return im, nil
		}
	}
	d, err := dataset.FromPictures("drawn", []string{"red", "blue"}, pictures)
	if err != nil {
		log.Fatal(err)
	}
	survey, err := dataset.ComputeSurvey(context.Background(), d, dataset.StatsOptions{})
	if err != nil {
		log.Fatal(err)
	}
	fmt.Printf("%d pictures, mean RGB %.1f\n", survey.Images, survey.Mean)
	// Output: 20 pictures, mean RGB [104.5 0.0 105.0]
}
