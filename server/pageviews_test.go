//go:build browser

package server

import (
	"context"
	"fmt"
	"net/http"
	"net/http/httptest"
	"path/filepath"
	"strings"
	"testing"

	"github.com/verydeep/vgg"
	"github.com/verydeep/vgg/internal/lockfile"
	"github.com/verydeep/vgg/internal/vggtest/tiny"
	"github.com/verydeep/vgg/train"
)

// TestPageSimilar: pictures like a red one, one of them looked at, and what is there twice.
func TestPageSimilar(t *testing.T) {
	b, s, _ := open(t, Options{}, tiny.Random(16, 1))
	withIndex(t, s)
	b.click("#samples li:nth-child(2) button") // red
	b.view("similar")
	b.until(`document.querySelectorAll(".tiles img[src]").length === 12`)
	has(t, "the index", b.text("[aria-labelledby=similar-title]"), "The index has 13 pictures")
	first := evaluate[string](b, `document.querySelector(".tiles li .name").title`)
	if first > "06.png" && first != "12.png" {
		t.Errorf("the picture that is the most similar to a red one is %s", first)
	}
	b.choose("#least", "0.99")
	b.press("Find near-duplicates")
	b.until(`document.querySelectorAll(".groups .tiles").length > 0`)
	b.idle()
	b.until(`document.querySelectorAll(".groups img:not([src])").length === 0`)
	has(t, "near-duplicates", b.text(".groups"), "03.png", "12.png")
	b.looks("similar")
	b.click(".tiles li:first-child button")
	b.shows("#caption", first)
	b.idle()
	b.quiet()
}

// TestPageBoxes: the boxes of some classes, of all windows, and one by itself.
func TestPageBoxes(t *testing.T) {
	b, s, _ := open(t, Options{}, tiny.Random(16, 1))
	withBoxes(t, s)
	b.click("#samples li:first-child button")
	b.view("boxes")
	b.until(`document.querySelectorAll(".boxes tbody tr").length === 2`)
	b.idle()
	drawn := b.canvas()
	evaluate[bool](b, `(document.querySelector(".boxes tbody tr:nth-child(2) button").focus(), true)`)
	if b.canvas() == drawn {
		t.Error("a box that is chosen looks like all of them")
	}
	evaluate[bool](b, `(document.activeElement.blur(), true)`)
	b.looks("boxes")
	if scales := b.text("#boxes-scale"); !strings.Contains(scales, "64 pixels, the weights’ own") || !strings.Contains(scales, "128 pixels") {
		t.Errorf("scales %s", scales)
	}
	once := b.text(".boxes")
	b.choose("#boxes-scale", "128")
	b.idle()
	if b.text(".boxes") == once {
		t.Error("the boxes are the same at twice the scale")
	}
	b.choose("#boxes-scale", "64")
	b.idle()
	if got := b.text(".boxes"); got != once {
		t.Errorf("at the scale as before: %s, want %s", got, once)
	}
	b.choose("#boxes-top", "10")
	b.idle()
	merged := evaluate[int](b, `document.querySelectorAll(".boxes tbody tr").length`)
	b.choose("#boxes-which", "unmerged")
	b.until(fmt.Sprintf(`document.querySelectorAll(".boxes tbody tr").length > %d`, merged))
	b.quiet()
}

// TestPageBoxesUnrated: boxes of classes that the model doesn't know, of the one class that is
// chosen.
func TestPageBoxesUnrated(t *testing.T) {
	b, s, _ := open(t, Options{}, tiny.Random(16, 1))
	boxes := tiny.Boxes(1)
	boxes.Preprocess.Resize = 64
	boxes.Classes = []string{"x", "y", "z", "v", "w"}
	if err := s.SetLocaliser(t.Context(), Source{Name: "boxes", Open: func(context.Context) (*vgg.Model, error) { return boxes, nil }}); err != nil {
		t.Fatal(err)
	}
	b.click("#samples li:first-child button")
	b.view("boxes")
	b.until(`document.querySelectorAll(".boxes tbody tr").length === 1`)
	b.idle()
	b.shows(".boxes tbody", "x")
	first := b.text(".boxes tbody")
	b.choose("#boxes-class", "w")
	b.shows(".boxes tbody", "w")
	if got := b.text(".boxes tbody"); strings.Replace(got, "w", "x", 1) == first {
		t.Errorf("the box of another class is the same: %s", got)
	}
	b.looks("boxes-unrated")
	b.quiet()
}

// TestPageTraining: a run is watched while it is written: its curves, how far it is, its
// mistakes, and its end. The service has no model, as that of vgg train --page.
func TestPageTraining(t *testing.T) {
	folder := t.TempDir()
	r := newRunDir(t, folder, "flowers")
	release, err := lockfile.Take(filepath.Join(r.dir, train.LockFile))
	if err != nil {
		t.Fatal(err)
	}
	ended := false
	defer func() {
		if !ended {
			release()
		}
	}()
	r.log(begun)
	for i := range 25 {
		r.log(iteration(i + 1))
	}
	h := serveRuns(t, folder)
	b := browse(t, h+"/")
	b.shows(".figures", "1 of 4")
	b.until(`document.body.dataset.view === "training"`)
	has(t, "the figures", b.text(".figures"), "running", "about", "0.01", "32")
	b.until(`document.querySelectorAll(".plot canvas").length >= 2`)
	evaluate[bool](b, `(import("./dom.js").then((dom) => { window.spans = [59, 61, 796, 7261].map(dom.span).join(", ") }), true)`)
	b.until(`window.spans`)
	if spans := evaluate[string](b, `window.spans`); spans != "59\u00a0s, 1\u00a0min 1\u00a0s, 13\u00a0min, 2\u00a0h 1\u00a0min" {
		t.Errorf("times of %q", spans)
	}
	r.log(`{"kind":"epoch","epoch":1,"iterations":25,"train_loss":0.2,"loss":0.3,"top1_error":0.25,"top5_error":0.05,"learning_rate":0.01,"seconds":12,"wait_seconds":0,"best":true,"mistakes":[{"file":"rose/7.jpg","class":"rose","predicted":"tulip","probability":0.93}]}`)
	for i := 25; i < 40; i++ {
		r.log(iteration(i + 1))
	}
	b.shows(".figures", "25.0 %, epoch 1")
	b.shows("[aria-labelledby=mistakes-title]", "rose/7.jpg")
	has(t, "the mistakes", b.text("[aria-labelledby=mistakes-title]"), "tulip", "93.0 %")
	b.click(".curves summary")
	b.shows(".curves .scroll table", "40")
	has(t, "the losses for a screen reader", evaluate[string](b, `document.querySelector(".plot").getAttribute("aria-label")`), "validation 0.3")
	b.looks("training")
	ended = true
	release()
	r.log(iteration(41))
	b.shows(".figures", "ended")
	b.quiet()
}

// serveRuns serves the runs of a folder, without a model.
func serveRuns(t *testing.T, folder string) (url string) {
	t.Helper()
	s, err := New(Options{Runs: folder})
	if err != nil {
		t.Fatal(err)
	}
	h := httptest.NewServer(s)
	t.Cleanup(func() {
		h.CloseClientConnections()
		h.Close()
		s.Close()
		http.DefaultClient.CloseIdleConnections()
	})
	return h.URL
}
