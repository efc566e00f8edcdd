package vgg

import (
	_ "embed"
	"strings"
)

// imageNetText has a line for each class of ILSVRC-2012 in the order of the releases'
// outputs, which is that of the synsets: the synset (wnid), a space, its first name. It
// holds the names of imagenet_class_index.json, which Keras distributes with its
// applications, and has the order of Caffe's synset_words.txt.
//
//go:embed imagenet.txt
var imageNetText string

// imageNetClasses is the number of classes of ILSVRC.
const imageNetClasses = 1000

// ImageNetClasses returns the names of the 1000 classes of ILSVRC-2012 by index: tench,
// goldfish, great white shark, …. Two names, crane and maillot, are those of two classes
// each; [ImageNetSynsets] tells them apart.
func ImageNetClasses() []string { return imageNetColumn(1) }

// ImageNetSynsets returns the WordNet synsets of the 1000 classes by index: n01440764, ….
// The folders of ILSVRC's training images have these names.
func ImageNetSynsets() []string { return imageNetColumn(0) }

func imageNetColumn(column int) []string {
	names := make([]string, 0, imageNetClasses)
	for line := range strings.Lines(imageNetText) {
		synset, name, _ := strings.Cut(strings.TrimSuffix(line, "\n"), " ")
		names = append(names, [2]string{synset, name}[column])
	}
	return names
}
