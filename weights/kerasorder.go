package weights

import (
	"strings"
)

// compareUnordered orders the layers of a file that doesn't give their order:
// convolutions, then layers with vectors alone, then fully connected layers. Within each
// kind it orders them by name, as compareNatural does.
func compareUnordered(a, b kerasGroup) int {
	rank := func(g kerasGroup) int {
		most := 0
		for _, t := range g.tensors {
			most = max(most, len(t.data.Shape))
		}
		switch {
		case most > 2:
			return 0
		case most < 2:
			return 1
		}
		return 2
	}
	if d := rank(a) - rank(b); d != 0 {
		return d
	}
	return compareNatural(a.stored, b.stored)
}

// compareNatural compares texts, and the numbers in them by value: conv2d, conv2d_2,
// conv2d_10.
func compareNatural(a, b string) int {
	digits := func(s string) int {
		n := 0
		for n < len(s) && '0' <= s[n] && s[n] <= '9' {
			n++
		}
		return n
	}
	for a != "" && b != "" {
		i, j := digits(a), digits(b)
		if i > 0 && j > 0 {
			x, y := strings.TrimLeft(a[:i], "0"), strings.TrimLeft(b[:j], "0")
			if len(x) != len(y) {
				return len(x) - len(y)
			}
			if x != y {
				return strings.Compare(x, y)
			}
			a, b = a[i:], b[j:]
			continue
		}
		if a[0] != b[0] {
			return int(a[0]) - int(b[0])
		}
		a, b = a[1:], b[1:]
	}
	return len(a) - len(b)
}
