package train

import (
	"strings"
	"testing"
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
