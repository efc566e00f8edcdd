//go:build browser

package server

import (
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/chromedp/chromedp"
	"github.com/chromedp/chromedp/kb"

	"github.com/verydeep/vgg"
	"github.com/verydeep/vgg/internal/vggtest"
	"github.com/verydeep/vgg/internal/vggtest/tiny"
)

// halves is a picture, red on the left and blue on the right.
func halves(w, h int) []byte {
	return vggtest.PNG(w, h, vggtest.Halves(w/2, vggtest.Red, vggtest.Blue))
}

// trySamples are pictures that the page offers.
func trySamples() Samples {
	s := Samples{Credit: "drawn for a test", Pictures: []SamplePicture{{"halves", halves(96, 64)}, {"red", vggtest.PNG(64, 48, vggtest.Plain(vggtest.Red))}}}
	for _, l := range []lesson{{"warm", reds(6)}, {"cold", blues(5)}} {
		one := SampleLesson{Class: l.class}
		for _, f := range l.files {
			one.Pictures = append(one.Pictures, SamplePicture{l.class, f})
		}
		s.Lessons = append(s.Lessons, one)
	}
	return s
}

// onDisk writes a file for a field of files.
func onDisk(t *testing.T, name string, data []byte) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), name)
	if err := os.WriteFile(path, data, 0o666); err != nil {
		t.Fatal(err)
	}
	return path
}

// open serves a model with the pictures to try, and opens the page. No request is too slow,
// however busy the machine is.
func open(t *testing.T, o Options, m *vgg.Model) (*tab, *Server, *httptest.Server) {
	t.Helper()
	o.Samples = trySamples()
	o.Limits.Time, o.Limits.TeachTime = time.Hour, time.Hour
	s, h := serve(t, o, m)
	return browse(t, h.URL+"/"), s, h
}

// TestPagePicture: a picture is chosen, its classes and the place of the best one are read,
// then another class, scale, opacity and picture.
func TestPagePicture(t *testing.T) {
	b, _, _ := open(t, Options{}, tiny.Colours(10))
	b.give("#file", onDisk(t, "two.png", halves(96, 64)))
	b.shows(".classes", "green")
	b.shows(".finding", "at 64 pixels")
	b.idle()
	has(t, "classes", b.text(".classes"), "red", "blue", "green", " %")
	has(t, "caption", b.text("#caption"), "two.png", "96 × 64")
	has(t, "what the network sees", b.text("[aria-labelledby=crop-title]"), "32 × 32")
	chosen := evaluate[string](b, `document.querySelector(".classes [aria-pressed=true]").textContent`)
	b.looks("picture")

	before, drawn := b.text(".finding"), b.canvas()
	other, index := "red", "0"
	if chosen == "red" {
		other, index = "blue", "2"
	}
	b.click(`.classes tr[data-index="` + index + `"] button`)
	b.shows(".finding", other)
	if b.canvas() == drawn {
		t.Errorf("the map of %s looks like that of %s", other, chosen)
	}
	b.choose("#map-class", "1")
	b.shows(".finding", "green")
	b.choose("#map-scale", "32")
	b.shows(".finding", "at 32 pixels")
	if again := b.text(".finding"); again == before {
		t.Errorf("the finding is still %q", again)
	}
	drawn = b.canvas()
	b.choose("#opacity", "0")
	if b.canvas() == drawn {
		t.Error("the opacity changes nothing")
	}
	b.click(".map summary")
	b.until(`document.querySelectorAll(".map table td").length > 0`)
	rows := evaluate[int](b, `document.querySelectorAll(".map table tr").length`)
	if rows < 1 {
		t.Errorf("a table of %d rows", rows)
	}
	// Grad-CAM of a layer, and saliency: another canvas and words of their own.
	b.choose("#opacity", "65")
	seen := map[string]string{b.canvas(): "the score map"}
	another := func(what, finding string) {
		t.Helper()
		b.shows(".finding", finding)
		b.idle()
		if other := seen[b.canvas()]; other != "" {
			t.Errorf("%s looks like %s", what, other)
		}
		seen[b.canvas()] = what
	}
	b.choose("#map-method", "gradcam")
	b.shows(".finding", "green: score 0 at 32 pixels. Nothing in conv5_2 speaks for it")
	b.choose("#map-class", "0")
	another("Grad-CAM", "red: score")
	has(t, "Grad-CAM", b.text(".finding"), "Yellow is where conv5_2 speaks most")
	if ends := evaluate[[]float64](b, `((row) => [row[0], row.at(-1)].map((e) => Number(e.textContent)))([...document.querySelectorAll(".map table tr:first-child td")])`); ends[0] <= ends[1] {
		t.Errorf("red is on the left, and Grad-CAM is %v there, %v on the right", ends[0], ends[1])
	}
	b.looks("gradcam")
	layer := evaluate[string](b, `[...document.getElementById("map-layer").options].at(0).value`)
	b.choose("#map-layer", layer)
	b.shows(".finding", "where "+layer)
	b.choose("#map-method", "saliency")
	another("saliency", "pixels that change it most")
	b.looks("saliency")
	has(t, "what is drawn", evaluate[string](b, `document.getElementById("canvas").getAttribute("aria-label")`), "saliency of red")
	b.choose("#map-method", "scoremap")
	b.shows(".finding", "over the picture")

	b.click("#samples li:nth-child(2) button")
	b.shows("#caption", "red, 64 × 48")
	b.idle()
	has(t, "classes of red", b.text(".classes tr:first-child"), "red")
	b.quiet()
}

// TestPageIsNeverBlank: while others keep the network busy, what comes is told in its place.
func TestPageIsNeverBlank(t *testing.T) {
	b, s, h := open(t, Options{}, tiny.Colours(10))
	data := halves(96, 64)
	if code, body, _ := ask(t, "POST", h.URL+"/v1/classify", data); code != 200 { // the classes are kept
		t.Fatalf("code %d: %s", code, body)
	}
	s.models.turn <- struct{}{}
	release := sync.OnceFunc(func() { <-s.models.turn })
	t.Cleanup(release)
	b.give("#file", onDisk(t, "two.png", data))
	b.shows(".classes", "green")
	b.shows(".map .status.busy", "Looking at every place of the picture at 32 pixels")
	b.shows("[aria-labelledby=crop-title]", "32 × 32")
	release()
	b.shows(".finding", "at 64 pixels")
	b.idle()
	b.quiet()
}

// TestPagePastesAndDrops: a picture is pasted, and another is dropped.
func TestPagePastesAndDrops(t *testing.T) {
	b, _, _ := open(t, Options{}, tiny.Colours(10))
	b.until(`document.querySelectorAll("#samples img").length === 2`)
	has(t, "credit", b.text("#credit"), "drawn for a test")
	const transfer = `fetch("v1/samples/1").then((r) => r.blob()).then((blob) => {
		const data = new DataTransfer();
		data.items.add(new File([blob], "a.png", {type: "image/png"}));
		document.dispatchEvent(new %s);
	}); true`
	evaluate[bool](b, strings.Replace(transfer, "%s", `ClipboardEvent("paste", {clipboardData: data, bubbles: true})`, 1))
	b.shows("#caption", "pasted picture, 64 × 48")
	b.shows(".classes tr:first-child", "red")
	evaluate[bool](b, strings.Replace(transfer, "%s", `DragEvent("drop", {dataTransfer: data, bubbles: true, cancelable: true})`, 1))
	b.shows("#caption", "a.png, 64 × 48")
	b.idle()
	b.quiet()
}

// TestPageByKeyboard: without a mouse, from the first tab stop to a class on the picture.
func TestPageByKeyboard(t *testing.T) {
	b, _, _ := open(t, Options{}, tiny.Colours(10))
	b.until(`document.querySelectorAll("#samples img").length === 2`)
	press := func(keys string) { t.Helper(); b.do(chromedp.KeyEvent(keys)) }
	reach := func(selector string) {
		t.Helper()
		for range 60 {
			press("\t")
			if evaluate[bool](b, `document.activeElement.matches(`+js(selector)+`)`) {
				if !evaluate[bool](b, `document.activeElement.matches(":focus-visible") && getComputedStyle(document.activeElement).outlineStyle !== "none"`) {
					t.Errorf("%s: the focus isn't seen", selector)
				}
				return
			}
		}
		t.Fatalf("%s isn't reached by the tabulator", selector)
	}
	reach("#samples button")
	press("\r")
	b.shows(".classes", "green")
	b.idle()
	reach(".classes tr:nth-child(2) button")
	press("\r")
	b.until(`document.querySelector(".classes tr:nth-child(2) button").getAttribute("aria-pressed") === "true"`)
	reach("#opacity")
	drawn := b.canvas()
	press(kb.ArrowLeft)
	if b.canvas() == drawn {
		t.Error("the arrow key doesn't move the slider")
	}
	evaluate[bool](b, `(document.activeElement.blur(), location.hash = "#channels", true)`)
	b.until(`document.querySelectorAll(".channels [role=option]").length > 0`)
	b.idle()
	reach(".channels [role=option]")
	press("\r")
	b.until(`!document.querySelector(".chosen").hidden`)
	b.quiet()
}

// TestPageChannels: the channels of a layer, the receptive field of a value of one.
func TestPageChannels(t *testing.T) {
	b, _, _ := open(t, Options{}, tiny.Random(16, 1))
	b.click("#samples li:first-child button")
	b.view("channels")
	layer := func(name string, channels int) {
		t.Helper()
		b.until(`[...document.getElementById("layer").options].some((o) => o.value === ` + js(name) + `)`)
		b.choose("#layer", name)
		b.until(`document.querySelectorAll(".channels canvas").length === ` + strconv.Itoa(channels))
		b.idle()
	}
	layer("conv2_1", 16)
	plain := b.canvas()
	b.click(".channels > :nth-child(3)")
	b.shows(".chosen", "Channel 2 of conv2_1")
	field := b.canvas()
	if field == plain {
		t.Error("no receptive field in the picture")
	}
	text := b.text(".chosen")
	b.click("canvas.channel")
	b.do(chromedp.Focus("canvas.channel"), chromedp.KeyEvent(kb.ArrowRight), chromedp.KeyEvent(kb.ArrowDown))
	b.until(`document.querySelector(".chosen").innerText !== ` + js(text))
	if b.canvas() == field {
		t.Error("another place has the same receptive field")
	}
	b.choose("#channel-order", "value")
	b.choose("#channel-range", "all")
	b.click("[aria-labelledby=channels-title] summary")
	b.until(`document.querySelectorAll("[aria-labelledby=channels-title] td").length === 32`)
	b.looks("channels")
	layer("conv1_1", 8)
	b.quiet()
}

// TestPagePreprocessing: the crop by several preprocessings, and by one of one's own.
func TestPagePreprocessing(t *testing.T) {
	b, _, _ := open(t, Options{}, tiny.Colours(10))
	b.click("#samples li:nth-child(2) button") // red
	b.view("preprocessing")
	b.until(`document.querySelectorAll(".cards .card td").length === 15`)
	b.idle()
	swapped := b.text(".cards .card:nth-child(2)")
	has(t, "the first card", b.text(".cards .card:first-child"), "As the weights say", "red")
	has(t, "red and blue swapped", swapped, "Another class", "blue")
	b.looks("preprocessing")
	b.choose("#own-order", "bgr")
	b.shows(".own .card", "Another class")
	b.quiet()
}

// TestPageErrors shows the service's own words for a file that is no picture.
func TestPageErrors(t *testing.T) {
	b, _, _ := open(t, Options{}, tiny.Colours(10))
	b.give("#file", onDisk(t, "notes.png", []byte("only text")))
	b.until(`document.querySelector(".status.bad")`)
	has(t, "status", b.text(".status.bad"), "text")
	has(t, "invitation", b.text("#invitation"), "can't show notes.png")
	for _, view := range []string{"similar", "boxes"} {
		b.view(view)
		b.shows("#panel", "vgg serve …")
		if evaluate[bool](b, `[...document.querySelectorAll("#panel select")].some((e) => e.options.length === 0 && e.offsetParent !== null)`) {
			t.Errorf("%s: a choice without options", view)
		}
	}
	b.click("#samples li:first-child button") // it goes on
	b.view("picture")
	b.shows(".classes", "green")
}

// TestPageKey: where the service wants a key, the page asks for it until one is right.
func TestPageKey(t *testing.T) {
	key := "a key that nobody guesses"
	b, _, h := open(t, Options{Keys: func() []string { return []string{key} }}, tiny.Colours(10))
	b.until(`document.getElementById("key-dialog").open`)
	b.accessible("the dialog")
	enter := func(text string) { t.Helper(); b.do(chromedp.SendKeys("#key-field", text+"\r")) }
	enter("a wrong key, by mistake")
	b.shows("#key-why", "doesn't know this key")
	enter(key)
	b.until(`document.querySelectorAll("#samples img").length === 2`)
	b.click("#samples li:first-child button")
	b.shows(".classes", "green")
	for _, path := range []string{"/v1/samples/0", "/metrics", "/openapi.json"} {
		if code, _, _ := ask(t, "GET", h.URL+path, nil); code != http.StatusUnauthorized {
			t.Errorf("%s without a key: code %d", path, code)
		}
	}
}
