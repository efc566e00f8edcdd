package server

import (
	"context"
	"encoding/json"
	"reflect"
	"testing"

	"github.com/verydeep/vgg"
	"github.com/verydeep/vgg/internal/vggtest"
	"github.com/verydeep/vgg/internal/vggtest/tiny"
	"github.com/verydeep/vgg/localize"
	"github.com/verydeep/vgg/preprocess"
)

// TestWideByWindows: a picture that isn't square has boxes and maps by networks whose head takes
// the map of a window alone, those of the library.
func TestWideByWindows(t *testing.T) {
	const head = "L2 FC"
	m := tiny.Random(16, 1)
	classes := len(m.Classes)
	s, h := serve(t, Options{}, tiny.WithHead(m, classes, head))
	boxes := tiny.WithHead(tiny.Boxes(1), vgg.PCR.Outputs(classes), head)
	if err := s.SetLocaliser(t.Context(), Source{Name: "boxes", Open: func(context.Context) (*vgg.Model, error) { return boxes, nil }}); err != nil {
		t.Fatal(err)
	}
	data := vggtest.PNG(90, 40, vggtest.Noise(1))
	code, body, _ := ask(t, "POST", h.URL+"/v1/localize?all-boxes&top=3", data)
	var got localizeAnswer
	if err := json.Unmarshal(body, &got); code != 200 || err != nil {
		t.Fatalf("code %d: %s", code, body)
	}
	im, err := preprocess.Decode(data, preprocess.DecodeOptions{Orient: boxes.Preprocess.Orient})
	if err != nil {
		t.Fatal(err)
	}
	l := &localize.Locator{Nets: []localize.Net{{Model: boxes}}, Classifiers: []*vgg.Model{m}}
	a, err := l.Dense(t.Context(), im)
	if err != nil {
		t.Fatal(err)
	}
	text, err := json.Marshal(a.Show(localize.Choice{Top: 3, All: true}))
	if err != nil {
		t.Fatal(err)
	}
	var want []localize.Shown
	if err := json.Unmarshal(text, &want); err != nil {
		t.Fatal(err)
	}
	if !reflect.DeepEqual(got.Boxes, want) || len(want) < 3 {
		t.Errorf("boxes %+v, want %+v", got.Boxes, want)
	}
	code, body, _ = ask(t, "POST", h.URL+"/v1/explain?maps", data)
	var maps explainAnswer
	if err := json.Unmarshal(body, &maps); code != 200 || err != nil || maps.Scales[0].Cols <= maps.Scales[0].Rows {
		t.Errorf("maps: code %d: %.300s", code, body)
	}
}
