package pjrt

import (
	"strings"
	"testing"
	"unsafe"
)

// table is a PJRT_Api as a plugin of some version would have it.
type table struct {
	tableHeader
	functions [140]uintptr
}

func TestVersions(t *testing.T) {
	whole := unsafe.Sizeof(table{})
	for _, test := range []struct {
		major, minor int32
		size         uintptr
		want         string // "" if it is taken
	}{
		{0, MinMinor, whole, ""},
		{0, 500, whole, ""},
		{0, MinMinor - 1, whole, "speaks PJRT 0.89, this program 0.90 and newer"},
		{1, 0, whole, "speaks PJRT 1.0"},
		{0, MinMinor, 8, "a table of 8 bytes"},
		{0, MinMinor, 40, "a table of 40 bytes"},
		{0, MinMinor, 1 << 40, "the file is damaged"},
	} {
		a := &table{}
		a.size, a.version.major, a.version.minor = test.size, test.major, test.minor
		p, err := readTable("plugin.so", uintptr(unsafe.Pointer(a)))
		if test.want != "" {
			if err == nil || !strings.Contains(err.Error(), test.want) {
				t.Errorf("%d.%d with %d bytes: %v, want %q", test.major, test.minor, test.size, err, test.want)
			}
			continue
		}
		if err != nil || len(p.functions) != len(a.functions) {
			t.Errorf("%d.%d: %v", test.major, test.minor, err)
		}
	}
}

func TestFunctionThatIsMissing(t *testing.T) {
	p := &Plugin{Path: "plugin.so", Minor: MinMinor, functions: make([]uintptr, deviceMemoryStats+1)}
	for _, f := range []function{deviceMemoryStats, executableMemoryStats} { // without address, beyond the table
		_, err := call(p, f, handleArgs{})
		if !IsCode(err, Unimplemented) || !strings.Contains(err.Error(), f.String()) {
			t.Errorf("%v: %v", f, err)
		}
	}
}
