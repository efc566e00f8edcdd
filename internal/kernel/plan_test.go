package kernel

import (
	"flag"
	"fmt"
	"os"
	"slices"
	"strings"
	"testing"
)

var update = flag.Bool("update", false, "rewrite golden files")

// machines are processors of the classes that the cost model knows, and an unknown one.
var machines = []struct {
	name string
	machine
}{
	{"Zen 4, avx512", machine{l2: 1 << 18, l3: 8 << 20, reach: reachComplex, rows: 14, depth: 16}},
	{"Zen 3, avx2", machine{l2: 1 << 17, l3: 8 << 20, reach: reachComplex, rows: 3, depth: 8}},
	{"Ice Lake, avx512", machine{l2: 5 << 16, l3: 12 << 20, reach: reachMesh, rows: 14, depth: 16}},
	{"Ice Lake, avx2", machine{l2: 5 << 16, l3: 12 << 20, reach: reachMesh256, rows: 3, depth: 8}},
	{"Sapphire Rapids, avx512", machine{l2: 1 << 19, l3: 12 << 20, reach: reachDies, rows: 14, depth: 16}},
	{"Core, avx2", machine{l2: 1 << 16, l3: 2 << 20, reach: reachDies, rows: 3, depth: 8}},
	{"unknown, go", machine{l2: 1 << 18, l3: 4 << 20, reach: reachDies, rows: 8, depth: 16}},
}

// layersOfD lists the distinct convolutions of configuration D after the first, and fc6,
// and says which of them a pooling follows.
var layersOfD = []struct {
	g    Conv
	pool bool
}{
	{Conv{64, 64, 3, 1}, true}, {Conv{64, 128, 3, 1}, false}, {Conv{128, 128, 3, 1}, true},
	{Conv{128, 256, 3, 1}, false}, {Conv{256, 256, 3, 1}, true}, {Conv{256, 512, 3, 1}, false},
	{Conv{512, 512, 3, 1}, true}, {Conv{512, 512, 3, 1}, true}, {Conv{512, 4096, 7, 0}, false},
}

// plansOfD lists the plans of D's layers on m, separated by semicolons: "6/28 by panel"
// is F(6×6,·) in blocks of 28 tiles.
func plansOfD(m machine, n, side, threads int, purpose Purpose) string {
	var plans []string
	for _, l := range layersOfD {
		plan := "direct"
		if p, ok := l.g.planWinograd(m, n, side, side, threads, purpose); ok {
			plan = fmt.Sprintf("%d/%d %v", p.M, p.Tiles, p.Order)
		}
		plans = append(plans, plan)
		if l.pool {
			side /= 2
		}
	}
	return strings.Join(plans, "; ")
}

// TestPlansOfD pins the plans of configuration D on every class of processor: a change of
// the cost model shows which plans it changes.
func TestPlansOfD(t *testing.T) {
	var got strings.Builder
	for _, m := range machines {
		for _, threads := range []int{1, 2, 8} {
			for _, c := range []struct {
				n, side int
				purpose Purpose
			}{
				{1, 224, Inference}, {8, 224, Inference}, {1, 384, Inference}, {1, 224, Training}, {8, 224, Training}, {8, 224, Training4},
			} {
				pass := [...]string{"inference", "training", "training by F(4×4,3×3)"}[c.purpose]
				fmt.Fprintf(&got, "%s, %d threads, %s of %d × %d: %s\n", m.name, threads, pass, c.n, c.side, plansOfD(m.machine, c.n, c.side, threads, c.purpose))
			}
		}
	}
	const golden = "testdata/plans.golden"
	if *update {
		if err := os.WriteFile(golden, []byte(got.String()), 0o666); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(golden)
	if err != nil {
		t.Fatal(err)
	}
	g, w := strings.Split(got.String(), "\n"), strings.Split(string(want), "\n")
	for i := range max(len(g), len(w)) {
		if i >= len(g) || i >= len(w) || g[i] != w[i] {
			t.Fatalf("line %d of %d is\n%s\nwant %d lines, this one\n%s", i+1, len(g), g[min(i, len(g)-1)], len(w), w[min(i, len(w)-1)])
		}
	}
}

// TestThisMachine: the model weighs the register tile that really runs.
func TestThisMachine(t *testing.T) {
	eachISA(t, func(t *testing.T) {
		m, tiles := thisMachine(), Current().asm.gemm
		if m.rows != tiles.rows[1] || m.depth != tiles.depth {
			t.Errorf("model of a tile of %d rows and %d steps, in use is one of %d rows and %d steps", m.rows, m.depth, tiles.rows[1], tiles.depth)
		}
	})
}

// TestCostTable: docs/kernels.md has the values of the code.
func TestCostTable(t *testing.T) {
	b, err := os.ReadFile("../../docs/kernels.md")
	if err != nil {
		t.Fatal(err)
	}
	rows := map[string][]string{} // cells by the name in backquotes
	for line := range strings.Lines(string(b)) {
		if cells := strings.Split(line, "|"); len(cells) > 4 {
			for i := range cells {
				cells[i] = strings.TrimSpace(cells[i])
			}
			for i := range min(3, len(cells)) {
				if name := strings.Trim(cells[i], "`"); name != cells[i] {
					rows[name] = cells[i+1:]
				}
			}
		}
	}
	for name, want := range map[string][]string{
		"costRow": {fmt.Sprint(costRow)}, "costCall": {fmt.Sprint(costCall)}, "costTransform": {fmt.Sprint(costTransform)},
		"costNear": {fmt.Sprint(costNear)}, "costScatter": {fmt.Sprint(costScatter)}, "costPanel": {fmt.Sprint(costPanel)},
		"costMemory": {fmt.Sprint(costMemory)}, "costBack": {fmt.Sprint(costBack)}, "costStream": {fmt.Sprint(costStream)},
		"costFork": {fmt.Sprintf("%g·10⁵", costFork/1e5)}, "costWait": {fmt.Sprintf("%g·10⁶", costWait/1e6)},
		"fillL2": {fmt.Sprint(reachComplex.fillL2), fmt.Sprint(reachMesh.fillL2), fmt.Sprint(reachMesh256.fillL2), fmt.Sprint(reachDies.fillL2)}, "fillL3": {fmt.Sprint(fillL3)}, "fillPanel": {fmt.Sprint(fillPanel)},
		"backFrom": {fmt.Sprint(backFrom)}, "backWithin": {fmt.Sprint(backWithin)}, "reachRows": {fmt.Sprint(reachRows)},
		"minGain": {fmt.Sprint(minGain)}, "minSaving": {fmt.Sprint(minSaving)}, "minTiles6": {fmt.Sprint(minTiles6)}, "minTiles7": {fmt.Sprint(minTiles7)},
		"v": {fmt.Sprint(reachComplex.v), fmt.Sprint(reachMesh.v), fmt.Sprint(reachMesh256.v), fmt.Sprint(reachDies.v)}, "u": {fmt.Sprint(reachComplex.u), fmt.Sprint(reachMesh.u), fmt.Sprint(reachMesh256.u), fmt.Sprint(reachDies.u)},
		"shared": {fmt.Sprint(reachComplex.shared), fmt.Sprint(reachMesh.shared), fmt.Sprint(reachMesh256.shared), fmt.Sprint(reachDies.shared)},
		"spillV": {fmt.Sprint(reachComplex.spillV), fmt.Sprint(reachMesh.spillV), fmt.Sprint(reachMesh256.spillV), fmt.Sprint(reachDies.spillV)}, "spillM": {fmt.Sprint(reachComplex.spillM), fmt.Sprint(reachMesh.spillM), fmt.Sprint(reachMesh256.spillM), fmt.Sprint(reachDies.spillM)},
	} {
		if got := rows[name]; len(got) < len(want) || !slices.Equal(got[:len(want)], want) {
			t.Errorf("docs/kernels.md: %s is %q, the code has %q", name, got, want)
		}
	}
	for _, name := range Kernels() {
		if !strings.Contains(string(b), "`"+name+"`") {
			t.Errorf("docs/kernels.md doesn't name the kernel %s", name)
		}
	}
}
