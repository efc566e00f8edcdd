package network

import (
	"math"
	"runtime"
	"strings"
	"testing"

	"github.com/verydeep/vgg/architecture"
	"github.com/verydeep/vgg/nn"
)

func TestEstimateMemory(t *testing.T) {
	estimate := func(o Options, batch, threads int) Memory {
		t.Helper()
		m, err := EstimateMemory(o, batch, threads)
		if err != nil {
			t.Fatal(err)
		}
		if m.Batch != batch || !(m.Inference < m.Training) {
			t.Errorf("%s, batch %d: %+v, want less for inference than for training", o.Config, batch, m)
		}
		return m
	}
	var before, after runtime.MemStats
	runtime.ReadMemStats(&before)
	for _, config := range append(architecture.Names(), "D-BN", "D-LRN") {
		o := DefaultOptions(config)
		s, err := Summarise(o)
		if err != nil {
			t.Fatal(err)
		}
		one := estimate(o, 1, 1)
		// Parameters in inference; in training their momentum, too, and gradients but those
		// of the fully connected weights.
		if one.Inference < 4*s.Parameters || one.Training < 8*s.Parameters || one.Training > 24*s.Parameters {
			t.Errorf("%s: %+v for %d parameters", config, one, s.Parameters)
		}
		if eight := estimate(o, 8, 1); eight.Inference <= one.Inference || eight.Training <= one.Training {
			t.Errorf("%s: batch 8 needs %+v, batch 1 %+v", config, eight, one)
		}
		// The plan for more threads may have a form that takes a little less.
		if more := estimate(o, 1, 4); 50*more.Inference < 49*one.Inference || 50*more.Training < 49*one.Training {
			t.Errorf("%s: 4 threads need %+v, 1 thread %+v", config, more, one)
		}
	}
	// Another image of D adds its largest activation, 64 channels of 224×224, in
	// inference, and in training what the backward pass needs: pooled maps, and the others
	// but the first layer's. Not much more, either.
	d := DefaultOptions("D")
	for _, batch := range []int{2, 16} {
		a, b := estimate(d, batch, 1), estimate(d, 2*batch, 1)
		if got, least := (b.Inference-a.Inference)/int64(batch), int64(4*64*224*224); got < least || got > 4*least {
			t.Errorf("inference: %d bytes an image, want %d to 4 times that", got, least)
		}
		if got, least := (b.Training-a.Training)/int64(batch), int64(4*5_500_000); got < least || got > 4*least {
			t.Errorf("training: %d bytes an image, want %d to 4 times that", got, least)
		}
	}
	huge := Options{Config: "E-BN", Classes: architecture.MaxUnits, Width: 64, FC: architecture.MaxUnits, Input: 1 << 14}
	if m := estimate(huge, maxBatch, 1); m.Inference < 1<<50 {
		t.Errorf("the largest network: %+v: a sum overflowed", m)
	}
	runtime.ReadMemStats(&after)
	if got := after.TotalAlloc - before.TotalAlloc; got > 64<<20 {
		t.Errorf("%d MB allocated to estimate", got>>20)
	}
}

func TestEstimateMemoryOutOfRange(t *testing.T) {
	bad := DefaultOptions("D")
	bad.Input = 31
	for _, c := range []struct {
		o     Options
		batch int
		want  string
	}{
		{DefaultOptions("D"), 0, "batch of 0 images"},
		{DefaultOptions("D"), -1, "batch of -1 images"},
		{DefaultOptions("D"), math.MaxInt / 4, "images"},
		{DefaultOptions("Z"), 1, `configuration "Z"`},
		{bad, 1, "input side 31"},
	} {
		if m, err := EstimateMemory(c.o, c.batch, 1); err == nil || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%s, batch %d: %+v, %v, want %q", c.o.Config, c.batch, m, err, c.want)
		}
	}
}

func TestEstimateMemoryOfStorage(t *testing.T) {
	for _, o := range []Options{DefaultOptions("D"), {Config: "A", Classes: 5, Width: 0.1, FC: 40, Input: 64}} {
		full, err := EstimateMemory(o, 2, 2)
		if err != nil {
			t.Fatal(err)
		}
		s, err := Summarise(o)
		if err != nil {
			t.Fatal(err)
		}
		var fc int64
		for _, l := range s.Layers {
			if strings.HasPrefix(l.Name, "fc") {
				fc += l.Weights
			}
		}
		for _, storage := range []nn.Storage{nn.F16, nn.BF16} {
			stored := o
			stored.FCStorage = storage
			half, err := EstimateMemory(stored, 2, 2)
			if err != nil {
				t.Fatal(err)
			}
			// Rows are padded to 32 and 16 in memory; there is some more scratch for widening.
			if saved := full.Inference - half.Inference; o.Config == "D" && (saved < 2*fc-1<<20 || saved > 2*fc+1<<20) || saved <= 0 {
				t.Errorf("%s, %s: %d bytes less, want about %d", o.Config, storage, saved, 2*fc)
			}
			if half.Training != full.Training {
				t.Errorf("%s, %s: training takes %d bytes, %d in float32", o.Config, storage, half.Training, full.Training)
			}
		}
	}
	unknown := DefaultOptions("D")
	unknown.FCStorage = "f8"
	if _, err := EstimateMemory(unknown, 1, 1); err == nil || !strings.Contains(err.Error(), `storage "f8"`) {
		t.Errorf("unknown storage: %v", err)
	}
}
