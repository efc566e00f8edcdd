package localize

import (
	"github.com/verydeep/vgg"
)

// AnyClass is the index for an object of any class, as single-class regression finds it.
const AnyClass = -1

// Choice chooses the boxes of an answer.
type Choice struct {
	Classes  []int // to find, by index, perhaps [AnyClass]; nil: the most probable ones
	Top      int   // number of the most probable ones
	All      bool  // every merged box of a class, not only the best
	Unmerged bool  // the box of every window, before merging
}

// Shown is a box that an answer shows. Its JSON keys are those of `vgg localize --json`.
type Shown struct {
	Class       string     `json:"class,omitempty"` // empty: any class
	Index       *int       `json:"index,omitempty"`
	Probability *float32   `json:"probability,omitempty"` // of the class, in the image
	Box         [4]float64 `json:"box"`                   // x0, y0, x1, y1 in pixels of the image
	Score       float64    `json:"score"`
	Windows     int        `json:"windows"`

	Rank  int  `json:"-"` // of the class among those shown, from 0
	First bool `json:"-"` // the first box of its class
}

// Show returns the boxes that are chosen, the best class first.
func (a *Answer) Show(c Choice) []Shown {
	shown := []Shown{}
	classes := c.Classes
	names := a.locator.Classes()
	if classes == nil {
		for _, p := range (&vgg.Model{Classes: names}).Top(a.Posterior, c.Top) {
			classes = append(classes, p.Index)
		}
	}
	for rank, class := range classes {
		found := a.found(class, c)
		for i, d := range found {
			s := Shown{Box: d.Box, Score: d.Score, Windows: d.Windows, Rank: rank, First: i == 0}
			if class != AnyClass {
				s.Class, s.Index = names[class], &class
				if a.Posterior != nil {
					s.Probability = &a.Posterior[class]
				}
			}
			shown = append(shown, s)
		}
	}
	return shown
}

// found returns the boxes of a class that are chosen.
func (a *Answer) found(class int, c Choice) []Detection {
	class = max(class, 0) // single-class regression has the same boxes for all classes
	if c.Unmerged {
		return a.Unmerged(class)
	}
	found := a.Boxes(class)
	if !c.All {
		found = found[:min(1, len(found))]
	}
	return found
}
