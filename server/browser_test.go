//go:build browser

package server

import (
	"context"
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/chromedp/cdproto/cdp"
	"github.com/chromedp/cdproto/emulation"
	"github.com/chromedp/cdproto/log"
	"github.com/chromedp/cdproto/network"
	"github.com/chromedp/cdproto/runtime"
	"github.com/chromedp/chromedp"

	"github.com/verydeep/vgg/internal/vggtest"
)

// tab is a tab of a real browser.
type tab struct {
	t   *testing.T
	ctx context.Context

	mu      sync.Mutex
	list    []string
	loading map[network.RequestID]bool // requests of the page that have no answer yet
}

// browse opens an address in a browser.
func browse(t *testing.T, address string) *tab {
	t.Helper()
	vggtest.SkipShort(t, "starts a browser")
	path := ""
	for _, name := range []string{"chromium", "chromium-browser", "google-chrome"} {
		if p, err := exec.LookPath(name); err == nil {
			path = p
			break
		}
	}
	if path == "" {
		vggtest.Skip(t, "chromium")
	}
	options := append(chromedp.DefaultExecAllocatorOptions[:], chromedp.ExecPath(path), chromedp.NoSandbox, chromedp.WindowSize(1280, 900))
	ctx, stop := chromedp.NewExecAllocator(t.Context(), options...)
	t.Cleanup(stop)
	ctx, cancel := chromedp.NewContext(ctx)
	t.Cleanup(cancel)
	if end, ok := t.Deadline(); ok { // so that the test ends with the reason, not the process without one
		var over context.CancelFunc
		ctx, over = context.WithDeadline(ctx, end.Add(-10*time.Second))
		t.Cleanup(over)
	}
	b := &tab{t: t, ctx: ctx, loading: map[network.RequestID]bool{}}
	err := chromedp.Listen(ctx, func(event any) {
		b.mu.Lock()
		defer b.mu.Unlock()
		switch e := event.(type) {
		case *network.EventRequestWillBeSent:
			b.loading[e.RequestID] = true
		case *network.EventLoadingFinished:
			delete(b.loading, e.RequestID)
		case *network.EventLoadingFailed:
			delete(b.loading, e.RequestID)
		case *log.EventEntryAdded:
			b.list = append(b.list, e.Entry.Text)
		case *runtime.EventExceptionThrown:
			text := e.ExceptionDetails.Text
			if e.ExceptionDetails.Exception != nil {
				text += " " + e.ExceptionDetails.Exception.Description
			}
			b.list = append(b.list, text)
		}
	})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := chromedp.Call(ctx, log.Enable, cdp.Empty{}); err != nil {
		t.Fatal(err)
	}
	if _, err := chromedp.Call(ctx, network.Enable, network.EnableParams{}); err != nil {
		t.Fatal(err)
	}
	b.do(chromedp.Navigate(address))
	return b
}

// complaints are what the browser has complained of: violations of the page's policy, errors
// of scripts, requests that failed.
func (b *tab) complaints() []string {
	b.mu.Lock()
	defer b.mu.Unlock()
	return append([]string(nil), b.list...)
}

// quiet fails the test if the browser has complained of anything.
func (b *tab) quiet() {
	b.t.Helper()
	if c := b.complaints(); len(c) > 0 {
		b.t.Errorf("the browser complains: %q", c)
	}
}

func (b *tab) do(steps ...chromedp.Action[chromedp.Void]) {
	b.t.Helper()
	if err := chromedp.Do(b.ctx, steps...); err != nil {
		b.t.Fatalf("%v; the browser says %q", err, b.complaints())
	}
}

// evaluate returns the value of an expression.
func evaluate[T any](b *tab, expression string) T {
	b.t.Helper()
	v, err := chromedp.Run(b.ctx, chromedp.Evaluate[T](expression))
	if err != nil {
		b.t.Fatalf("%s: %v; the browser says %q", expression, err, b.complaints())
	}
	return v
}

// until waits for an expression to be true. How long a page takes is the machine's affair: it
// gives up only where the page has nothing to do any more, neither a request without an answer
// nor a line that says it is busy, at many looks in a row.
func (b *tab) until(expression string) {
	b.t.Helper()
	const most = 200
	for rested := 0; rested < most; time.Sleep(50 * time.Millisecond) {
		if evaluate[bool](b, `(() => { try { return Boolean(`+expression+`) } catch { return false } })()`) {
			return
		}
		if b.resting() {
			rested++
		} else {
			rested = 0
		}
	}
	b.t.Fatalf("%s doesn't come; the panel shows %q, the browser says %q", expression, b.text("#panel"), b.complaints())
}

// resting tells whether the page waits for nothing but its user.
func (b *tab) resting() bool {
	b.t.Helper()
	busy := evaluate[bool](b, `document.querySelector(".busy") !== null`)
	b.mu.Lock()
	defer b.mu.Unlock()
	return !busy && len(b.loading) == 0
}

// js quotes a text for a script.
func js(text string) string {
	data, _ := json.Marshal(text)
	return string(data)
}

// text returns what an element shows.
func (b *tab) text(selector string) string {
	b.t.Helper()
	return evaluate[string](b, fmt.Sprintf(`document.querySelector(%s).innerText`, js(selector)))
}

// shows waits for an element that shows a text.
func (b *tab) shows(selector, text string) {
	b.t.Helper()
	b.until(fmt.Sprintf(`document.querySelector(%s).innerText.includes(%s)`, js(selector), js(text)))
}

// idle waits until nothing is being computed.
func (b *tab) idle() {
	b.t.Helper()
	b.until(`!document.querySelector(".busy")`)
}

// click presses the element in the page, wherever it is.
func (b *tab) click(selector string) {
	b.t.Helper()
	b.until(fmt.Sprintf(`document.querySelector(%s)`, js(selector)))
	b.do(chromedp.Click(selector))
}

// press presses the button that shows a text.
func (b *tab) press(text string) {
	b.t.Helper()
	b.until(fmt.Sprintf(`(() => { document.querySelectorAll("[data-test]").forEach((e) => e.removeAttribute("data-test"));
		const e = [...document.querySelectorAll("button")].find((e) => e.innerText.trim() === %s && !e.disabled);
		e?.setAttribute("data-test", ""); return e })()`, js(text)))
	b.do(chromedp.Click("[data-test]"))
}

// typed replaces what stands in a field of text.
func (b *tab) typed(selector, text string) {
	b.t.Helper()
	b.until(fmt.Sprintf(`document.querySelector(%s)`, js(selector)))
	evaluate[bool](b, fmt.Sprintf(`(document.querySelector(%s).select(), true)`, js(selector)))
	b.do(chromedp.SendKeys(selector, text))
}

// choose selects an option of a select, or sets a slider.
func (b *tab) choose(selector, value string) {
	b.t.Helper()
	ok := evaluate[bool](b, fmt.Sprintf(`(() => { const e = document.querySelector(%s); e.value = %s; for (const k of ["input", "change"]) e.dispatchEvent(new Event(k, {bubbles: true})); return e.value === %[2]s })()`, js(selector), js(value)))
	if !ok {
		b.t.Fatalf("%s has no value %q", selector, value)
	}
}

// view goes to a view of the page.
func (b *tab) view(name string) {
	b.t.Helper()
	b.click(fmt.Sprintf(`nav a[href="#%s"]`, name))
	b.until(fmt.Sprintf(`document.body.dataset.view === %s`, js(name)))
}

// give chooses a file in a field of files.
func (b *tab) give(selector string, files ...string) {
	b.t.Helper()
	b.until(fmt.Sprintf(`document.querySelector(%s)`, js(selector)))
	b.do(chromedp.SetUploadFiles(selector, files, chromedp.NodeReady))
}

// canvas returns what the canvas of the picture shows.
func (b *tab) canvas() string {
	b.t.Helper()
	return evaluate[string](b, `document.getElementById("canvas").toDataURL()`)
}

// accessible fails the test for what axe-core calls serious or critical. VGG_AXE names its file.
func (b *tab) accessible(what string) {
	b.t.Helper()
	path := os.Getenv("VGG_AXE")
	if path == "" {
		b.t.Log("no VGG_AXE: the file axe.min.js of axe-core, by which accessibility is checked")
		return
	}
	script, err := os.ReadFile(path)
	if err != nil {
		b.t.Fatal(err)
	}
	evaluate[bool](b, string(script)+`; typeof axe === "object"`)
	evaluate[bool](b, `(() => { window.axeFound = null; axe.run(document, {resultTypes: ["violations"]}).then((r) => {
		window.axeFound = r.violations.filter((v) => v.impact === "serious" || v.impact === "critical").map((v) => v.id + ": " + v.help + ": " + v.nodes.slice(0, 3).map((n) => n.html.slice(0, 200) + " (" + n.failureSummary + ")").join("; "));
	}); return true })()`)
	b.until(`window.axeFound !== null`)
	for _, v := range evaluate[[]string](b, `window.axeFound`) {
		b.t.Errorf("%s: %s", what, v)
	}
}

// looks checks a view as it looks in light, in dark and on a phone: accessibility, and that
// nothing is wider than the screen. VGG_SCREENSHOTS names a folder for pictures of it.
func (b *tab) looks(name string) {
	b.t.Helper()
	scheme := func(value string) {
		media := emulation.SetEmulatedMediaParams{Features: []*emulation.MediaFeature{{Name: "prefers-color-scheme", Value: value}, {Name: "prefers-reduced-motion", Value: "reduce"}}}
		if _, err := chromedp.Call(b.ctx, emulation.SetEmulatedMedia, media); err != nil {
			b.t.Fatal(err)
		}
	}
	scheme("light")
	b.accessible(name + ", light")
	b.shot(name + "-light")
	scheme("dark")
	b.accessible(name + ", dark")
	b.shot(name + "-dark")
	scheme("light")
	b.do(chromedp.EmulateViewport(390, 844))
	b.until(`((a) => a.left >= 0 && a.right <= innerWidth)(document.querySelector("nav [aria-current]").getBoundingClientRect())`)
	b.shot(name + "-phone")
	if wide := evaluate[int](b, `document.documentElement.scrollWidth`); wide > 390 {
		b.t.Errorf("%s: the page is %d pixels wide on a screen of 390", name, wide)
	}
	b.do(chromedp.EmulateViewport(1280, 900))
}

// shot keeps a picture of the page in the folder of VGG_SCREENSHOTS, if there is one.
func (b *tab) shot(name string) {
	b.t.Helper()
	dir := os.Getenv("VGG_SCREENSHOTS")
	if dir == "" {
		return
	}
	data, err := chromedp.Run(b.ctx, chromedp.FullScreenshot(100))
	if err == nil {
		err = os.WriteFile(filepath.Join(dir, name+".png"), data, 0o666)
	}
	if err != nil {
		b.t.Fatal(err)
	}
}

// has fails the test if a text lacks one of the parts.
func has(t *testing.T, what, text string, parts ...string) {
	t.Helper()
	for _, p := range parts {
		if !strings.Contains(text, p) {
			t.Errorf("%s: %q, want %q in it", what, text, p)
		}
	}
}
