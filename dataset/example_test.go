package dataset_test

import (
	"context"
	"fmt"

	"github.com/verydeep/vgg/dataset"
	"github.com/verydeep/vgg/preprocess"
)

// Augmented training batches from the embedded sample: crops of 64×64 from images rescaled to a smallest side of 72 to 96.
func ExampleLoader() {
	train, _, err := dataset.OpenSample()
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
