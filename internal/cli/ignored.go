package cli

import (
	"fmt"
	"path/filepath"
	"strings"

	"github.com/verydeep/vgg"
	"github.com/verydeep/vgg/weights"
)

// leftoverFlags leave out of a file of weights what isn't the network's.
type leftoverFlags struct {
	Ignore []string `sep:"none" placeholder:"PATTERN" help:"Leave out the tensors whose names match, such as 'aux.*'. May be given several times."`
	Prefix string   `placeholder:"PREFIX" help:"Take the tensors whose names begin so, such as 'backbone.', and leave out the others."`
}

// reportIgnored prints, in one line, the tensors of a file that are left out.
func (e *environment) reportIgnored(path string, d *vgg.Description) {
	if len(d.Ignored) > 0 {
		fmt.Fprintf(e.stderr, "%s: left out %s\n", filepath.Base(path), strings.Join(d.Ignored, "; "))
	}
}

// folderSHA256 returns the SHA-256 of the file of weights in a folder, in hexadecimal.
func folderSHA256(path string) (string, error) {
	f, err := weights.Open(path)
	if err != nil {
		return "", err
	}
	defer f.Close()
	return f.SHA256()
}
