package dataset

import (
	"context"
	"errors"
	"fmt"
	"math"
	"path/filepath"
	"reflect"
	"slices"
	"strconv"
	"strings"
	"testing"

	"github.com/verydeep/vgg/internal/vggtest"
)

// vocXML returns an annotation: objects are class, corners and difficult.
func vocXML(file, size string, objects ...string) string {
	var b strings.Builder
	fmt.Fprintf(&b, "<annotation verified=\"yes\">\n<folder>x</folder><filename>%s</filename>%s<segmented>0</segmented>\n", file, size)
	for _, o := range objects {
		f := strings.Fields(o)
		fmt.Fprintf(&b, "<object><name>%s</name><pose>Left</pose><difficult>%s</difficult><part><name>head</name><bndbox><xmin>1</xmin><ymin>1</ymin><xmax>2</xmax><ymax>2</ymax></bndbox></part><bndbox><xmin>%s</xmin><ymin>%s</ymin><xmax>%s</xmax><ymax>%s</ymax></bndbox></object>\n",
			f[0], f[5], f[1], f[2], f[3], f[4])
	}
	return b.String() + "</annotation>\n"
}

const size100x80 = "<size><width>100</width><height>80</height><depth>3</depth></size>"

// sources returns the names of bad annotations, each with the reason.
func sources(r BoxReport) []string {
	var out []string
	for _, b := range r.Bad {
		out = append(out, b.Source+": "+b.Err.Error())
	}
	slices.Sort(out)
	return out
}

func TestReadBoxesXML(t *testing.T) {
	dir := layout(t,
		"JPEGImages/a.jpg", "", "JPEGImages/b.jpg", "", "JPEGImages/c.jpg", "", "JPEGImages/unmarked.jpg", "",
		"JPEGImages/d.jpg", "", "JPEGImages/e.jpg", "", "JPEGImages/f.jpg", "",
		"Annotations/a.xml", vocXML("a.jpg", size100x80, "dog 10 20 30.5 40 0", "cat 0 0 100 80 1", "dog 50 20 50 40 0", "dog 50 50 60 40 0"),
		"Annotations/b.xml", vocXML("b.jpg", size100x80, "cat 1 2 3 4 0", "cow -3 2 130 4 0"),
		"Annotations/c.xml", vocXML("c.jpg", "", "cat 1 2 3 4 0"),
		"Annotations/d.xml", vocXML("d.jpg", "<size><width>0</width><height>80</height></size>", "cat 1 2 3 4 0"),
		"Annotations/e.xml", "<annotation><filename>e.jpg</filename>",
		"Annotations/f.xml", vocXML("f.jpg", size100x80, "cat 101 2 130 4 0", "cat 1 2 x 4 0", "dog 1 2 3 NaN 0", "cat 5 6 7 8 0"),
		"Annotations/gone.xml", vocXML("gone.jpg", size100x80, "dog 1 2 3 4 0"),
	)
	d, val, err := Open(t.Context(), dir, OpenOptions{})
	if err != nil || val != nil {
		t.Fatal(val, err)
	}
	// The largest box that isn't difficult decides; an image without a usable
	// box has no class.
	if got := names(d); !slices.Equal(got, []string{"JPEGImages/f.jpg=cat", "JPEGImages/b.jpg=cow", "JPEGImages/a.jpg=dog"}) {
		t.Fatalf("samples %v", got)
	}
	// The class cow is left out, and images without a class are kept.
	d.Classes = []string{"cat", "dog", "bull"}
	d.Samples = []Sample{{Name: "JPEGImages/a.jpg", Label: 1}, {Name: "JPEGImages/b.jpg"}, {Name: "JPEGImages/c.jpg"}, {Name: "JPEGImages/d.jpg"}, {Name: "JPEGImages/e.jpg"}, {Name: "JPEGImages/f.jpg"}, {Name: "JPEGImages/unmarked.jpg"}}
	got, report, err := ReadBoxes(t.Context(), d, BoxOptions{})
	if err != nil {
		t.Fatal(err)
	}
	want := map[string][]Box{
		"JPEGImages/a.jpg": {{10, 20, 30.5, 40, 1, false}, {0, 0, 100, 80, 0, true}},
		"JPEGImages/b.jpg": {{1, 2, 3, 4, 0, false}},
		"JPEGImages/f.jpg": {{5, 6, 7, 8, 0, false}},
	}
	for _, s := range got.Samples {
		if !reflect.DeepEqual(s.Boxes, want[s.Name]) {
			t.Errorf("%s: %v, want %v", s.Name, s.Boxes, want[s.Name])
		}
	}
	if report.Boxes != 4 || report.Images != 3 || report.Without != 4 || report.Clipped != 0 {
		t.Errorf("report %+v", report)
	}
	wantBad := []string{
		"Annotations/a.xml: empty box: (50, 20, 50, 40), want x0 < x1 and y0 < y1",
		"Annotations/a.xml: empty box: (50, 50, 60, 40), want x0 < x1 and y0 < y1",
		`Annotations/b.xml: unknown class "cow"`,
		"Annotations/c.xml: no size of the image",
		`Annotations/d.xml: no size of the image: width "0", height "80"`,
		"Annotations/e.xml: XML: XML syntax error on line 1: unexpected EOF",
		"Annotations/f.xml: box outside the image: (101, 2, 130, 4) of 100×80 pixels",
		`Annotations/f.xml: object cat: corner "x", want a number`,
		`Annotations/f.xml: object dog: corner "NaN", want a number`,
		"Annotations/gone.xml: no such image: Annotations/gone.xml",
	}
	if !slices.Equal(sources(report), wantBad) {
		t.Errorf("bad annotations\n%s\nwant\n%s", strings.Join(sources(report), "\n"), strings.Join(wantBad, "\n"))
	}
	if d.Samples[0].Boxes != nil {
		t.Error("the dataset itself has changed")
	}
	d.Classes[2] = "cow"
	got, report, err = ReadBoxes(t.Context(), d, BoxOptions{})
	if err != nil || report.Clipped != 1 || got.Samples[1].Boxes[1] != (Box{0, 2, 100, 4, 2, false}) {
		t.Errorf("report %+v, %v, boxes %v, want one cut to the image", report, err, got.Samples[1].Boxes)
	}
	// Strictly, the first bad one is an error: those of images without a usable box come first.
	if _, _, err := ReadBoxes(t.Context(), d, BoxOptions{Strict: true}); !errors.Is(err, errNoSize) || !strings.Contains(err.Error(), "Annotations/c.xml") {
		t.Errorf("strict: %v", err)
	}
	for name, c := range map[string]struct {
		xml  string
		want error
	}{
		"beyond":  {vocXML("a.jpg", size100x80, "cat 10 20 101 40 0"), errBeyond},
		"outside": {vocXML("a.jpg", size100x80, "cat 10 81 20 90 0"), errOutside},
		"unknown": {vocXML("a.jpg", size100x80, "eel 10 20 30 40 0"), errUnknownClass},
		"size":    {vocXML("a.jpg", "", "cat 10 20 30 40 0"), errNoSize},
	} {
		file := filepath.Join(layout(t, "a.xml", c.xml), "a.xml")
		if _, _, err := ReadBoxes(t.Context(), d, BoxOptions{From: file, Strict: true}); !errors.Is(err, c.want) || !strings.Contains(err.Error(), "a.xml: ") {
			t.Errorf("%s: %v", name, err)
		}
	}
	if _, _, err := ReadBoxes(t.Context(), d, BoxOptions{From: filepath.Join(dir, "nowhere")}); err == nil || !strings.Contains(err.Error(), "nowhere") {
		t.Errorf("no such annotations: %v", err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	cancel()
	if _, _, err := ReadBoxes(ctx, d, BoxOptions{}); !errors.Is(err, context.Canceled) {
		t.Errorf("cancelled: %v", err)
	}
}

func TestReadBoxesILSVRC(t *testing.T) {
	dir := layout(t,
		"train/"+tench+"/"+tench+"_1.JPEG", "", "train/"+husky+"/"+husky+"_1.JPEG", "",
		"val/v1.JPEG", "", "val/v2.JPEG", "", "val.txt", "v1.JPEG 1\nv2.JPEG 0\n",
		"Annotations/CLS-LOC/train/"+tench+"/"+tench+"_1.xml", vocXML(tench+"_1", size100x80, tench+" 1 2 3 4 0"),
		"Annotations/CLS-LOC/val/v1.xml", vocXML("v1", size100x80, husky+" 5 6 7 8 0", husky+" 6 6 9 9 0"),
		"LOC_train_solution.csv", "ImageId,PredictionString\nunused,"+tench+" 0 0 1 1\n",
	)
	train, val, err := Open(t.Context(), dir, OpenOptions{})
	if err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct {
		d    *Dataset
		want map[string][]Box
	}{
		{train, map[string][]Box{"train/" + tench + "/" + tench + "_1.JPEG": {{1, 2, 4, 5, 0, false}}}},
		{val, map[string][]Box{"val/v1.JPEG": {{5, 6, 8, 9, 1, false}, {6, 6, 10, 10, 1, false}}}},
	} {
		boxed, report, err := ReadBoxes(t.Context(), c.d, BoxOptions{Strict: true})
		if err != nil {
			t.Fatal(err)
		}
		if report.Without != 1 {
			t.Errorf("report %+v, want one image without boxes", report)
		}
		for _, s := range boxed.Samples {
			if !reflect.DeepEqual(s.Boxes, c.want[s.Name]) {
				t.Errorf("%s: %v", s.Name, s.Boxes)
			}
		}
	}
	from := layout(t, "LOC_val_solution.csv", "ImageId,PredictionString\nv1,"+husky+" 1 2 3 4 "+tench+" 5 6 7 8 \nv2,"+tench+" 1 2 3\n")
	boxed, report, err := ReadBoxes(t.Context(), val, BoxOptions{From: filepath.Join(from, "LOC_val_solution.csv")})
	if err != nil || report.Boxes != 2 || len(report.Bad) != 1 || report.Bad[0].Source != "LOC_val_solution.csv:3" {
		t.Fatalf("Kaggle's table: %+v, %v", report, err)
	}
	if want := []Box{{1, 2, 4, 5, 1, false}, {5, 6, 8, 9, 0, false}}; !slices.Equal(boxed.Samples[1].Boxes, want) {
		t.Errorf("Kaggle's table: %v, want %v", boxed.Samples[1].Boxes, want)
	}
}

func TestReadBoxesTable(t *testing.T) {
	dir := layout(t, "a/1.png", string(picture(20, 10, 1)), "a/2.png", "", "b/1.png", string(picture(20, 10, 1)), "b/3.png", "")
	d := opened(t, dir)
	for _, c := range []struct {
		name, table string
		rescale     bool
		want        map[string][]Box
		bad         []string
	}{
		{
			"corners", "file,x0,y0,x1,y1\na/1.png,1,2,3.5,4\nb/1.png,5,6,7,8\na/1.png,0,1,2,3\n", false,
			map[string][]Box{"a/1.png": {{1, 2, 3.5, 4, 0, false}, {0, 1, 2, 3, 0, false}}, "b/1.png": {{5, 6, 7, 8, 1, false}}}, nil,
		},
		{
			"TensorFlow's", "filename,width,height,class,xmin,ymin,xmax,ymax\n2.png,40,20,b,1,2,3,4\n3.png,40,20,c,1,2,3,4\n3.png,0,20,b,1,2,3,4\n3.png,40,20,b,30,2,50,4\nz.png,40,20,b,1,2,3,4\n", false,
			map[string][]Box{"a/2.png": {{1, 2, 3, 4, 1, false}}, "b/3.png": {{30, 2, 40, 4, 1, false}}},
			[]string{`t.csv:3: unknown class "c"`, "t.csv:4: no size of the image: width 0, height 20"},
		},
		{
			"made for another size", "file,orig_w,orig_h,x0,y0,x1,y1\na/1.png,40,40,4,8,20,40\nb/1.png,10,5,1,1,2,2\n", true,
			map[string][]Box{"a/1.png": {{2, 2, 10, 10, 0, false}}, "b/1.png": {{2, 2, 4, 4, 1, false}}}, nil,
		},
		{
			"an image that can't be read", "file,width,height,x0,y0,x1,y1\na/2.png,40,40,4,8,20,40\nb/1.png,20,10,1,1,2,2\n", true,
			map[string][]Box{"b/1.png": {{1, 1, 2, 2, 1, false}}}, []string{"t.csv:2: preprocess: image: empty, want JPEG, PNG, GIF, WebP, BMP, TIFF or PNM"},
		},
		{
			"shares of the sides, as Open Images has them", "ImageID,XMin,XMax,YMin,YMax\n1,0.25,0.5,0,1\nb/1.png,0.1,0.2,0.3,0.4\n", false,
			map[string][]Box{"b/1.png": {{2, 3, 4, 4, 1, false}}}, nil,
		},
		{
			"without a header", "a/1.png,1,2,3,4\nb/1.png,5,6,7,8\n", false,
			map[string][]Box{"a/1.png": {{1, 2, 3, 4, 0, false}}, "b/1.png": {{5, 6, 7, 8, 1, false}}}, nil,
		},
	} {
		file := filepath.Join(layout(t, "t.csv", c.table), "t.csv")
		got, report, err := ReadBoxes(t.Context(), d, BoxOptions{From: file, Rescale: c.rescale})
		if err != nil {
			t.Errorf("%s: %v", c.name, err)
			continue
		}
		for _, s := range got.Samples {
			if !reflect.DeepEqual(s.Boxes, c.want[s.Name]) {
				t.Errorf("%s: %s: %v, want %v", c.name, s.Name, s.Boxes, c.want[s.Name])
			}
		}
		if !slices.Equal(sources(report), c.bad) {
			t.Errorf("%s: bad %q, want %q", c.name, sources(report), c.bad)
		}
	}
	for want, table := range map[string]string{
		"no columns of corners":                "file,width,height\na/1.png,1,2\n",
		"no annotation is of one of its":       "file,x0,y0,x1,y1\nz/1.png,1,2,3,4\n",
		"none of 1 annotations is usable; the": "file,x0,y0,x1,y1\na/1.png,3,2,1,4\n",
	} {
		file := filepath.Join(layout(t, "t.csv", table), "t.csv")
		if _, _, err := ReadBoxes(t.Context(), d, BoxOptions{From: file}); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("error %v, want it to say %q", err, want)
		}
	}
	if _, _, err := ReadBoxes(t.Context(), d, BoxOptions{}); err == nil || !strings.Contains(err.Error(), "no annotations beside the images") {
		t.Errorf("error %v", err)
	}
	// A set that is divided keeps its boxes, each with its image's part.
	table := layout(t, "a/1.png", "", "a/2.png", "", "a/3.png", "", "boxes.csv", "file,x0,y0,x1,y1\na/1.png,1,2,3,4\na/2.png,5,6,7,8\na/3.png,5,6,7,8\n")
	boxed, _, err := ReadBoxes(t.Context(), opened(t, table), BoxOptions{Strict: true})
	if err != nil {
		t.Fatal(err)
	}
	train, val, err := Split(boxed, 0.3, 1)
	if err != nil || len(train.Samples[0].Boxes) != 1 || len(val.Samples[0].Boxes) != 1 {
		t.Errorf("parts %+v, %+v, %v", train, val, err)
	}
	if again, report, err := ReadBoxes(t.Context(), train, BoxOptions{Strict: true}); err != nil || report.Boxes != 2 || !reflect.DeepEqual(again.Samples, train.Samples) {
		t.Errorf("boxes of a part: %+v, %v", report, err)
	}
}

// The boxes of the squashed images, rescaled, are those of the table for 224×224
// pixels.
func TestReadBoxesOfImagenette(t *testing.T) {
	d := opened(t, vggtest.Shared(t, "imagenette224/boxed"))
	file := vggtest.Shared(t, "imagenette224/boxes.csv")
	got, report, err := ReadBoxes(t.Context(), d, BoxOptions{From: file, Rescale: true, Strict: false})
	if err != nil {
		t.Fatal(err)
	}
	if report.Images != 500 || report.Without != 0 || len(report.Bad) != 0 {
		t.Errorf("report %+v", report)
	}
	if _, err := readTable(t.Context(), d.root, "../boxes.csv"); err == nil {
		t.Fatal("a path that leads out of the folder is read")
	}
	sources, err := namedBoxes(t.Context(), file)
	if err != nil {
		t.Fatal(err)
	}
	table, err := readTable(t.Context(), sources[0].fsys, sources[0].name)
	if err != nil {
		t.Fatal(err)
	}
	if report.Boxes != len(table.rows) {
		t.Errorf("%d boxes of %d rows", report.Boxes, len(table.rows))
	}
	next := map[string]int{}
	index := map[string]int{}
	for i, s := range got.Samples {
		index[s.Name] = i
	}
	for row := range table.rows {
		name := strings.TrimPrefix(table.cell(row, 0), "boxed/")
		b := got.Samples[index[name]].Boxes[next[name]]
		next[name]++
		for i, v := range []float64{b.X0, b.Y0, b.X1, b.Y1} {
			want, err := strconv.ParseFloat(table.cell(row, table.column([]string{"x0_224", "y0_224", "x1_224", "y1_224"}[i])), 64)
			if err != nil || math.Abs(v-want) > 0.001 {
				t.Fatalf("row %d: %v, want %v (%v)", row, v, want, err)
			}
		}
	}
}

func FuzzVOC(f *testing.F) {
	f.Add([]byte(vocXML("a.jpg", size100x80, "dog 10 20 30 40 0", "cat -5 0 200 80 1")))
	f.Add([]byte(vocXML("a.jpg", "", "dog 10 20 30 40 0")))
	f.Add([]byte("<annotation><object><bndbox/></object><size><width>1</width><height>1</height></size></annotation>"))
	d := &Dataset{Name: "fuzz", Classes: []string{"dog", "cat"}, Samples: []Sample{{Name: "a.jpg"}}}
	f.Fuzz(func(t *testing.T, data []byte) {
		note, _, err := parseVOC("a.xml", strings.NewReader(string(data)))
		if err != nil {
			return
		}
		note.image = "a.xml"
		var r BoxReport
		a := newAttacher(d, BoxOptions{}, &r)
		if err := a.attach(note, true); err != nil {
			t.Fatal(err)
		}
		for _, b := range a.out.Samples[0].Boxes {
			if !(0 <= b.X0 && b.X0 < b.X1 && b.X1 <= float64(note.w) && 0 <= b.Y0 && b.Y0 < b.Y1 && b.Y1 <= float64(note.h)) {
				t.Fatalf("box %+v of %d×%d pixels", b, note.w, note.h)
			}
		}
	})
}
