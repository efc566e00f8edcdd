//go:build browser

package server

import (
	"fmt"
	"image/color"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/verydeep/vgg/internal/vggtest"
	"github.com/verydeep/vgg/internal/vggtest/tiny"
)

// TestPageTeach: classes are named, pictures given, the classifier is tried and kept.
func TestPageTeach(t *testing.T) {
	b, _, h := open(t, Options{AllowTeach: true}, tiny.Random(16, 1))
	b.view("teach")
	give := func(card int, name string, files [][]byte) {
		t.Helper()
		dir := t.TempDir()
		var paths []string
		for i, f := range files {
			path := filepath.Join(dir, fmt.Sprintf("%s %d.png", name, i))
			if err := os.WriteFile(path, f, 0o666); err != nil {
				t.Fatal(err)
			}
			paths = append(paths, path)
		}
		card++
		b.give(fmt.Sprintf(".lesson:nth-child(%d) input[type=file]", card), paths...)
		b.shows(fmt.Sprintf(".lesson:nth-child(%d)", card), fmt.Sprintf("%d pictures", len(files)))
		b.typed(fmt.Sprintf(".lesson:nth-child(%d) input[type=text]", card), name)
	}
	has(t, "at first", b.text("[aria-labelledby=teach-title] .status"), "Two classes")
	give(0, "warm", reds(6))
	give(1, "cold", blues(6))
	b.looks("teach")
	b.until(`!document.querySelector("button.primary:not([hidden])").disabled`)
	b.press("Teach")
	b.shows("#taught-title", "taught is ready")
	has(t, "the result", b.text(".taught"), "right: 12 of 12 pictures", "With 95 % certainty")
	b.until(`document.getElementById("model").value === "taught"`)
	b.looks("taught")
	b.press("Keep it as a file")
	b.shows("[aria-labelledby=teach-title] .status", "Kept as taught.safetensors")
	if code, file, _ := ask(t, "GET", h.URL+"/v1/teach/taught", nil); code != 200 || len(file) < 1000 {
		t.Errorf("the file: code %d, %d bytes", code, len(file))
	}
	b.press("Try it on a picture")
	b.click("#samples li:nth-child(2) button") // red
	b.shows(".classes tr:first-child", "warm")
	b.shows(".finding", "warm")
	b.idle()
	b.quiet()
}

// TestPageTeachShowsMistakes: a picture in the wrong class is shown with what it was taken for.
func TestPageTeachShowsMistakes(t *testing.T) {
	b, _, _ := open(t, Options{AllowTeach: true}, tiny.Random(16, 1))
	b.view("teach")
	stray := vggtest.PNG(60, 50, vggtest.Plain(color.RGBA{10, 30, 190, 255}))
	for card, files := range [][][]byte{append(reds(6), stray), blues(6)} {
		var paths []string
		for i, f := range files {
			paths = append(paths, onDisk(t, fmt.Sprintf("%d.png", i), f))
		}
		at := fmt.Sprintf(".lesson:nth-child(%d) ", card+1)
		b.give(at+"input[type=file]", paths...)
		b.shows(at, fmt.Sprintf("%d pictures", len(files)))
		b.typed(at+"input[type=text]", []string{"warm", "cold"}[card])
	}
	b.press("Teach")
	b.shows(".taught figcaption", "is warm")
	b.until(`document.querySelector(".taught figure img").naturalWidth === 60`)
	if name := evaluate[string](b, `document.querySelector(".taught figure img").alt`); name != "6.png" {
		t.Errorf("the picture that was taken for something else is %q, want 6.png", name)
	}
	b.quiet()
}

// TestPageTeachesSamples: one button fills in built-in pictures, another teaches.
func TestPageTeachesSamples(t *testing.T) {
	b, _, h := open(t, Options{AllowTeach: true}, tiny.Random(16, 1))
	b.view("teach")
	b.press("Fill in photographs to try it")
	b.shows(".lesson:nth-child(1)", "6 pictures")
	b.shows(".lesson:nth-child(2)", "5 pictures")
	b.until(`[...document.querySelectorAll(".lesson img")].every((e) => e.complete && e.naturalWidth > 0)`)
	b.press("Fill in photographs to try it") // again changes nothing
	b.idle()
	if n := evaluate[int](b, `document.querySelectorAll(".lesson").length`); n != 2 {
		t.Errorf("%d classes after a second press", n)
	}
	b.press("Teach")
	b.shows("#taught-title", "taught is ready")
	has(t, "the result", b.text(".taught"), "right: 11 of 11 pictures")
	code, body, _ := ask(t, "POST", h.URL+"/v1/classify?model=taught", vggtest.PNG(60, 50, vggtest.Plain(color.RGBA{200, 20, 30, 255})))
	if code != 200 || !strings.Contains(string(body), `"top":[{"class":"warm"`) {
		t.Errorf("code %d: %s", code, body)
	}
	b.quiet()
}
