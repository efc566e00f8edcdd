package resources

import (
	"bufio"
	"bytes"
	"os"
	"path"
	"strconv"
	"strings"
)

// Machine returns the memory in bytes that the process may use: the machine's, or the least
// limit of the control groups that it is in. It is 0 if the system doesn't tell.
func Machine() int64 { return machine("/") }

// machine is Machine with the system's files below root.
func machine(root string) int64 {
	least := int64(0)
	take := func(n int64) {
		if n > 0 && (least == 0 || n < least) {
			least = n
		}
	}
	if info, err := os.ReadFile(path.Join(root, "proc/meminfo")); err == nil {
		for line := range bytes.Lines(info) {
			if f := strings.Fields(string(line)); len(f) == 3 && f[0] == "MemTotal:" {
				if n, err := strconv.ParseInt(f[1], 10, 64); err == nil {
					take(n << 10)
				}
			}
		}
	}
	groups, err := os.ReadFile(path.Join(root, "proc/self/cgroup"))
	if err != nil {
		return least
	}
	lines := bufio.NewScanner(bytes.NewReader(groups))
	for lines.Scan() {
		// number:controllers:path, without controllers in version 2.
		f := strings.SplitN(lines.Text(), ":", 3)
		switch {
		case len(f) != 3:
		case f[1] == "":
			eachAbove(f[2], func(dir string) { take(limitIn(path.Join(root, "sys/fs/cgroup", dir, "memory.max"))) })
		case strings.Contains(","+f[1]+",", ",memory,"):
			eachAbove(f[2], func(dir string) { take(limitIn(path.Join(root, "sys/fs/cgroup/memory", dir, "memory.limit_in_bytes"))) })
		}
	}
	return least
}

// eachAbove calls do for a control group and those that it is in. In a container the path may
// be the host's, and the limit lie at the root.
func eachAbove(dir string, do func(dir string)) {
	for dir = path.Clean("/" + dir); ; dir = path.Dir(dir) {
		do(dir)
		if dir == "/" {
			return
		}
	}
}

// limitIn reads a limit; 0 is none.
func limitIn(file string) int64 {
	text, err := os.ReadFile(file)
	if err != nil {
		return 0
	}
	n, err := strconv.ParseInt(strings.TrimSpace(string(text)), 10, 64)
	if err != nil {
		return 0 // max
	}
	return n
}
