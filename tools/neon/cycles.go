package main

import (
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

// loops are the inner loops that take the time, and what share of the pipes' peak of
// multiplications they are to reach.
var loops = []struct {
	function string
	wanted   float64
}{
	{"gemm6x16NEON", 0.9}, {"gemm3x32NEON", 0.9}, {"gemm1x32NEON", 0}, {"rgbgemm6x16NEON", 0.7}, {"wgrad4x16NEON", 0.9}, {"rgbwgrad9x16NEON", 0},
	{"winoInput6NEON", 0.7}, {"winoOutput6NEON", 0.7}, {"winoOutputPool6NEON", 0.7}, {"winoInput4NEON", 0.7}, {"winoOutput4NEON", 0.7}, {"winoGrad4NEON", 0.7},
}

// kernels is the compiled package.
type kernels struct {
	llvm
	folder string
}

func compile(tools llvm) (*kernels, error) {
	folder, err := os.MkdirTemp("", "neon")
	if err != nil {
		return nil, err
	}
	k := &kernels{tools, folder}
	build := exec.Command("go", "test", "-c", "-o", k.binary(), "./internal/kernel")
	build.Env = append(os.Environ(), "GOOS=linux", "GOARCH=arm64", "CGO_ENABLED=0")
	build.Stderr = os.Stderr
	if err := build.Run(); err != nil {
		k.remove()
		return nil, err
	}
	return k, nil
}

func (k *kernels) binary() string { return filepath.Join(k.folder, "kernel.test") }
func (k *kernels) remove()        { os.RemoveAll(k.folder) }

// loop returns the inner loop of a function.
func (k *kernels) loop(function string) ([]string, error) {
	symbol := "github.com/verydeep/vgg/internal/kernel." + function + ".abi0"
	listing, err := k.run("", "llvm-objdump", "-d", "--no-show-raw-insn", "--disassemble-symbols="+symbol, k.binary())
	if err != nil {
		return nil, err
	}
	body, err := innerLoop(listing)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", function, err)
	}
	return body, nil
}

// cycles prints the table of docs/performance.md.
func cycles(tools llvm) error {
	k, err := compile(tools)
	if err != nil {
		return err
	}
	defer k.remove()
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
			n, err := simulate(tools, p.name, body)
			if err != nil {
				return err
			}
			share := float64(vector) / float64(p.pipes) / n
			mark := ""
			if share < l.wanted {
				mark = " (<)"
			}
			fmt.Printf(" %.1f, %.0f %%%s |", n, 100*share, mark)
		}
		fmt.Println()
	}
	return nil
}

// arithmetic is an instruction that takes a vector pipe.
var arithmetic = regexp.MustCompile(`^(f(mla|mls|mul|add|sub|cmgt|cmlt|cmeq)|bit|bif|bic|and|orr|eor|mov)\s+v`)

var disassembled = regexp.MustCompile(`(?m)^\s*([0-9a-f]+):\s+(.+)$`)

// innerLoop returns the longest loop without another in it.
func innerLoop(listing string) ([]string, error) {
	type line struct {
		at   uint64
		text string
	}
	var lines []line
	for _, m := range disassembled.FindAllStringSubmatch(listing, -1) {
		at, err := strconv.ParseUint(m[1], 16, 64)
		if err != nil {
			return nil, err
		}
		text, _, _ := strings.Cut(m[2], "<")
		lines = append(lines, line{at, strings.TrimSpace(strings.ReplaceAll(text, "\t", " "))})
	}
	var best []string
	begin := uint64(0) // of the code since the last backward branch
	for i, l := range lines {
		target, found := strings.CutPrefix(l.text, "b.ne 0x")
		if !found {
			continue
		}
		to, err := strconv.ParseUint(target, 16, 64)
		if err != nil || to > l.at {
			continue
		}
		if to >= begin {
			var body []string
			for _, b := range lines[:i] {
				if b.at >= to {
					body = append(body, b.text)
				}
			}
			if len(body) > len(best) {
				best = body
			}
		}
		begin = l.at
	}
	if best == nil {
		return nil, fmt.Errorf("no loop in %d instructions", len(lines))
	}
	return best, nil
}

var total = regexp.MustCompile(`Total Cycles:\s+(\d+)`)

// simulate returns the cycles of one turn.
func simulate(tools llvm, processor string, body []string) (float64, error) {
	const turns = 200
	out, err := tools.run(strings.Join(body, "\n")+"\n", "llvm-mca", "-mtriple=aarch64", "-mcpu="+processor, "-iterations="+strconv.Itoa(turns), "-instruction-info=false", "-resource-pressure=false")
	if err != nil {
		return 0, err
	}
	m := total.FindStringSubmatch(out)
	if m == nil {
		return 0, fmt.Errorf("llvm-mca says no cycles")
	}
	n, err := strconv.Atoi(m[1])
	return float64(n) / turns, err
}
