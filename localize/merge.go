package localize

import (
	"math"

	"github.com/verydeep/vgg/metrics"
)

const (
	// MergeThreshold is the default match score from which on boxes are not merged.
	MergeThreshold = 0.8
	// NoMerge is the [Locator].Threshold with which no boxes are merged.
	NoMerge = -1.0
)

// MatchScore returns how far apart two boxes are: the distance between their centres, in
// units of the side of a square of their mean area, plus 1 − IoU. It is 0 for equal boxes, and
// doesn't change with the scale of the image.
//
// Deviation: Sermanet et al. (2014) take "the sum of the distance between centers of the two
// bounding boxes and the intersection area of the boxes", without units or scale. As the
// lowest score is merged first, a larger overlap must lower the score.
func MatchScore(a, b [4]float64) float64 {
	dx, dy := (a[0]+a[2]-b[0]-b[2])/2, (a[1]+a[3]-b[1]-b[3])/2
	return math.Hypot(dx, dy)/math.Sqrt((area(a)+area(b))/2) + 1 - metrics.IoU(a, b)
}

// merged is a box and the indices of the windows that it comes from.
type merged struct {
	box     corners
	windows []int
}

// merge merges boxes greedily (Sermanet et al. 2014): as long as the lowest match score of
// two boxes is below the threshold, the mean of their corners replaces the two. Of equal scores
// the first pair is merged. All boxes must be usable.
//
// Each box keeps its best partner among the later ones, so that a step compares one box with
// the others rather than all with all.
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
	boxes   []merged  // a box without windows has been merged into another
	partner []int     // of each box, the best match among the later ones; −1: none
	score   []float64 // of box and partner
}

// match finds the partner of box i.
func (m *merger) match(i int) {
	m.partner[i] = -1
	if m.boxes[i].windows == nil {
		return
	}
	for j := i + 1; j < len(m.boxes); j++ {
		m.offer(i, j)
	}
}

// offer makes j the partner of i if they match better than i and its present partner.
func (m *merger) offer(i, j int) {
	if m.boxes[i].windows == nil || m.boxes[j].windows == nil {
		return
	}
	if s := MatchScore(m.boxes[i].box, m.boxes[j].box); m.partner[i] < 0 || s < m.score[i] || s == m.score[i] && j < m.partner[i] {
		m.partner[i], m.score[i] = j, s
	}
}

// join replaces box i by the mean of boxes i and j, i < j, and removes box j.
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
