package main

import (
	"fmt"
	"strings"
)

// gp is a general register, vec a vector register of 128 bits.
type (
	gp  int
	vec int
)

// lanes is the number of float32 in a vector.
const (
	lanes         = 4
	width         = 16 // bytes of a vector
	block         = 64 // bytes of a channel block: 16 float32
	blockVectors  = block / width
	blockChannels = 16
	rgbChannels   = 3
	vectors       = 32 // vector registers
)

// generals are the registers that a function may use: R18 belongs to the system, R26 to
// closures, R27 to the assembler, R28 to R30 to Go.
var generals = []gp{0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15, 16, 17, 19, 20, 21, 22, 23, 24, 25}

// file collects the functions of an assembly file and their declarations in Go.
type file struct{ code, stubs, data strings.Builder }

// function is one function under construction.
type function struct {
	file      *file
	name      string
	signature string
	doc       string
	frame     int // bytes of locals
	params    map[string]int
	arguments int // bytes
	used      int // of generals
	lines     []string
}

// text begins a function of the given signature, "(n int, x *float32)"; its pointers don't
// escape.
func (f *file) text(name, signature, doc string) *function {
	fn := &function{file: f, name: name, signature: signature, doc: doc, params: map[string]int{}}
	// Types stand at the end of a group of names; sizes follow from them.
	groups := strings.Split(strings.Trim(signature, "()"), ", ")
	kind := ""
	kinds := make([]string, len(groups))
	for i := len(groups) - 1; i >= 0; i-- {
		if fields := strings.Fields(groups[i]); len(fields) == 2 {
			kind = fields[1]
		}
		kinds[i] = kind
	}
	for i, group := range groups {
		size := 8
		if kinds[i] == "float32" {
			size = 4
		}
		fn.arguments = (fn.arguments + size - 1) / size * size
		fn.params[strings.Fields(group)[0]] = fn.arguments
		fn.arguments += size
	}
	return fn
}

// op writes an instruction.
func (f *function) op(format string, args ...any) {
	f.lines = append(f.lines, "\t"+fmt.Sprintf(format, args...))
}

// label writes a label; branches to it come from branch.
func (f *function) label(name string) { f.lines = append(f.lines, name+":") }

// general returns an unused register.
func (f *function) general() gp {
	if f.used == len(generals) {
		panic(f.name + ": too few registers")
	}
	f.used++
	return generals[f.used-1]
}

// param loads a parameter into a register.
func (f *function) param(name string) gp {
	r := f.general()
	f.op("MOVD %s, %v", f.argument(name), r)
	return r
}

// stride loads a parameter that counts floats, as bytes.
func (f *function) stride(name string) gp {
	r := f.param(name)
	f.op("LSL $2, %v, %[1]v", r)
	return r
}

func (f *function) argument(name string) string {
	at, ok := f.params[name]
	if !ok {
		panic(f.name + " has no parameter " + name)
	}
	return fmt.Sprintf("%s+%d(FP)", name, at)
}

// broadcast loads a float32 parameter into all lanes.
func (f *function) broadcast(name string, d vec) {
	f.op("FMOVS %s, F%d", f.argument(name), d)
	f.op("VDUP V%d.S[0], V%[1]d.S4", d)
}

// loop repeats body as often as the register counts, which is at least once.
func (f *function) loop(name string, count gp, body func()) {
	f.label(name)
	body()
	f.op("SUBS $1, %v, %[1]v", count)
	f.op("BNE %s", name)
}

// advance adds bytes to pointers.
func (f *function) advance(bytes int, pointers ...gp) {
	for _, p := range pointers {
		switch {
		case bytes > 0:
			f.op("ADD $%d, %v, %[2]v", bytes, p)
		case bytes < 0:
			f.op("SUB $%d, %v, %[2]v", -bytes, p)
		}
	}
}

// end finishes the function.
func (f *function) end() {
	f.op("RET")
	fmt.Fprintf(&f.file.code, "\n// func %s%s\nTEXT ·%[1]s(SB), %[3]s, $%[4]d-%[5]d\n", f.name, f.signature, f.flags(), f.frame, f.arguments)
	f.file.code.WriteString(strings.Join(f.lines, "\n") + "\n")
	fmt.Fprintf(&f.file.stubs, "\n// %s\n//\n//go:noescape\nfunc %s%s\n", f.doc, f.name, f.signature)
}

func (f *function) flags() string {
	if f.frame > 0 {
		return "0" // Go checks the stack
	}
	return "NOSPLIT"
}

// table declares read-only words and returns the symbol.
func (f *file) table(name string, words []uint32) string {
	for i, w := range words {
		fmt.Fprintf(&f.data, "DATA %s<>+%d(SB)/4, $0x%08x\n", name, 4*i, w)
	}
	fmt.Fprintf(&f.data, "GLOBL %s<>(SB), RODATA|NOPTR, $%d\n\n", name, 4*len(words))
	return name
}

func (r gp) String() string { return fmt.Sprintf("R%d", int(r)) }

// Loads and stores of whole vectors.
func (f *function) load(d vec, base gp, offset int) { f.op("FMOVQ %d(%v), F%d", offset, base, d) }
func (f *function) store(s vec, base gp, offset int) {
	f.op("FMOVQ F%d, %d(%v)", s, offset, base)
}
func (f *function) loadPair(d, e vec, base gp, offset int) {
	f.op("FLDPQ %d(%v), (F%d, F%d)", offset, base, d, e)
}
func (f *function) storePair(s, t vec, base gp, offset int) {
	f.op("FSTPQ (F%d, F%d), %d(%v)", s, t, offset, base)
}

// loadBlock loads as many vectors as there are registers, from offset on.
func (f *function) loadBlock(base gp, offset int, regs ...vec) {
	for i := 0; i+1 < len(regs); i += 2 {
		f.loadPair(regs[i], regs[i+1], base, offset+i*width)
	}
	if n := len(regs); n%2 == 1 {
		f.load(regs[n-1], base, offset+(n-1)*width)
	}
}

// storeBlock is the inverse of loadBlock.
func (f *function) storeBlock(base gp, offset int, regs ...vec) {
	for i := 0; i+1 < len(regs); i += 2 {
		f.storePair(regs[i], regs[i+1], base, offset+i*width)
	}
	if n := len(regs); n%2 == 1 {
		f.store(regs[n-1], base, offset+(n-1)*width)
	}
}

func (f *function) zero(regs ...vec) {
	for _, r := range regs {
		f.op("VEOR V%d.B16, V%[1]d.B16, V%[1]d.B16", r)
	}
}

func (f *function) move(s, d vec) { f.op("VMOV V%d.B16, V%d.B16", s, d) }
func (f *function) and(a, b, d vec) {
	f.op("VAND V%d.B16, V%d.B16, V%d.B16", a, b, d)
}

// span returns n registers from first on.
func span(first, n int) []vec {
	s := make([]vec, n)
	for i := range s {
		s[i] = vec(first + i)
	}
	return s
}
