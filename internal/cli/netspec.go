package cli

import (
	"fmt"
	"os"
	"regexp"
	"strconv"
	"strings"

	"github.com/verydeep/vgg/eval"
)

// netSpec is a name of weights, for an opener, with scales and a protocol of its own.
type netSpec struct {
	name     string
	scales   []int          // nil: those of the flags
	protocol *eval.Protocol // nil: that of the flags
}

// netSuffix matches a name of weights with a suffix: @256,384,512, @:dense or
// @256,384,512:dense.
var netSuffix = regexp.MustCompile(`^(.+)@([0-9]+(?:,[0-9]+)*)?(?::([a-z-]+))?$`)

// parseNet reads WEIGHTS[@Q,Q…[:PROTOCOL]]. The name of an existing file has no suffix.
func parseNet(arg string) (netSpec, error) {
	if _, err := os.Lstat(arg); err == nil {
		return netSpec{name: arg}, nil
	}
	match := netSuffix.FindStringSubmatch(arg)
	if match == nil {
		return netSpec{name: arg}, nil
	}
	if match[2] == "" && match[3] == "" {
		return netSpec{}, usagef("%s: nothing behind the @, want scales, as @256,384,512, a protocol, as @:dense, or both", arg)
	}
	spec := netSpec{name: match[1]}
	if match[2] != "" {
		for q := range strings.SplitSeq(match[2], ",") {
			n, err := strconv.Atoi(q)
			if err != nil {
				return netSpec{}, usagef("%s: scale %s, want a number of pixels", arg, q)
			}
			spec.scales = append(spec.scales, n)
		}
	}
	if match[3] != "" {
		p, err := eval.ParseProtocol(match[3])
		if err != nil {
			return netSpec{}, usageError{fmt.Errorf("%s: %w", arg, err)}
		}
		spec.protocol = &p
	}
	return spec, nil
}
