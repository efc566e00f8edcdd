package cli

import (
	"fmt"
	"strings"
	"testing"
	"testing/synctest"
	"time"
)

// TestProgressBar checks the lines of two stages: the stage's name within a second, then a line
// for each ten seconds, in the unit of the stage.
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
		want := "reading D.safetensors ...\n" +
			"reading D.safetensors: 60 of 80 million values\n" +
			"evaluating ...\n" +
			"evaluating: 10 of 50 images\n"
		if got := out.String(); got != want {
			t.Errorf("got  %q\nwant %q", got, want)
		}
	})
}

// TestStageWithoutReports checks that a stage is named within a second though its work reports
// nothing, and that one that has ended is not.
func TestStageWithoutReports(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var out strings.Builder
		p := (&environment{stderr: &out}).newProgress()
		p.stage("opening", unitImages)
		time.Sleep(patience / 2)
		p.stage("reading", unitImages)
		time.Sleep(time.Second)
		p.stage("writing", unitImages)
		time.Sleep(patience / 2)
		p.close()
		time.Sleep(time.Minute)
		if got, want := out.String(), "reading ...\n"; got != want {
			t.Errorf("got %q, want %q", got, want)
		}
	})
}

// TestSilence checks that a command that shows nothing says so within a second, once.
func TestSilence(t *testing.T) {
	for _, test := range []struct {
		name, before, want string
	}{
		{"nothing shown", "", "vgg eval: at work ...\n"},
		{"something shown", "Layout: class folders\n", "Layout: class folders\n"},
	} {
		t.Run(test.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				var out strings.Builder
				e := &environment{stderr: &sharedWriter{&out, &activity{}}}
				stop := e.breakSilence("vgg eval")
				if test.before != "" {
					fmt.Fprint(e.stderr, test.before)
				}
				time.Sleep(3 * time.Second)
				stop()
				if got := out.String(); got != test.want {
					t.Errorf("got %q, want %q", got, test.want)
				}
			})
		})
	}
}

// TestEstimate runs work of several courses: what is said to be left must be near to what is.
func TestEstimate(t *testing.T) {
	for name, course := range map[string]func(done int) time.Duration{
		"steady": func(int) time.Duration { return 100 * time.Millisecond },
		"a slow beginning": func(done int) time.Duration {
			if done < 2 {
				return time.Minute
			}
			return 100 * time.Millisecond
		},
		"caches that fill":  func(done int) time.Duration { return 50*time.Millisecond + time.Second/time.Duration(1+done*done) },
		"in turns":          func(done int) time.Duration { return time.Duration(50+done%2*100) * time.Millisecond },
		"slower and slower": func(done int) time.Duration { return time.Duration(50+done/10) * time.Millisecond },
	} {
		const total = 1000
		var at [total + 1]time.Duration
		for i := range total {
			at[i+1] = at[i] + course(i)
		}
		var s estimate
		begin := time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC)
		told := 0
		for done := 1; done <= total; done++ {
			s.add(begin.Add(at[done]), int64(done))
			left, ok := s.left(total)
			if !ok {
				continue
			}
			told++
			if real := at[total] - at[done]; done == 1 || left > real*5/2+time.Second || left < real/3 {
				t.Errorf("%s: %v left after %d of %d, and it was %v", name, left, done, total, real)
				break
			}
		}
		if told < total*3/4 {
			t.Errorf("%s: something was told after %d of %d steps, want most", name, told, total)
		}
	}
}

func TestCoarse(t *testing.T) {
	for d, want := range map[time.Duration]string{
		400 * time.Millisecond:      "0 s",
		12700 * time.Millisecond:    "13 s",
		3*time.Minute + 17e9:        "3m 20s",
		33*time.Minute + 17e9:       "33m 00s",
		3*time.Hour + 7*time.Minute: "3h 05m",
	} {
		if got := coarse(d); got != want {
			t.Errorf("%v: %q, want %q", d, got, want)
		}
	}
}

// TestSlowPart checks that the time left is that of the part of the work that takes time.
func TestSlowPart(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var out strings.Builder
		p := (&environment{stderr: &out}).newProgress()
		defer p.close()
		report := p.stage("training", unitIterations)
		p.slow(200)
		for i := int64(1); i <= 150; i++ {
			time.Sleep(time.Second)
			report(i, 10_000)
		}
		p.clear()
		lines := strings.Split(strings.TrimSpace(out.String()), "\n")
		if got, want := lines[len(lines)-1], "training: 150 of 10000 iterations, 50 s left"; got != want {
			t.Errorf("got %q, want %q", got, want)
		}
	})
}
