package dataset

import (
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"testing/fstest"

	"github.com/verydeep/vgg/internal/vggtest"
)

func TestNamedPart(t *testing.T) {
	for name, want := range map[string]string{
		"train": "train:", "TRAIN": "train:", "Training": "train:", "training_set": "train:", "TrainSet": "train:", "trainset": "train:",
		"Training Data": "train:", "train2017": "train:", "train_images": "train:", "seg_train": "train:seg", "imagenet-train": "train:imagenet",
		"val": "val:", "Validation": "val:", "valid": "val:", "dev": "val:", "eval": "val:", "val_set": "val:",
		"test": "test:", "Testing": "test:", "test1": "test:", "seg_test": "test:seg", "testset": "test:",
		"bullet_train": "train:bullet", "test tube": "test:tube", "trainA": "train:a",
		"trainer": "", "trainee": "", "testimony": "", "device": "", "evaluate_this": "", "valley": "", "train_test": "", "cat": "", "2": "",
		"ÜberTrain": "train:über",
	} {
		got := ""
		if part, _, rest := namedPart(name); part >= 0 {
			got = partNames[part] + ":" + rest
		}
		if got != want {
			t.Errorf("%s: %q, want %q", name, got, want)
		}
	}
}

func TestLabelPattern(t *testing.T) {
	for _, c := range []struct{ pattern, name, want string }{
		{"{label}.#.jpg", "train/cat.0.jpg", "cat"},
		{"{label}.#.jpg", "cat.0.png", ""},
		{"{label}.#.*", "cat.0.jpg.bak", "cat"},
		{"{label}_#.jpg", "american_bulldog_10.jpg", "american_bulldog"},
		{"{label}_*", "american_bulldog_10.jpg", "american"},
		{"#_{label}.*", "12_cat.jpg", "cat"},
		{"{label} (#).jpg", "big cat (12).jpg", "big cat"},
		{"*/{label}/*", "train/cat/1.jpg", "cat"},
		{"?{label}-#.jpg", "xcat-1.jpg", "cat"},
		{`(?P<label>[a-z]+)\d*\.jpg`, "cat12.jpg", "cat"},
		{`\d+_(\d)_.*`, "34_1_0_2017.jpg", "1"},
		{`(?P<label>.*)\.jpg`, ".jpg", ""},
		{`(a|b)_(?P<label>.+)\.jpg`, "a_c.jpg", "c"},
	} {
		p, err := ParseLabelPattern(c.pattern)
		if err != nil {
			t.Error(err)
			continue
		}
		if got, ok := p.Label(c.name); got != c.want || ok != (c.want != "") {
			t.Errorf("%s of %s: %q, %v, want %q", c.pattern, c.name, got, ok, c.want)
		}
	}
	for _, pattern := range []string{"", "*.jpg", "{label}{label}", "(", "(a)(b)", "[", "(?P<class>a)(b)"} {
		if p, err := ParseLabelPattern(pattern); err == nil {
			t.Errorf("%q: %v, want an error", pattern, p)
		}
	}
}

func TestSuggestPatterns(t *testing.T) {
	for _, c := range []struct {
		names    []string
		patterns string // those suggested, in order
		means    string // of the last
	}{
		{[]string{"cat.0.jpg", "cat.1.jpg", "dog.0.jpg", "dog.1.jpg"}, "{label}.#.*", "2 classes: cat, dog"},
		{[]string{"Abyssinian_1.jpg", "Abyssinian_2.jpg", "english_setter_1.jpg", "english_setter_2.jpg"}, "{label}_#.*", "2 classes: Abyssinian, english_setter"},
		{[]string{"cat12.png", "cat13.png", "dog1.png", "dog7.jpg"}, "{label}#.*", "2 classes: cat, dog"},
		{[]string{"cat (1).png", "cat (2).png", "dog (1).png", "dog (2).jpg"}, "{label} (#).*", "2 classes: cat, dog"},
		{[]string{"1_cat.png", "2_cat.png", "3_dog.png", "4_dog.jpg"}, "#_{label}.*", "2 classes: cat, dog"},
		{[]string{"IMG_0001.jpg", "IMG_0002.jpg", "IMG_0003.jpg"}, "", ""},
		{[]string{"0001.jpg", "0002.jpg", "0003.jpg", "0004.jpg"}, "", ""},
		{[]string{"cat.0.jpg", "dog.0.jpg"}, "", ""},
		// COIL-100: the class is obj1 rather than obj1_.
		{[]string{"obj1__0.png", "obj1__5.png", "obj12__0.png", "obj12__5.png"}, "{label}__#.*", "2 classes: obj1, obj12"},
		// UTKFace: age, gender, race and date, of which some names lack one.
		{[]string{"20_0_1_20170101.jpg.chip.jpg", "31_1_0_20170102.jpg.chip.jpg"}, "#_{label}_* #_#_{label}_* {label}_*", "the classes are ages: 20, 31"},
		{[]string{"20_0_1_20170101.jpg.chip.jpg", "20_1_20170102.jpg.chip.jpg"}, "#_{label}_*", "the classes are genders: 0, 1"},
		// Market-1501 and DukeMTMC-reID: a person, a camera, a sequence and a frame.
		{[]string{"0002_c1s1_000451_03.jpg", "-1_c1s1_000401_03.jpg"}, "{label}_c#s#_*", "the classes are persons: -1, 0002"},
		{[]string{"0001_c2_f0046182.jpg", "0005_c1_f0051341.jpg"}, "{label}_c#_f#.*", "the classes are persons: 0001, 0005"},
		{nil, "", ""},
	} {
		var patterns []string
		means := ""
		for _, r := range suggestPatterns(c.names) {
			patterns, means = append(patterns, r.Pattern), r.Means
		}
		if strings.Join(patterns, " ") != c.patterns || means != c.means {
			t.Errorf("%v: %q, %q, want %q, %q", c.names, patterns, means, c.patterns, c.means)
		}
	}
}

// Pictures are known by their extension or their first bytes; what isn't one by what it is.
func TestImageFile(t *testing.T) {
	fsys := fstest.MapFS{}
	for name, c := range map[string]struct {
		data string
		ok   bool
		kind string
	}{
		"a.JPG":     {"", true, ""},
		"a.jfif":    {"", true, ""},
		"a.tiff":    {"", true, ""},
		"a.ppm":     {"", true, ""},
		"jpeg":      {"\xff\xd8\xff\xe0\x00\x10JFIF", true, ""},
		"png":       {"\x89PNG\r\n\x1a\n\x00\x00\x00\rIHDR", true, ""},
		"gif.x":     {"GIF89a\x01\x00\x01\x00", true, ""},
		"webp.0":    {"RIFF\x00\x00\x00\x00WEBPVP8 ", true, ""},
		"bmp":       {"BM\x36\x00\x00\x00\x00\x00\x00\x00\x36\x00", true, ""},
		"a.txt":     {"\xff\xd8\xff\xe0\x00\x10JFIF", false, ".txt"},
		"a.HEIC":    {"\x00\x00\x00\x18ftypheic", false, ".heic"},
		"a.avif":    {"\x00\x00\x00\x18ftypavif", false, ".avif"},
		"none":      {"words", false, "without extension"},
		"zero":      {"", false, "empty"},
		"zero.abc":  {"", false, "empty"},
		"notes.abc": {"words", false, ".abc"},
	} {
		fsys[name] = &fstest.MapFile{Data: []byte(c.data)}
		ok, kind, unread := imageFile(fsys, name)
		if ok != c.ok || kind != c.kind {
			t.Errorf("%s: %v, %q, want %v, %q", name, ok, kind, c.ok, c.kind)
		}
		if other := strings.Contains(c.data, "ftyp"); other != (unread != nil) || other && !strings.Contains(unread.Advice(), " IN") {
			t.Errorf("%s: %v, want a picture of a format that isn't read: %v", name, unread, other)
		}
	}
}

// A phone's pictures aren't passed over in silence: they are named, with what converts them.
func TestUnreadFormats(t *testing.T) {
	const heic, avif = "\x00\x00\x00\x18ftypheic\x00\x00\x00\x00mif1heic", "\x00\x00\x00\x1cftypavif\x00\x00\x00\x00avifmif1miaf"
	dir := layout(t, "a/1.jpg", "", "b/1.jpg", "", "a/IMG_2.HEIC", heic, "b/IMG_1.HEIC", heic, "b/x/3", avif, "c/4.avif", avif)
	d, _, err := Open(t.Context(), dir, OpenOptions{})
	if err != nil {
		t.Fatal(err)
	}
	files, err := OpenFiles(t.Context(), dir)
	if err != nil {
		t.Fatal(err)
	}
	const converted = "convert it, with heif-convert IN OUT.png"
	for below, d := range map[string]*Dataset{"": d, dir + string(filepath.Separator): files} {
		var got []string
		for _, text := range d.Source().Unread {
			got = append(got, filepath.ToSlash(strings.TrimPrefix(text, below)))
		}
		if len(got) != 2 || !strings.HasPrefix(got[0], "b/x/3 and 1 more: AVIF, which isn't read: "+converted) || !strings.HasPrefix(got[1], "a/IMG_2.HEIC and 1 more: HEIC, which isn't read: "+converted) {
			t.Errorf("unread %q", got)
		}
	}
	if got := d.Source().Empty; !slices.Equal(got, []string{"c"}) || len(d.Source().Skipped) != 3 {
		t.Errorf("empty %q, skipped %v", got, d.Source().Skipped)
	}
	alone := layout(t, "a/1.HEIC", heic, "b/2.HEIC", heic)
	_, _, err = Open(t.Context(), alone, OpenOptions{})
	_, filesErr := OpenFiles(t.Context(), filepath.Join(alone, "a"))
	for _, err := range []error{err, filesErr} {
		if err == nil || !strings.Contains(err.Error(), "HEIC, which isn't read: "+converted) {
			t.Errorf("error %v, want what to do", err)
		}
	}
}

// Files that can't be used are counted, however deep, and don't stop the reading.
func TestSkippedFiles(t *testing.T) {
	root := folder(t, "a/1.jpg", "a/below/2.jpg", "a/below/x.txt", "b/1.jpg", "b/2.md")
	odd := filepath.Join(root, "a", "caf\xe9.jpg")
	if err := os.WriteFile(odd, nil, 0o666); err != nil {
		vggtest.Skip(t, "names that aren't UTF-8")
	}
	if err := os.Symlink(os.DevNull, filepath.Join(root, "b", "null.jpg")); err != nil {
		vggtest.Skip(t, "symbolic links")
	}
	if err := os.Symlink(filepath.Join(root, "a", "below"), filepath.Join(root, "b", "more")); err != nil {
		t.Fatal(err)
	}
	d, _, err := Open(t.Context(), root, OpenOptions{})
	if err != nil {
		t.Fatal(err)
	}
	if want := []string{"a/1.jpg=a", "a/below/2.jpg=a", "b/1.jpg=b"}; !slices.Equal(names(d), want) {
		t.Errorf("%v, want %v", names(d), want)
	}
	want := map[string]int{".txt": 1, ".md": 1, kindName: 1, kindSpecial: 1, kindLink: 1}
	if got := d.Source().Skipped; len(got) != len(want) {
		t.Errorf("skipped %v, want %v", got, want)
	} else {
		for k, n := range want {
			if got[k] != n {
				t.Errorf("skipped %v, want %v", got, want)
			}
		}
	}
}
