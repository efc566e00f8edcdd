package cli

import (
	"fmt"
	"path/filepath"
	"strings"

	"github.com/verydeep/vgg"
)

// leftoverFlags choose the tensors of the network in a file of weights.
type leftoverFlags struct {
	Ignore []string `sep:"none" placeholder:"PATTERN" help:"Leave out the tensors whose names match, as aux.*. Can be given more than once."`
	Prefix string   `placeholder:"PREFIX" help:"Take only the tensors whose names begin with the prefix, as backbone."`
}

// reportIgnored prints the tensors of a file that are left out, on one line, what is taken for
// granted of its network, and what this does otherwise for the input that was asked for.
func (e *environment) reportIgnored(path string, d *vgg.Description) {
	if d.Assumed != "" {
		fmt.Fprintf(e.stderr, "%s: %s\n", filepath.Base(path), d.Assumed)
	}
	if d.Adapted != "" {
		fmt.Fprintf(e.stderr, "%s: %s\n", filepath.Base(path), d.Adapted)
	}
	if len(d.Ignored) > 0 {
		fmt.Fprintf(e.stderr, "%s: left out %s\n", filepath.Base(path), strings.Join(d.Ignored, "; "))
	}
}
