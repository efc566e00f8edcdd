package eval

import (
	"errors"
	"fmt"
	"slices"
	"strings"
	"unicode"

	"github.com/verydeep/vgg"
	"github.com/verydeep/vgg/dataset"
)

// MatchClasses returns, for each of the set's classes, the index of the model's class of
// the same name or, of ImageNet's classes, of the same synset. A class that the model
// lacks, or has twice, is an error.
func MatchClasses(m *vgg.Model, data *dataset.Dataset) ([]int, error) {
	if m == nil {
		return nil, fmt.Errorf("eval: %w", vgg.ErrNoNetwork)
	}
	if data == nil {
		return nil, errors.New("eval: a nil data set, want one that dataset.Open returns")
	}
	return matchClasses(data.Name, data.Classes, classesFor(m.Classes, data))
}

// matchClasses is [MatchClasses] for the class names of a set and of a model.
func matchClasses(name string, set, classes []string) ([]int, error) {
	index := map[string]int{}
	twice := map[string]bool{}
	for i, c := range classes {
		if _, ok := index[c]; ok {
			twice[c] = true
		}
		index[c] = i
	}
	if slices.Equal(classes, vgg.ImageNetClasses()) { // data sets name them by their synsets
		for i, c := range vgg.ImageNetSynsets() {
			index[c] = i
		}
	}
	labels := make([]int, len(set))
	var unknown []string
	for i, c := range set {
		at, ok := index[c]
		switch {
		case !ok:
			unknown = append(unknown, c)
		case twice[c]:
			return nil, fmt.Errorf("eval: %s: class %q: the weights have several classes of this name, want one", name, c)
		}
		labels[i] = at
	}
	if len(unknown) > 0 {
		return nil, unknownClasses(name, len(set), unknown, classes)
	}
	return labels, nil
}

// unknownClasses returns the error of a set's classes that the weights have no class of the
// same name for, with the names that may be meant.
func unknownClasses(name string, n int, unknown, classes []string) error {
	const most = 10
	var list []string
	for _, c := range unknown[:min(most, len(unknown))] {
		text := fmt.Sprintf("%q", c)
		if like := alike(c, classes); like != "" {
			text += fmt.Sprintf(" (perhaps their %q)", like)
		}
		list = append(list, text)
	}
	if more := len(unknown) - most; more > 0 {
		list = append(list, fmt.Sprintf("and %d more", more))
	}
	return fmt.Errorf("eval: %s: %d of %d classes: the weights know no class %s; want one of their %d: %s, given in a file of lines \"data class,network class\" (--map)",
		name, len(unknown), n, strings.Join(list, ", "), len(classes), some(classes))
}

// alike returns the class whose name differs from a name in case, blanks and punctuation, or
// in a number before it, alone; "" if there is none.
func alike(name string, classes []string) string {
	for _, plain := range []func(string) string{plainName, func(s string) string { return strings.TrimLeft(plainName(s), "0123456789") }} {
		for _, c := range classes {
			if p := plain(name); p != "" && p == plain(c) {
				return c
			}
		}
	}
	return ""
}

// plainName returns the letters and digits of a name in lower case.
func plainName(name string) string {
	return strings.Map(func(r rune) rune {
		if !unicode.IsLetter(r) && !unicode.IsDigit(r) {
			return -1
		}
		return unicode.ToLower(r)
	}, name)
}

// sameNames returns an error that names the first class in which two networks differ,
// whatever their order.
func sameNames(got, want []string) error {
	if len(got) != len(want) {
		return fmt.Errorf("%d classes, want %d", len(got), len(want))
	}
	_, err := permutation(got, want)
	return err
}

// permutation returns, for each class of want, its index in got; nil for the same order.
func permutation(got, want []string) ([]int, error) {
	if slices.Equal(got, want) {
		return nil, nil
	}
	index := map[string]int{}
	for i, c := range got {
		index[c] = i
	}
	order := make([]int, len(want))
	for i, c := range want {
		at, ok := index[c]
		if !ok || len(index) != len(want) {
			return nil, fmt.Errorf("no class %q, want the same classes", c)
		}
		order[i] = at
	}
	return order, nil
}

// reorder returns p with its numbers in another order; a nil order leaves p as it is.
func reorder(p []float32, order []int) []float32 {
	if order == nil {
		return p
	}
	out := make([]float32, len(p))
	for i, at := range order {
		out[i] = p[at]
	}
	return out
}

// some lists the first few of many names.
func some(names []string) string {
	const most = 5
	text := ""
	for i, n := range names[:min(most, len(names))] {
		if i > 0 {
			text += ", "
		}
		text += n
	}
	if len(names) > most {
		text += fmt.Sprintf(" and %d more", len(names)-most)
	}
	return text
}

// classesFor returns a model's class names as the set spells them: ImageNet's classes by
// their synsets where the set's folders are named so.
func classesFor(classes []string, data *dataset.Dataset) []string {
	if !slices.Equal(classes, vgg.ImageNetClasses()) {
		return classes
	}
	synsets := vgg.ImageNetSynsets()
	for _, c := range data.Classes {
		if !slices.Contains(synsets, c) {
			return classes
		}
	}
	return synsets
}

// IsImageNet reports whether a set's classes are ILSVRC-2012's thousand, by their synsets
// or their names, in any order.
func IsImageNet(classes []string) bool {
	sorted := slices.Sorted(slices.Values(classes))
	return slices.Equal(sorted, slices.Sorted(slices.Values(vgg.ImageNetSynsets()))) ||
		slices.Equal(sorted, slices.Sorted(slices.Values(vgg.ImageNetClasses())))
}
