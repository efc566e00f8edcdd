package kernel

import (
	"fmt"
	"testing"
	"testing/fstest"
)

// sysfs describes caches as Linux does.
func sysfs(lines ...string) fstest.MapFS {
	folder := fstest.MapFS{}
	for i, line := range lines {
		var level, kind, size, cores string
		fmt.Sscan(line, &level, &kind, &size, &cores)
		for file, text := range map[string]string{"level": level, "type": kind, "size": size, "shared_cpu_list": cores} {
			folder[fmt.Sprintf("index%d/%s", i, file)] = &fstest.MapFile{Data: []byte(text + "\n")}
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
		{"Neoverse V1", sysfs("1 Data 64K 0", "1 Instruction 64K 0", "2 Unified 1024K 0", "3 Unified 32768K 0-63"), caches{1 << 20, 32 << 20}},
		{"Cortex-A76, four cores", sysfs("1 Data 64K 0", "1 Instruction 64K 0", "2 Unified 512K 0", "3 Unified 2M 0-3"), caches{512 << 10, 2 << 20}},
		{"Cortex-A72, no third level", sysfs("1 Data 32K 0", "1 Instruction 48K 0", "2 Unified 1M 0-3"), caches{256 << 10, 1 << 20}},
		{"processors with gaps", sysfs("2 Unified 2048K 0,4-5,9"), caches{512 << 10, 2 << 20}},
		{"a container that hides sizes", sysfs("1 Data x 0", "2 Unified -1K 0", "3 Unified 99999999999999999999K 0-3"), caches{}},
		{"nothing", fstest.MapFS{}, caches{}},
	} {
		if got := sysfsCaches(c.fs); got != c.want {
			t.Errorf("%s: %+v, want %+v", c.name, got, c.want)
		}
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
