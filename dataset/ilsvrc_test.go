package dataset

import (
	"archive/zip"
	"bytes"
	"errors"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

// layout writes files into a new folder: name, content, name, content …
func layout(t *testing.T, files ...string) string {
	t.Helper()
	dir := t.TempDir()
	for f := range slices.Chunk(files, 2) {
		p := filepath.Join(dir, filepath.FromSlash(f[0]))
		if err := errors.Join(os.MkdirAll(filepath.Dir(p), 0o777), os.WriteFile(p, []byte(f[1]), 0o666)); err != nil {
			t.Fatal(err)
		}
	}
	return dir
}

func metaMAT(t testing.TB, name string) string {
	t.Helper()
	data, err := os.ReadFile(filepath.Join("testdata", name))
	if err != nil {
		t.Fatal(err)
	}
	return string(data)
}

// The devkit of this small ILSVRC orders its classes otherwise than by WordNet id.
const (
	tench  = "n01440764"
	setter = "n02100735"
	husky  = "n02110185"
	kitFox = "n02119789"
)

func TestOpenILSVRC(t *testing.T) {
	train := []string{
		"train/" + tench + "/" + tench + "_1.JPEG", "", "train/" + setter + "/" + setter + "_1.JPEG", "",
		"train/" + husky + "/" + husky + "_1.JPEG", "", "train/" + kitFox + "/" + kitFox + "_1.JPEG", "",
	}
	val := []string{
		"val/ILSVRC2012_val_00000001.JPEG", "", "val/ILSVRC2012_val_00000002.JPEG", "",
		"val/ILSVRC2012_val_00000003.JPEG", "", "val/ILSVRC2012_val_00000004.JPEG", "", "val/ILSVRC2012_val_00000005.JPEG", "",
	}
	const truth = "1\n4\n2\n3\n4\n"
	want := []string{
		"val/ILSVRC2012_val_00000002.JPEG=" + tench, "val/ILSVRC2012_val_00000005.JPEG=" + tench,
		"val/ILSVRC2012_val_00000003.JPEG=" + setter, "val/ILSVRC2012_val_00000004.JPEG=" + husky, "val/ILSVRC2012_val_00000001.JPEG=" + kitFox,
	}
	const kaggle = "ILSVRC/Data/CLS-LOC/"
	below := func(dir string, files []string) []string {
		out := slices.Clone(files)
		for i := 0; i < len(out); i += 2 {
			out[i] = dir + out[i]
		}
		return out
	}
	wantKaggle := slices.Clone(want)
	for i := range wantKaggle {
		wantKaggle[i] = kaggle + wantKaggle[i]
	}
	solution := "ImageId,PredictionString\n" +
		"ILSVRC2012_val_00000001," + kitFox + " 10 20 30 40 " + kitFox + " 1 2 3 4 \n" +
		"ILSVRC2012_val_00000002," + tench + " 10 20 30 40 \nILSVRC2012_val_00000003," + setter + " 10 20 30 40 \n" +
		"ILSVRC2012_val_00000004," + husky + " 10 20 30 40 \nILSVRC2012_val_00000005," + tench + " 10 20 30 40 \n"
	mapping := tench + " tench, Tinca tinca\n" + setter + " English setter\n" + husky + " Siberian husky\n" + kitFox + " kit fox, Vulpes macrotis\n"
	for _, c := range []struct {
		name  string
		files []string
		want  []string
		title string // of the tench
	}{
		{"devkit", append(slices.Concat(train, val), "ILSVRC2012_devkit_t12/data/meta.mat", metaMAT(t, "meta.mat"), "ILSVRC2012_devkit_t12/data/ILSVRC2012_validation_ground_truth.txt", truth), want, ""},
		{"devkit, its MAT-file not compressed", append(slices.Concat(train, val), "devkit/data/meta.mat", metaMAT(t, "meta-plain.mat"), "devkit/data/ILSVRC2012_validation_ground_truth.txt", truth), want, ""},
		{"ids of map_clsloc.txt", append(slices.Concat(train, val),
			"devkit/map_clsloc.txt", kitFox+" 1 kit_fox\n"+setter+" 2 English_setter\n"+husky+" 3 Siberian_husky\n"+tench+" 4 tench\n",
			"ILSVRC2012_validation_ground_truth.txt", truth), want, "tench"},
		{"Caffe's val.txt", append(slices.Concat(train, val), "val.txt",
			"ILSVRC2012_val_00000001.JPEG 3\nILSVRC2012_val_00000002.JPEG 0\nILSVRC2012_val_00000003.JPEG 1\nILSVRC2012_val_00000004.JPEG 2\nILSVRC2012_val_00000005.JPEG 0\n",
			"synset_words.txt", mapping), want, "tench, Tinca tinca"},
		{"paths and labels", append(slices.Concat(train, val), "ilsvrc2012_val_class_labels.txt",
			"val/ILSVRC2012_val_00000005.JPEG,0\nval/ILSVRC2012_val_00000001.JPEG,3\nval/ILSVRC2012_val_00000002.JPEG,0\nval/ILSVRC2012_val_00000003.JPEG,1\nval/ILSVRC2012_val_00000004.JPEG,2\n"), want, ""},
		{"synsets in a table", append(slices.Concat(train, val), "val/val_labels.csv",
			"filename,synset\nILSVRC2012_val_00000001.JPEG,"+kitFox+"\nILSVRC2012_val_00000002.JPEG,"+tench+"\nILSVRC2012_val_00000003.JPEG,"+setter+"\nILSVRC2012_val_00000004.JPEG,"+husky+"\nILSVRC2012_val_00000005.JPEG,"+tench+"\nILSVRC2012_val_00000006.JPEG,"+tench+"\n"), want, ""},
		{"Kaggle's", append(below(kaggle, slices.Concat(train, val)), "LOC_val_solution.csv", solution, "LOC_synset_mapping.txt", mapping), wantKaggle, "tench, Tinca tinca"},
		{"validation images alone", append(slices.Clone(val), "LOC_val_solution.csv", solution, "LOC_synset_mapping.txt", mapping), want, "tench, Tinca tinca"},
		{"validation images alone, ids", append(slices.Clone(val), "meta.mat", metaMAT(t, "meta.mat"), "ILSVRC2012_validation_ground_truth.txt", truth), want, ""},
	} {
		t.Run(c.name, func(t *testing.T) {
			trainSet, valSet, err := Open(t.Context(), layout(t, c.files...), OpenOptions{})
			if err != nil {
				t.Fatal(err)
			}
			if strings.HasPrefix(c.name, "validation") {
				if valSet != nil {
					t.Fatal("two parts of one")
				}
				trainSet, valSet = nil, trainSet
			} else if len(trainSet.Samples) != 4 || !slices.Equal(trainSet.Classes, valSet.Classes) {
				t.Errorf("training part %v of %v", names(trainSet), trainSet.Classes)
			}
			if !slices.Equal(names(valSet), c.want) {
				t.Errorf("validation part %v, want %v", names(valSet), c.want)
			}
			if !slices.Equal(valSet.Classes, []string{tench, setter, husky, kitFox}) {
				t.Errorf("classes %v", valSet.Classes)
			}
			if (valSet.Titles == nil) != (c.title == "") || c.title != "" && valSet.Titles[0] != c.title {
				t.Errorf("titles %q, want the first to be %q", valSet.Titles, c.title)
			}
		})
	}
}

func TestOpenTinyImageNet(t *testing.T) {
	dir := layout(t, "train/"+tench+"/images/"+tench+"_0.JPEG", "", "train/"+tench+"/"+tench+"_boxes.txt", tench+"_0.JPEG\t0\t10\t63\t42\n",
		"train/"+husky+"/images/"+husky+"_0.JPEG", "", "train/"+husky+"/"+husky+"_boxes.txt", husky+"_0.JPEG\t0\t0\t10\t11\n",
		"val/images/val_0.JPEG", "", "val/images/val_1.JPEG", "", "val/val_annotations.txt", "val_0.JPEG\t"+husky+"\t0\t32\t44\t62\nval_1.JPEG\t"+tench+"\t52\t55\t57\t59\n",
		"test/images/test_0.JPEG", "", "wnids.txt", husky+"\n"+tench+"\n", "words.txt", tench+"\ttench, Tinca tinca\n"+husky+"\tSiberian husky\nn00001740\tentity\n")
	train, val, err := Open(t.Context(), dir, OpenOptions{})
	if err != nil {
		t.Fatal(err)
	}
	if got := names(train); !slices.Equal(got, []string{"train/" + tench + "/images/" + tench + "_0.JPEG=" + tench, "train/" + husky + "/images/" + husky + "_0.JPEG=" + husky}) {
		t.Errorf("train %v", got)
	}
	if got := names(val); !slices.Equal(got, []string{"val/images/val_1.JPEG=" + tench, "val/images/val_0.JPEG=" + husky}) {
		t.Errorf("val %v", got)
	}
	if !slices.Equal(val.Titles, []string{"tench, Tinca tinca", "Siberian husky"}) {
		t.Errorf("titles %q", val.Titles)
	}
	for _, c := range []struct {
		d    *Dataset
		want []Box
	}{
		{train, []Box{{0, 10, 64, 43, 0, false}, {0, 0, 11, 12, 1, false}}},
		{val, []Box{{52, 55, 58, 60, 0, false}, {0, 32, 45, 63, 1, false}}},
	} {
		boxed, report, err := ReadBoxes(t.Context(), c.d, BoxOptions{Strict: true})
		if err != nil {
			t.Fatal(err)
		}
		if report.Boxes != 2 || boxed.Samples[0].Boxes[0] != c.want[0] || boxed.Samples[1].Boxes[0] != c.want[1] {
			t.Errorf("report %+v, samples %+v, want %v", report, boxed.Samples, c.want)
		}
	}
}

func TestOpenILSVRCRefuses(t *testing.T) {
	base := []string{"train/" + tench + "/1.JPEG", "", "train/" + husky + "/1.JPEG", "", "val/1.JPEG", "", "val/2.JPEG", ""}
	for _, c := range []struct {
		want  string
		files []string
	}{
		{"val: 2 images without class folders and no list of their labels, want val.txt", base},
		{"val.txt: no label for val/2.JPEG", append(slices.Clone(base), "val.txt", "1.JPEG 0\n")},
		{`val.txt:2: class "2", want one of the 2 classes or its number from 0`, append(slices.Clone(base), "val.txt", "1.JPEG 0\n2.JPEG 2\n")},
		{"val.txt:3: val/1.JPEG has class " + husky + ", and " + tench, append(slices.Clone(base), "val.txt", "1.JPEG 0\n2.JPEG 1\n1.JPEG 1\n")},
		{"class id 1: no list says which synset", append(slices.Clone(base), "ILSVRC2012_validation_ground_truth.txt", "1\n4\n")},
		{"class id 1 is " + kitFox + ", which has no folder", append(slices.Clone(base), "ILSVRC2012_validation_ground_truth.txt", "4\n1\n", "meta.mat", metaMAT(t, "meta.mat"))},
		{`"0", want a class id of the devkit, from 1`, append(slices.Clone(base), "ILSVRC2012_validation_ground_truth.txt", "4\n0\n", "meta.mat", metaMAT(t, "meta.mat"))},
		{"no list of their labels", append(slices.Clone(base), "ILSVRC2012_validation_ground_truth.txt", "4\n", "meta.mat", metaMAT(t, "meta.mat"))},
		{"meta.mat: not a level 5 MAT-file", append(slices.Clone(base), "meta.mat", "something")},
	} {
		if _, _, err := Open(t.Context(), layout(t, c.files...), OpenOptions{}); err == nil || !strings.Contains(err.Error(), c.want) || !strings.HasPrefix(err.Error(), "dataset: ") {
			t.Errorf("error %v, want it to say %q", err, c.want)
		}
	}
}

// A devkit's list of synsets as SciPy writes it.
func TestParseMeta(t *testing.T) {
	want := []synset{{kitFox, 1, "kit fox, Vulpes macrotis"}, {setter, 2, "English setter"}, {husky, 3, "Siberian husky"}, {tench, 4, "tench, Tinca tinca"}}
	for _, name := range []string{"meta.mat", "meta-plain.mat"} {
		data := []byte(metaMAT(t, name))
		got, err := parseMeta(data)
		if err != nil || !slices.Equal(got, want) {
			t.Errorf("%s: %v, %v, want %v", name, got, err, want)
		}
		for n := range len(data) {
			if got, err := parseMeta(data[:n]); err == nil && !slices.Equal(got, want) {
				t.Fatalf("%s: its first %d bytes give %v", name, n, got)
			}
		}
	}
}

func FuzzParseMeta(f *testing.F) {
	f.Add([]byte(metaMAT(f, "meta.mat")))
	f.Add([]byte(metaMAT(f, "meta-plain.mat")))
	f.Fuzz(func(t *testing.T, data []byte) {
		list, err := parseMeta(data)
		if err == nil && len(list) == 0 {
			t.Fatal("no synsets and no error")
		}
		for _, s := range list {
			if !isWNID(s.wnid) || s.id < 1 {
				t.Fatalf("synset %+v", s)
			}
		}
	})
}

func TestParseSynsets(t *testing.T) {
	for text, want := range map[string]synset{
		tench + " tench, Tinca tinca": {tench, -1, "tench, Tinca tinca"},
		tench + "\ttench":             {tench, -1, "tench"},
		tench + " 4 kit_fox":          {tench, 4, "kit fox"},
		"0 " + tench + " bell pepper": {tench, 0, "bell pepper"},
		tench:                         {tench, -1, ""},
	} {
		if got := parseSynsets([]byte(text + "\n")); len(got) != 1 || got[0] != want {
			t.Errorf("%q: %+v, want %+v", text, got, want)
		}
	}
	if got := parseSynsets([]byte("\nred deer\nn123 x\n# a b " + tench + "\n")); got != nil {
		t.Errorf("%+v of lines without ids", got)
	}
}

// A ZIP file of a layout opens as the layout does, with or without a folder around it.
func TestOpenZIP(t *testing.T) {
	for _, round := range []string{"", "pets/", "a/b/"} {
		var b bytes.Buffer
		w := zip.NewWriter(&b)
		for _, name := range []string{"dog/1.png", "dog/2.png", "cat/1.png", "notes.txt"} {
			f, err := w.Create(round + name)
			if err != nil {
				t.Fatal(err)
			}
			if _, err := f.Write(picture(9, 9, 1)); err != nil {
				t.Fatal(err)
			}
		}
		if err := w.Close(); err != nil {
			t.Fatal(err)
		}
		file := filepath.Join(layout(t, "pets.zip", b.String()), "pets.zip")
		d, val, err := Open(t.Context(), file, OpenOptions{})
		if err != nil || val != nil {
			t.Fatal(val, err)
		}
		if got := names(d); !slices.Equal(got, []string{"cat/1.png=cat", "dog/1.png=dog", "dog/2.png=dog"}) {
			t.Errorf("round it %q: %v", round, got)
		}
		if _, err := d.Decode(t.Context(), 2, DecodeOptions{}); err != nil {
			t.Error(err)
		}
	}
	if _, _, err := Open(t.Context(), filepath.Join(layout(t, "x.zip", "nothing"), "x.zip"), OpenOptions{}); err == nil || !strings.Contains(err.Error(), "x.zip: ZIP file: ") {
		t.Errorf("error %v", err)
	}
}

// Archives are ignored beside the files that were unpacked from them.
func TestOpenPrefersFolders(t *testing.T) {
	dir := layout(t, "train/a/1.jpg", "", "train/b/1.jpg", "", "val/a/1.jpg", "", "val/b/1.jpg", "",
		"img_train.tar", "no tar file", "img_val.tar", "", "train.zip", "no ZIP file", "val.zip", "")
	train, val, err := Open(t.Context(), dir, OpenOptions{})
	if err != nil {
		t.Fatal(err)
	}
	if !slices.Equal(names(train), []string{"train/a/1.jpg=a", "train/b/1.jpg=b"}) || !slices.Equal(names(val), []string{"val/a/1.jpg=a", "val/b/1.jpg=b"}) {
		t.Errorf("train %v, val %v", names(train), names(val))
	}
}
