package localize

import (
	"fmt"
	"strconv"
	"strings"
)

// Rule chooses the training target when the crop shows only a part of the box.
type Rule struct {
	// Clip cuts the box to the crop: the network learns to frame what it sees. Otherwise the
	// box stays whole, and the network learns where it ends beyond the crop.
	Clip bool
	// MinShare is the least share of the box's area that the crop must show. If the crop
	// shows less, the image has loss 0 at that iteration, and counts among the images of the
	// mini-batch.
	MinShare float64
}

// DefaultRule leaves boxes whole and skips crops that show less than half of the box, as
// Sermanet et al. (2014) do. The paper doesn't state its rule.
func DefaultRule() Rule { return Rule{MinShare: 0.5} }

// String returns the name of the rule: whole or clip, a colon and the least share.
func (r Rule) String() string {
	name := "whole"
	if r.Clip {
		name = "clip"
	}
	return name + ":" + strconv.FormatFloat(r.MinShare, 'g', -1, 64)
}

// ParseRule parses the name of a rule. Without a share, it is that of [DefaultRule].
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

// apply returns the training target for a box in the coordinates of the crop, and the area
// that the crop shows; ok is false if that is too little.
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
