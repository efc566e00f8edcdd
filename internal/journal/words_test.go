package journal

import "testing"

func TestWords(t *testing.T) {
	for want, got := range map[string]string{
		"scales 32, want 32, 48":         Difference("scales", []int{32}, []int{32, 48}),
		"regions none, want box":         Difference("regions", []string(nil), []string{"box"}),
		"mirror images true, want false": Difference("mirror images", true, false),
		"layer <nil>, want fc7":          Difference("layer", nil, "fc7"),
	} {
		if got != want {
			t.Errorf("%q, want %q", got, want)
		}
	}
	for want, axes := range map[string][]int{"8×26": {8, 26}, "64×3×3×3": {64, 3, 3, 3}, "7": {7}, "1 value": nil} {
		if got := Shape(axes); got != want {
			t.Errorf("%q, want %q", got, want)
		}
	}
	if got := List([]float64{0.5, 1}); got != "0.5, 1" {
		t.Error(got)
	}
}
