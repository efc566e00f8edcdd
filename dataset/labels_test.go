package dataset

import (
	"context"
	"errors"
	"io/fs"
	"reflect"
	"slices"
	"strings"
	"testing"
	"testing/fstest"
)

func TestOpenTable(t *testing.T) {
	files := []string{"jpg/1.jpg", "", "jpg/2.jpg", "", "jpg/3.jpg", "", "other/3.jpg", ""}
	for _, c := range []struct {
		name, table        string
		classes, titles    []string
		train, val         []string
		wantTrain, wantVal string
	}{
		{
			name: "names and numbers, with parts", table: "file,label,name,split\n1.jpg,1,rose,train\n2.jpg,0,tulip,training\njpg/3.jpg,0,tulip,val\n",
			classes: []string{"tulip", "rose"}, train: []string{"jpg/2.jpg=tulip", "jpg/1.jpg=rose"}, val: []string{"jpg/3.jpg=tulip"},
			wantTrain: " (train)", wantVal: " (val)",
		},
		{
			name: "names alone", table: "filename,class\n1.jpg,rose\n2.jpg,aster\nother/3.jpg,rose\n",
			classes: []string{"aster", "rose"}, train: []string{"jpg/2.jpg=aster", "jpg/1.jpg=rose", "other/3.jpg=rose"},
		},
		{
			name: "numbers alone, with gaps", table: "path,label\n1.jpg,10\n2.jpg,9\n",
			classes: []string{"9", "10"}, train: []string{"jpg/2.jpg=9", "jpg/1.jpg=10"},
		},
		{
			name: "name is the file, label a word", table: "name,label\n1.jpg,rose\n2.jpg,aster\n",
			classes: []string{"aster", "rose"}, train: []string{"jpg/2.jpg=aster", "jpg/1.jpg=rose"},
		},
		{
			name: "WordNet ids and names", table: "\ufeffimage,wnid,name\n1.jpg," + tench + ",tench\n2.jpg," + husky + ",\"husky, Siberian\"\n",
			classes: []string{tench, husky}, titles: []string{"tench", "husky, Siberian"}, train: []string{"jpg/1.jpg=" + tench, "jpg/2.jpg=" + husky},
		},
		{
			name: "words apart", table: "file label\n1.jpg rose\n2.jpg aster\n",
			classes: []string{"aster", "rose"}, train: []string{"jpg/2.jpg=aster", "jpg/1.jpg=rose"},
		},
		{
			name: "an image that is missing", table: "file,class\n1.jpg,rose\n9.jpg,rose\n",
			classes: []string{"rose"}, train: []string{"9.jpg=rose", "jpg/1.jpg=rose"},
		},
		{
			name: "all in one part", table: "file,class,split\n1.jpg,rose,test\n2.jpg,rose,test\n",
			classes: []string{"rose"}, train: []string{"jpg/1.jpg=rose", "jpg/2.jpg=rose"},
		},
		{
			name: "val before test", table: "file,class,split\n1.jpg,rose,train\n2.jpg,rose,test\nother/3.jpg,rose,val\n",
			classes: []string{"rose"}, train: []string{"jpg/1.jpg=rose"}, val: []string{"other/3.jpg=rose"}, wantTrain: " (train)", wantVal: " (val)",
		},
	} {
		t.Run(c.name, func(t *testing.T) {
			dir := layout(t, append(slices.Clone(files), "labels.csv", c.table)...)
			train, val, err := Open(t.Context(), dir, OpenOptions{})
			if err != nil {
				t.Fatal(err)
			}
			if !slices.Equal(train.Classes, c.classes) || !reflect.DeepEqual(train.Titles, c.titles) {
				t.Errorf("classes %v, titles %q", train.Classes, train.Titles)
			}
			if !reflect.DeepEqual(names(train), c.train) || !reflect.DeepEqual(names(val), c.val) {
				t.Errorf("train %v, val %v", names(train), names(val))
			}
			if train.Name != dir+c.wantTrain || val != nil && val.Name != dir+c.wantVal {
				t.Errorf("called %s", train.Name)
			}
		})
	}
}

func TestOpenTableRefuses(t *testing.T) {
	for want, table := range map[string]string{
		"no rows":                                "file,class\n",
		"no column of classes":                   "file,size\n1.jpg,3\n",
		"labels.csv:3: no class in column class": "file,class\n1.jpg,rose\n2.jpg,\n",
		`labels.csv:3: column label: "x", want a class number`: "file,label,name\n1.jpg,0,rose\n2.jpg,x,aster\n",
		"labels.csv:3: class rose has number 1, and 0 further": "file,label,name\n1.jpg,0,rose\n2.jpg,1,rose\n",
		"labels.csv:3: class number 0 is aster, and rose":      "file,label,name\n1.jpg,0,rose\n2.jpg,0,aster\n",
		`labels.csv:2: column split: "some", want train`:       "file,class,split\n1.jpg,rose,some\n",
		"no row says train": "file,class,split\n1.jpg,rose,val\n2.jpg,rose,test\n",
		"labels.csv:2 and labels.csv:3: jpg/1.jpg is rose there and aster here": "file,class\n1.jpg,rose\njpg/1.jpg,aster\n",
		`labels.csv:3: file "../9.png", want a path below`:                      "file,class\n1.jpg,rose\n../9.png,rose\n",
		"none of its 1 images is there; the first: 7.jpg":                       "file,class\n7.jpg,rose\n",
		"labels.csv: record on line 2: wrong number":                            "",
		"labels.csv: parse error on line 2, column":                             "file,class\n1.jpg,\"rose\n",
	} {
		if table == "" {
			continue
		}
		dir := layout(t, "jpg/1.jpg", "", "jpg/2.jpg", "", "labels.csv", table)
		if _, _, err := Open(t.Context(), dir, OpenOptions{}); err == nil || !strings.Contains(err.Error(), want) || !strings.HasPrefix(err.Error(), "dataset: "+dir) {
			t.Errorf("%q: error %v, want it to say %q", table, err, want)
		}
	}
}

func TestFinder(t *testing.T) {
	f := newFinder([]string{"cat/1.jpg", "dog/1.jpg", "dog/1.png", "2.jpg", "a/b/3.jpg", "c/b/3.jpg", "x.y.jpg"})
	for name, want := range map[string]int{
		"cat/1.jpg": 0, "dog/1.jpg": 1, "dog/1.png": 2, "dog/1": -1, "cat/1": 0, "1.jpg": -1, "1.png": 2, "cow/1.jpg": -1,
		"2.jpg": 3, "2": 3, "images/2.JPEG": 3, "train/2.jpg": 3, `dog\1.png`: 2, "b/3.jpg": -1, "a/b/3.xml": 4, "z/a/b/3.jpg": 4,
		"x.y.jpg": 6, "x.y": 6, "4.jpg": -1, "": -1,
		"train/cat/1.jpg": 0, "val/dog/1.jpg": 1, "train/cow/1.jpg": -1, "a/b/train/2.jpg": 3, "ILSVRC2012_img_val/2.jpg": 3,
	} {
		if got := f.find(name); got != want {
			t.Errorf("%q is file %d, want %d", name, got, want)
		}
	}
}

func FuzzTable(f *testing.F) {
	f.Add([]byte("file,label,name,split\n1.jpg,0,daffodil,train\n2.jpg,1,rose,test\n"))
	f.Add([]byte("filename,width,height,class,xmin,ymin,xmax,ymax\n1.jpg,650,417,raccoon,81,88,522,408\n"))
	f.Add([]byte("val_0.JPEG\tn03444034\t0\t32\t44\t62\n"))
	f.Add([]byte("ImageId,PredictionString\nx,n01440764 1 2 3 4\n"))
	f.Add([]byte("1\n2\n"))
	f.Fuzz(func(t *testing.T, data []byte) {
		table, err := parseTable(t.Context(), "t.csv", data)
		if err != nil {
			return
		}
		if len(table.rows) != len(table.lines) {
			t.Fatal("rows and lines")
		}
		readAsLabels(t, data)
		if v := table.labelValues([]string{"1.jpg", "2.jpg"}); v != nil {
			d := &Dataset{}
			if v.label(d, []string{"1.jpg", "2.jpg"}, []string{"a", "b"}, nil) == nil && d.Len() != 2 {
				t.Fatalf("%d samples of two files", d.Len())
			}
		}
		table.annotations(func(a annotation, err error) bool {
			for _, o := range a.objects {
				if c := o.corners; err == nil && (c[0] != c[0] || c[3] != c[3]) {
					t.Fatalf("corners %v", o)
				}
			}
			return true
		})
	})
}

// readAsLabels reads a table of labels of three images, and checks what is accepted.
func readAsLabels(t *testing.T, data []byte) {
	t.Helper()
	s := &search{ctx: t.Context()}
	all := []string{"1.jpg", "a/2.jpg", "b/2.jpg"}
	table, err := parseTable(t.Context(), "t.csv", data)
	if err != nil {
		return
	}
	source, err := table.source(newTableFiles(all, "."), "", Columns{})
	if err != nil {
		return
	}
	train, val, err := s.tableDatasets("x", fstest.MapFS{}, fstest.MapFS{}, []*tableSource{source}, all)
	for _, d := range []*Dataset{train, val} {
		if err != nil || d == nil {
			continue
		}
		for i, sample := range d.Samples {
			if !fs.ValidPath(sample.Name) {
				t.Fatalf("sample %q", sample.Name)
			}
			for _, l := range d.LabelsOf(i) {
				if l < 0 || l >= len(d.Classes) {
					t.Fatalf("label %d of %d classes", l, len(d.Classes))
				}
			}
		}
	}
}

// FuzzRecords: JSON records of any content are a table or an error.
func FuzzRecords(f *testing.F) {
	f.Add([]byte(`{"file_name": "1.jpg", "label": 3, "tags": ["a", "b"]}` + "\n" + `{"file_name": "2.jpg", "label": null}`))
	f.Add([]byte(`[{"image": "1.jpg", "class": "x"}, {"class": "y", "image": "a/2.jpg"}]`))
	f.Fuzz(func(t *testing.T, data []byte) {
		table, err := parseJSON(t.Context(), "t.jsonl", data)
		if err != nil {
			return
		}
		for _, row := range table.rows {
			if len(row) != len(table.columns) || len(table.rows) != len(table.lines) {
				t.Fatalf("%d fields of %d columns, %d lines of %d rows", len(row), len(table.columns), len(table.lines), len(table.rows))
			}
		}
	})
}

// Classes that differ in case alone, and other oddities of tables, are told.
func TestTableNotes(t *testing.T) {
	dir := layout(t, "a/1.jpg", "", "a/2.jpg", "", "a/3.jpg", "", "a/4.jpg", "",
		"labels.csv", "file,class\n1.jpg,Rose\n2.jpg,rose\n2.jpg,rose\n9.jpg,aster\n8.jpg,aster\n")
	d, _, err := Open(t.Context(), dir, OpenOptions{})
	if err != nil {
		t.Fatal(err)
	}
	want := []string{
		"1 row given more than once, each time the same",
		"2 rows without a file, which count as unreadable: 9.jpg, 8.jpg",
		"labels.csv: images by column file, classes by column class",
		"2 images in a without a row, left out: 3.jpg, 4.jpg",
		`classes "Rose" and "rose" differ in case or signs alone`,
	}
	if got := d.Source().Notes; !slices.Equal(got, want) {
		t.Errorf("%q\nwant %q", got, want)
	}
}

// Once the context is done, no more of a table is read, however long it is.
func TestTableCancelled(t *testing.T) {
	cause := errors.New("enough")
	ctx, cancel := context.WithCancelCause(t.Context())
	cancel(cause)
	fsys := fstest.MapFS{
		"labels.csv": {Data: []byte("image,label\n1.jpg,cat\n")}, "list.txt": {Data: []byte("1.jpg 0\n")}, "labels.jsonl": {Data: []byte(`{"image": "1.jpg", "label": "cat"}`)},
	}
	for name, f := range fsys {
		if _, err := readRecords(ctx, fsys, name); !errors.Is(err, cause) {
			t.Errorf("%s: %v, want %v", name, err, cause)
		}
		parse := parseTable
		if isJSONTable(name) {
			parse = parseJSON
		}
		if _, err := parse(ctx, name, f.Data); !errors.Is(err, cause) {
			t.Errorf("parse %s: %v, want %v", name, err, cause)
		}
	}
}
