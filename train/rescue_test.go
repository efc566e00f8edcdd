package train

import (
	"errors"
	"fmt"
	"math"
	"slices"
	"strings"
	"testing"
	"time"
)

// divergingOptions are of a run that diverges at its learning rate, and not at a thousandth.
func divergingOptions(t *testing.T) Options {
	o := resumeOptions(t)
	o.Recipe.Dropout, o.Recipe.LearningRate = 0, 30
	o.Recipe.Epochs, o.Recipe.Schedule.Steps = 4, []int{3}
	return o
}

// rescues returns the rescues that a run logged.
func rescues(t *testing.T, dir string) (all []map[string]any) {
	t.Helper()
	for _, m := range metricsLines(t, dir) {
		if m["kind"] == "rescue" {
			all = append(all, m)
		}
	}
	return all
}

// TestRescue: a run that diverges goes back, lowers its rate and ends well; stopped anywhere,
// it goes on to the same bits.
func TestRescue(t *testing.T) {
	whole := divergingOptions(t)
	var told []Rescue
	whole.OnRescue = func(r Rescue) { told = append(told, r) }
	res := mustRun(t, whole)
	if len(told) == 0 || res.Iterations != 12 || math.IsNaN(res.Top1Error) {
		t.Fatalf("%d rescues, result %+v: want a run that diverges and ends", len(told), res)
	}
	last := told[len(told)-1]
	if want := math.Pow(0.1, float64(len(told))); !near(last.RateFactor, want) || last.Back%3 != 0 || last.Back >= last.Iteration {
		t.Errorf("%+v, want the factor %v and a return to the end of an epoch", last, want)
	}
	if logged := rescues(t, whole.Dir); len(logged) == 0 || logged[len(logged)-1]["rate_factor"] != last.RateFactor {
		t.Errorf("logged %v, want %+v", logged, last)
	}
	for _, m := range metricsLines(t, whole.Dir) {
		if it, ok := m["iteration"].(float64); m["kind"] == "iteration" && ok && int(it) > last.Back && !near(m["learning_rate"].(float64), 30*last.RateFactor*stepped(int(it))) {
			t.Errorf("iteration %v has the rate %v, want %v of the schedule's", it, m["learning_rate"], last.RateFactor)
		}
	}
	for at := 1; at <= 11; at += 2 {
		o := divergingOptions(t)
		stopAt(t, o, at)
		o.Resume = true
		mustRun(t, o)
		sameRun(t, fmt.Sprintf("stopped at iteration %d", at), o.Dir, whole.Dir)
	}
	// Checkpoints between the epochs' ends, of which there are more than are kept.
	o := divergingOptions(t)
	o.Keep, o.CheckpointEvery = 1, time.Nanosecond
	mustRun(t, o)
	sameRun(t, "many checkpoints", o.Dir, whole.Dir)
}

// stepped is the factor of the schedule of divergingOptions.
func stepped(iteration int) float64 {
	if iteration > 9 {
		return 0.1
	}
	return 1
}

// TestRescueResumed: a run that is stopped after it went back to its beginning goes on at the
// lower rate.
func TestRescueResumed(t *testing.T) {
	o := divergingOptions(t)
	var told Rescue
	o.OnRescue = func(r Rescue) { told = r }
	stopAt(t, o, 2)
	o.Resume = true
	var first Iteration
	o.OnIteration = func(it Iteration) {
		if first.Iteration == 0 || it.Iteration < first.Iteration {
			first = it
		}
	}
	mustRun(t, o)
	if told.Iteration == 0 {
		t.Fatal("no rescue: the test tests nothing")
	}
}

// TestNoRescue: without rescue the first divergence is an error that tells the bound, what is
// kept and what to do; and the rescues are bounded.
func TestNoRescue(t *testing.T) {
	o := divergingOptions(t)
	o.NoRescue = true
	_, err := Run(t.Context(), o)
	var diverged *DivergedError
	if !errors.As(err, &diverged) || diverged.Rescues != 0 || !strings.Contains(err.Error(), "try a lower learning rate") {
		t.Errorf("%v, want a DivergedError that says what to do", err)
	}
	o = divergingOptions(t)
	o.Recipe.LearningRate = 1e12
	if _, err = Run(t.Context(), o); !errors.As(err, &diverged) || diverged.Rescues != maxRescues || !strings.Contains(err.Error(), "after going back 3 times") {
		t.Errorf("%v, want a DivergedError after %d rescues", err, maxRescues)
	}
}

// TestDivergenceBound: a loss is out of bounds above ten times that of outputs of zero, for
// classes and for labels, and not before.
func TestDivergenceBound(t *testing.T) {
	classes, labels := resumeOptions(t), withHead(t, resumeOptions(t), "gap FC sigmoid")
	labels.Train, labels.Val = severalLabels(t, "train", 10), severalLabels(t, "val", 6)
	for bound, o := range map[float64]Options{10 * math.Log(3): classes, 10 * 3 * math.Ln2: labels} {
		r, err := newRun(t.Context(), o)
		if err != nil {
			t.Fatal(err)
		}
		for b, err := range r.trainBatches(t.Context(), 1, 0) {
			if err != nil {
				t.Fatal(err)
			}
			r.loss = lossState{Average: bound - 0.01, Start: 1}
			if err := r.checkLoss(whole(b), bound-0.01, 9); err != nil {
				t.Errorf("just below %v: %v", bound, err)
			}
			if err := r.checkLoss(whole(b), bound+0.1, 9); err == nil {
				t.Errorf("just above %v: no error", bound)
			}
			r.loss.Start = bound // a run that begins there is left more
			if err := r.checkLoss(whole(b), bound+0.1, 9); err != nil {
				t.Errorf("above %v, where the run began: %v", bound, err)
			}
			// An odd image among the first ones, or among many, is no divergence.
			r.loss = lossState{}
			if err := errors.Join(r.checkLoss(whole(b), 1, 1), r.checkLoss(whole(b), bound+1, 2), r.checkLoss(whole(b), 1, 20), r.checkLoss(whole(b), bound+1, 21)); err != nil {
				t.Errorf("a single batch above %v: %v", bound, err)
			}
			break
		}
		r.abandon()
	}
}

// TestRescueTwiceFromOnePlace: a state that has diverged already at the end of its epoch is left
// for the beginning, as no rate helps from there.
func TestRescueTwiceFromOnePlace(t *testing.T) {
	options := func() Options {
		o := divergingOptions(t)
		o.Recipe.LearningRate, o.Recipe.Momentum = 10, 0
		return o
	}
	whole := options()
	var told []Rescue
	whole.OnRescue = func(r Rescue) { told = append(told, r) }
	mustRun(t, whole)
	at := slices.IndexFunc(told, func(r Rescue) bool { return r.Back > 0 })
	if at < 0 || at+1 == len(told) || told[at+1].Back != 0 {
		t.Fatalf("rescues %+v, want one to the end of an epoch and then one to the beginning", told)
	}
	o := options()
	stopAt(t, o, told[at].Back+1)
	o.Resume = true
	mustRun(t, o)
	sameRun(t, "stopped", o.Dir, whole.Dir)
}
