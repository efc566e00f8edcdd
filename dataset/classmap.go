package dataset

import (
	"bytes"
	"encoding/csv"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
)

// ParseClassMap reads the new names of classes: lines of CSV or TSV with a class and its new
// name, or a JSON object of them. A header "data class,network class" is passed over. A class
// that comes twice is an error.
func ParseClassMap(data []byte) (map[string]string, error) {
	data = bytes.TrimSpace(bytes.TrimPrefix(data, []byte("\ufeff")))
	names := map[string]string{}
	if len(data) == 0 {
		return nil, errors.New("empty, want lines of: data class,network class")
	}
	if data[0] == '{' {
		d := json.NewDecoder(bytes.NewReader(data))
		if err := d.Decode(&names); err != nil {
			return nil, fmt.Errorf(`want a JSON object of names by name, as {"Dog": "dog"}: %w`, err)
		}
		return names, nil
	}
	r := csv.NewReader(bytes.NewReader(data))
	if first, _, _ := bytes.Cut(data, []byte("\n")); bytes.ContainsRune(first, '\t') {
		r.Comma = '\t'
	}
	r.FieldsPerRecord, r.LazyQuotes = -1, true
	rows, err := r.ReadAll()
	if err != nil {
		return nil, err
	}
	for i, row := range rows {
		if len(row) != 2 {
			return nil, fmt.Errorf("row %d: %d columns, want two: data class,network class", i+1, len(row))
		}
		from, to := strings.TrimSpace(row[0]), strings.TrimSpace(row[1])
		if i == 0 && strings.EqualFold(from, "data class") {
			continue
		}
		if was, ok := names[from]; ok && was != to {
			return nil, fmt.Errorf("row %d: class %q becomes %q, and %q further up", i+1, from, to, was)
		}
		names[from] = to
	}
	return names, nil
}

// RenameClasses returns d with other names of its classes: names[c] for a class c that is a
// key of names, and the same for others. Classes of the same new name become one, at the place
// of the first. A class whose new name is empty is left out with the images that show nothing
// else. It is an error if names has a class that d lacks, or if nothing is left.
func (d *Dataset) RenameClasses(names map[string]string) (*Dataset, error) {
	for _, from := range slices.Sorted(maps.Keys(names)) {
		if !slices.Contains(d.Classes, from) {
			return nil, fmt.Errorf("dataset: %s: no class %q among its %d: %s", d.Name, from, len(d.Classes), some(d.Classes))
		}
	}
	out := d.subset(d.Name, nil)
	out.Classes, out.Titles = nil, nil
	label := make([]int, len(d.Classes)) // the new one, -1 of a class that is left out
	for i, c := range d.Classes {
		to, ok := names[c]
		if !ok {
			to = c
		}
		if label[i] = slices.Index(out.Classes, to); to == "" {
			label[i] = -1
		} else if label[i] < 0 {
			label[i] = len(out.Classes)
			out.Classes = append(out.Classes, to)
			if d.Titles != nil {
				out.Titles = append(out.Titles, d.Titles[i])
			}
		}
	}
	for i, s := range d.Samples {
		labels := []int{}
		for _, l := range d.LabelsOf(i) {
			if label[l] >= 0 && !slices.Contains(labels, label[l]) {
				labels = append(labels, label[l])
			}
		}
		if len(labels) == 0 && len(d.LabelsOf(i)) > 0 {
			continue
		}
		if s.Boxes, s.Label = renameBoxes(s.Boxes, label), 0; d.MultiLabel {
			s.Labels = slices.Sorted(slices.Values(labels))
		}
		if len(labels) > 0 {
			s.Label = slices.Min(labels)
		}
		out.Samples = append(out.Samples, s)
	}
	if len(out.Samples) == 0 {
		return nil, fmt.Errorf("dataset: %s: no image is left once classes without a name are left out", d.Name)
	}
	return out, nil
}

// renameBoxes gives boxes their new labels, and leaves out those of -1.
func renameBoxes(boxes []Box, label []int) []Box {
	var kept []Box
	for _, b := range boxes {
		if b.Class = label[b.Class]; b.Class >= 0 {
			kept = append(kept, b)
		}
	}
	return kept
}
