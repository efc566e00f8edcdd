package dataset

import (
	"context"
	"slices"
	"testing"

	"github.com/verydeep/vgg/internal/vggtest"
)

// Public collections open as they were downloaded.
func TestOpenPublicCollections(t *testing.T) {
	for _, c := range []struct {
		name         string
		classes      int
		train, val   int
		first, title string // class 0
		boxes, bad   int    // of the training images; -1: there are none
	}{
		{name: "caltech101", classes: 10, train: 500, first: "Leopards", boxes: -1},
		{name: "flowers17", classes: 17, train: 748, val: 272, first: "daffodil", boxes: -1},
		{name: "flowers17/labels.csv", classes: 17, train: 748, val: 272, first: "daffodil", boxes: -1},
		{name: "imagenette224", classes: 10, train: 1800, val: 1000, first: "n01440764", boxes: -1},
		{name: "imagenet-sample", classes: 100, train: 100, first: "n01440764", boxes: -1},
		{name: "cifar10", classes: 10, train: 20000, val: 10000, first: "airplane", boxes: -1},
		{name: "cifar10/cifar10-jpeg-train-20000.zip", classes: 10, train: 20000, first: "airplane", boxes: -1},
		{name: "cifar10/cifar10-jpeg-test-10000.zip", classes: 10, train: 10000, first: "airplane", boxes: -1},
		{name: "tiny-imagenet-10", classes: 10, train: 5000, val: 500, first: "n01882714", title: "koala", boxes: 4994, bad: 6},
		{name: "tiny-imagenet-10/train.zip", classes: 10, train: 5000, first: "n01882714", boxes: -1},
		{name: "raccoon", classes: 1, train: 160, val: 40, first: "raccoon", boxes: 173},
	} {
		t.Run(c.name, func(t *testing.T) {
			train, val, err := Open(t.Context(), vggtest.Shared(t, c.name), OpenOptions{})
			if err != nil {
				t.Fatal(err)
			}
			if len(train.Classes) != c.classes || train.Classes[0] != c.first || train.Len() != c.train {
				t.Errorf("%d training images of %d classes, the first %s, want %d of %d, %s", train.Len(), len(train.Classes), train.Classes[0], c.train, c.classes, c.first)
			}
			if c.title != "" && (train.Titles == nil || train.Titles[0] != c.title) {
				t.Errorf("titles %v, want the first to be %s", train.Titles, c.title)
			}
			if (val == nil) != (c.val == 0) {
				t.Fatalf("validation part %v, want %d images", val, c.val)
			}
			for _, d := range []*Dataset{train, val} {
				if d == nil {
					continue
				}
				if d == val && (d.Len() != c.val || !slices.Equal(d.Classes, train.Classes)) {
					t.Errorf("%d validation images, want %d, of %v", d.Len(), c.val, d.Classes)
				}
				for _, i := range []int{0, d.Len() / 2, d.Len() - 1} {
					if _, err := d.Decode(t.Context(), i, DecodeOptions{}); err != nil {
						t.Error(err)
					}
				}
				if slices.Min(d.Counts()) == 0 {
					t.Errorf("%s: images of each class: %v", d.Name, d.Counts())
				}
			}
			boxed, report, err := ReadBoxes(context.Background(), train, BoxOptions{})
			if c.boxes < 0 {
				if err == nil {
					t.Errorf("%d boxes where there are no annotations", report.Boxes)
				}
				return
			}
			if err != nil {
				t.Fatal(err)
			}
			if report.Boxes != c.boxes || report.Without != c.bad || len(report.Bad) != c.bad || boxed.Len() != train.Len() {
				t.Errorf("report %+v, want %d boxes and %d bad ones, each its image's only", report, c.boxes, c.bad)
			}
		})
	}
}
