package train

import (
	"context"
	"errors"
	"fmt"
	"image"
	"image/color"
	"math"
	"math/rand/v2"
	"os"
	"path/filepath"
	"reflect"
	"strings"
	"testing"
	"time"

	"github.com/verydeep/vgg"
	"github.com/verydeep/vgg/dataset"
	"github.com/verydeep/vgg/resources"
)

// TestDefaults: a zero is the default, never the absence of something; what is switched off
// is a zero afterwards.
func TestDefaults(t *testing.T) {
	d := DefaultOptions()
	if d.Keep < 1 || d.CheckpointEvery < time.Minute || !(d.MaxBad > 0 && d.MaxBad <= 0.1) || d.CacheBytes < 1<<20 || d.Ranks != 1 {
		t.Errorf("defaults %+v", d)
	}
	zero, full := Options{}.withDefaults(), d.withDefaults()
	zero.Log, full.Log = nil, nil
	if !reflect.DeepEqual(zero, full) || full.Keep != d.Keep {
		t.Errorf("zeros come to %+v, the defaults to %+v", zero, full)
	}
	off := Options{Keep: KeepNone, CheckpointEvery: EpochsOnly, MaxBad: NoneBad, CacheBytes: NoCache}.withDefaults()
	if off.Keep != 0 || off.CheckpointEvery != 0 || off.MaxBad != 0 || off.CacheBytes != 0 {
		t.Errorf("switched off: %+v", off)
	}
	mine := Options{Resources: resources.Resources{Ranks: 2}, Keep: 7, CheckpointEvery: time.Second, MaxBad: 0.5, CacheBytes: 9}.withDefaults()
	if mine.Ranks != 2 || mine.Keep != 7 || mine.CheckpointEvery != time.Second || mine.MaxBad != 0.5 || mine.CacheBytes != 9 {
		t.Errorf("set: %+v", mine)
	}
	for want, change := range map[string]func(*Options){
		"-2 checkpoints": func(o *Options) { o.Keep = -2 },
		"every -1s":      func(o *Options) { o.CheckpointEvery = -time.Second },
		"share of -0.5":  func(o *Options) { o.MaxBad = -0.5 },
		"share of NaN":   func(o *Options) { o.MaxBad = math.NaN() },
		"-5 bytes":       func(o *Options) { o.CacheBytes = -5 },
		"ranks: -1":      func(o *Options) { o.Ranks = -1 },
	} {
		o := tinyOptions(t)
		change(&o)
		if _, err := Run(t.Context(), o); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%v, want %q in it", err, want)
		}
	}
}

// TestZeroOptions: a caller who sets nothing but recipe, images and directory gets
// checkpoints, and a run that a bad picture in a hundred doesn't stop.
func TestZeroOptions(t *testing.T) {
	o := Options{Recipe: tinyRecipe(), Train: colours(t, "train", 150, 31), Dir: filepath.Join(t.TempDir(), "run")}
	o.Recipe.Epochs, o.Recipe.Batch = 4, 50
	res := mustRun(t, o)
	if res.Unreadable != 1 {
		t.Errorf("%d unreadable images, want 1", res.Unreadable)
	}
	if n := len(files(t, filepath.Join(o.Dir, CheckpointDir))); n != DefaultOptions().Keep {
		t.Errorf("%d checkpoints, want %d", n, DefaultOptions().Keep)
	}
	o.Dir, o.MaxBad = filepath.Join(t.TempDir(), "run"), NoneBad
	var bad *TooManyBadError
	if _, err := Run(t.Context(), o); !errors.As(err, &bad) || bad.Bad != 1 || bad.Total != 150 || bad.Allowed != 0 {
		t.Errorf("none allowed: %v", err)
	}
}

// TestMissingOptions: the error of options that only the caller can give names the field.
func TestMissingOptions(t *testing.T) {
	for field, remove := range map[string]func(*Options){
		"Options.Recipe": func(o *Options) { o.Recipe = Recipe{} },
		"Options.Train":  func(o *Options) { o.Train = nil },
		"Options.Dir":    func(o *Options) { o.Dir = "" },
	} {
		o := tinyOptions(t)
		remove(&o)
		if _, err := Run(t.Context(), o); err == nil || !strings.Contains(err.Error(), "set "+field) {
			t.Errorf("%v, want an error that says to set %s", err, field)
		}
	}
}

// TestTypedErrors: errors.As finds what a caller tells apart.
func TestTypedErrors(t *testing.T) {
	o := resumeOptions(t)
	o.Val = nil
	o.Recipe.Batch, o.Recipe.Epochs, o.Recipe.LearningRate = 10, 9, 1e12
	o.NoRescue = true
	var last Iteration
	o.OnIteration = func(it Iteration) { last = it }
	_, err := Run(t.Context(), o)
	var diverged *DivergedError
	if !errors.As(err, &diverged) {
		t.Fatalf("divergence: %v", err)
	}
	if diverged.Iteration != last.Iteration+1 || diverged.Epoch != last.Epoch+1 || !near(diverged.LearningRate, 1e11) ||
		!strings.HasPrefix(diverged.Layer, "conv") || diverged.Checkpoint != checkpointPath(o.Dir, last.Iteration) {
		t.Errorf("%+v after iteration %d", *diverged, last.Iteration)
	}
	if _, err := os.Stat(diverged.Checkpoint); err != nil {
		t.Error(err)
	}

	o = tinyOptions(t)
	o.Train, o.MaxBad = colours(t, "train", 10, 3, 7), 0.1
	_, err = Run(t.Context(), o)
	var many *TooManyBadError
	var image *dataset.BadImage
	if !errors.As(err, &many) || many.Bad != 2 || many.Total != 16 || many.Allowed != 0.1 || !errors.As(err, &image) || image.Name != "07.png" || image.Index != 7 {
		t.Errorf("bad images: %v, %+v", err, image)
	}

	began := resumeOptions(t)
	stopAt(t, began, 4)
	full := t.TempDir()
	if err := os.WriteFile(filepath.Join(full, "notes.txt"), nil, 0o666); err != nil {
		t.Fatal(err)
	}
	for what, c := range map[string]struct {
		change func(*Options)
		dir    string
		key    string
	}{
		"not empty":      {func(o *Options) { o.Dir, o.Resume = full, false }, full, ""},
		"something else": {func(o *Options) { o.Dir = full }, full, ""},
		"recipe":         {func(o *Options) { o.Recipe.Schedule.Steps = []int{1} }, began.Dir, "schedule.steps"},
		"images":         {func(o *Options) { o.Train = colours(t, "train", 11) }, began.Dir, ""},
		"no validation":  {func(o *Options) { o.Val = nil }, began.Dir, ""},
		"task":           {func(o *Options) { o.Task = viewTask{"views"} }, began.Dir, ""},
	} {
		o := began
		o.Resume = true
		c.change(&o)
		_, err := Run(t.Context(), o)
		var other *OtherRunError
		if !errors.As(err, &other) || other.Dir != c.dir || other.Key != c.key {
			t.Errorf("%s: %v, %+v, want one of %s with key %q", what, err, other, c.dir, c.key)
		}
	}
}

// inMemory is a dataset of n pictures that are drawn whenever they are used, encoded, or
// decoded already. change makes it a little different.
func inMemory(t *testing.T, n int, change int) *dataset.Dataset {
	t.Helper()
	draw := func(i int) *image.NRGBA {
		rng := rand.New(rand.NewPCG(uint64(i), 1))
		im := image.NewNRGBA(image.Rect(0, 0, 40, 36))
		for y := range 36 {
			for x := range 40 {
				c := [3]uint8{uint8(rng.UintN(128)), uint8(rng.UintN(128)), uint8(rng.UintN(128))}
				c[i%3] += 100
				im.SetNRGBA(x, y, color.NRGBA{c[0], c[1], c[2], 255})
			}
		}
		if i == 0 {
			im.Pix[0] += uint8(change)
		}
		return im
	}
	pictures := make([]dataset.Picture, n)
	for i := range pictures {
		pictures[i] = dataset.Picture{Name: fmt.Sprintf("%02d.png", i), Label: i % 3}
		switch i / 3 % 3 {
		case 0:
			pictures[i].Image = draw(i)
		case 1:
			pictures[i].Encoded = tinted(i%3, uint64(i))
		case 2:
			pictures[i].Load = func() (image.Image, error) { return draw(i), nil }
		}
	}
	d, err := dataset.FromPictures("memory", []string{"red", "green", "blue"}, pictures)
	if err != nil {
		t.Fatal(err)
	}
	return d
}

// TestTrainInMemory: pictures in memory train to the bits that their files give, and a run
// on them resumes, unless a pixel is another one.
func TestTrainInMemory(t *testing.T) {
	whole := resumeOptions(t)
	mustRun(t, whole)
	o := resumeOptions(t)
	o.Train, o.Val = inMemory(t, 10, 0), inMemory(t, 6, 0)
	stopAt(t, o, 5)
	o.Resume = true
	changed := o
	changed.Train, changed.OnIteration = inMemory(t, 10, 1), func(Iteration) { t.Error("training went on") }
	var other *OtherRunError
	if _, err := Run(context.Background(), changed); !errors.As(err, &other) || !strings.Contains(err.Error(), "training images") {
		t.Errorf("another pixel: %v", err)
	}
	mustRun(t, o)
	for _, name := range []string{LastFile, BestFile} {
		a, err := vgg.Open(t.Context(), filepath.Join(o.Dir, name), vgg.OpenOptions{})
		if err != nil {
			t.Fatal(err)
		}
		b, err := vgg.Open(t.Context(), filepath.Join(whole.Dir, name), vgg.OpenOptions{})
		if err != nil {
			t.Fatal(err)
		}
		if equal, differ := layersFrom(t, a.Net, b.Net); len(equal) == 0 || len(differ) > 0 {
			t.Errorf("%s: other weights in %v than those of files", name, differ)
		}
	}
}
