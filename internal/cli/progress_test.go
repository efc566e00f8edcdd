package cli

import (
	"strings"
	"testing"
	"testing/synctest"
	"time"
)

// TestProgressBar checks the lines of two stages: none at once, then one for each ten
// seconds, in the unit of the stage.
func TestProgressBar(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var out strings.Builder
		p := (&environment{stderr: &out}).newProgress()
		defer p.close()
		report := p.stage("reading D.safetensors", unitMillions)
		for _, step := range []struct{ done, total int64 }{{0, 0}, {40e6, 80e6}, {60e6, 80e6}, {80e6, 80e6}} {
			report(step.done, step.total)
			time.Sleep(6 * time.Second)
		}
		report = p.stage("evaluating", unitImages)
		time.Sleep(time.Second)
		report(1, 50) // in the new stage's first ten seconds
		time.Sleep(19 * time.Second)
		report(10, 50)
		report(50, 50)
		p.clear()
		want := "reading D.safetensors: 60 of 80 million values, 4.0 s left\n" +
			"evaluating: 10 of 50 images, 1m 20s left\n"
		if got := out.String(); got != want {
			t.Errorf("got  %q\nwant %q", got, want)
		}
	})
}
