package eval

import (
	"slices"
	"strings"
	"testing"

	"github.com/verydeep/vgg"
)

// TestSynsets: a network with ImageNet's class names knows a data set's synsets, crane
// the bird from crane the machine.
func TestSynsets(t *testing.T) {
	got, err := matchClasses("val", []string{"n03126707", "n01440764", "n02012849", "goldfish"}, vgg.ImageNetClasses())
	if err != nil || !slices.Equal(got, []int{517, 0, 134, 1}) {
		t.Errorf("%v, %v", got, err)
	}
	if _, err := matchClasses("val", []string{"crane"}, vgg.ImageNetClasses()); err == nil || !strings.Contains(err.Error(), "several classes") {
		t.Errorf("crane: %v, want an error", err)
	}
	if _, err := matchClasses("val", []string{"n01440764"}, []string{"tench"}); err == nil {
		t.Error("a synset known to weights that are not ImageNet's")
	}
}
