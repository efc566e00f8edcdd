package dataset

import (
	"fmt"
	"strings"
	"testing"
)

func TestParseClassMap(t *testing.T) {
	for name, text := range map[string]string{
		"CSV":         "Dog,dog\n\"cat, wild\",cat\n",
		"with header": "data class,network class\nDog,dog\n\"cat, wild\",cat\n",
		"TSV":         "Dog\tdog\ncat, wild\tcat\n",
		"JSON":        "\ufeff{\"Dog\": \"dog\", \"cat, wild\": \"cat\"}",
	} {
		got, err := ParseClassMap([]byte(text))
		if err != nil || len(got) != 2 || got["Dog"] != "dog" || got["cat, wild"] != "cat" {
			t.Errorf("%s: %v, %v", name, got, err)
		}
	}
	for want, text := range map[string]string{
		"empty":                       " \n",
		"row 2: 1 columns, want two":  "Dog,dog\ncat\n",
		`row 2: class "Dog" becomes`:  "Dog,dog\nDog,cat\n",
		"want a JSON object of names": `{"Dog": 1}`,
	} {
		if _, err := ParseClassMap([]byte(text)); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%q: %v, want %q", text, err, want)
		}
	}
}

func TestRenameClasses(t *testing.T) {
	var pictures []Picture
	for i, label := range []int{0, 1, 2, 3, 1} {
		pictures = append(pictures, Picture{Image: drawn(8, 8, i), Name: fmt.Sprintf("%d.bmp", i), Label: label, Boxes: []Box{{X1: 4, Y1: 4, Class: label}}})
	}
	d, err := FromPictures("pets", []string{"Dog", "Siamese", "unknown", "Tabby"}, pictures)
	if err != nil {
		t.Fatal(err)
	}
	got, err := d.RenameClasses(map[string]string{"Siamese": "cat", "Tabby": "cat", "unknown": ""})
	if err != nil {
		t.Fatal(err)
	}
	if text, want := described(got), "0.bmp=Dog 1.bmp=cat 3.bmp=cat 4.bmp=cat"; text != want || strings.Join(got.Classes, " ") != "Dog cat" {
		t.Errorf("%v: %s, want Dog cat: %s", got.Classes, text, want)
	}
	if b := got.Samples[2].Boxes; len(b) != 1 || b[0].Class != 1 {
		t.Errorf("boxes %v, want one of class 1", b)
	}
	if text := described(d); text != "0.bmp=Dog 1.bmp=Siamese 2.bmp=unknown 3.bmp=Tabby 4.bmp=Siamese" {
		t.Errorf("the dataset has changed: %s", text)
	}
	several, err := severalLabels(t, 4).RenameClasses(map[string]string{"third": "even", "tenth": ""})
	if err != nil {
		t.Fatal(err)
	}
	if text, want := described(several), "000.bmp=even 001.bmp= 002.bmp=even 003.bmp=even"; text != want {
		t.Errorf("several labels: %s, want %s", text, want)
	}
	for want, names := range map[string]map[string]string{
		`no class "dog" among its 4`: {"dog": "x"},
		"no image is left":           {"Dog": "", "Siamese": "", "unknown": "", "Tabby": ""},
	} {
		if _, err := d.RenameClasses(names); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%v: %v, want %q", names, err, want)
		}
	}
}
