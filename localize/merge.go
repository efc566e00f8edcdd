package localize

import (
	"math"

	"github.com/verydeep/vgg/metrics"
)

// MergeThreshold is the match score from which on boxes are left apart, unless another
// is given.
const MergeThreshold = 0.8

// MatchScore tells how far two boxes are from being one: the distance between their
// centres, in units of the side of a square as large as the two are on average, plus
// 1 − IoU. It is 0 of equal boxes, and doesn't change with the scale of the image.
//
// Sermanet et al. (2014) take "the sum of the distance between centers of the two
// bounding boxes and the intersection area of the boxes", without units or scale; since
// the least score merges, the overlap can only count against it.
func MatchScore(a, b [4]float64) float64 {
	dx, dy := (a[0]+a[2]-b[0]-b[2])/2, (a[1]+a[3]-b[1]-b[3])/2
	return math.Hypot(dx, dy)/math.Sqrt((area(a)+area(b))/2) + 1 - metrics.IoU(a, b)
}

// merged is a box and the windows that it came from, by index.
type merged struct {
	box     corners
	windows []int
}

// merge merges boxes greedily (Sermanet et al. 2014): while the two that match best do so
// with a score below the threshold, the average of their corners replaces them. Of equal
// scores the pair that comes first counts. Boxes must be usable.
//
// Each box keeps its best partner among those behind it, so that a step compares one box
// with the others, not all with all.
func merge(boxes []merged, threshold float64) []merged {
	m := merger{boxes: append([]merged(nil), boxes...), partner: make([]int, len(boxes)), score: make([]float64, len(boxes))}
	for i := range m.boxes {
		m.match(i)
	}
	for {
		i := -1
		for k := range m.boxes {
			if m.partner[k] >= 0 && (i < 0 || m.score[k] < m.score[i]) {
				i = k
			}
		}
		if i < 0 || !(m.score[i] < threshold) {
			break
		}
		m.join(i, m.partner[i])
	}
	var left []merged
	for _, b := range m.boxes {
		if b.windows != nil {
			left = append(left, b)
		}
	}
	return left
}

type merger struct {
	boxes   []merged  // one without windows is gone
	partner []int     // of each box, the best behind it; -1: none
	score   []float64 // of the two
}

// match finds box i's partner.
func (m *merger) match(i int) {
	m.partner[i] = -1
	if m.boxes[i].windows == nil {
		return
	}
	for j := i + 1; j < len(m.boxes); j++ {
		m.offer(i, j)
	}
}

// offer makes j the partner of i, if both are there and match better than i with its own.
func (m *merger) offer(i, j int) {
	if m.boxes[i].windows == nil || m.boxes[j].windows == nil {
		return
	}
	if s := MatchScore(m.boxes[i].box, m.boxes[j].box); m.partner[i] < 0 || s < m.score[i] || s == m.score[i] && j < m.partner[i] {
		m.partner[i], m.score[i] = j, s
	}
}

// join replaces boxes i and j, i < j, by their average, in i's place.
func (m *merger) join(i, j int) {
	a, b := &m.boxes[i], &m.boxes[j]
	for k := range a.box {
		a.box[k] = (a.box[k] + b.box[k]) / 2
	}
	a.windows = append(append([]int(nil), a.windows...), b.windows...)
	b.windows = nil
	m.match(i)
	m.partner[j] = -1
	for k := range j {
		switch {
		case k == i:
		case m.partner[k] == i || m.partner[k] == j:
			m.match(k)
		case k < i:
			m.offer(k, i)
		}
	}
}
