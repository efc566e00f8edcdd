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
	if !finite(t.acts[0].Data) {
		return "input"
	}
	for i, l := range t.chain.layers {
		for _, p := range l.Params() {
			if !finite(p.Value) {
				return p.Name
			}
		}
		if !finite(t.acts[i+1].Data) {
			return l.Name()
		}
	}
	return ""
}

func finite(v []float32) bool {
	for _, x := range v {
		if math.Float32bits(x)&0x7f800000 == 0x7f800000 {
			return false
		}
	}
	return true
}
