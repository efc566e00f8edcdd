package comm

// Tree is a number of leaves, all of one length, and stands for the fixed binary tree in
// which they are summed: the sum over leaves lo … hi−1 is the sum over the first half,
// ⌊(hi−lo)/2⌋ of them, plus the sum over the rest. Rounding makes a sum depend on its
// order. This order depends only on the number of leaves, not on how ranks share them.
type Tree int

// Span is the leaves Lo … Hi−1.
type Span struct{ Lo, Hi int }

func (s Span) leaf() bool { return s.Hi-s.Lo == 1 }

// halves are the two nodes below a node of the tree.
func (s Span) halves() (a, b Span) {
	mid := s.Lo + (s.Hi-s.Lo)/2
	return Span{s.Lo, mid}, Span{mid, s.Hi}
}

func (t Tree) root() Span { return Span{0, int(t)} }

// Share returns the leaves of a rank, which are consecutive. The ranks' numbers of leaves
// differ by at most one.
func (t Tree) Share(rank, size int) Span {
	return Span{rank * int(t) / size, (rank + 1) * int(t) / size}
}

// Spans lists the largest nodes of the tree that s consists of, in order: the sums that can
// be formed from the leaves in s alone. It is one node if s is a node itself, and never
// more than twice the tree's depth.
func (t Tree) Spans(s Span) []Span {
	var spans []Span
	var visit func(node Span)
	visit = func(node Span) {
		switch {
		case node.Hi <= s.Lo || s.Hi <= node.Lo:
		case s.Lo <= node.Lo && node.Hi <= s.Hi:
			spans = append(spans, node)
		default:
			a, b := node.halves()
			visit(a)
			visit(b)
		}
	}
	if s.Lo < s.Hi {
		visit(t.root())
	}
	return spans
}

// Sum forms the sums over [Tree.Spans] of s from its leaves, one leaf after another, by
// calls of two functions: leaf starts a new sum with the values of leaf i, and fold adds
// the last sum to the one before it and drops the last. There are never more than
// [Tree.Sums] sums. It returns the first error of leaf or fold.
func (t Tree) Sum(s Span, leaf func(i int) error, fold func() error) error {
	var visit func(node Span) error
	visit = func(node Span) error {
		if node.leaf() {
			return leaf(node.Lo)
		}
		a, b := node.halves()
		if err := visit(a); err != nil {
			return err
		}
		if err := visit(b); err != nil {
			return err
		}
		return fold()
	}
	for _, node := range t.Spans(s) {
		if err := visit(node); err != nil {
			return err
		}
	}
	return nil
}

// Sums returns the largest number of sums that [Tree.Sum] has at a time.
func (t Tree) Sums(s Span) int {
	most, n := 0, 0
	t.Sum(s, func(int) error { n++; most = max(most, n); return nil }, func() error { n--; return nil })
	return most
}
