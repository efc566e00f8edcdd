package dataset

import (
	"fmt"
	"path"
	"slices"
	"strings"
)

// count is a number of things: "1 row", "2 rows".
func count(n int, what string) string {
	if n != 1 {
		what += "s"
	}
	return fmt.Sprintf("%d %s", n, what)
}

// noteTables says what the columns of tables were taken for, and which images no row names.
func (s *search) noteTables(sources []*tableSource, named map[string]bool, all []string) {
	more := map[string]int{} // tables that are read like an earlier one
	for _, t := range sources {
		more[t.reading()]++
	}
	for _, t := range sources {
		if n := more[t.reading()]; n > 0 {
			name := t.name
			if n > 1 {
				name = fmt.Sprintf("%s and %d more", name, n-1)
			}
			s.note("%s: %s", name, t.reading())
			more[t.reading()] = 0
		}
		if t.files.loose {
			s.note("%s: its folders are those of another machine; images were found by their names alone", t.name)
		}
	}
	unnamed := map[string][]string{}
	for _, f := range all {
		if !named[f] {
			top, _, below := strings.Cut(f, "/")
			if !below {
				top = "."
			}
			unnamed[top] = append(unnamed[top], f)
		}
	}
	var tops []string
	for top := range unnamed {
		tops = append(tops, top)
	}
	slices.Sort(tops)
	for _, top := range tops {
		files := unnamed[top]
		for i := range files {
			files[i] = path.Base(files[i])
		}
		in := " in " + top
		if top == "." {
			in = ""
		}
		s.note("%s%s without a row, left out: %s", count(len(files), "image"), in, some(files))
	}
}

// reading says what the columns of a table were taken for.
func (t *tableSource) reading() string {
	text := fmt.Sprintf("images by column %s, ", t.columnName(t.image))
	switch {
	case len(t.labels) > 1:
		var names []string
		for _, c := range t.labels {
			names = append(names, t.columnName(c))
		}
		text += fmt.Sprintf("classes by %d columns of 0 and 1: %s", len(names), some(names))
	case t.number >= 0:
		text += fmt.Sprintf("classes by columns %s and %s", t.columnName(t.labels[0]), t.columnName(t.number))
	case t.separator == rowEach:
		text += fmt.Sprintf("labels by column %s, several an image in a row each", t.columnName(t.labels[0]))
	case t.separator != "":
		text += fmt.Sprintf("labels by column %s, several an image", t.columnName(t.labels[0]))
	default:
		text += "classes by column " + t.columnName(t.labels[0])
	}
	switch {
	case t.valIs != "":
		text += fmt.Sprintf(", part val where %s is %s", t.columnName(t.split), t.valIs)
	case t.split >= 0:
		text += ", parts by column " + t.columnName(t.split)
	case t.part != "":
		text += ", part " + t.part
	}
	for i, c := range t.columns {
		if i != t.split && isFold(c) && !strings.HasPrefix(c, "unnamed") {
			values, _ := t.values(i)
			text += fmt.Sprintf("; column %s isn't used (--columns %s validates on one fold)", t.columnName(i), shellWord("split="+t.flagName(i)+":"+values[0]))
		}
	}
	return text
}

// noteRows counts rows that aren't used, or whose image isn't there.
func (s *search) noteRows(twice, bare int, missing []string) {
	if twice > 0 {
		s.note("%s given more than once, each time the same", count(twice, "row"))
	}
	if bare > 0 {
		s.note("%s of part test without a class, left out", count(bare, "row"))
	}
	if len(missing) > 0 {
		s.note("%s without a file, which count as unreadable: %s", count(len(missing), "row"), some(missing))
	}
}

// noteAlike names classes that differ in case and signs alone, which may be meant to be one.
func (s *search) noteAlike(classes []string) {
	first := map[string]string{}
	for _, c := range classes {
		p := plainName(c)
		if other, ok := first[p]; ok && p != "" {
			s.note("classes %q and %q differ in case or signs alone", other, c)
		}
		first[p] = c
	}
}
