package cli

import (
	"slices"

	"github.com/verydeep/vgg"
)

// classLabel returns a class's name as tables print it: ILSVRC's synsets, by which its folders
// are named, with their words.
func classLabel(class string) string {
	if len(class) != len("n02102040") || class[0] != 'n' {
		return class
	}
	if i := slices.Index(vgg.ImageNetSynsets(), class); i >= 0 {
		return vgg.ImageNetClasses()[i] + " (" + class + ")"
	}
	return class
}
