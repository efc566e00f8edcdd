package dataset

import (
	"context"
	"encoding/xml"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"path"
	"slices"
	"strconv"
	"strings"
)

var (
	vocImages      = []string{"JPEGImages", "images", "Images"}
	vocAnnotations = []string{"Annotations", "annotations"}
)

// voc is an annotation of PASCAL VOC or ILSVRC.
type voc struct {
	XMLName  xml.Name `xml:"annotation"`
	Filename string   `xml:"filename"`
	Database string   `xml:"source>database"`
	Size     *struct {
		Width  string `xml:"width"`
		Height string `xml:"height"`
	} `xml:"size"`
	Objects []struct {
		Name      string `xml:"name"`
		Difficult string `xml:"difficult"`
		Box       *struct {
			X0 string `xml:"xmin"`
			Y0 string `xml:"ymin"`
			X1 string `xml:"xmax"`
			Y1 string `xml:"ymax"`
		} `xml:"bndbox"`
	} `xml:"object"`
}

// vocRule returns how an XML annotation counts pixels, by the database that it names.
func vocRule(database string) pixelRule {
	d := strings.ToLower(database)
	if strings.Contains(d, "ilsvrc") || strings.Contains(d, "imagenet") {
		return fromZero
	}
	return fromOne
}

// settleRule returns the notes of one source of XML with the rule that its corners show. PASCAL
// VOC's count pixels from 1, and most programs that write its format do. A corner below 1
// shows that one doesn't: then all corners of the source are edges.
func settleRule(notes []annotation, name string) {
	ilsvrc := strings.Contains(name, "CLS-LOC") || path.Base(name) == "bbox"
	zero := slices.ContainsFunc(notes, func(n annotation) bool {
		return n.rule == fromOne && slices.ContainsFunc(n.objects, func(o object) bool { return o.corners[0] < 1 || o.corners[1] < 1 })
	})
	for i := range notes {
		switch {
		case ilsvrc:
			notes[i].rule = fromZero
		case zero && notes[i].rule == fromOne:
			notes[i].rule = edges
		}
	}
}

// parseVOC reads an XML annotation: its usable objects, and an error for each that
// isn't. Its last result is the error of a file that is unusable as a whole.
func parseVOC(source string, r io.Reader) (annotation, []error, error) {
	note := annotation{source: source, rule: fromOne}
	var v voc
	if err := xml.NewDecoder(r).Decode(&v); err != nil {
		if errors.Is(err, io.EOF) {
			err = io.ErrUnexpectedEOF
		}
		return note, nil, fmt.Errorf("XML: %w", err)
	}
	note.image, note.rule = v.Filename, vocRule(v.Database)
	if v.Size == nil {
		return note, nil, errNoSize
	}
	var errW, errH error
	note.w, errW = strconv.Atoi(strings.TrimSpace(v.Size.Width))
	note.h, errH = strconv.Atoi(strings.TrimSpace(v.Size.Height))
	if errW != nil || errH != nil || note.w < 1 || note.h < 1 {
		return note, nil, fmt.Errorf("%w: width %q, height %q", errNoSize, v.Size.Width, v.Size.Height)
	}
	var bad []error
	for _, obj := range v.Objects {
		o := object{class: strings.TrimSpace(obj.Name), difficult: strings.TrimSpace(obj.Difficult) == "1"}
		if obj.Box == nil {
			bad = append(bad, fmt.Errorf("object %s without a bndbox", o.class))
			continue
		}
		var err error
		if o.corners, err = parseCorners([4]string{obj.Box.X0, obj.Box.Y0, obj.Box.X1, obj.Box.Y1}); err != nil {
			bad = append(bad, fmt.Errorf("object %s: %w", o.class, err))
			continue
		}
		if o.class == "" {
			bad = append(bad, errors.New("object without a name"))
			continue
		}
		note.objects = append(note.objects, o)
	}
	return note, bad, nil
}

// vocParts returns the base names, without extension, of each part's images, nil
// for a part without a list.
func vocParts(ctx context.Context, fsys fs.FS, root listing) (members [2]map[string]bool, err error) {
	for part := range members {
		for _, word := range partWords[part] {
			lists := vocLists(fsys, word)
			if table := word + "_labels.csv"; slices.Contains(root.files, table) {
				lists = []string{table}
			}
			for _, name := range lists {
				t, err := readTable(ctx, fsys, name)
				if err != nil {
					return members, err
				}
				if members[part] == nil {
					members[part] = map[string]bool{}
				}
				for row := range t.rows {
					members[part][stem(t.cell(row, t.fileColumn()))] = true
				}
			}
			if members[part] != nil {
				break
			}
		}
	}
	return members, nil
}

// vocLists returns the lists of a part: in the folder, or in those of one or several years below
// it, as of VOCdevkit.
func vocLists(fsys fs.FS, part string) []string {
	for _, below := range []string{"", "*/", "*/*/", "*/*/*/"} {
		if lists, err := fs.Glob(fsys, below+"ImageSets/Main/"+part+".txt"); err == nil && len(lists) > 0 {
			return lists
		}
	}
	return nil
}
