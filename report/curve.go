package report

import (
	"errors"
	"fmt"
	"math"
)

// Curve is the course of a training run.
type Curve struct {
	// Title says what was trained: configuration, width, crop, data.
	Title string
	// Errors names the two errors of Epochs; empty: top-1 and top-5.
	Errors     [2]string
	Iterations []IterationPoint // in order
	Epochs     []EpochPoint     // in order
}

// IterationPoint is one mini-batch.
type IterationPoint struct {
	Epoch float64 // epochs done after it, a fraction within an epoch
	Loss  float64 // training loss, mean over the mini-batch
}

// EpochPoint is the validation at the end of an epoch.
type EpochPoint struct {
	Epoch        int     // epochs done, 1 after the first
	Loss         float64 // mean validation loss
	Top1, Top5   float64 // validation errors, fractions
	LearningRate float64 // of the epoch's last iteration
}

// errors names the two errors.
func (c Curve) errors() [2]string {
	if c.Errors == [2]string{} {
		return [2]string{"top-1", "top-5"}
	}
	return c.Errors
}

// errNoPoints is returned for a curve on which nothing can be drawn.
var errNoPoints = errors.New("report: curve: no iterations and no epochs, want at least one")

// decrease is a step of the learning-rate schedule.
type decrease struct {
	epoch float64 // when it happened
	rate  float64 // after it
}

// decreases finds the steps of the schedule: from one epoch to the next the
// rate falls to half or less. A rate that falls gradually has no steps, though
// a cosine schedule more than halves the rate at its end.
func (c Curve) decreases() []decrease {
	var found []decrease
	glides := false
	for i := 1; i < len(c.Epochs); i++ {
		before, after := c.Epochs[i-1], c.Epochs[i]
		halved := after.LearningRate <= before.LearningRate/2
		if after.LearningRate > 0 && halved && !glides {
			found = append(found, decrease{float64(before.Epoch), after.LearningRate})
		}
		glides = after.LearningRate < before.LearningRate && (glides || !halved)
	}
	return found
}

// best returns the epoch whose weights training keeps: the one with the lowest
// top-1 error; among equals the one with the lowest loss, then the earliest.
// There must be at least one epoch.
func (c Curve) best() EpochPoint {
	best := c.Epochs[0]
	for _, e := range c.Epochs[1:] {
		if e.Top1 < best.Top1 || e.Top1 == best.Top1 && e.Loss < best.Loss {
			best = e
		}
	}
	return best
}

// subtitle says how the run ended.
func (c Curve) subtitle() string {
	if len(c.Epochs) == 0 {
		return "no epoch completed"
	}
	last, best := c.Epochs[len(c.Epochs)-1], c.best()
	names := c.errors()
	return fmt.Sprintf("Validation error after epoch %d: %s %s, %s %s.  Best, epoch %d: %s %s, %s %s.",
		last.Epoch, names[0], Percent(last.Top1), names[1], Percent(last.Top5),
		best.Epoch, names[0], Percent(best.Top1), names[1], Percent(best.Top5))
}

// runningMean returns the mean loss around each of up to meanPoints iterations,
// which are spread evenly over points. The window is meanShare of the run wide.
// Losses that are not finite are left out; without any finite loss in the
// window there is no mean. Each mean is summed afresh, so that a loss of 1e30
// before a collapse spoils only the means near it.
func runningMean(points []IterationPoint) []IterationPoint {
	const (
		meanPoints = 400
		meanShare  = 0.06
	)
	half := int(math.Round(float64(len(points)) * meanShare / 2))
	stride := max(1, len(points)/meanPoints)
	var mean []IterationPoint
	for i := 0; i < len(points); i += stride {
		if i+stride >= len(points) {
			i = len(points) - 1
		}
		var sum, count float64
		for _, p := range points[max(0, i-half):min(len(points), i+half+1)] {
			if finite(p.Loss) {
				sum += p.Loss
				count++
			}
		}
		if count > 0 {
			mean = append(mean, IterationPoint{points[i].Epoch, sum / count})
		}
	}
	return mean
}

// extremes thins points that are too dense to tell apart in the picture: it
// divides them into 500 runs of equal length and keeps the lowest and the
// highest finite loss of each, which draws the same band.
func extremes(points []IterationPoint) []IterationPoint {
	const runs = 500
	if len(points) <= 4*runs {
		return points
	}
	kept := make([]IterationPoint, 0, 2*runs)
	for r := range runs {
		run := points[r*len(points)/runs : (r+1)*len(points)/runs]
		low, high := -1, -1
		for i, p := range run {
			if !finite(p.Loss) {
				continue
			}
			if low < 0 || p.Loss < run[low].Loss {
				low = i
			}
			if high < 0 || p.Loss > run[high].Loss {
				high = i
			}
		}
		if low < 0 {
			continue
		}
		kept = append(kept, run[min(low, high)])
		if low != high {
			kept = append(kept, run[max(low, high)])
		}
	}
	return kept
}

func finite(x float64) bool {
	return !math.IsNaN(x) && !math.IsInf(x, 0)
}
