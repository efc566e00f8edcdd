package main

import (
	"fmt"
	"math"
	"slices"
)

// value is a vector without a place yet.
type value int

// code is straight-line code on values. Its methods record; emit gives each value a
// register, from its definition to its last use, and writes the instructions. Where registers
// run out, the value that is needed last gives its place up and comes back from the stack, or
// from where it was loaded.
type code struct {
	f         *function
	steps     []step
	values    int
	constants []float64 // multipliers, four to a register
	pinned    int       // registers from 31 down that keep what they hold
	stack     gp        // the address of values that have no register
	slots     int       // of the stack
}

// newCode begins code of a function.
func newCode(f *function) *code { return &code{f: f, stack: f.general()} }

// step is an instruction: dst = f(sources), or no dst. Where inPlace is set it writes to
// the register of its first source. A step that can be repeated at any time gives its dst anew.
type step struct {
	dst        value
	sources    []value
	inPlace    bool
	repeatable bool
	write      func(d vec, s []vec)
}

const none value = -1

func (c *code) record(sources []value, inPlace bool, write func(d vec, s []vec)) value {
	c.values++
	d := value(c.values - 1)
	c.steps = append(c.steps, step{dst: d, sources: sources, inPlace: inPlace, write: write})
	return d
}

// do records instructions of general registers.
func (c *code) do(write func()) {
	c.steps = append(c.steps, step{dst: none, write: func(vec, []vec) { write() }})
}

// pin keeps a register for the whole function.
func (c *code) pin() vec {
	c.pinned++
	return vec(vectors - c.pinned)
}

// load loads by a base that the code doesn't change.
func (c *code) load(base gp, offset int) value {
	v := c.loadMoving(base, offset)
	c.steps[len(c.steps)-1].repeatable = true
	return v
}

func (c *code) loadMoving(base gp, offset int) value {
	return c.record(nil, false, func(d vec, _ []vec) { c.f.load(d, base, offset) })
}

func (c *code) loadAt(base, index gp) value {
	return c.record(nil, false, func(d vec, _ []vec) { c.f.loadAt(d, base, index) })
}

func (c *code) use(write func(s []vec), sources ...value) {
	c.steps = append(c.steps, step{dst: none, sources: sources, write: func(_ vec, s []vec) { write(s) }})
}

func (c *code) store(v value, base gp, offset int) {
	c.use(func(s []vec) { c.f.store(s[0], base, offset) }, v)
}

func (c *code) storeAt(v value, base, index gp) {
	c.use(func(s []vec) { c.f.storeAt(s[0], base, index) }, v)
}

func (c *code) three(name string, a, b value) value {
	return c.record([]value{a, b}, false, func(d vec, s []vec) { c.f.do3(name, d, s[0], s[1]) })
}

// Add, Sub, Mad, MadInto and Scale make code the arithmetic of the transforms.
func (c *code) Add(a, b value) value { return c.three("fadd", a, b) }
func (c *code) Sub(a, b value) value { return c.three("fsub", a, b) }
func (c *code) Mad(a value, k float64, b value) value {
	c.constant(math.Abs(k))
	name := "fmla"
	if k < 0 {
		name = "fmls"
	}
	return c.record([]value{a, b}, true, func(d vec, s []vec) { c.f.lane(name, d, s[1], c.constant(math.Abs(k))) })
}
func (c *code) MadInto(a value, k float64, b value) value { return c.Mad(a, k, b) }
func (c *code) Scale(k float64, a value) value {
	c.constant(k)
	return c.record([]value{a}, false, func(d vec, s []vec) { c.f.lane("fmul", d, s[0], c.constant(k)) })
}

// positive is the mask of where a is greater than zero.
func (c *code) positive(a value) value {
	return c.record([]value{a}, false, func(d vec, s []vec) { c.f.do2("fcmgt", d, s[0]) })
}

// larger is a where a > b, else b, as [function.larger].
func (c *code) larger(a, b value) value {
	return c.record([]value{b, a, c.three("fcmgt", a, b)}, true, func(d vec, s []vec) { c.f.do3("bit", d, s[1], s[2]) })
}

// atLeast is lo where lo > a, else a.
func (c *code) atLeast(a value, lo vec) value {
	mask := c.record([]value{a}, false, func(d vec, s []vec) { c.f.do3("fcmgt", d, lo, s[0]) })
	return c.record([]value{a, mask}, true, func(d vec, s []vec) { c.f.do3("bit", d, lo, s[1]) })
}

// constant is the place of a multiplier.
func (c *code) constant(k float64) element {
	i := slices.Index(c.constants, k)
	if i < 0 {
		i = len(c.constants)
		c.constants = append(c.constants, k)
	}
	return element{vec(vectors - 1 - c.pinned - i/lanes), i % lanes}
}

// loadConstants loads the multipliers; the code must be complete, and at is where in the
// function's lines the loads go.
func (c *code) loadConstants(at int) {
	if len(c.constants) == 0 {
		return
	}
	words := make([]uint32, (len(c.constants)+lanes-1)/lanes*lanes)
	for i, k := range c.constants {
		words[i] = math.Float32bits(float32(k))
	}
	table := c.f.file.table(c.f.name+"Const", words)
	after := slices.Clone(c.f.lines[at:])
	c.f.lines = c.f.lines[:at]
	c.f.op("MOVD $%s<>(SB), R25", table)
	for i := 0; i < len(words); i += lanes {
		c.f.load(c.constant(c.constants[i]).reg, 25, 4*i)
	}
	c.f.lines = append(c.f.lines, after...)
}

// emit writes the code.
func (c *code) emit() {
	uses := make([][]int, c.values) // the steps that are still to read a value
	for i, s := range c.steps {
		for j, v := range s.sources {
			if !slices.Contains(s.sources[:j], v) {
				uses[v] = append(uses[v], i)
			}
		}
	}
	var free []vec
	for r := vectors - 1 - c.pinned - (len(c.constants)+lanes-1)/lanes; r >= 0; r-- {
		free = append(free, vec(r))
	}
	var freeSlots []int
	const nowhere = -1
	place, slot, origin := make([]vec, c.values), make([]int, c.values), make([]int, c.values)
	for v := range place {
		place[v], slot[v] = nowhere, nowhere
	}
	var held []value // that have registers
	leave := func(v value) vec {
		r := place[v]
		place[v] = nowhere
		held = slices.DeleteFunc(held, func(h value) bool { return h == v })
		return r
	}
	// take returns a register for v, which need not be one of those that the step reads.
	take := func(v value, reads []value) vec {
		if len(free) == 0 {
			furthest := none
			for _, h := range held {
				if !slices.Contains(reads, h) && (furthest == none || uses[h][0] > uses[furthest][0]) {
					furthest = h
				}
			}
			if furthest == none {
				panic(fmt.Sprint(c.f.name, ": too few vector registers"))
			}
			if slot[furthest] == nowhere && !c.steps[origin[furthest]].repeatable {
				if len(freeSlots) == 0 {
					freeSlots = append(freeSlots, c.slots)
					c.slots++
				}
				slot[furthest] = freeSlots[len(freeSlots)-1]
				freeSlots = freeSlots[:len(freeSlots)-1]
				c.f.store(place[furthest], c.stack, slot[furthest]*width)
			}
			free = append(free, leave(furthest))
		}
		r := free[len(free)-1]
		free = free[:len(free)-1]
		place[v] = r
		held = append(held, v)
		return r
	}
	end := func(v value) {
		free = append(free, leave(v))
		if slot[v] != nowhere {
			freeSlots = append(freeSlots, slot[v])
		}
	}
	for i, s := range c.steps {
		regs := make([]vec, len(s.sources))
		for _, v := range s.sources {
			switch {
			case place[v] != nowhere:
			case slot[v] != nowhere:
				c.f.load(take(v, s.sources), c.stack, slot[v]*width)
			default:
				c.steps[origin[v]].write(take(v, s.sources), nil)
			}
		}
		for j, v := range s.sources {
			regs[j] = place[v]
			if len(uses[v]) > 0 && uses[v][0] == i {
				uses[v] = uses[v][1:]
			}
		}
		ends := func(v value) bool { return len(uses[v]) == 0 }
		copied := s.inPlace && !(ends(s.sources[0]) && !slices.Contains(s.sources[1:], s.sources[0]))
		if copied { // before the others are freed: the copy comes first
			c.f.move(regs[0], take(s.dst, s.sources))
		}
		for j, v := range s.sources {
			if ends(v) && !slices.Contains(s.sources[:j], v) {
				end(v)
			}
		}
		var d vec
		if s.dst != none {
			if !copied {
				// The first source's register was freed first, others may lie on it.
				if s.inPlace {
					at := slices.Index(free, regs[0])
					free = append(slices.Delete(free, at, at+1), regs[0])
				}
				var reads []value
				for _, v := range s.sources {
					if place[v] != nowhere {
						reads = append(reads, v)
					}
				}
				take(s.dst, reads)
			}
			d, origin[s.dst] = place[s.dst], i
		}
		s.write(d, regs)
		if s.dst != none && ends(s.dst) {
			end(s.dst)
		}
	}
}

// loadStack sets the address of the stack's values, if there are any, where loadConstants loads.
// They are aligned, as one in four would lie on two cache lines.
func (c *code) loadStack(at int) {
	if c.slots == 0 {
		return
	}
	c.f.frame = (c.slots + 1) * width
	after := slices.Clone(c.f.lines[at:])
	c.f.lines = c.f.lines[:at]
	c.f.op("MOVD $tmp-%d(SP), %v", c.f.frame, c.stack)
	c.f.op("ADD $%d, %v, %[2]v", width-1, c.stack)
	c.f.op("AND $~%d, %v, %[2]v", width-1, c.stack)
	c.f.lines = append(c.f.lines, after...)
}
