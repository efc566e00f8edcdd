package nn

import "github.com/verydeep/vgg/tensor"

// NonFinite returns the name of the first parameter that holds a NaN or an infinity; ""
// if none does.
func (c *Chain) NonFinite() string {
	for _, p := range c.Params() {
		if !tensor.Finite(p.Value) {
			return p.Name
		}
	}
	return ""
}

// NonFinite returns where the last step first met a number that is not finite: the name of
// a parameter (conv1_1.weight), "input", or the name of a layer whose output has one
// though its parameters and its input have none. It is "" if there is none. It looks at
// the parameters as they are after the step's update.
func (t *Training) NonFinite() string {
	if !tensor.Finite(t.x) {
		return "input"
	}
	for i, k := range t.layout.fused {
		for _, p := range k.layer.Params() {
			if !tensor.Finite(p.Value) {
				return p.Name
			}
		}
		if !t.finiteOutput(i) {
			return k.layer.Name()
		}
	}
	return ""
}

// finiteOutput reports whether the output of fused layer j is finite. It computes
// activations again that are not kept.
func (t *Training) finiteOutput(j int) bool {
	s := t.layout.sectionOf(j)
	for g := range s.groupCount(len(t.losses)) {
		t.show(s.imageGroup(g, len(t.losses)))
		if !t.layout.kept[j+1] {
			t.forward(j+1, true, Pass{Train: true})
		}
		if !tensor.Finite(t.acts[j+1].Data) {
			return false
		}
	}
	return true
}
