package kernel

import (
	"fmt"
	"testing"
	"testing/fstest"
)

// sysfs describes a processor's caches as Linux does.
func sysfs(cpu int, lines ...string) fstest.MapFS {
	folder := fstest.MapFS{}
	for i, line := range lines {
		var level, kind, size, cores string
		fmt.Sscan(line, &level, &kind, &size, &cores)
		for file, text := range map[string]string{"level": level, "type": kind, "size": size, "shared_cpu_list": cores} {
			folder[fmt.Sprintf("cpu%d/cache/index%d/%s", cpu, i, file)] = &fstest.MapFile{Data: []byte(text + "\n")}
		}
	}
	return folder
}

func TestSysfsCaches(t *testing.T) {
	for _, c := range []struct {
		name string
		fs   fstest.MapFS
		want caches
	}{
		{"Neoverse V1", sysfs(0, "1 Data 64K 0", "1 Instruction 64K 0", "2 Unified 1024K 0", "3 Unified 32768K 0-63"), caches{1 << 20, 32 << 20}},
		{"Cortex-A76, four cores", sysfs(0, "1 Data 64K 0", "1 Instruction 64K 0", "2 Unified 512K 0", "3 Unified 2M 0-3"), caches{512 << 10, 2 << 20}},
		{"Cortex-A72, no third level", sysfs(0, "1 Data 32K 0", "1 Instruction 48K 0", "2 Unified 1M 0-3"), caches{256 << 10, 1 << 20}},
		{"processors with gaps", sysfs(0, "2 Unified 2048K 0,4-5,9"), caches{512 << 10, 2 << 20}},
		{"a container that hides sizes", sysfs(0, "1 Data x 0", "2 Unified -1K 0", "3 Unified 99999999999999999999K 0-3"), caches{}},
		{"nothing", fstest.MapFS{}, caches{}},
		{"Raspberry Pi 4 whose firmware tells types alone", withPart(sysfs(0, "1 Data x 0", "1 Instruction x 0", "2 Unified x 0-3"), 0, "0x00000000410fd083"), caches{256 << 10, 1 << 20}},
		{"a virtual machine on a Mac", withPart(fstest.MapFS{}, 0, "0x00000000610f0000"), caches{3 << 20, 12 << 20}},
		{"an M1 that tells", withPart(sysfs(0, "2 Unified 4096K 0-3"), 0, "0x00000000611f0221"), caches{1 << 20, 4 << 20}},
		{"an unknown core", withPart(fstest.MapFS{}, 0, "0x0000000051df8040"), caches{}},
		{"a core that isn't a number", withPart(fstest.MapFS{}, 0, "ARM"), caches{}},
	} {
		if got := sysfsCaches(c.fs, 0); got != c.want {
			t.Errorf("%s: %+v, want %+v", c.name, got, c.want)
		}
	}
}

// withPart adds a processor's MIDR_EL1.
func withPart(folder fstest.MapFS, cpu int, midr string) fstest.MapFS {
	folder[fmt.Sprintf("cpu%d/regs/identification/midr_el1", cpu)] = &fstest.MapFile{Data: []byte(midr + "\n")}
	return folder
}

// withCapacities adds the capacity of each processor; 0 tells none.
func withCapacities(folder fstest.MapFS, capacities ...int) fstest.MapFS {
	for cpu, c := range capacities {
		file := "cpu_capacity"
		if c == 0 {
			file = "online"
		}
		folder[fmt.Sprintf("cpu%d/%s", cpu, file)] = &fstest.MapFile{Data: fmt.Appendln(nil, c)}
	}
	folder["cpufreq/boost"] = &fstest.MapFile{Data: []byte("1\n")}
	return folder
}

func TestFastCores(t *testing.T) {
	all := func(int) bool { return true }
	for _, c := range []struct {
		name       string
		capacities []int
		mayUse     func(int) bool
		n, first   int
	}{
		{"an M1 on Linux: slow cores first", []int{459, 459, 459, 459, 1024, 1024, 1024, 1024}, all, 4, 4},
		{"RK3588: 4 Cortex-A55, 4 A76", []int{414, 414, 414, 414, 1024, 1024, 1024, 1024}, all, 4, 4},
		{"six slow cores and two fast ones", []int{600, 600, 600, 600, 600, 600, 1024, 1024}, all, 8, 6},
		{"a telephone: 1 + 3 + 4", []int{325, 325, 325, 325, 828, 828, 828, 1024}, all, 4, 7},
		{"cores that differ little", []int{1024, 1024, 981, 981}, all, 4, 0},
		{"equal cores", []int{1024, 1024, 1024, 1024}, all, 4, 0},
		{"a process on slow cores alone", []int{459, 459, 459, 459, 1024, 1024, 1024, 1024}, func(cpu int) bool { return cpu < 4 }, 4, 0},
		{"a process on one fast core and two slow ones", []int{459, 459, 459, 459, 1024, 1024, 1024, 1024}, func(cpu int) bool { return cpu >= 2 && cpu < 5 }, 3, 4},
	} {
		cores := sysfsCores(withCapacities(fstest.MapFS{}, c.capacities...), c.mayUse)
		if n := fastest(cores); n != c.n || cores[0].cpu != c.first {
			t.Errorf("%s: %d, first of them %d; want %d, first %d", c.name, n, cores[0].cpu, c.n, c.first)
		}
	}
	if cores := sysfsCores(withCapacities(fstest.MapFS{}, 0, 0, 0, 0), all); fastest(cores) != 0 {
		t.Errorf("no capacities: %v", cores)
	}
	// A fast core's caches are the plan's.
	m1 := withCapacities(sysfs(4, "2 Unified 12M 4-7"), 459, 459, 459, 459, 1024, 1024, 1024, 1024)
	if got, want := sysfsCaches(m1, sysfsCores(m1, all)[0].cpu), (caches{3 << 20, 12 << 20}); got != want {
		t.Errorf("caches of a fast core: %+v, want %+v", got, want)
	}
}

func TestThreads(t *testing.T) {
	if n := Threads(); n < 1 {
		t.Errorf("%d threads", n)
	}
	if c := machineCaches(); c.l2 < 1<<14 || c.l3 < c.l2 {
		t.Errorf("caches of %d and %d bytes", c.l2, c.l3)
	}
}
