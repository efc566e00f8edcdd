package dataset

import (
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

// vocTree writes a small PASCAL VOC collection within a folder.
func vocTree(t *testing.T, files map[string]string) string {
	t.Helper()
	dir := t.TempDir()
	for name, text := range files {
		p := filepath.Join(dir, "VOC2007", filepath.FromSlash(name))
		if err := os.MkdirAll(filepath.Dir(p), 0o777); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(p, []byte(text), 0o666); err != nil {
			t.Fatal(err)
		}
	}
	return dir
}

// note is an annotation of objects: name, or name! for a difficult one.
func note(objects ...string) string {
	text := "<annotation><size><width>40</width><height>30</height></size>"
	for i, o := range objects {
		name, hard := strings.CutSuffix(o, "!")
		difficult := 0
		if hard {
			difficult = 1
		}
		text += fmt.Sprintf("<object><name>%s</name><difficult>%d</difficult><bndbox><xmin>%d</xmin><ymin>2</ymin><xmax>%d</xmax><ymax>20</ymax></bndbox></object>", name, difficult, i+1, i+11)
	}
	return text + "</annotation>"
}

func vocFiles() map[string]string {
	f := map[string]string{
		"ImageSets/Main/train.txt":    "000001\n000002\n",
		"ImageSets/Main/val.txt":      "000003\n",
		"ImageSets/Main/trainval.txt": "000001\n000002\n000003\n",
		"ImageSets/Main/test.txt":     "000004\n000005\n",
		"Annotations/000001.xml":      note("dog", "cat!"),
		"Annotations/000002.xml":      note("person", "dog!", "dog"),
		"Annotations/000003.xml":      note("cat"),
		"Annotations/000004.xml":      note("person"),
	}
	for i := range 6 {
		f[fmt.Sprintf("JPEGImages/00000%d.jpg", i)] = "pixels"
	}
	return f
}

func check(t *testing.T, m *MultiLabel, want ...string) {
	t.Helper()
	if m.Len() != len(want) {
		t.Fatalf("%d samples, want %d", m.Len(), len(want))
	}
	for i, s := range m.Samples {
		got := fmt.Sprintf("%s %s %v%v%v%v", s.Name, m.Parts[i], s.Labels, m.Difficult[i], s.Label, s.Boxes)
		if got != want[i] {
			t.Errorf("sample %d: %s, want %s", i, got, want[i])
		}
	}
}

// Labels of the annotations: an object that isn't marked difficult makes a class present.
func TestOpenVOCOfAnnotations(t *testing.T) {
	m, err := OpenVOC(t.Context(), vocTree(t, vocFiles()))
	if err != nil {
		t.Fatal(err)
	}
	if !slices.Equal(m.Classes, []string{"cat", "dog", "person"}) {
		t.Errorf("classes %v", m.Classes)
	}
	check(t, m, // 000005 has no annotation, and is left out
		"JPEGImages/000001.jpg train [1][0]1[]", "JPEGImages/000002.jpg train [1 2][]1[]",
		"JPEGImages/000003.jpg val [0][]0[]", "JPEGImages/000004.jpg test [2][]2[]")
	if b, err := m.Read(0); err != nil || string(b) != "pixels" {
		t.Errorf("%q, %v", b, err)
	}
}

// Class lists take precedence over annotations.
func TestOpenVOCOfLists(t *testing.T) {
	f := vocFiles()
	for class, marks := range map[string]string{"dog": "1 1 -1 -1 0", "cat": "0 -1 1 -1 1"} {
		m := strings.Fields(marks)
		f["ImageSets/Main/"+class+"_train.txt"] = fmt.Sprintf("000001 %s\n000002  %s\n", m[0], m[1])
		f["ImageSets/Main/"+class+"_val.txt"] = fmt.Sprintf("000003 %s\n", m[2])
		f["ImageSets/Main/"+class+"_test.txt"] = fmt.Sprintf("000004 %s\n000005 %s\n", m[3], m[4])
	}
	m, err := OpenVOC(t.Context(), vocTree(t, f))
	if err != nil {
		t.Fatal(err)
	}
	check(t, m,
		"JPEGImages/000001.jpg train [1][0]1[]", "JPEGImages/000002.jpg train [1][]1[]",
		"JPEGImages/000003.jpg val [0][]0[]", "JPEGImages/000004.jpg test [][]0[]", "JPEGImages/000005.jpg test [0][1]0[]")
	f["ImageSets/Main/dog_val.txt"] = "000003 2\n"
	if _, err := OpenVOC(t.Context(), vocTree(t, f)); err == nil || !strings.Contains(err.Error(), `dog_val: label "2", want -1, 0 or 1`) {
		t.Errorf("a label of 2: %v", err)
	}
	f["ImageSets/Main/dog_val.txt"] = "000003\n"
	if _, err := OpenVOC(t.Context(), vocTree(t, f)); err == nil || !strings.Contains(err.Error(), `dog_val.txt:1: "000003", want 2 columns`) {
		t.Errorf("no label: %v", err)
	}
}

// A sample of the action task is a person.
func TestOpenVOCActions(t *testing.T) {
	f := vocFiles()
	f["Annotations/000001.xml"] = note("person", "dog", "person")
	f["ImageSets/Action/jumping_train.txt"] = "000001 1 1\n000001 3 -1\n"
	f["ImageSets/Action/riding_train.txt"] = "000001 1 0\n000001 3 1\n"
	f["ImageSets/Action/jumping_val.txt"] = "000003 1 1\n"
	f["ImageSets/Action/riding_val.txt"] = "000003 1 -1\n"
	f["ImageSets/Action/jumping_trainval.txt"] = "000001 1 1\n000001 3 -1\n000003 1 1\n"
	m, err := OpenVOCActions(t.Context(), vocTree(t, f))
	if err != nil {
		t.Fatal(err)
	}
	if !slices.Equal(m.Classes, []string{"jumping", "riding"}) {
		t.Errorf("classes %v", m.Classes)
	}
	check(t, m,
		"JPEGImages/000001.jpg train [0][1]0[{0 1 11 20 0 false}]", "JPEGImages/000001.jpg train [1][]1[{2 1 13 20 0 false}]",
		"JPEGImages/000003.jpg val [0][]0[{0 1 11 20 0 false}]")
	f["ImageSets/Action/jumping_val.txt"] = "000003 2 1\n"
	if _, err := OpenVOCActions(t.Context(), vocTree(t, f)); err == nil || !strings.Contains(err.Error(), "000003.xml: no object 2 with a box among 1") {
		t.Errorf("an object that isn't there: %v", err)
	}
}

func TestVOCWithoutLists(t *testing.T) {
	if _, err := OpenVOC(t.Context(), t.TempDir()); err == nil || !strings.Contains(err.Error(), "no folder ImageSets/Main") {
		t.Error(err)
	}
	if _, err := OpenVOC(t.Context(), vocTree(t, map[string]string{"ImageSets/Main/train.txt": "1\n"})); err == nil || !strings.Contains(err.Error(), "no images in JPEGImages") {
		t.Error(err)
	}
}

// Files and folders give each image once, under the path as it was given, and every image
// can be read.
func TestOpenFiles(t *testing.T) {
	dir := vocTree(t, map[string]string{"b/2.PNG": "two", "b/c/1.jpg": "one", "a.txt": "", ".hidden/3.jpg": "", "a.jpeg": "a"})
	root := filepath.Join(dir, "VOC2007")
	d, err := OpenFiles(t.Context(), filepath.Join(root, "b", "2.PNG"), root)
	if err != nil {
		t.Fatal(err)
	}
	var got []string
	for i, s := range d.Samples {
		b, err := d.Read(i)
		if err != nil {
			t.Fatal(err)
		}
		got = append(got, strings.TrimPrefix(s.Name, filepath.ToSlash(root)+"/")+"="+string(b))
	}
	if want := []string{"b/2.PNG=two", "a.jpeg=a", "b/c/1.jpg=one"}; !slices.Equal(got, want) {
		t.Errorf("%v, want %v", got, want)
	}
	if _, err := Fingerprint(t.Context(), d); err != nil {
		t.Error(err)
	}
	for _, bad := range []string{filepath.Join(dir, "nowhere"), t.TempDir()} {
		if _, err := OpenFiles(t.Context(), bad); err == nil || !strings.Contains(err.Error(), bad) {
			t.Errorf("%s: %v", bad, err)
		}
	}
}

// Parts in one folder keep their names; parts of several folders get a number.
func TestJoin(t *testing.T) {
	dir := t.TempDir()
	for _, name := range []string{"train/x/1.jpg", "train/y/2.jpg", "val/x/3.jpg", "val/y/1.jpg"} {
		p := filepath.Join(dir, filepath.FromSlash(name))
		if err := os.MkdirAll(filepath.Dir(p), 0o777); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(p, []byte(name), 0o666); err != nil {
			t.Fatal(err)
		}
	}
	train, val, err := Open(t.Context(), dir, OpenOptions{})
	if err != nil {
		t.Fatal(err)
	}
	other, _, err := Open(t.Context(), filepath.Join(dir, "train"), OpenOptions{})
	if err != nil {
		t.Fatal(err)
	}
	for _, parts := range [][]*Dataset{{train, val}, {train, other}} {
		j, err := Join("both", parts...)
		if err != nil {
			t.Fatal(err)
		}
		i := 0
		for k, p := range parts {
			for n, s := range p.Samples {
				want := s.Name
				if p == other || parts[1] == other {
					want = fmt.Sprintf("%d/%s", k, s.Name)
				}
				if j.Samples[i].Name != want || j.Samples[i].Label != s.Label {
					t.Errorf("sample %d: %v, want %s", i, j.Samples[i], want)
				}
				got, err := j.Read(i)
				mine, _ := p.Read(n)
				if err != nil || string(got) != string(mine) {
					t.Errorf("sample %d: %q, %v, want %q", i, got, err, mine)
				}
				i++
			}
		}
	}
	if _, err := Join("both", train, &Dataset{Name: "z", Classes: []string{"z"}}); err == nil {
		t.Error("other classes joined")
	}
}
