package nn

import "math"

// NonFinite returns the name of the first parameter that holds a NaN or an infinity; ""
// if none does.
func (c *Chain) NonFinite() string {
	for _, p := range c.Params() {
		if !finite(p.Value) {
			return p.Name
		}
	}
	return ""
}

// NonFinite says where the last step first met a number that is not finite: the name of
// a parameter (conv1_1.weight), "input", or the name of a layer whose output has one
// though its parameters and its input have none. It is "" if there is none. What the
// step's update has changed since counts as the parameters.
func (t *Training) NonFinite() string {
	if !finite(t.x) {
		return "input"
	}
	for i, k := range t.layout.links {
		for _, p := range k.layer.Params() {
			if !finite(p.Value) {
				return p.Name
			}
		}
		if !t.finiteOutput(i) {
			return k.layer.Name()
		}
	}
	return ""
}

// finiteOutput looks at the output of a link, for which it computes again what is not
// kept.
func (t *Training) finiteOutput(link int) bool {
	s := t.layout.sectionOf(link)
	for g := range s.groups(len(t.losses)) {
		t.enter(s.at(g, len(t.losses)))
		if !t.layout.kept[link+1] {
			t.forward(link+1, true, Pass{Train: true})
		}
		if !finite(t.acts[link+1].Data) {
			return false
		}
	}
	return true
}

func finite(v []float32) bool {
	for _, x := range v {
		if math.Float32bits(x)&0x7f800000 == 0x7f800000 {
			return false
		}
	}
	return true
}
