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
	} {
		code, body, _ := ask(t, "POST", h.URL+"/v1/explain?"+query, data)
		refused(t, code, body, want.code, want.text)
	}
}
