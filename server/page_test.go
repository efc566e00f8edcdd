package server

import (
	"context"
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
	"github.com/chromedp/cdproto/runtime"
	"github.com/chromedp/chromedp"

	"github.com/verydeep/vgg/internal/vggtest"
	"github.com/verydeep/vgg/internal/vggtest/tiny"
)

// browser returns a tab of a real browser, and what it complains of.
func browser(t *testing.T) (ctx context.Context, complaints func() []string) {
	t.Helper()
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
	options := append(chromedp.DefaultExecAllocatorOptions[:], chromedp.ExecPath(path), chromedp.NoSandbox)
	ctx, stop := chromedp.NewExecAllocator(t.Context(), options...)
	t.Cleanup(stop)
	ctx, cancel := chromedp.NewContext(ctx)
	t.Cleanup(cancel)
	ctx, over := context.WithTimeout(ctx, 2*time.Minute)
	t.Cleanup(over)
	var mu sync.Mutex
	var list []string
	err := chromedp.Listen(ctx, func(event any) {
		mu.Lock()
		defer mu.Unlock()
		switch e := event.(type) {
		case *log.EventEntryAdded:
			list = append(list, e.Entry.Text)
		case *runtime.EventExceptionThrown:
			list = append(list, e.ExceptionDetails.Text)
		}
	})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := chromedp.Call(ctx, log.Enable, cdp.Empty{}); err != nil {
		t.Fatal(err)
	}
	return ctx, func() []string {
		mu.Lock()
		defer mu.Unlock()
		return append([]string(nil), list...)
	}
}

// TestPage uses the page as a person would: a picture is chosen, its classes and the place of
// the best one are read, another class and scale are chosen. VGG_SCREENSHOTS names a folder
// for pictures of it.
func TestPage(t *testing.T) {
	vggtest.SkipShort(t, "starts a browser")
	ctx, complaints := browser(t)
	_, h := serve(t, Options{}, tiny.Colours(10))
	picture := filepath.Join(t.TempDir(), "halves.png")
	if err := os.WriteFile(picture, vggtest.PNG(96, 64, vggtest.Halves(48, vggtest.Red, vggtest.Blue)), 0o666); err != nil {
		t.Fatal(err)
	}
	do := func(steps ...chromedp.Action[chromedp.Void]) {
		t.Helper()
		if err := chromedp.Do(ctx, steps...); err != nil {
			t.Fatalf("%v; the browser says %q", err, complaints())
		}
	}
	text := func(element string) string {
		t.Helper()
		got, err := chromedp.Run(ctx, chromedp.Text(element))
		if err != nil {
			t.Fatalf("%s: %v; the browser says %q", element, err, complaints())
		}
		return got
	}
	do(chromedp.Navigate(h.URL+"/"), chromedp.WaitVisible("#drop"), chromedp.SetUploadFiles("#file", []string{picture}), chromedp.WaitVisible("#map"))
	classes, where, about := text("#classes"), text("#map-text"), text("#about")
	shot(ctx, t, "light")
	choose := func(value string) {
		t.Helper()
		do(chromedp.SetValue("#map-scale", value))
		if _, err := chromedp.Run(ctx, chromedp.Evaluate[bool](`document.getElementById("map-scale").dispatchEvent(new Event("input"))`)); err != nil {
			t.Fatal(err)
		}
	}
	choose("0")
	otherWhere := text("#map-text")
	choose("2")
	if again := text("#map-text"); again != where {
		t.Errorf("the map says %q at the first scale again, %q before", again, where)
	}
	dark := emulation.SetEmulatedMediaParams{Features: []*emulation.MediaFeature{{Name: "prefers-color-scheme", Value: "dark"}}}
	if _, err := chromedp.Call(ctx, emulation.SetEmulatedMedia, dark); err != nil {
		t.Fatal(err)
	}
	shot(ctx, t, "dark")
	do(chromedp.EmulateViewport(390, 844))
	shot(ctx, t, "phone")
	if wide, err := chromedp.Run(ctx, chromedp.Evaluate[int](`document.documentElement.scrollWidth`)); err != nil || wide > 390 {
		t.Errorf("the page is %d pixels wide on a screen of 390: %v", wide, err)
	}
	for _, want := range []string{"red", "blue", "green"} {
		if !strings.Contains(classes, want) {
			t.Errorf("classes %q, want %s", classes, want)
		}
	}
	if !strings.Contains(where, " %") || where == otherWhere {
		t.Errorf("the map says %q, and at another scale %q", where, otherWhere)
	}
	if !strings.Contains(about, "tiny") {
		t.Errorf("about %q, want the model's name", about)
	}
	if c := complaints(); len(c) > 0 {
		t.Errorf("the browser complains: %q", c)
	}
}

// TestPageErrors shows the service's own words for a file that is no picture.
func TestPageErrors(t *testing.T) {
	vggtest.SkipShort(t, "starts a browser")
	ctx, _ := browser(t)
	_, h := serve(t, Options{}, tiny.Colours(10))
	file := filepath.Join(t.TempDir(), "notes.png")
	if err := os.WriteFile(file, []byte("only text"), 0o666); err != nil {
		t.Fatal(err)
	}
	if err := chromedp.Do(ctx, chromedp.Navigate(h.URL+"/"), chromedp.SetUploadFiles("#file", []string{file}), chromedp.WaitVisible("#status.bad")); err != nil {
		t.Fatal(err)
	}
	status, err := chromedp.Run(ctx, chromedp.Text("#status"))
	if err != nil || !strings.Contains(status, "text") {
		t.Errorf("%v, %q", err, status)
	}
}

// shot keeps a picture of the page in the folder of VGG_SCREENSHOTS, if there is one.
func shot(ctx context.Context, t *testing.T, name string) {
	t.Helper()
	dir := os.Getenv("VGG_SCREENSHOTS")
	if dir == "" {
		return
	}
	data, err := chromedp.Run(ctx, chromedp.FullScreenshot(100))
	if err == nil {
		err = os.WriteFile(filepath.Join(dir, name+".png"), data, 0o666)
	}
	if err != nil {
		t.Fatal(err)
	}
}
