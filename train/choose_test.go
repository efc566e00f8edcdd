package train

import (
	"encoding/json"
	"math"
	"reflect"
	"strings"
	"testing"

	"github.com/verydeep/vgg/network"
	"github.com/verydeep/vgg/preprocess"
)

// someFacts are of a thousand photographs on two processors, and D's weights if real.
func someFacts(real bool) Facts {
	f := Facts{Images: 1000, Validation: 250, Classes: 10, Outputs: 10, Side: 500, Speed: 8e11, Memory: 16 << 30, Threads: 2, Keep: 3}
	if real {
		f.Weights = &FileFacts{"d.h5", network.DefaultOptions("D").WithoutHead(), preprocess.Spec{Resize: 256, Crop: 224, Scale: 1, Std: [3]float32{1, 1, 1}, Orient: preprocess.Upright}}
	}
	return f
}

// TestChoose: more images, slower processors and less memory make the choice smaller, and every
// choice is a recipe that trains.
func TestChoose(t *testing.T) {
	for what, c := range map[string]struct {
		real                bool
		change              func(*Facts)
		width               float64
		input, views, least int // least epochs
	}{
		"photographs from nothing": {false, func(*Facts) {}, 0.5, 64, 0, 60},
		"slow from nothing":        {false, func(f *Facts) { f.Speed = 1e9 }, 0.125, 32, 0, 60},
		"many from nothing":        {false, func(f *Facts) { f.Images = 1_000_000 }, 0.125, 32, 0, 15},
		"thumbnails from nothing":  {false, func(f *Facts) { f.Side = 40 }, 0.5, 32, 0, 60},
		"real weights":             {true, func(*Facts) {}, 1, 224, 4, 10},
		"two crops":                {true, func(f *Facts) { f.Images = 5000 }, 1, 224, 2, 10},
		"slow":                     {true, func(f *Facts) { f.Speed = 2e10 }, 1, 160, 1, 10},
		"very slow":                {true, func(f *Facts) { f.Speed = 2e9 }, 1, 96, 1, 10},
		"thumbnails":               {true, func(f *Facts) { f.Side = 64 }, 1, 128, 4, 10},
		"boxes":                    {true, func(f *Facts) { f.Boxes, f.Outputs = true, 4 }, 1, 224, 4, 10},
		"little memory":            {true, func(f *Facts) { f.Boxes, f.Outputs, f.Memory = true, 4, 3<<30 }, 1, 224, 1, 10},
		"a photograph each":        {true, func(f *Facts) { f.Images, f.Validation = 10, 2 }, 1, 224, 4, 40},
	} {
		f := someFacts(c.real)
		c.change(&f)
		got, err := Choose(f)
		if err != nil {
			t.Errorf("%s: %v", what, err)
			continue
		}
		r := got.Recipe
		if r.Width != c.width || r.Input != c.input || r.Views != c.views || r.Epochs < c.least {
			t.Errorf("%s: width %v, crop %d, %d views, %d epochs, %v s; want %+v", what, r.Width, r.Input, r.Views, r.Epochs, got.Seconds, c)
		}
		if err := r.Validate(); err != nil {
			t.Errorf("%s: %v", what, err)
		}
		if got.Memory <= 0 || got.Disk <= 0 || got.Seconds <= 0 {
			t.Errorf("%s: %v s, %d and %d bytes", what, got.Seconds, got.Memory, got.Disk)
		}
	}
}

// TestChooseAgain: the recorded facts give the choice again.
func TestChooseAgain(t *testing.T) {
	for _, real := range []bool{false, true} {
		was, err := Choose(someFacts(real))
		if err != nil {
			t.Fatal(err)
		}
		text, err := json.Marshal(was)
		if err != nil {
			t.Fatal(err)
		}
		var read Choice
		if err := json.Unmarshal(text, &read); err != nil {
			t.Fatal(err)
		}
		again, err := Choose(read.Facts)
		if err != nil || !reflect.DeepEqual(again, was) {
			t.Errorf("%v\n%+v, by the recorded facts\n%+v", err, was, again)
		}
	}
}

// TestChooseDisturbed: a measurement that is off by a third, either way, changes no choice on
// machines in the middle of a class of speeds, and the time announced is by what was measured.
func TestChooseDisturbed(t *testing.T) {
	for _, real := range []bool{false, true} {
		f := someFacts(real)
		calm, err := Choose(f)
		if err != nil {
			t.Fatal(err)
		}
		for _, off := range []float64{0.67, 1.5} {
			f.Speed = someFacts(real).Speed * off
			c, err := Choose(f)
			if err != nil || !reflect.DeepEqual(c.Recipe, calm.Recipe) {
				t.Errorf("%v times the speed: %v\n%+v, want\n%+v", off, err, c.Recipe, calm.Recipe)
			}
			if want := calm.Seconds / off; math.Abs(c.Seconds/want-1) > 1e-9 {
				t.Errorf("%v times the speed: %v s, want %v", off, c.Seconds, want)
			}
		}
	}
}

// TestChooseImpossible: facts that can't be are an error.
func TestChooseImpossible(t *testing.T) {
	f := someFacts(false)
	f.Speed = 0
	if _, err := Choose(f); err == nil || !strings.Contains(err.Error(), "speed") {
		t.Errorf("no speed: %v", err)
	}
}

// TestChosenTrains: what is chosen for tiny images trains, and the choice is in the log.
func TestChosenTrains(t *testing.T) {
	o := resumeOptions(t)
	speed, err := MeasureSpeed(2)
	if err != nil || speed < 1e6 {
		t.Fatalf("speed %v, %v", speed, err)
	}
	choice, err := Choose(Facts{Images: 10, Validation: 6, Classes: 3, Outputs: 3, Side: 36, Speed: 1e7, Threads: 2, Keep: 2})
	if err != nil {
		t.Fatal(err)
	}
	o.Recipe, o.Choice = choice.Recipe, &choice
	o.Recipe.Epochs = 2
	mustRun(t, o)
	logged := metricsLines(t, o.Dir)[0]
	if logged["kind"] != "choice" || logged["facts"].(map[string]any)["images"] != 10.0 {
		t.Errorf("the log begins with %v", logged)
	}
}

// TestEstimateOfFeaturesThatAreNotKept: where the frozen layers' output is more than is kept, each
// epoch computes it, and the estimate says so.
func TestEstimateOfFeaturesThatAreNotKept(t *testing.T) {
	f := someFacts(true)
	f.Boxes, f.Outputs = true, 4
	f.Images = 5000
	candidates, err := f.heads()
	if err != nil {
		t.Fatal(err)
	}
	recipe := candidates[0].Recipe
	bytes := int64(4 * 512 * 7 * 7 * 5000 * 4) // four crops
	f.FrontBytes = bytes
	kept, err := f.Estimate(recipe)
	if err != nil {
		t.Fatal(err)
	}
	f.FrontBytes = bytes - 1
	again, err := f.Estimate(recipe)
	if err != nil {
		t.Fatal(err)
	}
	if kept.Again != 0 || again.Again != bytes {
		t.Errorf("computed again: %d and %d bytes, want 0 and %d", kept.Again, again.Again, bytes)
	}
	// Of ten epochs or more four show a new crop.
	if times := again.Seconds / kept.Seconds; times < 0.9*float64(recipe.Epochs)/float64(recipe.Views) || again.Memory >= kept.Memory {
		t.Errorf("%d epochs take %.1f times as long, %d beside %d bytes", recipe.Epochs, times, again.Memory, kept.Memory)
	}
	if c, err := Choose(f); err != nil || c.Again != 0 || c.Recipe.Views == 4 {
		t.Errorf("chosen: %d views with %d bytes again, %v; want what is kept", c.Recipe.Views, c.Again, err)
	}
}
