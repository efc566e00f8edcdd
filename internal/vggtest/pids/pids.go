// Package pids finds the processes of a program that a launcher started, on Linux.
package pids

import (
	"bytes"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
)

// StartedBy lists the descendants of process launcher that are the program of a path.
func StartedBy(launcher int, program string) []int {
	var found []int
	entries, _ := os.ReadDir("/proc")
	for _, e := range entries {
		pid, err := strconv.Atoi(e.Name())
		if err != nil || pid == launcher {
			continue
		}
		if exe, err := os.Readlink(filepath.Join("/proc", e.Name(), "exe")); err != nil || exe != program {
			continue
		}
		for at := parent(pid); at > 1; at = parent(at) {
			if at == launcher {
				found = append(found, pid)
			}
		}
	}
	return found
}

// parent is that of a process; 0 if it has ended.
func parent(pid int) int {
	stat, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
	if err != nil {
		return 0
	}
	fields := strings.Fields(string(stat[bytes.LastIndexByte(stat, ')')+1:]))
	n, _ := strconv.Atoi(fields[1])
	return n
}
