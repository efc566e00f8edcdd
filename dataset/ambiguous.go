package dataset

import (
	"fmt"
	"strings"
)

// Layout chooses how [Open] reads folders that can be read in several ways.
type Layout string

// The layouts that can be chosen. Others are recognised.
const (
	LayoutAuto    Layout = ""        // as the folders show
	LayoutFolders Layout = "folders" // every folder is a class, whatever its name
	LayoutParts   Layout = "parts"   // folders called train, val, test … are parts, others are left out
	LayoutBoxes   Layout = "boxes"   // the classes are the names of the bounding boxes
)

// Reading is one of the ways to read a collection. Without Layout, Path and Pattern, the images
// need labels by a table or by their names.
type Reading struct {
	Layout  Layout // that chooses it, unless it is LayoutAuto
	Path    string // the folder to open instead, unless it is ""
	Pattern string // the label pattern, unless it is ""
	Means   string // what it makes of the folders
}

// Flag returns the flags of the commands that choose the reading, as a shell takes them, or what
// it needs.
func (r Reading) Flag() string {
	var flags []string
	if r.Path != "" {
		flags = append(flags, "--data "+shellWord(r.Path))
	}
	if r.Layout != LayoutAuto {
		flags = append(flags, "--layout "+string(r.Layout))
	}
	if r.Pattern != "" {
		flags = append(flags, "--label-pattern "+shellWord(r.Pattern))
	}
	if flags == nil {
		return "labels by a table or a label pattern"
	}
	return strings.Join(flags, " ")
}

// AmbiguousError is the error of folders that can be read in several ways.
type AmbiguousError struct {
	Path     string
	Readings []Reading
}

// Error implements error.
func (e *AmbiguousError) Error() string {
	var ways []string
	for _, r := range e.Readings {
		ways = append(ways, fmt.Sprintf("%s (%s)", r.Flag(), r.Means))
	}
	return fmt.Sprintf("dataset: %s: the folders can be read in %d ways, want a choice: %s", e.Path, len(ways), strings.Join(ways, " or "))
}
