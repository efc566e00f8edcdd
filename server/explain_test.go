package server

import (
	"bytes"
	"encoding/json"
	"image/png"
	"reflect"
	"testing"

	"github.com/verydeep/vgg/explain"
	"github.com/verydeep/vgg/internal/vggtest"
	"github.com/verydeep/vgg/internal/vggtest/tiny"
	"github.com/verydeep/vgg/preprocess"
)

// TestExplain answers as the library does, as JSON and as a picture.
func TestExplain(t *testing.T) {
	m := tiny.Random(16, 1)
	_, h := serve(t, Options{}, m)
	data := vggtest.PNG(90, 60, vggtest.Noise(3))
	im, err := preprocess.Decode(data, preprocess.DecodeOptions{})
	if err != nil {
		t.Fatal(err)
	}
	want, err := explain.Run(t.Context(), m, im, explain.Options{Scales: []int{40, 64}, Top: 2})
	if err != nil {
		t.Fatal(err)
	}
	code, body, _ := ask(t, "POST", h.URL+"/v1/explain?scales=40,64&top=2&maps=1", data)
	var got explainAnswer
	if err := json.Unmarshal(body, &got); code != 200 || err != nil {
		t.Fatalf("code %d: %s", code, body)
	}
	if !reflect.DeepEqual(got.Top, want.Top) || !reflect.DeepEqual(got.Scales, want.Scales) || got.Width != 90 || got.Height != 60 {
		t.Errorf("got %s", body)
	}
	for c, class := range want.Top {
		for i := range want.Scales {
			if !reflect.DeepEqual(got.Maps[c][i], want.Map(class.Index, i)) {
				t.Errorf("%s at scale %d: another map", class.Class, want.Scales[i].Scale)
			}
		}
	}
	code, body, header := ask(t, "PUT", h.URL+"/v1/explain/noise.png?format=png", data)
	if code != 200 || header.Get("Content-Type") != "image/png" {
		t.Fatalf("code %d, %s", code, header.Get("Content-Type"))
	}
	if _, err := png.Decode(bytes.NewReader(body)); err != nil {
		t.Errorf("no picture: %v", err)
	}
}

// TestExplainMethods: each method answers as the library does, and keeps its answer.
func TestExplainMethods(t *testing.T) {
	m := tiny.Random(16, 1)
	s, h := serve(t, Options{}, m)
	data := vggtest.PNG(90, 60, vggtest.Noise(3))
	im, err := preprocess.Decode(data, preprocess.DecodeOptions{})
	if err != nil {
		t.Fatal(err)
	}
	for query, o := range map[string]explain.Options{
		"method=scoremap": {},
		"method=gradcam":  {Method: explain.GradCAM},
		"method=gradcam&layer=conv2_1&classes=4,1":        {Method: explain.GradCAM, Layer: "conv2_1", Indices: []int{4, 1}},
		"method=saliency&scales=40,64&top=1":              {Method: explain.Saliency, Scales: []int{40, 64}, Top: 1},
		"method=gradcam&layer=conv3_2&scales=48&top=2":    {Method: explain.GradCAM, Layer: "conv3_2", Scales: []int{48}, Top: 2},
		"method=saliency&classes=2&scales=32&format=json": {Method: explain.Saliency, Scales: []int{32}, Indices: []int{2}},
	} {
		if o.Top == 0 {
			o.Top = 3
		}
		want, err := explain.Run(t.Context(), m, im, o)
		if err != nil {
			t.Fatal(err)
		}
		code, body, _ := ask(t, "PUT", h.URL+"/v1/explain/noise.png?maps&"+query, data)
		got := explainAnswer{Result: &explain.Result{}}
		if err := json.Unmarshal(body, &got); code != 200 || err != nil {
			t.Fatalf("%s: code %d: %s", query, code, body)
		}
		if got.Method != want.Method || got.Layer != want.Layer || !reflect.DeepEqual(got.Top, want.Top) || !reflect.DeepEqual(got.Scales, want.Scales) {
			t.Errorf("%s: got %+v, want %+v", query, got.Result, want)
		}
		for c, class := range want.Top {
			for i := range want.Scales {
				if !reflect.DeepEqual(got.Maps[c][i], want.Map(class.Index, i)) {
					t.Errorf("%s: another map of %s", query, class.Class)
				}
			}
		}
		kept := s.answers.order.Len()
		if _, again, header := ask(t, "PUT", h.URL+"/v1/explain/noise.png?maps&"+query, data); !bytes.Equal(again, body) || header.Get("Content-Type") != "application/json" || s.answers.order.Len() != kept {
			t.Errorf("%s: another answer to the same question: %s", query, again)
		}
		var drawn bytes.Buffer
		if err := want.Heatmap(im, "noise.png", "the model").EncodePNG(&drawn); err != nil {
			t.Fatal(err)
		}
		if _, picture, _ := ask(t, "PUT", h.URL+"/v1/explain/noise.png?"+query, data, "Accept", "image/png"); query != "method=saliency&classes=2&scales=32&format=json" && !bytes.Equal(picture, drawn.Bytes()) {
			t.Errorf("%s: another picture than the library draws", query)
		}
	}
	// The name stands in the answer, so another one is another answer.
	if _, body, _ := ask(t, "PUT", h.URL+"/v1/explain/other.png?maps&method=gradcam", data); !bytes.Contains(body, []byte(`"file":"other.png"`)) {
		t.Errorf("the answer of another name: %.100s", body)
	}
	_, text, _ := ask(t, "GET", h.URL+"/metrics", nil)
	if want := `vgg_answers_total{model="tiny",result="hit"} 6`; !bytes.Contains(text, []byte(want)) {
		t.Errorf("metrics lack %q", want)
	}
}

func TestExplainRefusals(t *testing.T) {
	_, h := serve(t, Options{Limits: Limits{Pass: 16 << 20}}, tiny.Random(16, 1))
	data := vggtest.PNG(90, 60, vggtest.Noise(3))
	for query, want := range map[string]struct {
		code int
		text string
	}{
		"scales=8":                 {409, "takes 32"},
		"scales=40,40,x":           {400, `"x"`},
		"scales=40,50,60,70,80,90": {400, "the most is 5"},
		"top=21":                   {400, "1 to 20"},
		"format=gif":               {400, "json or png"},
		"scales=512":               {413, "16.0 MiB"},

		"method=magic":                 {400, "scoremap or gradcam or saliency"},
		"layer=conv2_1":                {400, "want method=gradcam"},
		"method=gradcam&layer=conv9_9": {400, "conv9_9"},
		"method=gradcam&layer=pool5":   {400, "one place"},
		"method=saliency&scales=512":   {413, "16.0 MiB"},
	} {
		code, body, _ := ask(t, "POST", h.URL+"/v1/explain?"+query, data)
		refused(t, code, body, want.code, want.text)
	}
}
