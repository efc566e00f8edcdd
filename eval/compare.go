package eval

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"math"
	"slices"

	"github.com/verydeep/vgg/metrics"
)

// Comparison compares two evaluations, A and B, of the same images. The JSON keys are
// those of `vgg compare --json`.
type Comparison struct {
	Data       string    `json:"data"`
	Images     int       `json:"images"`     // readable in both
	Unreadable int       `json:"unreadable"` // in either
	Top1       Agreement `json:"top1"`
	Top5       Agreement `json:"top5"`
	// Difference is the largest difference between the posteriors of a class by A and by
	// B; nil if the networks' classes are not the same.
	Difference *float64 `json:"max_posterior_difference"`
	// Changed lists the images whose predicted classes differ, in the order of the set.
	Changed []Change `json:"changed"`
}

// Agreement counts images by whether A and B are right, and tests whether one of them is
// better. Errors are fractions.
type Agreement struct {
	Both    int     `json:"both_right"`
	OnlyA   int     `json:"only_a_right"`
	OnlyB   int     `json:"only_b_right"`
	Neither int     `json:"both_wrong"`
	ErrorA  float64 `json:"error_a"`
	ErrorB  float64 `json:"error_b"`
	P       float64 `json:"p"` // of McNemar's test, exact and two-sided
}

func (a *Agreement) add(rightA, rightB bool) {
	switch {
	case rightA && rightB:
		a.Both++
	case rightA:
		a.OnlyA++
	case rightB:
		a.OnlyB++
	default:
		a.Neither++
	}
}

func (a *Agreement) finish() {
	n := float64(a.Both + a.OnlyA + a.OnlyB + a.Neither)
	a.ErrorA, a.ErrorB = float64(a.OnlyB+a.Neither)/n, float64(a.OnlyA+a.Neither)/n
	a.P = metrics.McNemar(a.OnlyA, a.OnlyB)
}

// Change is an image for which two evaluations predict different classes.
type Change struct {
	File         string  `json:"file"`
	Truth        string  `json:"truth"`
	A            string  `json:"a"`
	ProbabilityA float32 `json:"probability_a"` // by A, of the class that A predicts
	B            string  `json:"b"`
	ProbabilityB float32 `json:"probability_b"` // by B, of the class that B predicts
}

// Compare compares two evaluations of the same images, by any networks and protocols.
// Different images are an error, and so is a set without an image readable in both.
func Compare(ctx context.Context, a, b *Results) (*Comparison, error) {
	if a == nil || b == nil {
		return nil, errors.New("eval: nil results, want those that OpenResults returns")
	}
	if a.Header.Data.Fingerprint != b.Header.Data.Fingerprint || a.Header.Data.Images != b.Header.Data.Images {
		return nil, fmt.Errorf("eval: %s: %d images with fingerprint %s, want %d with %s as %s has", b.files[0].path,
			b.Header.Data.Images, short(b.Header.Data.Fingerprint), a.Header.Data.Images, short(a.Header.Data.Fingerprint), a.files[0].path)
	}
	if a.Header.Data.MultiLabel {
		return nil, fmt.Errorf("eval: %s: results on images of several labels, which have no one class to compare: vgg eval --merge measures each run", a.files[0].path)
	}
	c := &comparer{results: [2]*Results{a, b}, out: &Comparison{Data: a.Header.Data.Name, Changed: []Change{}}}
	for i, r := range c.results {
		var err error
		if c.truths[i], err = matchClasses(r.files[0].path, r.Header.Data.Classes, r.Header.Classes); err != nil {
			return nil, err
		}
	}
	if c.inB = counterparts(a.Header.Classes, b.Header.Classes); c.inB != nil {
		c.out.Difference = new(float64)
	}
	for i := range a.Header.Data.Images {
		if ctx.Err() != nil {
			return nil, context.Cause(ctx)
		}
		if err := c.add(i); err != nil {
			return nil, err
		}
	}
	if c.out.Images == 0 {
		return nil, fmt.Errorf("eval: %s: no image is readable in both", c.out.Data)
	}
	c.out.Top1.finish()
	c.out.Top5.finish()
	return c.out, nil
}

// comparer compares two evaluations, A and B, image by image.
type comparer struct {
	results [2]*Results
	truths  [2][]int // index of each network's class for each of the set's
	inB     []int    // index in B of each class of A; nil if the classes are not the same
	out     *Comparison
}

// add compares the answers for an image.
func (c *comparer) add(image int) error {
	var found [2]Answer
	for i, r := range c.results {
		var err error
		if found[i], err = r.Answer(image); err != nil {
			return err
		}
	}
	if found[0].Err != nil || found[1].Err != nil {
		c.out.Unreadable++
		return nil
	}
	c.out.Images++
	for k := range c.inB {
		p := found[0].Posterior[k]
		*c.out.Difference = max(*c.out.Difference, math.Abs(float64(p)-float64(found[1].Posterior[c.inB[k]])))
	}
	var rank, best [2]int
	var name [2]string
	for i, f := range found {
		rank[i] = metrics.Rank(f.Posterior, c.truths[i][f.Label])
		best[i] = metrics.TopK(f.Posterior, 1)[0]
		name[i] = c.results[i].Header.Classes[best[i]]
	}
	c.out.Top1.add(rank[0] < 1, rank[1] < 1)
	c.out.Top5.add(rank[0] < 5, rank[1] < 5)
	if name[0] != name[1] {
		c.out.Changed = append(c.out.Changed, Change{
			File: found[0].File, Truth: c.results[0].Header.Data.Classes[found[0].Label],
			A: name[0], ProbabilityA: found[0].Posterior[best[0]], B: name[1], ProbabilityB: found[1].Posterior[best[1]],
		})
	}
	return nil
}

// counterparts returns the index in b of each class of a; nil unless both have the same
// names, each once.
func counterparts(a, b []string) []int {
	at := make(map[string]int, len(b))
	for i, name := range b {
		at[name] = i
	}
	if len(a) != len(b) || len(at) != len(b) {
		return nil
	}
	indices := make([]int, len(a))
	for i, name := range a {
		index, ok := at[name]
		if !ok {
			return nil
		}
		indices[i] = index
		delete(at, name)
	}
	return indices
}

// Surest returns the changes sorted by the sum of both probabilities, the highest first.
func Surest(changes []Change) []Change {
	sorted := slices.Clone(changes)
	slices.SortStableFunc(sorted, func(x, y Change) int {
		return cmp.Compare(y.ProbabilityA+y.ProbabilityB, x.ProbabilityA+x.ProbabilityB)
	})
	return sorted
}
