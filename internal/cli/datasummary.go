package cli

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"maps"
	"slices"
	"strings"

	"github.com/verydeep/vgg/dataset"
	"github.com/verydeep/vgg/report"
)

const (
	// allClasses is the number of classes of which all are named. Of more, only the ends are.
	allClasses = 20
	endClasses = 3
	// unbalanced is the least ratio of the largest class to the smallest that is mentioned.
	unbalanced = 3
	// comparedImages and comparedBytes bound the comparison of the parts' files that is made
	// unasked.
	comparedImages = 100_000
	comparedBytes  = 1 << 30
	// shownLeaks is the number of pictures in both parts that are named.
	shownLeaks = 3
)

// dataSummary is what a command is about to read, for a person to check.
type dataSummary struct {
	train, val *dataset.Dataset // val is nil without a part to validate on
	used       *dataset.Dataset // the part that the command is about to read; nil: both
	leakFlag
	threads   int
	maxPixels int // of an image
}

// print writes the summary in a few lines.
func (s dataSummary) print(e *environment, w io.Writer) error {
	var lines []string
	add := func(format string, args ...any) { lines = append(lines, fmt.Sprintf(format, args...)) }
	of := s.used
	if of == nil {
		of = s.train
	}
	if src := of.Source(); src != nil {
		add("Layout: %s", describeLayout(src))
	}
	add("%s", describeClasses(of))
	if least, most, ok := balance(of); ok {
		add("Unbalanced: %s, %s", classAndCount(of, most), classAndCount(of, least))
	}
	if missing := missingClasses(s.train, s.val); len(missing) > 0 && s.used != s.train {
		add("Without validation images, so their recall isn't measured: %s", shorten(missing, allClasses))
	}
	sizes, err := describeSizes(e.ctx, of)
	if err != nil {
		return err
	}
	if sizes != "" {
		add("%s", sizes)
	}
	if src := of.Source(); src != nil {
		lines = append(lines, describeSkipped(src)...)
	}
	if s.val != nil {
		leaks, err := s.describeLeaks(e)
		if err != nil {
			return err
		}
		lines = append(lines, leaks...)
	}
	for _, l := range lines {
		if _, err := fmt.Fprintf(w, "  %s\n", l); err != nil {
			return err
		}
	}
	return nil
}

// describeLayout writes the layout and the parts: "class folders; images of train (Training)
// 12, test (Testing) 6; left out: samples 3".
func describeLayout(src *dataset.Source) string {
	text := src.Layout
	var parts, left []string
	for _, p := range src.Parts {
		if p.Name == "" {
			continue
		}
		name := p.Name
		if p.Folder != "" && p.Folder != p.Name {
			name += " (" + p.Folder + ")"
		}
		name += " " + report.Count(int64(p.Images))
		if p.Used {
			parts = append(parts, name)
		} else {
			left = append(left, name)
		}
	}
	if len(parts) > 0 {
		text += "; images of " + strings.Join(parts, ", ")
	}
	if len(left) > 0 {
		text += "; left out: " + strings.Join(left, ", ")
	}
	return text
}

// describeClasses writes the classes with their numbers of images, all up to twenty.
func describeClasses(d *dataset.Dataset) string {
	names := make([]string, len(d.Classes))
	for i := range names {
		names[i] = classAndCount(d, i)
	}
	what := "classes"
	if len(names) == 1 {
		what = "class"
	}
	return fmt.Sprintf("%s %s: %s", report.Count(int64(len(names))), what, shorten(names, allClasses))
}

func classAndCount(d *dataset.Dataset, class int) string {
	return d.Classes[class] + " " + report.Count(int64(d.Counts()[class]))
}

// shorten joins names: all of them up to most, else those of both ends.
func shorten(names []string, most int) string {
	if len(names) <= most {
		return strings.Join(names, ", ")
	}
	return strings.Join(names[:endClasses], ", ") + " … " + strings.Join(names[len(names)-endClasses:], ", ")
}

// balance returns the smallest class with images and the largest, and whether they are far
// from each other.
func balance(d *dataset.Dataset) (least, most int, far bool) {
	counts := d.Counts()
	least = -1
	for i, n := range counts {
		if n > 0 && (least < 0 || n < counts[least]) {
			least = i
		}
		if n > counts[most] {
			most = i
		}
	}
	return max(least, 0), most, least >= 0 && counts[most] >= unbalanced*counts[least]
}

// missingClasses returns the classes of train of which val has no image.
func missingClasses(train, val *dataset.Dataset) []string {
	if val == nil {
		return nil
	}
	var missing []string
	for class, n := range val.Counts() {
		if n == 0 && class < len(train.Classes) {
			missing = append(missing, train.Classes[class])
		}
	}
	return missing
}

// describeSizes writes the sizes of the images, "" if none can be read: the run will tell.
func describeSizes(ctx context.Context, d *dataset.Dataset) (string, error) {
	w, h, short, err := d.TypicalSizes(ctx)
	if err != nil {
		if ctx.Err() != nil || !errors.As(err, new(*dataset.BadImage)) {
			return "", err
		}
		return "", nil
	}
	if w.Min == w.Max && h.Min == h.Max {
		return fmt.Sprintf("Sizes: %d×%d pixels", w.Min, h.Min), nil
	}
	return fmt.Sprintf("Sizes: width %d to %d, height %d to %d, smallest side mostly %d pixels", w.Min, w.Max, h.Min, h.Max, short.Median), nil
}

// describeSkipped writes what is left out of a collection, and further notes.
func describeSkipped(src *dataset.Source) []string {
	var lines []string
	kinds := slices.SortedFunc(maps.Keys(src.Skipped), func(a, b string) int {
		return cmp.Or(src.Skipped[b]-src.Skipped[a], strings.Compare(a, b))
	})
	if len(kinds) > 0 {
		var counts []string
		for _, k := range kinds {
			counts = append(counts, fmt.Sprintf("%s %s", report.Count(int64(src.Skipped[k])), k))
		}
		lines = append(lines, "Skipped: "+strings.Join(counts, ", "))
	}
	if len(src.Special) > 0 {
		lines = append(lines, describeSpecial(src))
	}
	lines = append(lines, src.Unread...)
	if len(src.Empty) > 0 {
		lines = append(lines, "Folders without images: "+shorten(src.Empty, allClasses))
	}
	return append(lines, src.Notes...)
}

// describeSpecial names what can't be read as a file.
func describeSpecial(src *dataset.Source) string {
	return "Not regular files, so left out: " + shorten(src.Special, allClasses)
}

// remarkSpecial names what can't be read, as a file or as a picture, for commands that print no summary.
func (e *environment) remarkSpecial(d *dataset.Dataset) {
	src := d.Source()
	if src == nil {
		return
	}
	if len(src.Special) > 0 {
		e.remark(lowerFirst(describeSpecial(src)))
	}
	for _, text := range src.Unread {
		e.remark(text)
	}
}

// describeLeaks writes how many validation images are in the training part, too.
func (s dataSummary) describeLeaks(e *environment) ([]string, error) {
	if n := s.train.Len() + s.val.Len(); n > comparedImages && !s.CheckLeaks {
		return []string{"Whether validation images are in the training part, too, is not checked for so many; --check-leaks does"}, nil
	}
	leaks, err := s.leaks(e, s.train, s.val, dataset.LeakOptions{MaxBytes: comparedBytes, Workers: s.threads, MaxPixels: s.maxPixels})
	if err != nil {
		return nil, err
	}
	return leakLines(leaks, s.val.Len()), nil
}

// leakLines describes leaks in sentences, none if there are none.
func leakLines(leaks dataset.Leaks, images int) []string {
	var lines []string
	if !leaks.Checked {
		lines = append(lines, "Whether validation images are in the training part, too, is not checked for so many bytes; --check-leaks does")
	}
	for _, l := range []struct {
		found []dataset.Leak
		how   string
	}{{leaks.Same, "are also in the training part, so the validation error is too small"}, {leaks.Near, "look like one of the training part"}} {
		if n := len(l.found); n > 0 {
			var names []string
			for _, leak := range l.found[:min(shownLeaks, n)] {
				names = append(names, leak.Val+" = "+leak.Train)
			}
			more := ""
			if n > shownLeaks {
				more = fmt.Sprintf(" and %s more", report.Count(int64(n-shownLeaks)))
			}
			lines = append(lines, fmt.Sprintf("%s of %s validation images %s: %s%s", report.Count(int64(n)), report.Count(int64(images)), l.how, strings.Join(names, ", "), more))
		}
	}
	return lines
}
