package dataset

import (
	"fmt"
	"slices"
)

// LabelsOf returns the classes of sample i, ascending: its one class, or with
// Dataset.MultiLabel any number of them. The caller must not change them.
func (d *Dataset) LabelsOf(i int) []int {
	s := &d.Samples[i]
	if d.MultiLabel {
		return s.Labels
	}
	return []int{s.Label}
}

// AsMultiLabel returns d with each image's class as the only one of its labels; a dataset
// of several labels as it is. Images whose classes are those of their boxes have the classes
// of all of them, apart from boxes that are marked difficult.
func (d *Dataset) AsMultiLabel() *Dataset {
	if d.MultiLabel {
		return d
	}
	if d.boxes != nil {
		return d.labelsOfBoxes()
	}
	out := *d
	out.MultiLabel = true
	out.Samples = slices.Clone(d.Samples)
	for i := range out.Samples {
		out.Samples[i].Labels = []int{out.Samples[i].Label}
	}
	return &out
}

// setMultiLabel makes d a dataset of several labels, those of its samples, which it sorts.
// Each sample's Label becomes the first, or 0 of none.
func (d *Dataset) setMultiLabel() error {
	d.MultiLabel = true
	for i := range d.Samples {
		s := &d.Samples[i]
		if s.Labels == nil {
			return fmt.Errorf("%s: no list of labels, want one, if an empty one, as other images have it", s.Name)
		}
		s.Labels = slices.Sorted(slices.Values(s.Labels))
		for j, label := range s.Labels {
			if label < 0 || label >= len(d.Classes) {
				return fmt.Errorf("%s: label %d, want 0 to %d", s.Name, label, len(d.Classes)-1)
			}
			if j > 0 && label == s.Labels[j-1] {
				return fmt.Errorf("%s: label %s is given twice", s.Name, d.Classes[label])
			}
		}
		s.Label = 0
		if len(s.Labels) > 0 {
			s.Label = s.Labels[0]
		} else {
			s.Labels = []int{}
		}
	}
	return nil
}

// strata returns the samples by class. A sample of several labels is in the list of the
// rarest of them, the first of equally rare ones, so that splits by class share the rare
// labels out; one of none is in a list of its own kind, the last.
func (d *Dataset) strata() [][]int {
	counts := d.Counts()
	lists := make([][]int, len(d.Classes)+1)
	for i := range d.Samples {
		rarest := len(d.Classes)
		for _, label := range d.LabelsOf(i) {
			if rarest == len(d.Classes) || counts[label] < counts[rarest] {
				rarest = label
			}
		}
		lists[rarest] = append(lists[rarest], i)
	}
	return lists
}
