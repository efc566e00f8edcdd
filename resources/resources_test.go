package resources_test

import (
	"runtime"
	"testing"

	"github.com/verydeep/vgg/resources"
)

func TestValidate(t *testing.T) {
	for want, r := range map[string]resources.Resources{
		"":                                   {Batch: 1, Ranks: 2, Workers: 3, Memory: 4},
		"eval: batch: -1, want at least 0":   {Batch: -1},
		"eval: ranks: -2, want at least 0":   {Ranks: -2},
		"eval: workers: -3, want at least 0": {Workers: -3},
		"eval: memory: -4, want at least 0":  {Memory: -4},
	} {
		got := ""
		if err := r.Validate("eval"); err != nil {
			got = err.Error()
		}
		if got != want {
			t.Errorf("%+v: %q, want %q", r, got, want)
		}
	}
}

func TestAllWorkers(t *testing.T) {
	if got, want := (resources.Resources{}).AllWorkers(), runtime.GOMAXPROCS(0); got != want {
		t.Errorf("%d workers by default, want %d", got, want)
	}
	if got := (resources.Resources{Workers: 7}).AllWorkers(); got != 7 {
		t.Errorf("%d workers, want 7", got)
	}
}
