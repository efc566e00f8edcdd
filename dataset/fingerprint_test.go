package dataset

import (
	"context"
	"errors"
	"slices"
	"testing"
	"testing/fstest"
	"time"
)

func TestFingerprint(t *testing.T) {
	files := func() fstest.MapFS {
		return fstest.MapFS{
			"a/1.png": {Data: picture(8, 8, 1)}, "a/2.png": {Data: picture(8, 9, 2)},
			"b/1.png": {Data: picture(9, 8, 3)}, "b/2.png": {Data: picture(7, 8, 4)},
		}
	}
	of := func(change func(fstest.MapFS, *Dataset)) string {
		t.Helper()
		fsys := files()
		d, _, err := openFolders(&search{ctx: t.Context()}, "one", fsys)
		if err != nil {
			t.Fatal(err)
		}
		change(fsys, d)
		f, err := Fingerprint(context.Background(), d)
		if err != nil {
			t.Fatal(err)
		}
		return f
	}
	want := of(func(fstest.MapFS, *Dataset) {})
	if len(want) != 64 {
		t.Errorf("fingerprint %q, want 64 digits", want)
	}
	for name, change := range map[string]func(fstest.MapFS, *Dataset){
		"name of the set": func(_ fstest.MapFS, d *Dataset) { d.Name = "another" },
		"time of a file":  func(f fstest.MapFS, _ *Dataset) { f["a/1.png"].ModTime = time.Unix(1, 0) },
	} {
		if got := of(change); got != want {
			t.Errorf("the fingerprint depends on the %s", name)
		}
	}
	seen := map[string]string{want: "none"}
	for name, change := range map[string]func(fstest.MapFS, *Dataset){
		"name":    func(f fstest.MapFS, d *Dataset) { f["a/3.png"] = f["a/2.png"]; d.Samples[1].Name = "a/3.png" },
		"label":   func(_ fstest.MapFS, d *Dataset) { d.Samples[1].Label = 1 },
		"size":    func(f fstest.MapFS, _ *Dataset) { f["a/1.png"].Data = append(f["a/1.png"].Data, 0) },
		"order":   func(_ fstest.MapFS, d *Dataset) { slices.Reverse(d.Samples[:2]) },
		"class":   func(_ fstest.MapFS, d *Dataset) { d.Classes[1] = "c" },
		"missing": func(f fstest.MapFS, _ *Dataset) { delete(f, "a/1.png") },
		"sample":  func(_ fstest.MapFS, d *Dataset) { d.Samples = d.Samples[:3] },
	} {
		got := of(change)
		if other, ok := seen[got]; ok {
			t.Errorf("changes of %s and %s give one fingerprint", name, other)
		}
		seen[got] = name
	}

	d, _ := pictures(t, 3)
	ctx, cancel := context.WithCancel(context.Background())
	cancel()
	if _, err := Fingerprint(ctx, d); !errors.Is(err, context.Canceled) {
		t.Errorf("error %v, want that of the context", err)
	}
}
