package nn

import (
	"encoding/json"
	"fmt"
	"math"
	"os"
	"testing"

	"github.com/verydeep/vgg/internal/kernel"
)

// AdaptivePool and its gradient are PyTorch's AdaptiveAvgPool2d of tools/oracle/adaptive.py.
func TestAdaptivePool(t *testing.T) {
	text, err := os.ReadFile("testdata/adaptive.json")
	if err != nil {
		t.Fatal(err)
	}
	var cases []struct {
		H, W, Side   int
		X, Y, DY, DX []float32
	}
	if err := json.Unmarshal(text, &cases); err != nil || len(cases) < 5 {
		t.Fatal(err, len(cases))
	}
	for _, c := range cases {
		l := NewAdaptivePool("adapt", c.Side)
		out, err := l.Out(Shape{2, c.H, c.W})
		if err != nil || out != (Shape{2, c.Side, c.Side}) {
			t.Fatalf("%d×%d: %v, %v", c.H, c.W, out, err)
		}
		work := kernel.NewWork(kernel.NewTeam(2))
		act := func(h, w int) *kernel.Act {
			a := new(kernel.Act)
			a.Shape(1, 2, h, w, 1, make([]float32, kernel.ActLen(1, 2, h, w, 1)))
			return a
		}
		x, y, dy, dx := act(c.H, c.W), act(c.Side, c.Side), act(c.Side, c.Side), act(c.H, c.W)
		x.FromNCHW(c.X)
		dy.FromNCHW(c.DY)
		l.forward(work, x, y, Pass{})
		l.backward(work, x, y, dy, dx, Pass{})
		for what, pair := range map[string]struct {
			got  *kernel.Act
			want []float32
		}{"y": {y, c.Y}, "dx": {dx, c.DX}} {
			got := make([]float32, len(pair.want))
			pair.got.ToNCHW(got)
			for i := range got {
				if math.Abs(float64(got[i]-pair.want[i])) > 1e-6 {
					t.Fatalf("%s: %s[%d] %v, want %v", fmt.Sprintf("%d×%d to %d", c.H, c.W, c.Side), what, i, got[i], pair.want[i])
				}
			}
		}
	}
}
