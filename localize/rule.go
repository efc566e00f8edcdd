package localize

import (
	"fmt"
	"strconv"
	"strings"
)

// Rule says what training makes of a box of which the crop shows a part only.
type Rule struct {
	// Clip cuts the box to the crop: the network learns to frame what it sees. Otherwise
	// the box stays whole, and the network learns to tell where it ends beyond the crop.
	Clip bool
	// MinShare is the least share of the box's area that the crop must show: with less,
	// the image teaches nothing at that iteration (its loss is 0, and it counts among the
	// images of the mini-batch).
	MinShare float64
}

// DefaultRule leaves boxes whole and passes over crops that show less than half of the
// box, as Sermanet et al. (2014) do. The paper doesn't tell its own.
func DefaultRule() Rule { return Rule{MinShare: 0.5} }

// String is the rule's name: whole or clip, a colon and the least share.
func (r Rule) String() string {
	name := "whole"
	if r.Clip {
		name = "clip"
	}
	return name + ":" + strconv.FormatFloat(r.MinShare, 'g', -1, 64)
}

// ParseRule reads a rule's name; the share may be left out, and is then that of
// [DefaultRule].
func ParseRule(text string) (Rule, error) {
	r := DefaultRule()
	name, share, given := strings.Cut(text, ":")
	var err error
	if given {
		r.MinShare, err = strconv.ParseFloat(share, 64)
	}
	r.Clip = name == "clip"
	if err != nil || name != "clip" && name != "whole" || !(r.MinShare >= 0 && r.MinShare <= 1) {
		return r, fmt.Errorf("localize: box rule %q, want whole or clip, and perhaps the least share of the box in the crop, 0 to 1: whole:0.5", text)
	}
	return r, nil
}

// apply is what the network is to give of a box in the crop's coordinates; ok is false
// if the crop shows too little of it.
func (r Rule) apply(c corners) (target corners, shown float64, ok bool) {
	seen := clip(c, 1, 1)
	shown = area(seen)
	if !(shown > 0 && shown >= r.MinShare*area(c)) {
		return c, shown, false
	}
	if r.Clip {
		return seen, shown, true
	}
	return c, shown, true
}
