package resources

import (
	"os"
	"path/filepath"
	"testing"
)

func TestMachine(t *testing.T) {
	const total = "MemTotal:        8388608 kB\nMemFree:          100 kB\n"
	for name, c := range map[string]struct {
		files map[string]string
		want  int64
	}{
		"nothing is told": {nil, 0},
		"no groups":       {map[string]string{"proc/meminfo": total}, 8 << 30},
		"version 2": {map[string]string{
			"proc/meminfo": total, "proc/self/cgroup": "0::/a/b\n", "sys/fs/cgroup/a/b/memory.max": "max\n", "sys/fs/cgroup/a/memory.max": "1073741824\n",
		}, 1 << 30},
		"a container, whose path is the host's": {map[string]string{
			"proc/meminfo": total, "proc/self/cgroup": "0::/docker/abc\n", "sys/fs/cgroup/memory.max": "536870912\n",
		}, 512 << 20},
		"version 1": {map[string]string{
			"proc/meminfo": total, "proc/self/cgroup": "5:cpu,memory:/x\n4:cpu:/y\n", "sys/fs/cgroup/memory/x/memory.limit_in_bytes": "2147483648\n",
		}, 2 << 30},
		"no limit in version 1": {map[string]string{
			"proc/meminfo": total, "proc/self/cgroup": "5:memory:/\n", "sys/fs/cgroup/memory/memory.limit_in_bytes": "9223372036854771712\n",
		}, 8 << 30},
	} {
		root := t.TempDir()
		for file, text := range c.files {
			path := filepath.Join(root, file)
			if err := os.MkdirAll(filepath.Dir(path), 0o777); err != nil {
				t.Fatal(err)
			}
			if err := os.WriteFile(path, []byte(text), 0o666); err != nil {
				t.Fatal(err)
			}
		}
		if got := machine(root); got != c.want {
			t.Errorf("%s: %d bytes, want %d", name, got, c.want)
		}
	}
	if got := Machine(); got < 64<<20 {
		t.Errorf("this machine: %d bytes", got)
	}
}
