package transfer

import (
	"fmt"
	"math"
	"math/bits"
	"math/rand/v2"
	"slices"
)

// Split lists rows to train on and rows to test on, both ascending.
type Split struct{ Train, Test []int }

// Readable returns the rows that have descriptors.
func (d *Descriptors) Readable() []int {
	var rows []int
	for r, row := range d.Rows {
		if row.Error == "" {
			rows = append(rows, r)
		}
	}
	return rows
}

// HasParts reports whether the set is divided into parts.
func (d *Descriptors) HasParts() bool {
	return slices.ContainsFunc(d.Rows, func(r Row) bool { return r.Part != "" })
}

// Parts returns the set's own split: train and val against test or, without test images, train
// against val.
func (d *Descriptors) Parts() (Split, error) {
	tested := partVal
	if slices.ContainsFunc(d.Rows, func(r Row) bool { return r.Part == partTest }) {
		tested = partTest
	}
	var s Split
	for _, r := range d.Readable() {
		switch part := d.Rows[r].Part; {
		case part == tested:
			s.Test = append(s.Test, r)
		case part != "":
			s.Train = append(s.Train, r)
		}
	}
	if len(s.Train) == 0 || len(s.Test) == 0 {
		return s, fmt.Errorf("transfer: %s: %d images to train on and %d to test on, want parts train and val or test", d.Header.Data.Name, len(s.Train), len(s.Test))
	}
	return s, nil
}

// RandomSplit draws train images of each class to train on and up to test others to test on;
// test 0: all others. The paper has 30 and 50 for Caltech-101, 60 and all others for Caltech-256
// (appendix B). The split is a function of the seed and its number.
func (d *Descriptors) RandomSplit(train, test int, seed uint64, number int) (Split, error) {
	if d.Header.Layout != oneClass {
		return Split{}, fmt.Errorf("transfer: %s: random splits are of images that have one class each", d.Header.Data.Name)
	}
	if train < 1 || test < 0 {
		return Split{}, fmt.Errorf("transfer: %d training and %d test images a class, want at least 1 and 0", train, test)
	}
	var s Split
	for class, rows := range d.byClass(d.Readable()) {
		shuffle(rows, seed, uint64(number), uint64(class))
		if len(rows) <= train {
			return s, fmt.Errorf("transfer: %s: class %s: %d images, want more than the %d to train on", d.Header.Data.Name, d.Header.Data.Classes[class], len(rows), train)
		}
		s.Train = append(s.Train, rows[:train]...)
		rest := rows[train:]
		if test > 0 {
			rest = rest[:min(test, len(rest))]
		}
		s.Test = append(s.Test, rest...)
	}
	slices.Sort(s.Train)
	slices.Sort(s.Test)
	return s, nil
}

// SmallestClass returns the number of readable images of the class that has the fewest.
func (d *Descriptors) SmallestClass() int {
	least := len(d.Rows)
	for _, rows := range d.byClass(d.Readable()) {
		least = min(least, len(rows))
	}
	return least
}

// byClass returns the rows of each class, by the first class of a row.
func (d *Descriptors) byClass(rows []int) [][]int {
	groups := make([][]int, len(d.Header.Data.Classes))
	for _, r := range rows {
		if labels := d.Rows[r].Labels; len(labels) > 0 {
			groups[labels[0]] = append(groups[labels[0]], r)
		}
	}
	return groups
}

// byRarest returns the rows of each class, and after them those without a class. An image with
// several classes counts with its rarest.
func (d *Descriptors) byRarest(rows []int) [][]int {
	classes := len(d.Header.Data.Classes)
	count := make([]int, classes)
	for _, r := range rows {
		for _, c := range d.Rows[r].Labels {
			count[c]++
		}
	}
	groups := make([][]int, classes+1) // the last: no class
	for _, r := range rows {
		rarest := classes
		for _, c := range d.Rows[r].Labels {
			if rarest == classes || count[c] < count[rarest] {
				rarest = c
			}
		}
		groups[rarest] = append(groups[rarest], r)
	}
	return groups
}

// holdOut splits off a share of the rows of each class for validation: at least one row, and
// never all. An image with several classes counts with its rarest.
func (d *Descriptors) holdOut(rows []int, share float64, seed uint64) Split {
	var s Split
	for c, group := range d.byRarest(rows) {
		shuffle(group, seed, 1<<32, uint64(c))
		n := max(1, int(math.Round(share*float64(len(group)))))
		n = max(0, min(n, len(group)-1))
		s.Test = append(s.Test, group[:n]...)
		s.Train = append(s.Train, group[n:]...)
	}
	slices.Sort(s.Train)
	slices.Sort(s.Test)
	return s
}

// shuffle permutes rows. The permutation is a function of seed, use and class.
func shuffle(rows []int, seed, use, class uint64) {
	rng := rand.NewPCG(seed, use<<20^class)
	for i := len(rows) - 1; i > 0; i-- {
		j, _ := bits.Mul64(rng.Uint64(), uint64(i+1))
		rows[i], rows[j] = rows[j], rows[i]
	}
}
