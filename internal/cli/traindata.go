package cli

import (
	"fmt"
	"io"
	"path/filepath"
	"strings"

	"github.com/verydeep/vgg/dataset"
	"github.com/verydeep/vgg/dataset/sample"
	"github.com/verydeep/vgg/internal/remote"
)

func (c *trainCommand) sample() bool { return c.Data == "" || c.Data == sampleName }

// open returns the images for training and validation, and prints their source.
func (c *trainCommand) open(e *environment, out io.Writer, seed uint64, threads int) (trainSet, valSet *dataset.Dataset, err error) {
	if c.sample() {
		fmt.Fprintf(out, "Data: %s\n", sample.Credit)
		if trainSet, valSet, err = sample.Open(); err != nil {
			return nil, nil, err
		}
		return c.adapted(out, trainSet, valSet)
	}
	flags := c.dataFlags
	if c.boxes != nil {
		flags.Annotations = c.boxes.annotations
	}
	trainSet, valSet, err = flags.open(e, c.Data)
	if err != nil {
		return nil, nil, err
	}
	if trainSet, valSet, err = c.adapted(out, trainSet, valSet); err != nil {
		return nil, nil, err
	}
	if err := c.trainable(trainSet); err != nil {
		return nil, nil, err
	}
	if valSet == nil {
		if trainSet, valSet, err = dataset.Split(trainSet, valFraction, seed); err != nil {
			return nil, nil, err
		}
		fmt.Fprintf(out, "Data: %s; it has no val part, so %.0f %% of each class are kept for validation\n", remote.Plain(c.Data), 100*valFraction)
	} else {
		fmt.Fprintf(out, "Data: %s\n", remote.Plain(c.Data))
	}
	if !c.processes.first() {
		return trainSet, valSet, nil
	}
	summary := dataSummary{train: trainSet, val: valSet, leakFlag: c.leakFlag, threads: threads, maxPixels: c.pixels()}
	return trainSet, valSet, summary.print(e, out)
}

// adapted applies the flags about labels to the images of both parts; valSet may be nil.
func (c *trainCommand) adapted(out io.Writer, trainSet, valSet *dataset.Dataset) (_, _ *dataset.Dataset, err error) {
	images := imagesFlags{c.MultiLabel, c.mapFlag}
	if trainSet, err = images.adapt(out, trainSet); err == nil && valSet != nil {
		valSet, err = images.adapt(io.Discard, valSet)
	}
	return trainSet, valSet, err
}

// trainable returns an error for images that can't teach a network anything.
func (c *trainCommand) trainable(set *dataset.Dataset) error {
	if s := set.Source(); s != nil && len(s.Parts) > 0 && s.Parts[0].Used && s.Parts[0].Name != "" && s.Parts[0].Name != "train" {
		part := s.Parts[0]
		return fmt.Errorf("%s: a part %s and none to train on, want a folder train beside it; to train on the images of %[2]s, say --data %s",
			c.Data, part.Name, filepath.Join(c.Data, part.Folder))
	}
	if len(set.Classes) == 1 && c.boxes == nil && !c.MultiLabel && !set.MultiLabel {
		if src := set.Source(); src != nil && strings.HasPrefix(src.Layout, "boxes in ") {
			return fmt.Errorf("%s: 1 class, %s, want boxes of two or more classes to tell apart, or vgg localize train, which learns the boxes", set.Name, set.Classes[0])
		}
		return fmt.Errorf("%s: 1 class, %s, want two or more to tell apart: a folder of images for each class, a table of labels, or --label-pattern", set.Name, set.Classes[0])
	}
	return nil
}

// sampleName is the word for the embedded photographs in the place of a folder.
const sampleName = "sample"

// valFraction is the share of a folder without a val part that is kept for validation.
const valFraction = 0.2

// labelsEach returns the mean number of labels of an image.
func labelsEach(d *dataset.Dataset) float64 {
	sum := 0
	for _, n := range d.Counts() {
		sum += n
	}
	return float64(sum) / float64(max(1, d.Len()))
}
