package dataset

import (
	"bufio"
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"hash/crc32"
	"io/fs"
	"path"
	"slices"
	"strconv"
	"strings"
)

// An index lists the images of a shard, so that its headers needn't be read. It
// is text: a line with the version of the format, the shard's size in bytes and its SHA-256,
// then a line for each image with offset, size, checksum (CRC-32C, as 8 hexadecimal digits), label
// (several as a list, [2,5]) and name. Fields are separated by tabs. The first version has no
// checksums.
const (
	indexVersion  = "vgg-shard-index-2"
	indexVersion1 = "vgg-shard-index-1"
)

// indexHeader is the first line of an index.
type indexHeader struct {
	sums bool   // the lines have checksums
	size int64  // of the shard
	sum  string // SHA-256 of the shard, in hexadecimal, for [VerifyShards]; "" in the first version
}

// cutShort is the error of a shard of fewer bytes than its index says.
func (h indexHeader) cutShort(shardSize int64) error {
	return fmt.Errorf("%d bytes, and %d by its index: the shard is cut short, or the index is another's; want the shard copied again, or vgg shard --reindex", shardSize, h.size)
}

// parseIndexHeader reads the first line of an index.
func parseIndexHeader(data []byte) (h indexHeader, rest string, err error) {
	header, rest, _ := strings.Cut(string(data), "\n")
	fields := strings.Split(header, "\t")
	switch {
	case fields[0] == indexVersion && len(fields) == 3:
		if h.sums, h.sum = true, fields[2]; len(h.sum) != 64 {
			return h, "", fmt.Errorf("line 1: checksum %.80q, want 64 hexadecimal digits", h.sum)
		}
	case fields[0] == indexVersion1 && len(fields) == 2:
	default:
		return h, "", fmt.Errorf("line 1: %.40q, want %s, the size of the shard and its SHA-256", header, indexVersion)
	}
	if h.size, err = strconv.ParseInt(fields[1], 10, 64); err != nil {
		return h, "", fmt.Errorf("line 1: size %.40q, want a number", fields[1])
	}
	return h, rest, nil
}

// parseIndex reads the index of a shard of the given size. current is false if
// the index was made for a smaller shard: this one was replaced, and is read
// anew. An index of a larger one is an error, as the shard may be cut short.
func parseIndex(data []byte, shardSize int64) (samples []shardSample, current bool, err error) {
	h, rest, err := parseIndexHeader(data)
	switch {
	case err != nil:
		return nil, false, err
	case h.size > shardSize:
		return nil, false, h.cutShort(shardSize)
	case h.size < shardSize:
		return nil, false, nil
	}
	line := 1
	for text := range strings.Lines(rest) {
		line++
		s, err := parseIndexLine(strings.TrimSuffix(text, "\n"), shardSize, h.sums)
		if err != nil {
			return nil, false, fmt.Errorf("line %d: %w", line, err)
		}
		samples = append(samples, s)
	}
	return samples, true, nil
}

func parseIndexLine(text string, shardSize int64, sums bool) (shardSample, error) {
	s := shardSample{}
	count, want := 4, "offset, size, label and name"
	if sums {
		count, want = 5, "offset, size, checksum, label and name"
	}
	fields := strings.SplitN(text, "\t", count)
	if len(fields) != count {
		return s, fmt.Errorf("%.80q, want %s", text, want)
	}
	if sums {
		sum, err := strconv.ParseUint(fields[2], 16, 32)
		if err != nil || len(fields[2]) != 8 {
			return s, fmt.Errorf("checksum %.20q, want 8 hexadecimal digits", fields[2])
		}
		s.sum, s.summed = uint32(sum), true
		fields = slices.Delete(fields, 2, 3)
	}
	label := fields[2]
	if fields[2] = "0"; !strings.ContainsAny(label[:min(1, len(label))], `["`) {
		fields[2] = label
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
	if fields[2] != label {
		if err := s.parseLabels(label); err != nil {
			return s, err
		}
	}
	if !fs.ValidPath(s.name) || !isImage(s.name) {
		return s, fmt.Errorf("%q, want the path of an image", s.name)
	}
	return s, nil
}

// parseLabels takes a name in quotes, or a list of numbers and names.
func (s *shardSample) parseLabels(text string) error {
	var label any
	d := json.NewDecoder(strings.NewReader(text))
	d.UseNumber()
	if err := d.Decode(&label); err != nil || d.More() {
		return fmt.Errorf("label %.80q, want a number, a name in quotes or a list of them", text)
	}
	if name, ok := label.(string); ok {
		if name == "" {
			return errors.New(`label "", want a class`)
		}
		s.shardClass = shardClass{-1, name}
		return nil
	}
	list, _ := label.([]any)
	s.shardClass, s.labels = shardClass{label: -1}, make([]shardClass, len(list))
	for i, one := range list {
		switch v := one.(type) {
		case string:
			if v == "" {
				return fmt.Errorf("label %.80q, want a class in each place", text)
			}
			s.labels[i] = shardClass{-1, v}
		case json.Number:
			n, err := strconv.Atoi(v.String())
			if err != nil || n < 0 {
				return fmt.Errorf("label %s, want 0 or more", v)
			}
			s.labels[i] = shardClass{n, ""}
		default:
			return fmt.Errorf("label %.80q, want numbers and names alone", text)
		}
	}
	return nil
}

// format writes a class as parseIndexLine reads it.
func (c shardClass) format() string {
	if c.class == "" {
		return strconv.Itoa(c.label)
	}
	text, _ := json.Marshal(c.class)
	return string(text)
}

// imageSum returns the checksum of an image in an index.
func imageSum(data []byte) uint32 { return crc32.Checksum(data, castagnoli) }

var castagnoli = crc32.MakeTable(crc32.Castagnoli)

// formatIndex writes what parseIndex reads.
func formatIndex(samples []shardSample, shardSize int64, sum []byte) []byte {
	var b bytes.Buffer
	w := bufio.NewWriter(&b)
	fmt.Fprintf(w, "%s\t%d\t%x\n", indexVersion, shardSize, sum)
	for _, s := range samples {
		label := s.shardClass.format()
		if s.labels != nil {
			list := make([]string, len(s.labels))
			for i, l := range s.labels {
				list[i] = l.format()
			}
			label = "[" + strings.Join(list, ",") + "]"
		}
		fmt.Fprintf(w, "%d\t%d\t%08x\t%s\t%s\n", s.offset, s.size, s.sum, label, s.name)
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
