package cli_test

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"image/jpeg"
	"image/png"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"

	"github.com/verydeep/vgg/dataset/sample"
	"github.com/verydeep/vgg/internal/cli"
	"github.com/verydeep/vgg/preprocess"
)

// layout is a way in which people keep labelled images, as a folder of a few photographs,
// and what vgg must make of it.
type layout struct {
	name  string
	build func(b *builder)
	data  string   // what --data names, below the folder; "": the folder
	flags []string // of stats and train; {dir} is the folder

	classes map[string]int // images of each class of the training part
	parts   map[string]int
	skipped map[string]int // nil: not compared
	empty   []string

	gallery string // heading in docs/data.md, if the layout is shown there
	ordered bool   // the classes have an order of their own

	refused      string // words of the error of stats and train, instead of the above
	trainRefused string // words of the error of train alone
}

// three are the classes that most layouts have.
var three = []string{"bonsai", "ketch", "watch"}

// each is n images of each of the three classes.
func each(n int) map[string]int {
	m := map[string]int{}
	for _, c := range three {
		m[c] = n
	}
	return m
}

// layouts are the layouts of class folders and file names. Those of tables, boxes and
// archives are in files of their own, which append to the list.
var layouts = []layout{
	{
		gallery: "Class folders",
		name:    "class folders",
		build:   func(b *builder) { b.folders("%s/%d.jpg", 4) },
		classes: each(4), parts: map[string]int{"all": 12}, skipped: map[string]int{},
	},
	{
		name:    "train and val",
		build:   func(b *builder) { b.folders("train/%s/%d.jpg", 4); b.folders("val/%s/%d.jpg", 2) },
		classes: each(4), parts: map[string]int{"train": 12, "val": 6},
	},
	{
		gallery: "Parts under any of their names",
		name:    "Training and Testing, as of the brain-tumour MRI",
		build:   func(b *builder) { b.folders("Training/%s/Tr_%04d.jpg", 4); b.folders("Testing/%s/Te_%04d.jpg", 2) },
		classes: each(4), parts: map[string]int{"train": 12, "test": 6},
	},
	{
		name: "TRAIN, VALID and Test",
		build: func(b *builder) {
			b.folders("TRAIN/%s/%d.JPG", 4)
			b.folders("VALID/%s/%d.JPG", 2)
			b.folders("Test/%s/%d.JPG", 1)
		},
		classes: each(4), parts: map[string]int{"train": 12, "val": 6, "test": 3},
	},
	{
		gallery: "Parts in folders of their own",
		name:    "seg_train and seg_test, as of Intel's scenes",
		build: func(b *builder) {
			b.folders("seg_train/seg_train/%s/%d.jpg", 4)
			b.folders("seg_test/seg_test/%s/%d.jpg", 2)
			b.flat("seg_pred/seg_pred/%d.jpg", 3)
		},
		classes: each(4), parts: map[string]int{"train": 12, "test": 6, "seg_pred": 3},
	},
	{
		name: "training_set and test_set in a folder",
		build: func(b *builder) {
			b.folders("dataset/training_set/%s/%d.jpg", 4)
			b.folders("dataset/test_set/%s/%d.jpg", 2)
		},
		classes: each(4), parts: map[string]int{"train": 12, "test": 6},
	},
	{
		name: "chest_xray, with a copy of itself and a Mac's folder",
		build: func(b *builder) {
			for _, root := range []string{"", "chest_xray/"} {
				b.folders(root+"train/%s/%d.jpeg", 4)
				b.folders(root+"val/%s/%d.jpeg", 1)
				b.folders(root+"test/%s/%d.jpeg", 2)
			}
			b.write("__MACOSX/chest_xray/train/watch/._1.jpeg", "junk")
			b.write("train/.DS_Store", "junk")
			b.write("train/watch/.DS_Store", "junk")
			b.write("train/watch/Thumbs.db", "junk")
			b.write("val/@eaDir/x.jpg", "junk")
			b.write("$RECYCLE.BIN/x.jpg", "junk")
		},
		classes: each(4), parts: map[string]int{"train": 12, "val": 3, "test": 6, "chest_xray": 21}, skipped: map[string]int{},
	},
	{
		gallery: "Parts in the class folders",
		name:    "parts in the classes",
		build:   func(b *builder) { b.folders("%s/train/%d.jpg", 4); b.folders("%s/test/%d.jpg", 2) },
		classes: each(4), parts: map[string]int{"train": 12, "test": 6},
	},
	{
		name:    "train alone",
		build:   func(b *builder) { b.folders("train/%s/%d.jpg", 4); b.flat("test/%d.jpg", 3) },
		classes: each(4), parts: map[string]int{"train": 12, "test": 3},
	},
	{
		name:    "val alone",
		build:   func(b *builder) { b.folders("val/%s/%d.jpg", 2) },
		classes: each(2), parts: map[string]int{"val": 6},
		trainRefused: "a part val and none to train on",
	},
	{
		name:    "a class called test among others, or a part",
		build:   func(b *builder) { b.folders("%s/%d.jpg", 4); b.flat("test/%d.jpg", 4) },
		refused: "--layout parts (test is a part of the images, and bonsai, ketch, watch are the classes to train on) or --layout folders (test and bonsai, ketch, watch are classes)",
	},
	{
		name:    "a class called test among others, as the flag says",
		build:   func(b *builder) { b.folders("%s/%d.jpg", 4); b.flat("test/%d.jpg", 4) },
		flags:   []string{"--layout", "folders"},
		classes: map[string]int{"bonsai": 4, "ketch": 4, "watch": 4, "test": 4}, parts: map[string]int{"all": 16},
	},
	{
		name:    "a part test beside the classes, as the flag says",
		build:   func(b *builder) { b.folders("%s/%d.jpg", 4); b.flat("test/%d.jpg", 5) },
		flags:   []string{"--layout", "parts"},
		classes: each(4), parts: map[string]int{"train": 12, "test": 5},
	},
	{
		name:    "a part test with the classes beside them",
		build:   func(b *builder) { b.folders("%s/%d.jpg", 4); b.folders("test/%s/%d.jpg", 2) },
		classes: each(4), parts: map[string]int{"train": 12, "test": 6},
	},
	{
		name:    "a class called test_tube among others",
		build:   func(b *builder) { b.folders("%s/%d.jpg", 4); b.flat("test_tube/%d.jpg", 4) },
		classes: map[string]int{"bonsai": 4, "ketch": 4, "watch": 4, "test_tube": 4}, parts: map[string]int{"all": 16},
	},
	{
		name:    "a class called train among others",
		build:   func(b *builder) { b.folders("%s/%d.jpg", 4); b.flat("train/%d.jpg", 4) },
		classes: map[string]int{"bonsai": 4, "ketch": 4, "watch": 4, "train": 4}, parts: map[string]int{"all": 16},
	},
	{
		gallery: "Folders that could be parts or classes",
		name:    "classes called train and test among others",
		build:   func(b *builder) { b.folders("%s/%d.jpg", 4); b.flat("train/%d.jpg", 4); b.flat("test/%d.jpg", 4) },
		refused: "labels by a table or a label pattern (train is a part of the images, and bonsai, ketch, watch left out) or --layout folders (train and bonsai, ketch, watch are classes)",
	},
	{
		name:    "classes called train and test, as the flag says",
		build:   func(b *builder) { b.folders("%s/%d.jpg", 4); b.flat("train/%d.jpg", 4); b.flat("test/%d.jpg", 4) },
		flags:   []string{"--layout", "folders"},
		classes: map[string]int{"bonsai": 4, "ketch": 4, "watch": 4, "test": 4, "train": 4}, parts: map[string]int{"all": 20},
	},
	{
		name:    "train beside other folders with images",
		build:   func(b *builder) { b.folders("train/%s/%d.jpg", 4); b.flat("samples/%d.jpg", 3) },
		refused: "layout parts (train is a part of the images, and samples left out)",
	},
	{
		name:    "train beside other folders with images, as the flag says",
		build:   func(b *builder) { b.folders("train/%s/%d.jpg", 4); b.flat("samples/%d.jpg", 3) },
		flags:   []string{"--layout", "parts"},
		classes: each(4), parts: map[string]int{"train": 12, "samples": 3},
	},
	{
		gallery: "Folders that all have the same folders",
		name:    "folds that all have the classes",
		build:   func(b *builder) { b.folders("fold1/%s/%d.jpg", 2); b.folders("fold2/%s/%d.jpg", 2) },
		refused: "--layout folders (the classes are fold1, fold2) or --label-pattern '**/{label}/*' (the classes are bonsai, ketch, watch) or --label-pattern '(?P<label>.+)/[^/]+' (the classes are pairs, such as fold1/bonsai) or --data ",
	},
	{
		gallery: "Classes in the files' names",
		name:    "cat.0.jpg and dog.0.jpg",
		build: func(b *builder) {
			b.folders("train/%s.%d.jpg", 4)
			b.flat("test1/%d.jpg", 3)
			b.write("sampleSubmission.csv", "id,label\n0,0.5\n")
		},
		refused: "by their names, --label-pattern '{label}.#.*' (3 classes: bonsai, ketch, watch)",
	},
	{
		gallery: "Classes in the files' names, with a pattern",
		name:    "cat.0.jpg and dog.0.jpg, with the pattern",
		build: func(b *builder) {
			b.folders("train/%s.%d.jpg", 4)
			b.flat("test1/%d.jpg", 3)
			b.write("sampleSubmission.csv", "id,label\n0,0.5\n")
		},
		flags:   []string{"--label-pattern", "{label}.#.*"},
		classes: each(4), parts: map[string]int{"train": 12, "test": 3},
	},
	{
		name:    "class_name_12.jpg, with a regular expression",
		build:   func(b *builder) { b.folders("images/%s_%d.jpg", 4) },
		flags:   []string{"--label-pattern", `(?P<label>.+)_\d+\.jpg`},
		classes: each(4), parts: map[string]int{"all": 12},
	},
	{
		name:    "a name that doesn't fit the pattern",
		build:   func(b *builder) { b.folders("%s_%d.jpg", 4); b.flat("odd %d.jpg", 1) },
		flags:   []string{"--label-pattern", "{label}_#.jpg"},
		refused: "1 of 13 names don't fit the label pattern {label}_#.jpg: odd 0.jpg",
	},
	{
		gallery: "Files of every kind",
		name:    "files of every name",
		build: func(b *builder) {
			b.folders("%s/%d.jpg", 3)
			b.photo("bonsai/no extension", "bonsai")
			b.photo("ketch/photo.jfif", "ketch")
			b.photo("watch/photo.png.bak", "watch")
			b.write("watch/readme.txt", "text")
			b.write("watch/2.txt", "text")
			b.write("ketch/notes", "text")
			b.write("ketch/empty", "")
			b.write("bonsai/photo.heic", "\x00\x00\x00\x18ftypheic\x00\x00\x00\x00mif1heic")
			b.photo("stray.jpg", "watch")
		},
		classes: each(4), parts: map[string]int{"all": 12},
		skipped: map[string]int{".txt": 2, "without extension": 1, "empty": 1, ".heic": 1, "outside class folders": 1},
	},
	{
		name:    "class folders without images",
		build:   func(b *builder) { b.folders("%s/%d.jpg", 4); b.write("labels/1.txt", "text"); b.folder("new") },
		classes: each(4), parts: map[string]int{"all": 12}, skipped: map[string]int{".txt": 1}, empty: []string{"labels", "new"},
	},
	{
		name:    "images beside a folder without any",
		build:   func(b *builder) { b.folders("images/%s/%d.jpg", 4); b.write("lists/1.txt", "text") },
		classes: each(4), parts: map[string]int{"all": 12}, empty: []string{"lists"},
	},
	{
		gallery: "A class without validation images",
		name:    "a class that val lacks",
		build: func(b *builder) {
			b.folders("train/%s/%d.jpg", 4)
			b.photo("val/watch/9.jpg", "watch")
			b.photo("val/bonsai/9.jpg", "bonsai")
		},
		classes: each(4), parts: map[string]int{"train": 12, "val": 2},
	},
	{
		name:    "a class that train lacks",
		build:   func(b *builder) { b.folders("train/%s/%d.jpg", 4); b.photo("val/Watch/9.jpg", "watch") },
		refused: "val: class Watch, which train lacks",
	},
	{
		name:    "one class",
		build:   func(b *builder) { b.flat("watch/%d.jpg", 4) },
		classes: map[string]int{"watch": 4}, parts: map[string]int{"all": 4},
		trainRefused: "1 class, watch",
	},
	{
		name: "a run of vgg among the images",
		build: func(b *builder) {
			b.folders("%s/%d.jpg", 4)
			b.write("runs/x/recipe.yaml", "config: A\n")
			b.write("runs/x/metrics.jsonl", "{}\n")
			b.photo("runs/x/curve.png", "watch")
		},
		classes: each(4), parts: map[string]int{"all": 12}, skipped: map[string]int{"run of vgg": 1},
	},
	{
		name: "a link to the folder round it",
		build: func(b *builder) {
			b.folders("%s/%d.jpg", 4)
			b.link(".", "again")
			b.link("..", "watch/all")
		},
		classes: each(4), parts: map[string]int{"all": 12}, skipped: map[string]int{"link to a folder round it": 2},
	},
	{
		name:    "a class folder whose name isn't UTF-8",
		build:   func(b *builder) { b.folders("%s/%d.jpg", 4); b.flat("caf\xe9/%d.jpg", 2) },
		refused: `class folder "caf\xe9", want a name in UTF-8`,
	},
}

// TestLayouts: stats describes every layout rightly, and train runs on it.
func TestLayouts(t *testing.T) {
	seen := map[string]bool{}
	for _, l := range layouts {
		if seen[l.name] {
			t.Fatalf("two layouts %q", l.name)
		}
		seen[l.name] = true
		t.Run(l.name, func(t *testing.T) {
			t.Parallel()
			b := &builder{t: t, dir: t.TempDir()}
			l.build(b)
			if b.missing != "" {
				t.Skip(b.missing)
			}
			data := filepath.Join(b.dir, l.data)
			var flags []string
			for _, f := range l.flags {
				flags = append(flags, strings.ReplaceAll(f, "{dir}", b.dir))
			}
			out, errs, code := program(t, append([]string{"stats", data, "--json"}, flags...)...)
			if l.refused != "" {
				refuses(t, "stats", out, code, l.refused)
			} else {
				l.compare(t, out, errs, code)
			}
			out, errs, code = program(t, append(tinyTraining(data, t.TempDir()), flags...)...)
			switch {
			case l.refused != "":
				refuses(t, "train", out, code, l.refused)
			case l.trainRefused != "":
				refuses(t, "train", out, code, l.trainRefused)
			case code != 0:
				t.Errorf("train: exit code %d: %s%s", code, out, errs)
			default:
				if want := fmt.Sprintf(" of %d classes", len(l.classes)); !strings.Contains(errs, want) && !strings.Contains(errs, strings.Replace(want, "classes", "labels", 1)) {
					t.Errorf("train: no %q in %s", want, errs)
				}
			}
		})
	}
}

// refuses checks that a command failed with an error that contains words.
func refuses(t *testing.T, what, out string, code int, words string) {
	t.Helper()
	var e struct{ Error string }
	if json.Unmarshal([]byte(out), &e) == nil {
		out = e.Error
	}
	if code != 1 || !strings.Contains(out, words) {
		t.Errorf("%s: exit code %d and %q, want 1 and %q", what, code, out, words)
	}
}

// compare compares the output of stats --json.
func (l layout) compare(t *testing.T, out, errs string, code int) {
	t.Helper()
	var got struct {
		Layout  string
		Classes []struct {
			Class  string
			Images int
		}
		Parts, Skipped map[string]int
		Empty          []string
		Leaks          *struct {
			Checked    bool
			Same, Near []struct{ Val, Train string }
		}
	}
	if err := json.Unmarshal([]byte(out), &got); err != nil || code != 0 {
		t.Fatalf("stats: exit code %d, %v: %s%s", code, err, out, errs)
	}
	classes := map[string]int{}
	var names []string
	for _, c := range got.Classes {
		classes[c.Class] = c.Images
		names = append(names, c.Class)
	}
	if !maps.Equal(classes, l.classes) || !l.ordered && !slices.IsSorted(names) {
		t.Errorf("classes %v in the order %v, want %v", classes, names, l.classes)
	}
	if !maps.Equal(got.Parts, l.parts) {
		t.Errorf("parts %v, want %v", got.Parts, l.parts)
	}
	if l.skipped != nil && !maps.Equal(got.Skipped, l.skipped) {
		t.Errorf("skipped %v, want %v", got.Skipped, l.skipped)
	}
	if !slices.Equal(got.Empty, l.empty) && len(got.Empty)+len(l.empty) > 0 {
		t.Errorf("empty %v, want %v", got.Empty, l.empty)
	}
	if got.Layout == "" {
		t.Error("no name of the layout")
	}
}

// Of more than twenty classes the ends are named.
func TestManyClasses(t *testing.T) {
	b := &builder{t: t, dir: t.TempDir()}
	for i := range 21 {
		for k := range 1 + 3*(i/20) {
			b.photo(fmt.Sprintf("%02d/%d.jpg", i, k), three[i%3])
		}
	}
	_, errs, _ := program(t, tinyTraining(b.dir, t.TempDir())...)
	for _, want := range []string{"  21 classes: 00 1, 01 1, 02 1 … 18 1, 19 1, 20 3\n", "  Unbalanced: 20 3, 00 1\n"} {
		if !strings.Contains(errs, want) {
			t.Errorf("no %q in %s", want, errs)
		}
	}
}

// tinyTraining is one epoch of a tiny network.
func tinyTraining(data, out string) []string {
	return []string{
		"train", "--data", data, "--out", filepath.Join(out, "run"), "--config", "A", "--width", "0.05", "--fc", "8", "--input", "32",
		"--scale-min", "34", "--scale-max", "38", "--test-scale", "34", "--epochs", "1", "--batch", "4", "--learning-rate", "0.0001",
		"--keep", "0", "--threads", "1", "--json",
	}
}

// program runs the command line in this process.
func program(t *testing.T, args ...string) (stdout, stderr string, code int) {
	t.Helper()
	var out, errs bytes.Buffer
	code = cli.Main(context.Background(), args, strings.NewReader(""), &out, &errs, func(string) string { return "" })
	return out.String(), errs.String(), code
}

// TestGallery compares the gallery of docs/data.md with what vgg prints; -update rewrites it.
func TestGallery(t *testing.T) {
	const file, begin, end = "../../docs/data.md", "<!-- gallery -->\n", "<!-- end of gallery -->\n"
	doc, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	before, rest, ok := strings.Cut(string(doc), begin)
	got, after, ok2 := strings.Cut(rest, end)
	if !ok || !ok2 {
		t.Fatalf("%s: no gallery between %q and %q", file, begin, end)
	}
	var want strings.Builder
	for _, l := range layouts {
		if l.gallery != "" {
			want.WriteString(exhibit(t, l))
		}
	}
	switch {
	case got == want.String():
	case *update:
		if err := os.WriteFile(file, []byte(before+begin+want.String()+end+after), 0o666); err != nil {
			t.Fatal(err)
		}
	default:
		t.Errorf("%s: the gallery is\n%s\nwant\n%s\n(go test ./internal/cli -run TestGallery -update rewrites it)", file, got, want.String())
	}
}

// exhibit describes a layout: the files, the command and what it prints about them.
func exhibit(t *testing.T, l layout) string {
	t.Helper()
	root := t.TempDir()
	b := &builder{t: t, dir: filepath.Join(root, "photos")}
	l.build(b)
	if b.missing != "" {
		t.Skip(b.missing)
	}
	tree := b.tree(root)
	args := tinyTraining(filepath.Join(b.dir, l.data), root)
	args = append(args[:len(args)-1], l.flags...) // without --json
	out, errs, _ := program(t, args...)
	printed := errs
	if l.refused == "" {
		_, printed, _ = strings.Cut(out, "\n")
		printed, _, _ = strings.Cut(printed, "Run directory")
	}
	printed = strings.ReplaceAll(printed, root+string(filepath.Separator), "")
	command := []string{"vgg", "train", "--data", filepath.ToSlash(filepath.Join("photos", l.data))}
	for _, f := range l.flags {
		if strings.ContainsAny(f, " {}*()#") {
			f = "'" + f + "'"
		}
		command = append(command, f)
	}
	return fmt.Sprintf("#### %s\n\n```\n%s```\n\n```\n%s\n```\n\n```\n%s```\n\n", l.gallery, tree, strings.Join(command, " "), printed)
}

// tree lists the files below a folder, those of one folder on one line.
func (b *builder) tree(root string) string {
	var dirs []string
	in := map[string][]string{}
	err := filepath.WalkDir(root, func(path string, e os.DirEntry, err error) error {
		if err != nil || e.IsDir() {
			return err
		}
		rel, err := filepath.Rel(root, path)
		dir := filepath.ToSlash(filepath.Dir(rel))
		if in[dir] == nil {
			dirs = append(dirs, dir)
		}
		in[dir] = append(in[dir], filepath.Base(rel))
		return err
	})
	if err != nil {
		b.t.Fatal(err)
	}
	var text strings.Builder
	for _, dir := range dirs {
		files := in[dir]
		kind := func(f string) string {
			ext := filepath.Ext(f)
			return strings.TrimRight(strings.TrimSuffix(f, ext), "0123456789") + "#" + ext
		}
		var line []string
		for len(files) > 0 {
			n := 1
			for n < len(files) && kind(files[n]) == kind(files[0]) {
				n++
			}
			if n > 2 {
				line = append(line, files[0]+" … "+files[n-1])
			} else {
				line = append(line, files[:n]...)
			}
			files = files[n:]
		}
		fmt.Fprintf(&text, "%s/%s\n", dir, strings.Join(line, ", "))
	}
	return text.String()
}

// builder makes the folder of a layout.
type builder struct {
	t       *testing.T
	dir     string
	used    map[string]int // photographs of each class
	missing string         // what the machine lacks for the layout
}

// folders writes n photographs of each of the three classes. The pattern has the class and a
// number.
func (b *builder) folders(pattern string, n int) {
	for _, class := range three {
		for i := range n {
			b.photo(fmt.Sprintf(pattern, class, i), class)
		}
	}
}

// flat writes n photographs of the first class. The pattern has a number.
func (b *builder) flat(pattern string, n int) {
	for i := range n {
		b.photo(fmt.Sprintf(pattern, i), three[0])
	}
}

// photo writes a photograph of a class, another one each time, as PNG if the name says so
// and else as JPEG.
func (b *builder) photo(name, class string) {
	if b.used == nil {
		b.used = map[string]int{}
	}
	im := photograph(b.t, class, b.used[class])
	b.used[class]++
	var file bytes.Buffer
	var err error
	if strings.HasSuffix(name, ".png") {
		err = png.Encode(&file, im)
	} else {
		err = jpeg.Encode(&file, im, nil)
	}
	if err != nil {
		b.t.Fatal(err)
	}
	b.write(name, file.String())
}

func (b *builder) write(name, content string) {
	b.t.Helper()
	path := filepath.Join(b.dir, filepath.FromSlash(name))
	err := os.MkdirAll(filepath.Dir(path), 0o777)
	if err == nil {
		err = os.WriteFile(path, []byte(content), 0o666)
	}
	if err != nil {
		b.t.Fatal(err)
	}
}

func (b *builder) folder(name string) {
	if err := os.MkdirAll(filepath.Join(b.dir, name), 0o777); err != nil {
		b.t.Fatal(err)
	}
}

func (b *builder) link(to, from string) {
	if err := os.Symlink(to, filepath.Join(b.dir, from)); err != nil {
		b.missing = "symbolic links"
	}
}

// photographs are those of photograph, by class and number.
var photographs sync.Map

// photograph returns one of the embedded photographs, small. It must not be changed.
func photograph(t *testing.T, class string, i int) *preprocess.Image {
	t.Helper()
	key := fmt.Sprint(class, " ", i)
	if im, ok := photographs.Load(key); ok {
		return im.(*preprocess.Image)
	}
	set, _, err := sample.Open()
	if err != nil {
		t.Fatal(err)
	}
	for j, s := range set.Samples {
		if set.Classes[s.Label] != class {
			continue
		}
		if i--; i >= 0 {
			continue
		}
		data, err := set.Read(j)
		if err == nil {
			var im *preprocess.Image
			if im, err = preprocess.Decode(data, preprocess.DecodeOptions{}); err == nil {
				im, err = preprocess.ResizeShort(im, 40, preprocess.Bilinear)
			}
			if err == nil {
				photographs.Store(key, im)
				return im
			}
		}
		t.Fatal(err)
	}
	t.Fatalf("no more photographs of class %s", class)
	return nil
}
