package teach

import (
	"fmt"
	"image/color"
	"path/filepath"
	"strings"
	"testing"

	"github.com/verydeep/vgg"
	"github.com/verydeep/vgg/internal/vggtest"
	"github.com/verydeep/vgg/internal/vggtest/tiny"
	"github.com/verydeep/vgg/metrics"
	"github.com/verydeep/vgg/train"
)

// TestRefine: SVMs that learn next to nothing lose against fine-tuning from them. The model that
// comes back errs on the held pictures as the refinement says, and says how it was made.
func TestRefine(t *testing.T) {
	dir, files := t.TempDir(), map[string][]byte{}
	for kind, class := range []string{"red", "green", "blue"} {
		for i := range []int{45, 15, 15}[kind] { // of one more than of the others together
			noise := vggtest.Noise(uint64(1000*kind + i + 1))
			files[fmt.Sprintf("%s/%02d.png", class, i)] = vggtest.PNG(40, 36, func(x, y int) color.RGBA {
				c := noise(x, y)
				c.R, c.G, c.B = c.R/4, c.G/4, c.B/4
				*[]*uint8{&c.R, &c.G, &c.B}[kind] += 190
				return c
			})
		}
	}
	vggtest.WriteFiles(t, dir, files)
	base := tiny.Colours(3)
	base.Provenance = map[string]string{"release": "torchvision A", "url": "https://example.org", "licence": "free"}
	o := DefaultOptions()
	o.Cs, o.Duplicates = []float64{1e-9}, NoDuplicates
	images, err := Divided(t.Context(), Net("colours", base), opened(t, dir), o)
	if err != nil {
		t.Fatal(err)
	}
	r, err := Teach(t.Context(), Net("colours", base), images, o)
	if err != nil {
		t.Fatal(err)
	}
	file := filepath.Join(t.TempDir(), "taught.safetensors")
	if err := r.Model.Save(t.Context(), file); err != nil {
		t.Fatal(err)
	}
	m, refined, err := Refine(t.Context(), file, images, r.Report.Error, t.TempDir(), func(_ string, o *train.Options) { o.Workers = 1 })
	if err != nil {
		t.Fatal(err)
	}
	if !refined.Better || !(refined.After < refined.Before) || refined.Before != r.Report.Error {
		t.Fatalf("%+v, want one that is better", refined)
	}
	wrong, held := 0, images.Part("val")
	for i := range held.Len() {
		got, err := m.Classify(decoded(t, held, i), 1)
		if err != nil {
			t.Fatal(err)
		}
		if got[0].Index != held.Samples[i].Label {
			wrong++
		}
	}
	low, high := metrics.Wilson(wrong, held.Len())
	if refined.Held != held.Len() || refined.After != float64(wrong)/float64(held.Len()) || refined.Low != low || refined.High != high {
		t.Errorf("%d of %d wrong, the refinement says %+v", wrong, held.Len(), refined)
	}
	if m.Provenance["taught_on"] != dir || !strings.Contains(m.Provenance["taught"], "fine-tuned ("+refined.Stage+")") || m.Provenance["licence"] != "free" {
		t.Errorf("provenance %v", m.Provenance)
	}
}

// TestRefinedIsNoRelease: weights whose convolutions have learnt are no release's any more.
func TestRefinedIsNoRelease(t *testing.T) {
	for stage, release := range map[string]string{"head": "torchvision D", "upper": ""} {
		taught := &vgg.Model{Provenance: map[string]string{"release": "torchvision D", "url": "u", "sha256": "s", "licence": "l", "taught": "linear SVMs; 9 of 10 wrong", "taught_on": "photos"}}
		refined := &vgg.Model{Provenance: map[string]string{"recipe": "r"}}
		(&Refinement{Stage: stage, Held: 10, After: 0.2}).describe(refined, taught)
		p := refined.Provenance
		if p["release"] != release || (p["sha256"] != "") != (release != "") || (p["refined_from"] == "torchvision D") != (release == "") {
			t.Errorf("%s: %v", stage, p)
		}
		if p["licence"] != "l" || p["taught_on"] != "photos" || p["recipe"] != "r" || !strings.Contains(p["taught"], "fine-tuned ("+stage+"): 2 of 10 pictures wrong") {
			t.Errorf("%s: %v", stage, p)
		}
	}
}
