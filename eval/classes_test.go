package eval

import (
	"slices"
	"testing"

	"github.com/verydeep/vgg"
)

func TestImageNetClasses(t *testing.T) {
	if !IsImageNet(vgg.ImageNetSynsets()) || !IsImageNet(vgg.ImageNetClasses()) || IsImageNet([]string{"a"}) || IsImageNet(vgg.ImageNetSynsets()[1:]) {
		t.Error("ILSVRC's classes are not told from others")
	}
	names := vgg.ImageNetClasses()
	d := noisy(t, [][2]int{{40, 40}})
	if got := classesFor(names, d); !slices.Equal(got, names) {
		t.Error("a set of a, b, c is taken for synsets")
	}
	d.Classes = []string{"n02012849", "n03126707"} // crane the bird, crane the machine
	if got := classesFor(names, d); !slices.Equal(got, vgg.ImageNetSynsets()) {
		t.Error("folders named by synsets are not matched by them")
	}
}
