package dataset

import (
	"encoding/json"
	"errors"
	"fmt"
	"math"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

// oracleBoxes are the fixtures of tools/oracle/boxes.py.
const oracleBoxes = "testdata/boxes"

// boxTruth is an image of boxes.json.
type boxTruth struct {
	W, H    int
	Objects []struct {
		Class string
		Crowd bool
		Edges [4]float64
		YOLO  [4]float64
	}
}

func boxTruths(t testing.TB) map[string]boxTruth {
	t.Helper()
	var truths map[string]boxTruth
	data, err := os.ReadFile(filepath.Join(oracleBoxes, "boxes.json"))
	if err == nil {
		err = json.Unmarshal(data, &truths)
	}
	if err != nil {
		t.Fatal(err)
	}
	return truths
}

// Every format gives the edges that masks have: those of COCO by pycocotools, of PASCAL VOC by
// its definition, of YOLO within the rounding of its shares.
func TestBoxFormats(t *testing.T) {
	truths := boxTruths(t)
	for _, c := range []struct {
		name, annotations, to, format, corners string
		crowds                                 bool
	}{
		{"VOC", "annots", "annots", "XML", "pixels from 1", false},
		{"COCO", "instances.json", "instances.json", "COCO JSON", "edges from 0", true},
		{"YOLO", "labels", "labels", "YOLO", "shares of the sides", false},
		{"YOLO's outlines", "segments", "labels", "YOLO", "shares of the sides", false},
	} {
		t.Run(c.name, func(t *testing.T) {
			dir := t.TempDir()
			for name, truth := range truths {
				write(t, filepath.Join(dir, "images", name+".png"), picture(truth.W, truth.H, 1))
			}
			from := os.DirFS(filepath.Join(oracleBoxes, c.annotations))
			if strings.HasSuffix(c.annotations, ".json") {
				data, err := os.ReadFile(filepath.Join(oracleBoxes, c.annotations))
				if err != nil {
					t.Fatal(err)
				}
				write(t, filepath.Join(dir, c.to), data)
			} else if err := os.CopyFS(filepath.Join(dir, c.to), from); err != nil {
				t.Fatal(err)
			}
			if c.format == "YOLO" {
				data, err := os.ReadFile(filepath.Join(oracleBoxes, "data.yaml"))
				if err != nil {
					t.Fatal(err)
				}
				write(t, filepath.Join(dir, "data.yaml"), data)
			}
			d := opened(t, dir)
			if want := []string{"car", "cat", "zebra"}; !slices.Equal(d.Classes, want) || d.Len() != len(truths)-1 {
				t.Fatalf("%d images of %v, want all but one of %v", d.Len(), d.Classes, want)
			}
			boxed, report, err := ReadBoxes(t.Context(), d, BoxOptions{Strict: true})
			if err != nil {
				t.Fatal(err)
			}
			if report.Format != c.format || report.Corners != c.corners {
				t.Errorf("report %+v, want %s with %s", report, c.format, c.corners)
			}
			if c.crowds != (report.Crowds == 1) {
				t.Errorf("%d crowds", report.Crowds)
			}
			for _, s := range boxed.Samples {
				truth := truths[stem(s.Name)]
				if len(s.Boxes) != len(truth.Objects) {
					t.Fatalf("%s: boxes %v, want %d", s.Name, s.Boxes, len(truth.Objects))
				}
				most := -1.0
				label := ""
				for i, o := range truth.Objects {
					want, slack := o.Edges, 0.0
					if c.format == "YOLO" {
						slack = 2e-4
						if c.annotations == "labels" {
							size := [4]float64{float64(truth.W), float64(truth.H), float64(truth.W), float64(truth.H)}
							for k := range want {
								want[k] = min(max(o.YOLO[k], 0), size[k])
							}
							slack = 1e-12
						}
					}
					b := s.Boxes[i]
					for k, v := range []float64{b.X0, b.Y0, b.X1, b.Y1} {
						if !(math.Abs(v-want[k]) <= slack) {
							t.Errorf("%s: box %d: %v, want %v", s.Name, i, b, want)
						}
					}
					if boxed.Classes[b.Class] != o.Class {
						t.Errorf("%s: box %d: class %d, want %s", s.Name, i, b.Class, o.Class)
					}
					if area := (o.Edges[2] - o.Edges[0]) * (o.Edges[3] - o.Edges[1]); area > most && !o.Crowd {
						most, label = area, o.Class
					}
				}
				if c.format != "YOLO" && boxed.Classes[s.Label] != label {
					t.Errorf("%s: label %s, want that of its largest box, %s", s.Name, boxed.Classes[s.Label], label)
				}
			}
		})
	}
}

func write(t testing.TB, file string, data []byte) {
	t.Helper()
	if err := os.MkdirAll(filepath.Dir(file), 0o777); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(file, data, 0o666); err != nil {
		t.Fatal(err)
	}
}

// xmlOf is an annotation of 100×80 pixels with one box of a class.
func xmlOf(file, class string) string {
	return vocXML(file, size100x80, class+" 10 20 30 40 0")
}

// cocoOf is a COCO file: images are "FILE CLASS", or "FILE" without a box. The classes are
// cat, 3, and dog, 7.
func cocoOf(images ...string) string {
	ids := map[string]int{"cat": 3, "dog": 7}
	var files, boxes []string
	for i, im := range images {
		file, class, ok := strings.Cut(im, " ")
		files = append(files, fmt.Sprintf(`{"file_name":%q,"id":%d,"width":100,"height":80}`, file, 10+i))
		if ok {
			boxes = append(boxes, fmt.Sprintf(`{"id":%d,"image_id":%d,"category_id":%d,"bbox":[9,19,21,21],"iscrowd":0,"segmentation":[[1,2,3,4]]}`, 100+i, 10+i, ids[class]))
		}
	}
	return fmt.Sprintf(`{"info":{"a":[{}]},"images":[%s],"annotations":[%s],"categories":[{"id":7,"name":"dog"},{"id":0,"name":"animals"},{"id":3,"name":"cat"}]}`,
		strings.Join(files, ","), strings.Join(boxes, ","))
}

const (
	catLine, dogLine = "0 0.2 0.375 0.21 0.2625\n", "1 0.2 0.375 0.21 0.2625\n"
	zooYAML          = "names: [cat, dog]\nnc: 2\n"
)

// The layouts in which people have images with boxes.
func TestBoxLayouts(t *testing.T) {
	png := string(picture(100, 80, 1))
	for _, c := range []struct {
		name       string
		files      []string
		train, val string // names and classes
		classes    string
		without    int
	}{
		{
			name: "images and annots", classes: "cat dog", without: 1,
			files: []string{"images/a.jpg", png, "images/b.png", png, "images/none.png", png, "annots/a.xml", xmlOf("a.jpg", "dog"), "annots/b.xml", xmlOf("b.png", "cat")},
			train: "images/b.png=cat images/a.jpg=dog",
		},
		{
			name: "labels, in other folders", classes: "cat dog",
			files: []string{"photos/x/a.jpg", png, "photos/y/a.jpg", png, "labels/x/a.xml", xmlOf("", "dog"), "labels/y/a.xml", xmlOf("", "cat")},
			train: "photos/y/a.jpg=cat photos/x/a.jpg=dog",
		},
		{
			name: "beside the images, names in other case", classes: "cat dog",
			files: []string{"all/IMG_1.JPG", png, "all/img_1.xml", xmlOf("", "dog"), "all/2.jpg", png, "all/2.xml", xmlOf("", "cat")},
			train: "all/2.jpg=cat all/IMG_1.JPG=dog",
		},
		{
			name: "with masks of the same names", classes: "cat dog",
			files: []string{"images/a.jpg", png, "images/b.jpg", png, "annotations/trimaps/a.png", png, "annotations/trimaps/b.png", png, "annotations/trimaps/._a.png", "", "annotations/xmls/a.xml", xmlOf("", "dog"), "annotations/xmls/b.xml", xmlOf("", "cat")},
			train: "images/b.jpg=cat images/a.jpg=dog", without: 2,
		},
		{
			name: "Stanford's dogs, in files without an extension", classes: "beagle pug",
			files: []string{"Images/n1-beagle/n1_7.jpg", png, "Images/n2-pug/n2_7.jpg", png, "Annotation/n1-beagle/n1_7", xmlOf("n1_7", "beagle"), "Annotation/n2-pug/n2_7", xmlOf("%s", "pug")},
			train: "Images/n1-beagle/n1_7.jpg=beagle Images/n2-pug/n2_7.jpg=pug",
		},
		{
			name: "Roboflow's VOC", classes: "cat dog",
			files: []string{"README.roboflow.txt", "text", "train/a.jpg", png, "train/a.xml", xmlOf("a.jpg", "dog"), "train/b.jpg", png, "train/b.xml", xmlOf("b.jpg", "cat"), "valid/a.jpg", png, "valid/a.xml", xmlOf("a.jpg", "cat"), "test/t.jpg", png, "test/t.xml", xmlOf("t.jpg", "cat")},
			train: "train/b.jpg=cat train/a.jpg=dog", val: "valid/a.jpg=cat",
		},
		{
			name: "parts below images and annotations", classes: "cat dog",
			files: []string{"images/train/a.jpg", png, "images/train/c.jpg", png, "images/val/a.jpg", png, "annotations/train/a.xml", xmlOf("", "dog"), "annotations/train/c.xml", xmlOf("", "cat"), "annotations/val/a.xml", xmlOf("", "cat")},
			train: "images/train/c.jpg=cat images/train/a.jpg=dog", val: "images/val/a.jpg=cat",
		},
		{
			name: "VOC's lists", classes: "cat dog",
			files: []string{"JPEGImages/a.jpg", png, "JPEGImages/b.jpg", png, "SegmentationClass/a.png", png, "Annotations/a.xml", xmlOf("a.jpg", "dog"), "Annotations/b.xml", xmlOf("b.jpg", "cat"), "ImageSets/Main/train.txt", "a\n", "ImageSets/Main/val.txt", "b\n"},
			train: "JPEGImages/a.jpg=dog", val: "JPEGImages/b.jpg=cat",
		},
		{
			name: "COCO", classes: "cat dog", without: 2,
			files: []string{
				"train2017/000000000009.jpg", png, "train2017/000000000025.jpg", png, "train2017/000000000030.jpg", png, "val2017/000000000139.jpg", png, "val2017/000000000140.jpg", png,
				"annotations/instances_train2017.json", cocoOf("000000000009.jpg dog", "000000000025.jpg", "000000000030.jpg cat"),
				"annotations/instances_val2017.json", cocoOf("000000000139.jpg cat", "000000000140.jpg"),
				"annotations/captions_train2017.json", `{"images":[{"file_name":"000000000009.jpg","id":1}],"annotations":[{"image_id":1,"id":1,"caption":"a dog"}]}`,
				"annotations/person_keypoints_val2017.json", cocoOf("000000000140.jpg dog"),
			},
			train: "train2017/000000000030.jpg=cat train2017/000000000009.jpg=dog", val: "val2017/000000000139.jpg=cat",
		},
		{
			name: "Roboflow's COCO", classes: "cat dog",
			files: []string{"train/a.jpg", png, "train/b.jpg", png, "train/_annotations.coco.json", cocoOf("a.jpg dog", "b.jpg cat"), "valid/a.jpg", png, "valid/_annotations.coco.json", cocoOf("a.jpg dog")},
			train: "train/b.jpg=cat train/a.jpg=dog", val: "valid/a.jpg=dog",
		},
		{
			name: "Roboflow's YOLO", classes: "cat dog", without: 1,
			files: []string{
				"data.yaml", zooYAML + "train: ../train/images\nval: ../valid/images\ntest: ../test/images\nroboflow: {license: MIT}\n", "README.dataset.txt", "words 1 2 3 4 5",
				"train/images/a.jpg", png, "train/images/b.jpg", png, "train/images/none.jpg", png, "train/labels/a.txt", dogLine + catLine, "train/labels/b.txt", catLine, "train/labels/none.txt", "",
				"valid/images/a.jpg", png, "valid/labels/a.txt", catLine,
			},
			train: "train/images/b.jpg=cat train/images/a.jpg=dog", val: "valid/images/a.jpg=cat",
		},
		{
			name: "Ultralytics' YOLO, elsewhere when it was made", classes: "dog cat",
			files: []string{
				"coco8.yaml", "path: ../datasets/coco8\ntrain: images/train\nval: images/val\ntest:\nnames:\n  0: dog\n  1: cat\n  2: eel\n",
				"images/train/a.png", png, "images/train/b.png", png, "labels/train/a.txt", catLine, "labels/train/b.txt", dogLine, "images/val/c.png", png, "labels/val/c.txt", catLine,
			},
			train: "images/train/a.png=dog images/train/b.png=cat", val: "images/val/c.png=dog",
		},
		{
			name: "YOLO with lists of images", classes: "cat dog",
			files: []string{
				"data.yaml", zooYAML + "train: train.txt\nval: [/home/me/zoo/val.txt]\n", "train.txt", "./images/a.jpg\n/home/me/zoo/images/b.jpg\n", "val.txt", "images/c.jpg\n",
				"images/a.jpg", png, "images/b.jpg", png, "images/c.jpg", png, "images/unlisted.jpg", png,
				"labels/a.txt", catLine, "labels/b.txt", dogLine, "labels/c.txt", dogLine, "labels/unlisted.txt", dogLine,
			},
			train: "images/a.jpg=cat images/b.jpg=dog", val: "images/c.jpg=dog",
		},
		{
			name: "LabelImg's YOLO", classes: "dog cat",
			files: []string{"set/a.jpg", png, "set/a.txt", catLine, "set/b.jpg", png, "set/b.txt", dogLine, "set/classes.txt", "dog\ncat\n"},
			train: "set/a.jpg=dog set/b.jpg=cat",
		},
		{
			name: "Darknet's", classes: "dog cat",
			files: []string{"obj.names", "dog\ncat\n", "obj.data", "classes = 2\n", "train.txt", "data/a.jpg\n", "obj_train_data/a.jpg", png, "obj_train_data/a.txt", catLine, "obj_train_data/b.jpg", png, "obj_train_data/b.txt", dogLine},
			train: "obj_train_data/a.jpg=dog obj_train_data/b.jpg=cat",
		},
	} {
		t.Run(c.name, func(t *testing.T) {
			dir := layout(t, c.files...)
			train, val, err := Open(t.Context(), dir, OpenOptions{})
			if err != nil {
				t.Fatal(err)
			}
			if got := strings.Join(train.Classes, " "); got != c.classes {
				t.Errorf("classes %s, want %s", got, c.classes)
			}
			if got := strings.Join(names(train), " "); got != c.train {
				t.Errorf("training images\n%s, want\n%s", got, c.train)
			}
			if (val == nil) != (c.val == "") || val != nil && strings.Join(names(val), " ") != c.val {
				t.Errorf("validation images %+v, want %s", val, c.val)
			}
			if train.boxes.without != c.without {
				t.Errorf("%d images without a box, want %d", train.boxes.without, c.without)
			}
			for _, d := range []*Dataset{train, val} {
				if d == nil {
					continue
				}
				boxed, report, err := ReadBoxes(t.Context(), d, BoxOptions{Strict: true})
				if err != nil {
					t.Fatal(err)
				}
				if report.Images != d.Len() {
					t.Errorf("%s: report %+v, want boxes of all %d images", d.Name, report, d.Len())
				}
				for _, s := range boxed.Samples {
					for _, b := range s.Boxes {
						got := fmt.Sprintf("%.6g %.6g %.6g %.6g", b.X0, b.Y0, b.X1, b.Y1)
						if got != "9 19 30 40" && got != "9.5 19.5 30.5 40.5" {
							t.Errorf("%s: box %s", s.Name, got)
						}
					}
				}
			}
		})
	}
}

// Annotations in a place of their own, beside images in one folder.
func TestNamedAnnotations(t *testing.T) {
	png := string(picture(100, 80, 1))
	dir := layout(t, "images/a.jpg", png, "images/b.jpg", png, "xml/a.xml", xmlOf("", "dog"), "xml/b.xml", xmlOf("", "cat"),
		"coco.json", cocoOf("a.jpg dog", "b.jpg cat"),
		"yolo/data.yaml", zooYAML+"train: images\n", "yolo/labels/a.txt", dogLine, "yolo/labels/b.txt", catLine)
	for _, from := range []string{"xml", "coco.json", "yolo", "yolo/data.yaml"} {
		from = filepath.Join(dir, from)
		train, val, err := Open(t.Context(), filepath.Join(dir, "images"), OpenOptions{Annotations: from})
		if err != nil || val != nil {
			t.Errorf("%s: %v, %v", from, val, err)
			continue
		}
		if got := names(train); !slices.Equal(got, []string{"b.jpg=cat", "a.jpg=dog"}) {
			t.Errorf("%s: %v", from, got)
		}
		if _, report, err := ReadBoxes(t.Context(), train, BoxOptions{From: from, Strict: true}); err != nil || report.Boxes != 2 {
			t.Errorf("%s: report %+v, %v", from, report, err)
		}
	}
	if _, _, err := Open(t.Context(), filepath.Join(dir, "images"), OpenOptions{Annotations: filepath.Join(dir, "gone")}); err == nil || !strings.Contains(err.Error(), "gone") {
		t.Errorf("annotations that are not there: %v", err)
	}
}

// Class folders with boxes beside them stay class folders.
func TestClassFoldersWithBoxes(t *testing.T) {
	png := string(picture(100, 80, 1))
	d := opened(t, layout(t, "cat/a.jpg", png, "cat/a.xml", xmlOf("", "cat"), "dog/b.jpg", png, "dog/b.xml", xmlOf("", "dog"), "dog/c.jpg", png))
	if got := names(d); !slices.Equal(got, []string{"cat/a.jpg=cat", "dog/b.jpg=dog", "dog/c.jpg=dog"}) {
		t.Errorf("samples %v", got)
	}
	if _, report, err := ReadBoxes(t.Context(), d, BoxOptions{Strict: true}); err != nil || report.Boxes != 2 {
		t.Errorf("report %+v, %v", report, err)
	}
	// Where folders and boxes give other classes, the layout decides.
	dir := layout(t, "one/a.jpg", png, "one/a.xml", xmlOf("", "cat"), "two/b.jpg", png, "two/b.xml", xmlOf("", "cat"), "two/c.jpg", png, "two/c.xml", xmlOf("", "dog"))
	_, _, err := Open(t.Context(), dir, OpenOptions{})
	ambiguous, ok := errors.AsType[*AmbiguousError](err)
	if !ok || len(ambiguous.Readings) != 2 || !strings.Contains(err.Error(), "one, two") || !strings.Contains(err.Error(), "cat, dog") {
		t.Errorf("folders and boxes of different names: %v", err)
	}
	for layout, want := range map[Layout][]string{
		LayoutFolders: {"one/a.jpg=one", "two/b.jpg=two", "two/c.jpg=two"},
		LayoutBoxes:   {"one/a.jpg=cat", "two/b.jpg=cat", "two/c.jpg=dog"},
	} {
		d, _, err := Open(t.Context(), dir, OpenOptions{Layout: layout})
		if err != nil || !slices.Equal(names(d), want) {
			t.Errorf("layout %s: %v, want %v", layout, err, want)
		}
	}
	// A few annotations don't make boxes of class folders.
	d = opened(t, layout(t, "cat/a.jpg", png, "cat/b.jpg", png, "dog/c.jpg", png, "eel/d.jpg", png, "cat/a.xml", xmlOf("", "nose")))
	if want := []string{"cat", "dog", "eel"}; !slices.Equal(d.Classes, want) {
		t.Errorf("classes %v, want %v", d.Classes, want)
	}
}

// What is wrong with annotations is said, with the file and what to do.
func TestBoxErrors(t *testing.T) {
	png := string(picture(100, 80, 1))
	for want, files := range map[string][]string{
		"boxes in several formats (annots/a.xml, coco.json)": {"images/a.jpg", png, "annots/a.xml", xmlOf("", "dog"), "coco.json", cocoOf("a.jpg dog")},
		"want a data.yaml or a classes.txt with their names": {"images/a.jpg", png, "labels/a.txt", dogLine},
		"nc: 3, and names has 2":                             {"images/a.jpg", png, "labels/a.txt", dogLine, "data.yaml", "names: [cat, dog]\nnc: 3\ntrain: images\n"},
		"more than one YAML document, want one":              {"images/a.jpg", png, "labels/a.txt", dogLine, "classes.txt", "cat\ndog\n", "data.yaml", zooYAML + "train: images\n---\nnames: [dog, cat]\n"},
		"train: pictures: no such folder or list":            {"images/a.jpg", png, "labels/a.txt", dogLine, "data.yaml", zooYAML + "train: pictures\n"},
		"both describe a dataset":                            {"images/a.jpg", png, "labels/a.txt", dogLine, "data.yaml", zooYAML + "train: images\n", "other.yaml", zooYAML + "train: images\n"},
		"list different classes":                             {"x/images/a.jpg", png, "x/labels/a.txt", dogLine, "x/classes.txt", "cat\ndog\n", "classes.txt", "dog\ncat\n"},
		"both list images and boxes":                         {"images/a.jpg", png, "a.json", cocoOf("a.jpg dog"), "b.json", cocoOf("a.jpg dog")},
		"a.json: COCO: annotations: entry 2: unexpected EOF": {"images/a.jpg", png, "a.json", cocoOf("a.jpg dog", "b.jpg dog")[:310]},
		"id 1 is a.jpg already":                              {"images/a.jpg", png, "a.json", `{"images":[{"file_name":"a.jpg","id":1},{"file_name":"b.jpg","id":1}],"annotations":[],"categories":[]}`},
		"no annotation with a box of one of the 1 images":    {"images/a.jpg", png, "annots/b.xml", xmlOf("", "dog")},
	} {
		_, _, err := Open(t.Context(), layout(t, files...), OpenOptions{})
		if err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("error %v, want it to say %q", err, want)
		}
	}
}

// A file of captions is no file of boxes.
func TestCaptionsBesideClasses(t *testing.T) {
	png := string(picture(100, 80, 1))
	dir := layout(t, "cat/a.jpg", png, "dog/b.jpg", png, "captions.json", `{"images":[{"file_name":"a.jpg","id":1}],"annotations":[{"image_id":1,"caption":"a cat"}]}`)
	d := opened(t, dir)
	if !slices.Equal(d.Classes, []string{"cat", "dog"}) || !slices.ContainsFunc(d.Source().Notes, func(n string) bool { return strings.Contains(n, "captions.json: COCO: no boxes: no list categories") }) {
		t.Errorf("classes %v, notes %v", d.Classes, d.Source().Notes)
	}
	if _, _, err := Open(t.Context(), filepath.Join(dir, "captions.json"), OpenOptions{}); err == nil || !strings.Contains(err.Error(), "no list categories") {
		t.Errorf("the file itself: %v", err)
	}
}

// Boxes that can't be used are named by their rule.
func TestBoxFaults(t *testing.T) {
	png := string(picture(100, 80, 1))
	for _, c := range []struct {
		name            string
		files           []string
		boxes, clipped  int
		crowds, without int
		bad             []string
	}{
		{
			name: "YOLO",
			files: []string{"data.yaml", zooYAML + "train: images\n", "images/a.png", png, "images/b.png", png, "labels/b.txt", "7 0.5 0.5 0.1 0.1\n", "labels/gone.txt", catLine,
				"labels/a.txt", catLine + "2 0.5 0.5 0.1 0.1\n\n0 0.5 0.5 0 0.1\n0 0.5 1.2 0.1 0.1\n0 0.5 0.5 0.1\n0 0.5 0.5 0.1 0.1 0.9\nx 0.5 0.5 0.1 0.1\n0.5 0.5 0.5 0.5 0.1 0.1\n0.0 1 0.5 0.5 0.5\n0 nan 0.5 0.1 0.1\n1 50 40 10 10\n"},
			boxes: 2, clipped: 1,
			bad: []string{
				"labels/a.txt: line 4: empty box: (0.5, 0.45, 0.5, 0.55), want x0 < x1 and y0 < y1",
				"labels/a.txt: line 9: class \"0.5\", want its number",
				"labels/a.txt: line 11: \"nan\", want a share of the image's side, 0 to 1",
				"labels/a.txt: line 12: \"50\", want a share of the image's side, 0 to 1",
				"labels/a.txt: line 2: class 2, of which data.yaml has no name among its 2",
				"labels/a.txt: line 5: \"1.2\", want a share of the image's side, 0 to 1",
				"labels/a.txt: line 6: 4 columns, want class, centre x, centre y, width and height, or class and the points of an outline",
				"labels/a.txt: line 7: 6 columns, want class, centre x, centre y, width and height, or class and the points of an outline",
				"labels/a.txt: line 8: class \"x\", want its number",
				"labels/b.txt: line 1: class 7, of which data.yaml has no name among its 2",
				"labels/gone.txt: no such image: labels/gone.txt",
			},
		},
		{
			name: "COCO",
			files: []string{"images/a.png", png, "images/b.png", png, "coco.json", `{"images":[{"file_name":"a.png","id":1,"width":100,"height":80},{"file_name":"b.png","id":"two","width":100,"height":80},{"file_name":"gone.png","id":3}],
				"categories":[{"id":1,"name":"cat"},{"id":9,"name":"dog"}],
				"annotations":[{"id":11,"image_id":1,"category_id":1,"bbox":[1,2,30,40]},{"id":12,"image_id":1,"category_id":9,"bbox":[90,2,30,4]},{"id":13,"image_id":1,"category_id":1,"bbox":[10,20,0,4]},
				{"id":14,"image_id":1,"category_id":1,"bbox":[100,20,5,4]},{"id":15,"image_id":1,"category_id":2,"bbox":[1,2,3,4]},{"id":16,"image_id":77,"category_id":1,"bbox":[1,2,3,4]},
				{"id":17,"image_id":1,"category_id":1,"bbox":[1,2,3]},{"id":18,"image_id":1,"category_id":1},{"id":19,"image_id":1,"category_id":1,"bbox":"x"},{"id":20,"image_id":1,"category_id":9,"bbox":[0,0,100,80],"iscrowd":1},
				{"id":21,"image_id":"two","category_id":9,"bbox":[1,2,3,4]}]}`},
			boxes: 4, clipped: 1, crowds: 1,
			bad: []string{
				"coco.json: annotation 13: empty box: (10, 20, 10, 24), want x0 < x1 and y0 < y1",
				"coco.json: annotation 14: box outside the image: (100, 20, 105, 24) of 100×80 pixels",
				"coco.json: annotation 15: unknown class: its category_id is not among the categories",
				"coco.json: annotation 16: no such image: id 77",
				"coco.json: annotation 7: bbox of 3 numbers, want x, y, width and height",
				"coco.json: annotation 8: bbox of 0 numbers, want x, y, width and height",
				"coco.json: annotation 9: json: cannot unmarshal string into Go struct field cocoAnnotation.bbox of type []float64",
				"coco.json: no such image: gone.png",
			},
		},
		{
			name:  "two annotations of one image",
			files: []string{"images/a.png", png, "annots/a.xml", xmlOf("", "dog"), "old/a.xml", xmlOf("", "cat")},
			boxes: 1, bad: []string{"old/a.xml: images/a.png is annotated by annots/a.xml already"},
		},
	} {
		t.Run(c.name, func(t *testing.T) {
			d := opened(t, layout(t, c.files...))
			_, report, err := ReadBoxes(t.Context(), d, BoxOptions{})
			if err != nil {
				t.Fatal(err)
			}
			if report.Boxes != c.boxes || report.Clipped != c.clipped || report.Crowds != c.crowds {
				t.Errorf("report %+v, want %d boxes, %d cut, %d crowds", report, c.boxes, c.clipped, c.crowds)
			}
			slices.Sort(c.bad)
			if got := sources(report); !slices.Equal(got, c.bad) {
				t.Errorf("bad annotations\n%s\nwant\n%s", strings.Join(got, "\n"), strings.Join(c.bad, "\n"))
			}
			if _, _, err := ReadBoxes(t.Context(), d, BoxOptions{Strict: true}); err == nil {
				t.Error("strictly read without an error")
			}
		})
	}
}

// A data.yaml or a COCO file may itself be named, and the first may lie elsewhere.
func TestOpenBoxFile(t *testing.T) {
	png := string(picture(100, 80, 1))
	dir := layout(t, "zoo/images/train/a.jpg", png, "zoo/images/val/b.jpg", png, "zoo/labels/train/a.txt", dogLine, "zoo/labels/val/b.txt", dogLine,
		"zoo/coco.json", cocoOf("a.jpg cat", "b.jpg cat"), "descriptions/zoo.yaml", "path: ../zoo\ntrain: images/train\nval: images/val\n"+zooYAML)
	for file, want := range map[string][2]string{
		"descriptions/zoo.yaml": {"images/train/a.jpg=dog", "images/val/b.jpg=dog"},
		"zoo/coco.json":         {"images/train/a.jpg=cat", "images/val/b.jpg=cat"},
	} {
		train, val, err := Open(t.Context(), filepath.Join(dir, file), OpenOptions{})
		if err != nil || val == nil {
			t.Errorf("%s: %v", file, err)
			continue
		}
		if got := [2]string{strings.Join(names(train), " "), strings.Join(names(val), " ")}; got != want {
			t.Errorf("%s: %v, want %v", file, got, want)
		}
		if _, report, err := ReadBoxes(t.Context(), val, BoxOptions{Strict: true}); err != nil || report.Boxes != 1 {
			t.Errorf("%s: %+v, %v", file, report, err)
		}
	}
}

// Where many images have no box, their names may say more.
func TestNamesBesideBoxes(t *testing.T) {
	png := string(picture(100, 80, 1))
	d := opened(t, layout(t, "images/pug_1.jpg", png, "images/pug_2.jpg", png, "images/beagle_2.jpg", png, "images/beagle_3.jpg", png, "images/siamese_3.jpg", png, "images/siamese_4.jpg", png, "xmls/pug_1.xml", xmlOf("", "dog")))
	if notes := d.Source().Notes; !slices.ContainsFunc(notes, func(n string) bool {
		return n == "by the names of all 6 images, --label-pattern '{label}_#.*' (3 classes: beagle, pug, siamese)"
	}) {
		t.Errorf("notes %q", notes)
	}
}

// With several labels an image has the classes of all its boxes.
func TestLabelsOfBoxes(t *testing.T) {
	png := string(picture(100, 80, 1))
	d := opened(t, layout(t, "images/a.jpg", png, "images/b.jpg", png,
		"annots/a.xml", vocXML("a.jpg", size100x80, "dog 1 1 90 70 0", "cat 10 10 20 20 0", "bird 1 1 5 5 0", "eel 1 1 5 5 1"), "annots/b.xml", xmlOf("", "cat")))
	if !slices.Equal(d.Classes, []string{"cat", "dog"}) || !d.boxes.others["bird"] {
		t.Errorf("classes %v, others %v", d.Classes, d.boxes.others)
	}
	m := d.AsMultiLabel()
	if want := []string{"bird", "cat", "dog"}; !slices.Equal(m.Classes, want) || m.Samples[0].Name != "images/a.jpg" || !slices.Equal(m.LabelsOf(0), []int{0, 1, 2}) || !slices.Equal(m.LabelsOf(1), []int{1}) {
		t.Errorf("classes %v, samples %+v", m.Classes, m.Samples)
	}
	if d.MultiLabel || d.Samples[0].Labels != nil {
		t.Error("the dataset itself has changed")
	}
}

// That an image has the class of its largest box is said where it has boxes of other classes.
func TestLargestBoxIsSaid(t *testing.T) {
	png := string(picture(100, 80, 1))
	box := func(name string, x int) string {
		return fmt.Sprintf("<object><name>%s</name><bndbox><xmin>1</xmin><ymin>1</ymin><xmax>%d</xmax><ymax>50</ymax></bndbox></object>", name, x)
	}
	note := func(objects ...string) string {
		return "<annotation><size><width>100</width><height>80</height></size>" + strings.Join(objects, "") + "</annotation>"
	}
	open := func(second string) []string {
		return opened(t, layout(t, "images/1.png", png, "images/2.png", png, "xmls/1.xml", note(box("cat", 40), second), "xmls/2.xml", note(box("dog", 30), box("dog", 20)))).Source().Notes
	}
	if notes := open(box("dog", 10)); len(notes) != 1 || !strings.HasPrefix(notes[0], "an image's class is that of its largest box: 1 of 2 have boxes of other classes, too") {
		t.Errorf("notes %q", notes)
	}
	for _, second := range []string{box("cat", 10), strings.Replace(box("dog", 90), "<name>", "<difficult>1</difficult><name>", 1)} {
		if notes := open(second); len(notes) != 0 {
			t.Errorf("notes %q, want none", notes)
		}
	}
}
