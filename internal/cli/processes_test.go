package cli

import (
	"errors"
	"fmt"
	"strings"
	"testing"

	"github.com/verydeep/vgg/comm"
	"github.com/verydeep/vgg/internal/lockfile"
)

// TestCommonSet: ranks compute with the best instruction set of rank 0's that all can run; a
// remark names a rank that kept the others from theirs, or that could do better.
func TestCommonSet(t *testing.T) {
	avx512, avx2, plain, neon := []string{"avx512", "avx2", "go"}, []string{"avx2", "go"}, []string{"go"}, []string{"neon", "go"}
	for name, c := range map[string]struct {
		sets   [][]string
		set    string
		remark string // a part; "": none
		err    string
	}{
		"alike":               {[][]string{avx512, avx512}, "avx512", "", ""},
		"rank 2 is older":     {[][]string{avx512, avx512, avx2}, "avx2", "rank 2 (host2) can't run avx512: all ranks compute with avx2", ""},
		"rank 0 is older":     {[][]string{avx2, avx512}, "avx2", "rank 1 (host1) could run avx512, others can't: all ranks compute with avx2", ""},
		"other architectures": {[][]string{avx2, neon}, "go", "rank 1 (host1) can't run avx2: all ranks compute with go", ""},
		"one that is told":    {[][]string{avx512, plain}, "go", "rank 1 (host1) can't run avx512: all ranks compute with go", ""},
		"told differently":    {[][]string{{"avx2"}, plain}, "", "", "rank 1 (host1) has the instruction sets go, rank 0 (host0) avx2"},
		"none by all three":   {[][]string{{"avx2", "go"}, {"avx2"}, {"go", "avx2", "neon"}}, "avx2", "rank 2 (host2) could run go", ""},
		"none of three":       {[][]string{avx2, {"avx2"}, plain}, "", "", "rank 2 (host2) has the instruction sets go"},
		"each of two others":  {[][]string{{"avx2", "neon"}, {"avx2", "go"}, {"avx2"}}, "avx2", "", ""},
	} {
		var places []processPlace
		for i, s := range c.sets {
			places = append(places, processPlace{Host: fmt.Sprintf("host%d", i), Sets: s})
		}
		set, remark, err := commonSet(places)
		if set != c.set || (remark == "") != (c.remark == "") || !strings.Contains(remark, c.remark) {
			t.Errorf("%s: %q with the remark %q, want %q, %q", name, set, remark, c.set, c.remark)
		}
		if c.err == "" && err != nil || c.err != "" && (err == nil || !strings.Contains(err.Error(), c.err) || !strings.Contains(err.Error(), "VGG_CPU")) {
			t.Errorf("%s: error %v, want %q", name, err, c.err)
		}
	}
}

// rankOf is the view that a rank has of processes in these places.
func rankOf(rank int, places []processPlace) *processes {
	return &processes{Group: comm.Local(len(places))[rank], places: places}
}

// TestSharedMachine: processes that may use the same processors of a machine divide them, and those that
// see the same devices take others each.
func TestSharedMachine(t *testing.T) {
	places := []processPlace{
		{Host: "a", CPUs: "0-7", Count: 8},
		{Host: "a", CPUs: "0-7", Count: 8, Threads: 3},
		{Host: "a", CPUs: "0-7", Count: 8},
		{Host: "a", CPUs: "8-9", Count: 2, Devices: "6,7"},
		{Host: "b", CPUs: "0-7", Count: 8},
		{Host: "b", CPUs: "0", Count: 1, Devices: "0,1"},
		{Host: "b", CPUs: "0", Count: 1, Devices: "0,1"},
		{Host: "b", CPUs: "0", Count: 1, Devices: "5"},
	}
	threads := []int{2, 3, 2, 2, 8, 1, 1, 1}
	for count, devices := range map[int][]int{1: {0, 1, 2, 0, 0, 0, 1, 0}, 2: {0, 2, 4, 0, 0, 0, 0, 0}} {
		for rank := range places {
			p := rankOf(rank, places)
			if got := p.threads(rank); got != threads[rank] {
				t.Errorf("rank %d: %d threads, want %d", rank, got, threads[rank])
			}
			if got := p.firstDevice(count); got != devices[rank] {
				t.Errorf("rank %d, %d devices in each: the first is %d, want %d", rank, count, got, devices[rank])
			}
		}
	}
	var alone *processes
	if got := alone.firstDevice(2); got != 0 {
		t.Errorf("a process alone: the first device is %d, want 0", got)
	}
}

// TestAbortTemporarily: the other ranks know whether the same command may succeed later.
func TestAbortTemporarily(t *testing.T) {
	held := fmt.Errorf("data: %w", &lockfile.HeldError{Path: "train"})
	for _, c := range []struct {
		err  error
		want int
	}{{held, exitTemporary}, {errors.New("damaged"), exitError}} {
		groups := comm.Local(2)
		(&processes{Group: groups[1]}).Abort(c.err)
		err := groups[0].Barrier(t.Context())
		if got := exitCode(t.Context(), err); got != c.want || errors.Is(err, comm.ErrTemporary) != (c.want == exitTemporary) || !strings.Contains(err.Error(), c.err.Error()) {
			t.Errorf("%v: exit code %d, want %d", err, got, c.want)
		}
	}
}
