package eval

import (
	"cmp"
	"fmt"
	"math"
	"slices"

	"github.com/verydeep/vgg/metrics"
)

// Comparison tells two evaluations of the same images apart. Its JSON keys are those of
// `vgg compare --json`.
type Comparison struct {
	Data       string    `json:"data"`
	Images     int       `json:"images"`     // readable for both
	Unreadable int       `json:"unreadable"` // for either
	Top1       Agreement `json:"top1"`
	Top5       Agreement `json:"top5"`
	// Difference is the largest between two posteriors of an image for a class of one
	// name; nil if the networks' classes are not the same.
	Difference *float64 `json:"max_posterior_difference"`
	// Changed lists the images whose predicted class is another, in the set's order.
	Changed []Change `json:"changed"`
}

// Agreement counts images by whether A and B were right, and tests whether the one is
// better than the other.
type Agreement struct {
	Both    int     `json:"both_right"`
	OnlyA   int     `json:"only_a_right"`
	OnlyB   int     `json:"only_b_right"`
	Neither int     `json:"both_wrong"`
	ErrorA  float64 `json:"error_a"`
	ErrorB  float64 `json:"error_b"`
	P       float64 `json:"p"` // two-sided, of McNemar's exact test
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

// Change is an image that two evaluations take for different classes.
type Change struct {
	File         string  `json:"file"`
	Truth        string  `json:"truth"`
	A            string  `json:"a"`
	ProbabilityA float32 `json:"probability_a"` // that A gives the class it names
	B            string  `json:"b"`
	ProbabilityB float32 `json:"probability_b"`
}

// Compare compares two evaluations of the same images, by whatever networks and
// protocols. It is an error if the images are not the same.
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

// counterparts is the place in b of each class of a; nil unless the two hold the same
// names, each once.
func counterparts(a, b []string) []int {
	at := make(map[string]int, len(b))
	for i, name := range b {
		at[name] = i
	}
	if len(a) != len(b) || len(at) != len(b) {
		return nil
	}
	places := make([]int, len(a))
	for i, name := range a {
		place, ok := at[name]
		if !ok {
			return nil
		}
		places[i] = place
		delete(at, name)
	}
	return places
}

// Surest sorts changes by how sure the two were together, the surest first.
func Surest(changes []Change) []Change {
	sorted := slices.Clone(changes)
	slices.SortStableFunc(sorted, func(x, y Change) int {
		return cmp.Compare(y.ProbabilityA+y.ProbabilityB, x.ProbabilityA+x.ProbabilityB)
	})
	return sorted
}
