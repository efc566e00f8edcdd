package server

import (
	"bytes"
	"encoding/json"
	"fmt"
	"image/color"
	"mime/multipart"
	"os"
	"path/filepath"
	"reflect"
	"strings"
	"testing"
	"time"

	"github.com/verydeep/vgg"
	"github.com/verydeep/vgg/dataset"
	"github.com/verydeep/vgg/internal/vggtest"
	"github.com/verydeep/vgg/internal/vggtest/tiny"
	"github.com/verydeep/vgg/teach"
)

// shades returns n pictures of one hue, no two alike.
func shades(n int, at func(v uint8) color.RGBA) [][]byte {
	var list [][]byte
	for i := range n {
		list = append(list, vggtest.PNG(40, 40, func(x, y int) color.RGBA {
			return at(uint8(255 - (x*(i+3)+y*(2*i+1))%100))
		}))
	}
	return list
}

func reds(n int) [][]byte {
	return shades(n, func(v uint8) color.RGBA { return color.RGBA{v, 30, 20, 255} })
}
func blues(n int) [][]byte {
	return shades(n, func(v uint8) color.RGBA { return color.RGBA{20, 30, v, 255} })
}

// lesson is a class of a form, and its files.
type lesson struct {
	class string
	files [][]byte
}

// lessonForm returns a form of pictures, and its type.
func lessonForm(t *testing.T, lessons ...lesson) (data []byte, kind string) {
	t.Helper()
	var form bytes.Buffer
	w := multipart.NewWriter(&form)
	for _, l := range lessons {
		for i, f := range l.files {
			part, err := w.CreateFormFile(l.class, fmt.Sprintf("%d.png", i))
			if err != nil {
				t.Fatal(err)
			}
			part.Write(f)
		}
	}
	w.Close()
	return form.Bytes(), w.FormDataContentType()
}

// TestTeach: the service teaches as the library does, serves the model, and gives it as a file.
func TestTeach(t *testing.T) {
	base := tiny.Random(16, 1)
	s, h := serve(t, Options{AllowTeach: true}, base)
	warm, cold := reds(6), blues(6)
	form, kind := lessonForm(t, lesson{"warm", warm}, lesson{"cold", cold})
	code, body, _ := ask(t, "POST", h.URL+"/v1/teach?name=hues", form, "Content-Type", kind)
	var got teachAnswer
	if err := json.Unmarshal(body, &got); code != 200 || err != nil {
		t.Fatalf("code %d: %s", code, body)
	}
	var classes []teach.Class
	for _, l := range []lesson{{"warm", warm}, {"cold", cold}} {
		c := teach.Class{Name: l.class}
		for i, f := range l.files {
			c.Pictures = append(c.Pictures, dataset.Picture{Name: fmt.Sprintf("%d.png", i), Encoded: f})
		}
		classes = append(classes, c)
	}
	images, err := teach.Pictures("hues", classes)
	if err != nil {
		t.Fatal(err)
	}
	want, err := teach.Teach(t.Context(), teach.Net("tiny", base), images, teach.DefaultOptions())
	if err != nil {
		t.Fatal(err)
	}
	text, _ := json.Marshal(want.Report)
	var report teach.Report
	if err := json.Unmarshal(text, &report); err != nil {
		t.Fatal(err)
	}
	if got.Model != "hues" || !reflect.DeepEqual(got.Report, report) {
		t.Errorf("model %s, report\n%+v\nwant\n%+v", got.Model, got.Report, report)
	}
	if got.Report.Wrong != 0 {
		t.Errorf("%d of %d pictures of two hues are told wrong", got.Report.Wrong, got.Report.Tested)
	}

	// The model that is served and the one in the file answer alike, to the bit.
	code, file, header := ask(t, "GET", h.URL+"/v1/teach/hues", nil)
	if code != 200 || !strings.Contains(header.Get("Content-Disposition"), `"hues.safetensors"`) {
		t.Fatalf("code %d, %v", code, header)
	}
	path := filepath.Join(t.TempDir(), "hues.safetensors")
	if err := os.WriteFile(path, file, 0o666); err != nil {
		t.Fatal(err)
	}
	kept, err := vgg.Open(t.Context(), path, vgg.OpenOptions{})
	if err != nil {
		t.Fatal(err)
	}
	fresh := vggtest.PNG(60, 50, vggtest.Plain(color.RGBA{200, 20, 30, 255}))
	code, body, _ = ask(t, "POST", h.URL+"/v1/classify?model=hues", fresh)
	var answer classifyAnswer
	if err := json.Unmarshal(body, &answer); code != 200 || err != nil {
		t.Fatalf("code %d: %s", code, body)
	}
	if a := classifyJSON(t, kept, fresh); !reflect.DeepEqual(answer.Answer, a) || a.Top[0].Class != "warm" {
		t.Errorf("the service answers %+v, the file %+v", answer.Answer, a)
	}

	// Taught again, the model of that name is another one.
	form, kind = lessonForm(t, lesson{"a", cold}, lesson{"b", warm}, lesson{"c", shades(4, func(v uint8) color.RGBA { return color.RGBA{0, v, 0, 255} })})
	if code, body, _ := ask(t, "POST", h.URL+"/v1/teach?name=hues&model=tiny", form, "Content-Type", kind); code != 200 {
		t.Fatalf("code %d: %s", code, body)
	}
	if _, body, _ := ask(t, "GET", h.URL+"/v2/models/hues", nil); !strings.Contains(string(body), `"classes":["a","b","c"]`) {
		t.Errorf("the model is still %s", body)
	}
	if n := len(s.Models()); n != 2 {
		t.Errorf("%d models, want 2", n)
	}
	if code, body, _ := ask(t, "POST", h.URL+"/v1/classify", fresh); code != 200 || strings.Contains(string(body), "warm") {
		t.Errorf("without a name the answer isn't the first model's: code %d, %s", code, body)
	}
}

// TestTeachTells sends progress as JSON lines, and an error as the last of them.
func TestTeachTells(t *testing.T) {
	_, h := serve(t, Options{AllowTeach: true}, tiny.Random(16, 1))
	form, kind := lessonForm(t, lesson{"warm", reds(4)}, lesson{"cold", blues(4)})
	tell := func(form []byte, kind string) []map[string]any {
		t.Helper()
		code, body, _ := ask(t, "POST", h.URL+"/v1/teach", form, "Content-Type", kind, "Accept", "application/x-ndjson")
		if code != 200 {
			t.Fatalf("code %d: %s", code, body)
		}
		var list []map[string]any
		for line := range bytes.Lines(body) {
			var m map[string]any
			if err := json.Unmarshal(line, &m); err != nil {
				t.Fatalf("%s: %v", line, err)
			}
			list = append(list, m)
		}
		return list
	}
	list := tell(form, kind)
	last := 0.0
	for _, m := range list {
		if of, ok := m["of"].(float64); ok {
			last = m["done"].(float64)
			if of != 8 {
				t.Errorf("of %v pictures, want 8", of)
			}
		}
	}
	if last != 8 || list[0]["stage"] == nil || list[len(list)-1]["model"] != "taught" {
		t.Errorf("lines %v", list)
	}
	form, kind = lessonForm(t, lesson{"warm", [][]byte{[]byte("no picture"), []byte("none either")}}, lesson{"cold", blues(3)})
	list = tell(form, kind)
	if text, _ := list[len(list)-1]["error"].(string); !strings.Contains(text, "warm") {
		t.Errorf("the last line is %v", list[len(list)-1])
	}
}

// TestTeachForgets keeps the latest models.
func TestTeachForgets(t *testing.T) {
	s, h := serve(t, Options{AllowTeach: true}, tiny.Random(16, 1))
	form, kind := lessonForm(t, lesson{"warm", reds(3)}, lesson{"cold", blues(3)})
	for i := range MostTaught + 1 {
		if code, body, _ := ask(t, "POST", fmt.Sprintf("%s/v1/teach?model=tiny&name=m%d", h.URL, i), form, "Content-Type", kind); code != 200 {
			t.Fatalf("code %d: %s", code, body)
		}
	}
	if got := s.Models(); len(got) != MostTaught+1 || got[0] != "m1" {
		t.Errorf("models %v", got)
	}
	code, body, _ := ask(t, "GET", h.URL+"/v1/teach/m0", nil)
	refused(t, code, body, 404, "m0")
}

func TestTeachRefusals(t *testing.T) {
	warm, cold := lesson{"warm", reds(3)}, lesson{"cold", blues(3)}
	form, kind := lessonForm(t, warm, cold)
	_, h := serve(t, Options{}, tiny.Random(16, 1))
	code, body, _ := ask(t, "POST", h.URL+"/v1/teach", form, "Content-Type", kind)
	refused(t, code, body, 403, "--allow-teach")

	_, h = serve(t, Options{AllowTeach: true, Limits: Limits{TeachImages: 6, TeachBody: 64 << 10, Pixels: 10_000}}, tiny.Random(16, 1))
	for query, want := range map[string]struct {
		code int
		text string
	}{
		"?name=tiny":   {409, "choose another name"},
		"?name=a/b":    {400, "letters"},
		"?model=other": {404, "other"},
		"?classes=2":   {400, "classes"},
	} {
		code, body, _ := ask(t, "POST", h.URL+"/v1/teach"+query, form, "Content-Type", kind)
		refused(t, code, body, want.code, want.text)
	}
	wide := lesson{"wide", [][]byte{vggtest.PNG(200, 100, vggtest.Plain(vggtest.Red))}}
	for _, c := range []struct {
		lessons []lesson
		code    int
		text    string
	}{
		{[]lesson{warm}, 400, "one class"},
		{[]lesson{warm, {"cold", blues(1)}}, 400, "cold has 1"},
		{[]lesson{warm, {"cold", blues(5)}}, 413, "more than 6"},
		{[]lesson{warm, wide}, 413, "10000 pixels"},
		{[]lesson{warm, {"cold", [][]byte{make([]byte, 70<<10)}}}, 413, "64.0 KiB"},
		{nil, 400, ""},
	} {
		form, kind := lessonForm(t, c.lessons...)
		code, body, _ := ask(t, "POST", h.URL+"/v1/teach", form, "Content-Type", kind)
		refused(t, code, body, c.code, c.text)
	}
	code, body, _ = ask(t, "POST", h.URL+"/v1/teach", []byte("text"))
	refused(t, code, body, 400, "curl -F")
	code, body, _ = ask(t, "GET", h.URL+"/v1/teach/tiny", nil)
	refused(t, code, body, 404, "tiny")

	// Beyond its time it ends, and another may begin.
	s, h := serve(t, Options{AllowTeach: true, Limits: Limits{TeachTime: time.Nanosecond}}, tiny.Random(16, 1))
	code, body, _ = ask(t, "POST", h.URL+"/v1/teach", form, "Content-Type", kind)
	refused(t, code, body, 503, "1ns")
	if len(s.taught.turn) != 0 {
		t.Error("it still teaches")
	}
	s.taught.turn <- struct{}{}
	s.options.Limits.TeachTime = time.Minute
	code, body, _ = ask(t, "POST", h.URL+"/v1/teach", form, "Content-Type", kind)
	refused(t, code, body, 429, "somebody else")
}
