package cli

import (
	"bytes"
	"context"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/verydeep/vgg/internal/vggtest"
	"github.com/verydeep/vgg/internal/vggtest/tiny"
	"github.com/verydeep/vgg/nn"
	"github.com/verydeep/vgg/tensor"
)

// failing is a device that fails at the second pass.
type failing struct{ passes int }

func (*failing) Name() string           { return "failing" }
func (*failing) ID() string             { return "failing f32" }
func (f *failing) NewRunner() nn.Runner { return f }
func (*failing) NewTrainer(*nn.Chain, nn.TrainerOptions) (nn.Trainer, error) {
	return nil, nn.ErrDevice
}

func (f *failing) Forward(context.Context, *nn.Chain, *tensor.Tensor, *tensor.Tensor) error {
	if f.passes++; f.passes > 1 {
		return fmt.Errorf("pass %d: %w", f.passes, nn.ErrDevice)
	}
	return nil
}

// TestFailedDeviceEndsCommands: a device that fails isn't a fault of the image that it fails at.
func TestFailedDeviceEndsCommands(t *testing.T) {
	dir := t.TempDir()
	weights := filepath.Join(dir, "net.safetensors")
	if err := tiny.Random(24, 3).Save(t.Context(), weights); err != nil {
		t.Fatal(err)
	}
	var photos []string
	for i := range 3 {
		photos = append(photos, filepath.Join(dir, fmt.Sprintf("photo%d.png", i)))
		if err := os.WriteFile(photos[i], vggtest.PNG(40, 40, vggtest.Plain(vggtest.Red)), 0o666); err != nil {
			t.Fatal(err)
		}
	}
	for command, args := range map[string][]string{
		"classify": {"--scale", "32"},
		"explain":  {"--scales", "32", "--out", filepath.Join(dir, "map.png")},
	} {
		t.Run(command, func(t *testing.T) {
			var stdout bytes.Buffer
			device := &failing{}
			e := &environment{ctx: t.Context(), stdin: strings.NewReader(""), stdout: &stdout, stderr: &bytes.Buffer{}, getenv: os.Getenv, device: device}
			err := e.run(append(append([]string{command, weights}, photos...), append(args, "--device", "cpu")...), os.Getenv)
			if code := exitCode(t.Context(), err); code != 1 || !strings.Contains(fmt.Sprint(err), "photo1.png: ") || !strings.Contains(fmt.Sprint(err), "the device failed") {
				t.Errorf("exit code %d, %v", code, err)
			}
			if device.passes != 2 || !strings.Contains(stdout.String(), "photo0.png") || strings.Contains(stdout.String(), "photo2.png") {
				t.Errorf("%d passes, printed %s", device.passes, &stdout)
			}
		})
	}
}
