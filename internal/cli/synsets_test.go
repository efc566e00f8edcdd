package cli

import (
	"bytes"
	"strings"
	"testing"

	"github.com/verydeep/vgg/eval"
)

// Classes that results name by ILSVRC's synsets are printed with their words.
func TestClassLabels(t *testing.T) {
	for class, want := range map[string]string{
		"n02102040": "English springer (n02102040)", "n02012849": "crane (n02012849)", "n03126707": "crane (n03126707)",
		"n99999999": "n99999999", "springer": "springer", "nine chars": "nine chars", "": "",
	} {
		if got := classLabel(class); got != want {
			t.Errorf("%q: %q, want %q", class, got, want)
		}
	}
	var out bytes.Buffer
	c := &compareCommand{A: "a.jsonl", B: "b.jsonl", Show: 5}
	r := &eval.Comparison{Images: 1, Changed: []eval.Change{{File: "x.jpg", Truth: "n02102040", A: "n02012849", B: "n03126707"}}}
	if err := c.print(&environment{stdout: &out}, r); err != nil {
		t.Fatal(err)
	}
	var e bytes.Buffer
	if err := printEval(&e, &eval.Result{Nets: make([]eval.NetResult, 1), Confusions: []eval.Confusion{{Truth: "n02102040", Predicted: "n02012849", Images: 3}}, Mistakes: []eval.Mistake{{File: "x.jpg", Truth: "n02102040", Predicted: "n03126707"}}}); err != nil {
		t.Fatal(err)
	}
	for _, text := range []string{out.String(), e.String()} {
		for _, want := range []string{"English springer (n02102040)", "crane (n02012849)", "crane (n03126707)"} {
			if !strings.Contains(text, want) {
				t.Errorf("no %q in\n%s", want, text)
			}
		}
	}
}
