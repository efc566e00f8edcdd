package cli

import (
	"fmt"
	"math"
	"strconv"
	"strings"
)

// size is a number of bytes on the command line: 8GiB, 500MB, 900M, 1073741824.
type size int64

// sizeUnits are the units of size, the longer names first.
var sizeUnits = []struct {
	name  string
	bytes float64
}{
	{"KiB", 1 << 10}, {"MiB", 1 << 20}, {"GiB", 1 << 30}, {"TiB", 1 << 40},
	{"KB", 1e3}, {"MB", 1e6}, {"GB", 1e9}, {"TB", 1e12},
	{"K", 1 << 10}, {"M", 1 << 20}, {"G", 1 << 30}, {"T", 1 << 40},
	{"B", 1},
}

// UnmarshalText implements [encoding.TextUnmarshaler].
func (s *size) UnmarshalText(text []byte) error {
	number, unit := strings.TrimSpace(string(text)), 1.
	for _, u := range sizeUnits {
		if before, ok := cutSuffixFold(number, u.name); ok {
			number, unit = strings.TrimSpace(before), u.bytes
			break
		}
	}
	v, err := strconv.ParseFloat(number, 64)
	if err != nil || !(v*unit >= 1) || v*unit > math.MaxInt64/2 {
		return fmt.Errorf("%q, want a size such as 8GiB or 500MB", text)
	}
	*s = size(v * unit)
	return nil
}

func cutSuffixFold(s, suffix string) (before string, ok bool) {
	at := len(s) - len(suffix)
	if at < 0 || !strings.EqualFold(s[at:], suffix) {
		return s, false
	}
	return s[:at], true
}

// share is a fraction on the command line: 0.1% or 0.001.
type share float64

// UnmarshalText implements [encoding.TextUnmarshaler].
func (s *share) UnmarshalText(text []byte) error {
	number, unit := strings.TrimSpace(string(text)), 1.
	if before, ok := strings.CutSuffix(number, "%"); ok {
		number, unit = strings.TrimSpace(before), 100
	}
	v, err := strconv.ParseFloat(number, 64)
	if v /= unit; err != nil || !(v >= 0 && v <= 1) {
		return fmt.Errorf("%q, want a share such as 0.1%% or 0.001, at most 100%%", text)
	}
	*s = share(v)
	return nil
}
