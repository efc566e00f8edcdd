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

// Reading is one of the ways to read a collection.
type Reading struct {
	Layout  Layout // chooses it; LayoutAuto if the images need labels by a table or by their names
	Path    string // or, if it isn't "", opening this folder instead does
	Pattern string // or, if it isn't "", this label pattern
	Means   string // what it makes of the folders
}

// Flag returns the flag of the commands that chooses the reading, as a shell takes it, or what
// it needs.
func (r Reading) Flag() string {
	switch {
	case r.Path != "":
		return "--data " + shellWord(r.Path)
	case r.Pattern != "":
		return "--label-pattern " + shellWord(r.Pattern)
	case r.Layout == LayoutAuto:
		return "labels by a table or a label pattern"
	}
	return "--layout " + string(r.Layout)
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
