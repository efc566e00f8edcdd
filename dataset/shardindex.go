package dataset

import (
	"bufio"
	"bytes"
	"fmt"
	"io/fs"
	"path"
	"strconv"
	"strings"
)

// An index lists the images of a shard, so that its headers needn't be read. It
// is text: a line with the version of the format and the shard's size in bytes,
// then a line for each image with offset, size, label (several as a list, [2,5])
// and name. Fields are separated by tabs.
const indexVersion = "vgg-shard-index-1"

// parseIndex reads the index of a shard of the given size. current is false if
// the index was made for another size.
func parseIndex(data []byte, shardSize int64) (samples []shardSample, current bool, err error) {
	header, rest, _ := strings.Cut(string(data), "\n")
	version, size, _ := strings.Cut(header, "\t")
	if version != indexVersion {
		return nil, false, fmt.Errorf("line 1: %.40q, want %s and the size of the shard", header, indexVersion)
	}
	n, err := strconv.ParseInt(size, 10, 64)
	if err != nil {
		return nil, false, fmt.Errorf("line 1: size %.40q, want a number", size)
	}
	if n != shardSize {
		return nil, false, nil
	}
	line := 1
	for text := range strings.Lines(rest) {
		line++
		s, err := parseIndexLine(strings.TrimSuffix(text, "\n"), shardSize)
		if err != nil {
			return nil, false, fmt.Errorf("line %d: %w", line, err)
		}
		samples = append(samples, s)
	}
	return samples, true, nil
}

func parseIndexLine(text string, shardSize int64) (shardSample, error) {
	s := shardSample{}
	fields := strings.SplitN(text, "\t", 4)
	if len(fields) != 4 {
		return s, fmt.Errorf("%.80q, want offset, size, label and name", text)
	}
	labels, list := fields[2], strings.HasPrefix(fields[2], "[") && strings.HasSuffix(fields[2], "]")
	if list {
		fields[2] = "0"
	}
	var numbers [3]int64
	for i := range numbers {
		v, err := strconv.ParseInt(fields[i], 10, 64)
		if err != nil || v < 0 || v > shardSize {
			return s, fmt.Errorf("%q, want a number from 0 to %d", fields[i], shardSize)
		}
		numbers[i] = v
	}
	s.offset, s.size, s.label, s.name = numbers[0], numbers[1], int(numbers[2]), fields[3]
	if s.offset < tarBlock || s.offset+s.size > shardSize {
		return s, fmt.Errorf("bytes %d to %d of a shard of %d", s.offset, s.offset+s.size, shardSize)
	}
	if list {
		if err := s.setLabels(strings.FieldsFunc(labels, func(r rune) bool { return strings.ContainsRune("[,]", r) })); err != nil {
			return s, err
		}
	}
	if !fs.ValidPath(s.name) || !isImage(s.name) {
		return s, fmt.Errorf("%q, want the path of an image", s.name)
	}
	return s, nil
}

// formatIndex writes what parseIndex reads.
func formatIndex(samples []shardSample, shardSize int64) []byte {
	var b bytes.Buffer
	w := bufio.NewWriter(&b)
	fmt.Fprintf(w, "%s\t%d\n", indexVersion, shardSize)
	for _, s := range samples {
		label := strconv.Itoa(s.label)
		if s.labels != nil {
			numbers := make([]int, len(s.labels))
			for i, l := range s.labels {
				numbers[i] = l.label
			}
			label = numberList(numbers)
		}
		fmt.Fprintf(w, "%d\t%d\t%s\t%s\n", s.offset, s.size, label, s.name)
	}
	w.Flush()
	return b.Bytes()
}

// A key ends at the first dot of a file's name. So all dots but the last are
// written as %2E.
var (
	escape   = strings.NewReplacer("%", "%25", ".", "%2E")
	unescape = strings.NewReplacer("%25", "%", "%2E", ".")
)

func escapeKey(name string) string {
	dir, base := path.Split(name)
	ext := path.Ext(base)
	return dir + escape.Replace(strings.TrimSuffix(base, ext)) + ext
}

// unescapeKey undoes escapeKey.
func unescapeKey(name string) string {
	dir, base := path.Split(name)
	return dir + unescape.Replace(base)
}
