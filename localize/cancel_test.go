package localize

import (
	"context"
	"errors"
	"testing"

	"github.com/verydeep/vgg"
	"github.com/verydeep/vgg/dataset"
	"github.com/verydeep/vgg/eval"
	"github.com/verydeep/vgg/internal/vggtest"
	"github.com/verydeep/vgg/preprocess"
)

// TestLocatorCancelled: every protocol looks at its context between the layers of each pass.
func TestLocatorCancelled(t *testing.T) {
	l := locator(t, 1, vgg.PCR)
	layers := len(l.Nets[0].Model.Net.Chain().Layers())
	im := preprocess.NewImage(64, 50)
	for name, protocol := range map[string]struct {
		passes int
		locate func(ctx context.Context) error
	}{
		"centre":     {1, func(ctx context.Context) error { _, err := l.Centre(ctx, im); return err }},
		"dense":      {2, func(ctx context.Context) error { _, err := l.Dense(ctx, im); return err }},
		"multi-crop": {2, func(ctx context.Context) error { _, err := l.MultiCrop(ctx, im); return err }},
	} {
		t.Run(name, func(t *testing.T) { vggtest.Cancel(t, protocol.passes*layers/2, protocol.locate) })
	}
}

// TestCancelledImageIsNotUnreadable: an evaluation that is cancelled within an image ends, and
// doesn't count the image as unreadable.
func TestCancelledImageIsNotUnreadable(t *testing.T) {
	l := locator(t, 1, vgg.PCR)
	d := squares(t, "squares", 2)
	im := decodeImage(t.Context(), d, 0, dataset.DecodeOptions{})
	cause := errors.New("enough")
	ctx, cancel := context.WithCancelCause(t.Context())
	cancel(cause)
	if err := l.record(ctx, &Record{Truths: truths(d.Samples[0])}, im.image, eval.Dense); !errors.Is(err, cause) {
		t.Errorf("an image of a cancelled run: %v, want the cause", err)
	}
	if _, err := Evaluate(ctx, l, d, EvalOptions{Protocol: eval.Dense}); !errors.Is(err, cause) {
		t.Errorf("a cancelled run: %v, want the cause", err)
	}
}
