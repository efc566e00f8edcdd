package eval

import (
	"cmp"
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
func Compare(a, b *Results) (*Comparison, error) {
	if a.Header.Data.Fingerprint != b.Header.Data.Fingerprint || a.Header.Data.Images != b.Header.Data.Images {
		return nil, fmt.Errorf("eval: %s: %d images with fingerprint %s, want %d with %s as %s has", b.files[0].path,
			b.Header.Data.Images, short(b.Header.Data.Fingerprint), a.Header.Data.Images, short(a.Header.Data.Fingerprint), a.files[0].path)
	}
	truths := [2][]int{}
	for i, r := range []*Results{a, b} {
		var err error
		if truths[i], err = matchClasses(r.files[0].path, r.Header.Data.Classes, r.Header.Classes); err != nil {
			return nil, err
		}
	}
	c := &Comparison{Data: a.Header.Data.Name, Changed: []Change{}}
	difference := 0.0
	inB := counterparts(a.Header.Classes, b.Header.Classes)
	if inB != nil {
		c.Difference = &difference
	}
	for i := range a.Header.Data.Images {
		var found [2]Answer
		for j, r := range []*Results{a, b} {
			var err error
			if found[j], err = r.Answer(i); err != nil {
				return nil, err
			}
		}
		if found[0].Err != nil || found[1].Err != nil {
			c.Unreadable++
			continue
		}
		c.Images++
		if inB != nil {
			for k, p := range found[0].Posterior {
				difference = max(difference, math.Abs(float64(p)-float64(found[1].Posterior[inB[k]])))
			}
		}
		var rank, best [2]int
		for j, f := range found {
			rank[j] = metrics.Rank(f.Posterior, truths[j][f.Label])
			best[j] = metrics.TopK(f.Posterior, 1)[0]
		}
		c.Top1.add(rank[0] < 1, rank[1] < 1)
		c.Top5.add(rank[0] < 5, rank[1] < 5)
		nameA, nameB := a.Header.Classes[best[0]], b.Header.Classes[best[1]]
		if nameA != nameB {
			c.Changed = append(c.Changed, Change{
				File: found[0].File, Truth: a.Header.Data.Classes[found[0].Label],
				A: nameA, ProbabilityA: found[0].Posterior[best[0]], B: nameB, ProbabilityB: found[1].Posterior[best[1]],
			})
		}
	}
	if c.Images == 0 {
		return nil, fmt.Errorf("eval: %s: no image is readable in both", c.Data)
	}
	c.Top1.finish()
	c.Top5.finish()
	return c, nil
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
