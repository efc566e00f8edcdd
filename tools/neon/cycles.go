package main

import (
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
)

// processors are llvm-mca's models, with the vector pipes that multiply in the real core.
var processors = []struct {
	name  string
	pipes int
}{
	{"neoverse-n1", 2}, {"neoverse-v1", 4}, {"neoverse-v2", 4},
	{"apple-m1", 3}, // LLVM's model is Cyclone's; an M1 has four
}

// loops are the inner loops that take the time. A tile is to reach a share of the pipes' peak of
// multiplications, a transform a share of the limit that the model allows.
var loops = []struct {
	function    string
	peak, limit float64
}{
	{"gemm6x16NEON", 0.9, 0}, {"gemm3x32NEON", 0.9, 0}, {"gemm1x32NEON", 0, 0}, {"rgbgemm6x16NEON", 0.7, 0}, {"wgrad4x16NEON", 0, 0.9}, {"rgbwgrad9x16NEON", 0, 0},
	{"winoInput6NEON", 0, 0.7}, {"winoOutput6NEON", 0, 0.7}, {"winoOutputPool6NEON", 0, 0.7}, {"winoGrad6NEON", 0, 0.7},
	{"winoInput4NEON", 0, 0.7}, {"winoOutput4NEON", 0, 0.7}, {"winoOutputPool4NEON", 0, 0.7}, {"winoGrad4NEON", 0, 0.7},
}

// kernels is the assembled code, disassembled: the words of each function.
type kernels struct {
	llvm
	functions map[string][]uint32
}

var (
	functionLine = regexp.MustCompile(`^TEXT kernel\.(\w+)\(SB\)`)
	codeLine     = regexp.MustCompile(`^\s+\S+:\d+\s+0x[0-9a-f]+\s+([0-9a-f]{8})\s`)
)

// assemble runs Go's assembler alone, which takes a moment.
func assemble(tools llvm, path string) (*kernels, error) {
	folder, err := os.MkdirTemp("", "neon")
	if err != nil {
		return nil, err
	}
	defer os.RemoveAll(folder)
	root, err := run(exec.Command("go", "env", "GOROOT"), "")
	if err != nil {
		return nil, err
	}
	object := filepath.Join(folder, "kernels.o")
	assembler := exec.Command("go", "tool", "asm", "-p", "kernel", "-I", filepath.Join(strings.TrimSpace(root), "pkg", "include"), "-o", object, path)
	assembler.Env = append(os.Environ(), "GOOS=linux", "GOARCH=arm64")
	if _, err := run(assembler, ""); err != nil {
		return nil, err
	}
	listing, err := run(exec.Command("go", "tool", "objdump", object), "")
	if err != nil {
		return nil, err
	}
	k := &kernels{tools, map[string][]uint32{}}
	name := ""
	for line := range strings.Lines(listing) {
		if m := functionLine.FindStringSubmatch(line); m != nil {
			name = m[1]
		} else if m := codeLine.FindStringSubmatch(line); m != nil {
			w, err := strconv.ParseUint(m[1], 16, 32)
			if err != nil {
				return nil, err
			}
			k.functions[name] = append(k.functions[name], uint32(w))
		}
	}
	return k, nil
}

// loop returns the inner loop of a function.
func (k *kernels) loop(function string) ([]string, error) {
	body, err := innerLoop(k.functions[function])
	if err != nil {
		return nil, fmt.Errorf("%s: %w", function, err)
	}
	var bytes strings.Builder
	for _, w := range body {
		fmt.Fprintf(&bytes, "0x%02x 0x%02x 0x%02x 0x%02x\n", byte(w), byte(w>>8), byte(w>>16), byte(w>>24))
	}
	listing, err := k.run(bytes.String(), "llvm-mc", "-triple=aarch64", "--disassemble")
	if err != nil {
		return nil, err
	}
	var lines []string
	for line := range strings.Lines(listing) {
		if line = strings.ReplaceAll(strings.TrimSpace(line), "\t", " "); line != "" && line[0] != '.' {
			lines = append(lines, line)
		}
	}
	if len(lines) != len(body) {
		return nil, fmt.Errorf("%s: LLVM reads %d instructions of %d", function, len(lines), len(body))
	}
	return lines, nil
}

// cycles prints the tables of docs/performance.md.
func cycles(tools llvm) error {
	k, err := assemble(tools, assembly)
	if err != nil {
		return err
	}
	fmt.Print("| loop | instructions | of vectors |")
	for _, p := range processors {
		fmt.Printf(" %s |", p.name)
	}
	fmt.Println("\n|---|--:|--:|" + strings.Repeat("--:|", len(processors)))
	for _, l := range loops {
		body, err := k.loop(l.function)
		if err != nil {
			return err
		}
		vector := 0
		for _, line := range body {
			if arithmetic.MatchString(line) {
				vector++
			}
		}
		fmt.Printf("| `%s` | %d | %d |", l.function, len(body), vector)
		for _, p := range processors {
			t, err := simulate(tools, p.name, body)
			if err != nil {
				return err
			}
			peak, limit := float64(vector)/float64(p.pipes)/t.cycles, t.limit/t.cycles
			mark := ""
			if peak < l.peak || limit < l.limit {
				mark = " (<)"
			}
			fmt.Printf(" %.1f; %.1f %s; %.0f %%; %.0f %%%s |", t.cycles, t.limit, t.by, 100*limit, 100*peak, mark)
		}
		fmt.Println()
	}
	return nil
}

// arithmetic is an instruction that takes a vector pipe.
var arithmetic = regexp.MustCompile(`^(f(mla|mls|mul|add|sub|cmgt|cmlt|cmeq)|bit|bif|bic|and|orr|eor|mov)\s+v`)

// innerLoop returns the longest loop without another in it, by its backward B.NE.
func innerLoop(words []uint32) ([]uint32, error) {
	var best []uint32
	begin := 0 // of the code since the last backward branch
	for i, w := range words {
		if w&0xff00001f != 0x54000001 {
			continue
		}
		to := i + int(int32(w<<8)>>13) // 19 bits with their sign, in words
		if to >= i {
			continue
		}
		if to >= begin && i-to > len(best) {
			best = words[to:i]
		}
		begin = i
	}
	if best == nil {
		return nil, fmt.Errorf("no loop in %d instructions", len(words))
	}
	return best, nil
}

// timing is what llvm-mca says of a loop: the cycles of one turn, and the least that its model
// allows whatever the order, with what sets it.
type timing struct {
	cycles, limit float64
	by            string
}

var (
	resource = regexp.MustCompile(`(?m)^\[[\d.]+\]\s+- \w*Unit(\w+)$`)
	pressure = regexp.MustCompile(`(?m)^Resource pressure per iteration:\n.*\n(.*)$`)
)

// simulate runs turns of a loop on a processor's model.
func simulate(tools llvm, processor string, body []string) (timing, error) {
	const turns = 200
	out, err := tools.run(strings.Join(body, "\n")+"\n", "llvm-mca", "-mtriple=aarch64", "-mcpu="+processor, "-iterations="+strconv.Itoa(turns), "-instruction-info=false")
	if err != nil {
		return timing{}, err
	}
	figure := func(name string) (n float64) {
		m := regexp.MustCompile(name + `:\s+([\d.]+)`).FindStringSubmatch(out)
		if m == nil {
			err = fmt.Errorf("llvm-mca tells no %s", name)
			return 0
		}
		n, err = strconv.ParseFloat(m[1], 64)
		return n
	}
	t := timing{cycles: figure("Total Cycles") / turns, by: "dispatch"}
	t.limit = figure("Total uOps") / turns / figure("Dispatch Width")
	units, used := resource.FindAllStringSubmatch(out, -1), pressure.FindStringSubmatch(out)
	if err != nil || used == nil {
		return t, errors.Join(err, errors.New("llvm-mca tells no pressure"))
	}
	// Units of a kind share its work; llvm-mca lists each.
	work, count := map[string]float64{}, map[string]float64{}
	for i, text := range strings.Fields(used[1]) {
		kind := pipes(units[i][1])
		n, _ := strconv.ParseFloat(text, 64) // "-" is none
		work[kind] += n
		count[kind]++
	}
	for kind, n := range work {
		if cycles := n / count[kind]; cycles > t.limit+0.05 {
			t.limit, t.by = cycles, kind
		}
	}
	return t, nil
}

// pipes is the kind of a unit: N1UnitV0 and N1UnitV1 are pipes V.
func pipes(unit string) string { return strings.TrimRight(unit, "0123456789") }
