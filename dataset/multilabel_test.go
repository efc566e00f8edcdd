package dataset

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

// described lists the samples of a dataset of several labels.
func described(d *Dataset) string {
	var lines []string
	for i, s := range d.Samples {
		var names []string
		for _, l := range d.LabelsOf(i) {
			names = append(names, d.Classes[l])
		}
		lines = append(lines, s.Name+"="+strings.Join(names, "+"))
	}
	return strings.Join(lines, " ")
}

func TestTablesOfSeveralLabels(t *testing.T) {
	files := []string{"1.jpg", "", "2.jpg", "", "3.jpg", ""}
	for _, c := range []struct{ name, table, classes, want string }{
		{"bars", "image,labels\n1.jpg,sea|sky\n2.jpg,sky\n3.jpg,\n", "sea sky", "1.jpg=sea+sky 2.jpg=sky 3.jpg="},
		{"semicolons in a class column", "file,class\n1.jpg,sky;sea\n2.jpg,sky\n3.jpg,tree\n", "sea sky tree", "1.jpg=sea+sky 2.jpg=sky 3.jpg=tree"},
		{"blanks in a column of tags", "image,tags\n1.jpg,sky sea\n2.jpg,sky\n3.jpg,tree\n", "sea sky tree", "1.jpg=sea+sky 2.jpg=sky 3.jpg=tree"},
		{"quoted lists", "image,tags\n1.jpg,\"['sky', 'open sea']\"\n2.jpg,sky\n3.jpg,[]\n", "open sea sky", "1.jpg=open sea+sky 2.jpg=sky 3.jpg="},
		{"no finding", "image,finding labels\n1.jpg,Mass|Hernia\n2.jpg,No Finding\n3.jpg,Mass\n", "Hernia Mass", "1.jpg=Hernia+Mass 2.jpg= 3.jpg=Mass"},
		{"columns of ones", "image,Sky,Sea,Tree\n1.jpg,1,1,0\n2.jpg,1,0,0\n3.jpg,0,0,0\n", "Sky Sea Tree", "1.jpg=Sky+Sea 2.jpg=Sky 3.jpg="},
	} {
		t.Run(c.name, func(t *testing.T) {
			dir := layout(t, append(slices.Clone(files), "labels.csv", c.table)...)
			d, _, err := Open(t.Context(), dir, OpenOptions{})
			if err != nil {
				t.Fatal(err)
			}
			if got := described(d); got != c.want || !d.MultiLabel || strings.Join(d.Classes, " ") != c.classes {
				t.Errorf("MultiLabel %v, classes %v: %s, want classes %s: %s", d.MultiLabel, d.Classes, got, c.classes, c.want)
			}
		})
	}
	t.Run("one 1 a row is one class", func(t *testing.T) {
		dir := layout(t, append(slices.Clone(files), "labels.csv", "image,MEL,NV\n1.jpg,1.0,0.0\n2.jpg,0.0,1.0\n3.jpg,0.0,1.0\n")...)
		d, _, err := Open(t.Context(), dir, OpenOptions{})
		if err != nil {
			t.Fatal(err)
		}
		if got, want := described(d), "1.jpg=MEL 2.jpg=NV 3.jpg=NV"; got != want || d.MultiLabel {
			t.Errorf("MultiLabel %v: %s, want one class: %s", d.MultiLabel, got, want)
		}
	})
	t.Run("twice", func(t *testing.T) {
		dir := layout(t, append(slices.Clone(files), "labels.csv", "image,labels\n1.jpg,sea|sea\n")...)
		if _, _, err := Open(t.Context(), dir, OpenOptions{}); err == nil || !strings.Contains(err.Error(), "labels.csv:2: label sea is given twice") {
			t.Errorf("%v, want the line of the label that is given twice", err)
		}
	})
}

// severalLabels is a dataset of n pictures, of which i shows class 0 if i is even, class 1
// if i is a multiple of 3 and class 2 if i is one of 10.
func severalLabels(t testing.TB, n int) *Dataset {
	t.Helper()
	var pictures []Picture
	for i := range n {
		p := Picture{Image: drawn(12, 13, i), Name: fmt.Sprintf("%03d.bmp", i), Labels: []int{}}
		for class, every := range []int{2, 3, 10} {
			if i%every == 0 {
				p.Labels = append(p.Labels, class)
			}
		}
		pictures = append(pictures, p)
	}
	d, err := FromPictures("album", []string{"even", "third", "tenth"}, pictures)
	if err != nil {
		t.Fatal(err)
	}
	return d
}

func TestPicturesOfSeveralLabels(t *testing.T) {
	d := severalLabels(t, 12)
	if got := fmt.Sprint(d.Counts()); got != "[6 4 2]" {
		t.Errorf("counts %s, want [6 4 2]", got)
	}
	if got, want := fmt.Sprint(d.Samples[0].Labels, d.Samples[1].Labels, d.Samples[3].Label), "[0 1 2] [] 1"; got != want {
		t.Errorf("labels %s, want %s", got, want)
	}
	l := Loader{Data: d, Batch: 5, Crop: 8, SMin: 8, Spec: paperSpec(t, 8, 8)}
	var sets [][]int
	for b, err := range l.Epoch(t.Context(), 0) {
		if err != nil {
			t.Fatal(err)
		}
		sets = append(sets, slices.Clone(b.LabelSets)...)
	}
	for i, set := range sets {
		if !slices.Equal(set, d.Samples[i].Labels) {
			t.Errorf("batch: labels %v of picture %d, want %v", set, i, d.Samples[i].Labels)
		}
	}
	for _, p := range [][]Picture{
		{{Image: drawn(8, 8, 0), Labels: []int{0}}, {Image: drawn(8, 8, 0), Label: 1}},
		{{Image: drawn(8, 8, 0), Labels: []int{0, 2}}},
		{{Image: drawn(8, 8, 0), Labels: []int{1, 1}}},
	} {
		if _, err := FromPictures("bad", []string{"a", "b"}, p); err == nil {
			t.Errorf("labels %v: no error", p[0].Labels)
		}
	}
}

// Each label is a set of its own: a fingerprint tells sets apart that have the same labels
// in all, and from one class an image.
func TestFingerprintOfSeveralLabels(t *testing.T) {
	seen := map[string]string{}
	for _, sets := range [][][]int{{{0, 1}, {}}, {{0}, {1}}, {{}, {0, 1}}, nil} {
		pictures := []Picture{{Image: drawn(8, 8, 0), Name: "a.bmp"}, {Image: drawn(8, 8, 1), Name: "b.bmp", Label: 1}}
		for i, set := range sets {
			pictures[i].Labels = set
		}
		d, err := FromPictures("x", []string{"p", "q"}, pictures)
		if err != nil {
			t.Fatal(err)
		}
		f, err := Fingerprint(t.Context(), d)
		if err != nil {
			t.Fatal(err)
		}
		if other, ok := seen[f]; ok {
			t.Errorf("labels %v and %s have one fingerprint", sets, other)
		}
		seen[f] = fmt.Sprint(sets)
	}
}

// The parts of a split share the rare label out, and hold every image once.
func TestSplitOfSeveralLabels(t *testing.T) {
	d := severalLabels(t, 60)
	train, val, err := Split(d, 0.5, 1)
	if err != nil {
		t.Fatal(err)
	}
	if train.Len()+val.Len() != d.Len() || !train.MultiLabel || !val.MultiLabel {
		t.Fatalf("%d + %d images, want %d of several labels", train.Len(), val.Len(), d.Len())
	}
	if got := fmt.Sprint(train.Counts()[2], val.Counts()[2]); got != "3 3" {
		t.Errorf("the rarest label in train and val: %s, want 3 3", got)
	}
}

func TestShardsOfSeveralLabels(t *testing.T) {
	d := severalLabels(t, 12)
	dir := filepath.Join(t.TempDir(), "shards")
	if _, err := WriteShards(t.Context(), d, dir, ShardOptions{Shuffle: true, Seed: 1}); err != nil {
		t.Fatal(err)
	}
	for _, index := range []bool{true, false} {
		if !index {
			if err := os.Remove(filepath.Join(dir, "shard-000000.tar.index")); err != nil {
				t.Fatal(err)
			}
		}
		back, _, err := Open(context.Background(), dir, OpenOptions{})
		if err != nil {
			t.Fatal(err)
		}
		if got, want := described(back), described(d); got != want || !back.MultiLabel {
			t.Errorf("index %v: MultiLabel %v: %s, want %s", index, back.MultiLabel, got, want)
		}
	}
}

// Others write the numbers into a cls member or a list into a json member.
func TestShardsOfOthersWithSeveralLabels(t *testing.T) {
	for _, c := range []struct{ name, one, two, want string }{
		{"a.cls", "0 2", "1", "a.jpg=0+2 b.jpg=1"},
		{"a.json", `{"labels": [2, 0]}`, "1", "a.jpg=0+2 b.jpg=1"},
		{"a.json", `{"label": ["sea", "sky"]}`, "sky", "a.jpg=sea+sky b.jpg=sky"},
		{"a.json", `{"labels": []}`, "0", "a.jpg= b.jpg=0"},
	} {
		dir := t.TempDir()
		data := shard("a.jpg", "x", c.name, c.one, "b.jpg", "y", "b.cls", c.two)
		if err := os.WriteFile(filepath.Join(dir, "s.tar"), data, 0o666); err != nil {
			t.Fatal(err)
		}
		d, _, err := Open(t.Context(), dir, OpenOptions{})
		if err != nil {
			t.Errorf("%s: %v", c.one, err)
			continue
		}
		if got := described(d); got != c.want || !d.MultiLabel {
			t.Errorf("%s: MultiLabel %v: %s, want %s", c.one, d.MultiLabel, got, c.want)
		}
	}
}

// Classes of a list are in Python's order of strings: by code point, which is not UTF-16's.
func TestOrderOfClasses(t *testing.T) {
	// sorted(["apple", "Zebra", "\u00e4pfel", "~", "\U0001d538", "\ufb01", "10", "9"])
	want := "10 9 Zebra apple ~ \u00e4pfel \ufb01 \U0001d538"
	table := "image,labels\n1.jpg,apple|\U0001d538|\ufb01|~|10\n2.jpg,Zebra|\u00e4pfel|9\n"
	d, _, err := Open(t.Context(), layout(t, "1.jpg", "", "2.jpg", "", "labels.csv", table), OpenOptions{})
	if err != nil || strings.Join(d.Classes, " ") != want {
		t.Errorf("%v, %v, want %s", d, err, want)
	}
}

func TestJoinSeveralLabels(t *testing.T) {
	d := severalLabels(t, 4)
	one := *d
	one.MultiLabel = false
	if _, err := Join("both", d, &one); err == nil || !strings.Contains(err.Error(), "several labels") {
		t.Errorf("%v, want an error of several labels in one part alone", err)
	}
	if as := one.AsMultiLabel(); !as.MultiLabel || len(as.Samples[1].Labels) != 1 {
		t.Errorf("one class as labels: %+v", as.Samples[1])
	}
}
