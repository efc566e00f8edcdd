package train

import (
	"fmt"
	"strings"
	"testing"

	"github.com/verydeep/vgg/network"
)

// TestDocumentedRecipe: docs/training.md has every key, with the values of the two
// recipes that a run begins with.
func TestDocumentedRecipe(t *testing.T) {
	text := string(read(t, "..", "docs", "training.md"))
	documented := map[string][2]string{}
	for line := range strings.Lines(text) {
		if cells := strings.Split(line, "|"); len(cells) == 6 && strings.HasPrefix(line, "| `") {
			documented[strings.Trim(cells[1], " `")] = [2]string{strings.TrimSpace(cells[2]), strings.TrimSpace(cells[3])}
		}
	}
	paper, sample, other := PaperRecipe(), SampleRecipe(), otherRecipe()
	for _, d := range Differences(other, paper) { // every key
		want := [2]string{d.B, d.B}
		for _, e := range Differences(sample, paper) {
			if e.Key == d.Key {
				want[0], want[1] = e.B, e.A
			}
		}
		if got, ok := documented[d.Key]; !ok || got != want {
			t.Errorf("%s: documented (%v) as %q, want %q", d.Key, ok, got, want)
		}
		delete(documented, d.Key)
	}
	for key := range documented {
		t.Errorf("%s is documented and not a key", key)
	}
}

// TestStepForwards: a step of D is estimated to take at least as many forward passes as its
// multiplications say, and at most a quarter more; docs/training.md says the same.
func TestStepForwards(t *testing.T) {
	chain, err := network.Plan(PaperRecipe().Options(1000))
	if err != nil {
		t.Fatal(err)
	}
	computed := func(train bool) float64 {
		plans, err := chain.Plans(8, 224, 224, train)
		if err != nil {
			t.Fatal(err)
		}
		sum := 0.0
		for i, p := range plans {
			passes := 1.0
			if train {
				passes = 3 // forward, gradient of the input, gradient of the weights
			}
			if train && i == 0 {
				passes = 2 // the image has no gradient
			}
			sum += passes * float64(p.Computed)
		}
		return sum
	}
	if ratio := computed(true) / computed(false); ratio > stepForwards || ratio < 0.8*stepForwards {
		t.Errorf("by its multiplications a step is %.2f forward passes, estimated with %v", ratio, stepForwards)
	}
	want := fmt.Sprintf("A training step takes %v forward passes, with batch normalisation %v", stepForwards, normalisedStepForwards)
	if text := string(read(t, "..", "docs", "training.md")); !strings.Contains(text, want) {
		t.Errorf("docs/training.md doesn't say %q", want)
	}
}

// TestReadmeExample: README's training is ExampleRun's, which keeps checkpoints.
func TestReadmeExample(t *testing.T) {
	readme, example := string(read(t, "..", "README.md")), string(read(t, "example_test.go"))
	for _, line := range []string{"sample.Open()", "o := train.DefaultOptions()", "o.Recipe, o.Train, o.Val, o.Dir = ", "train.Run("} {
		if !strings.Contains(readme, line) || !strings.Contains(example, line) {
			t.Errorf("%q: want it in README.md and in the example", line)
		}
	}
}
