package train

import (
	"fmt"

	"github.com/verydeep/vgg/dataset"
)

// DivergedError is the error of a run whose loss grew out of bounds ([Run] has them), or that
// met a number that is NaN or infinite: in the loss, or in a weight. Weights that are not finite are never saved.
type DivergedError struct {
	What         string  // the number and the iteration: "the loss is NaN at iteration 7"
	Layer        string  // where such a number was first met: the input, a parameter, or a layer by its output; "": not known
	Epoch        int     // from 1
	Iteration    int     // the update that failed or broke the weights, from 1 over the run
	LearningRate float64 // of the next iteration
	Checkpoint   string  // path of the last good checkpoint; "" if there is none
	Rescues      int     // times that the run went back and lowered its learning rate before
	Kept         bool    // without a checkpoint: the run directory has the weights of the epoch before
}

// Error implements error.
func (e *DivergedError) Error() string {
	what := e.What
	if e.Layer != "" {
		what += ", first met in " + e.Layer
	}
	kept := "nothing is saved"
	switch {
	case e.Checkpoint != "":
		kept = "the last good checkpoint is " + e.Checkpoint
	case e.Kept:
		kept = "the weights before this epoch are kept"
	}
	rescued := ""
	if e.Rescues > 0 {
		rescued = fmt.Sprintf(", after going back %d times with a tenth of the rate each", e.Rescues)
	}
	return fmt.Sprintf("train: %s (epoch %d, learning rate %g%s): %s; try a lower learning rate or another initialisation", what, e.Epoch, e.LearningRate, rescued, kept)
}

// TooManyBadError is the error of a run in which more images than [Options].MaxBad allows
// are unreadable. It wraps the last of them, a [*dataset.BadImage].
type TooManyBadError struct {
	Bad     int     // different unreadable images so far
	Total   int     // images of training and validation
	Allowed float64 // share that is allowed, 0 to 1
	Last    dataset.BadImage
}

// Error implements error.
func (e *TooManyBadError) Error() string {
	return fmt.Sprintf("train: %d of %d images are unreadable, %.3g %%, max-bad allows %.3g %%; the last is %v",
		e.Bad, e.Total, 100*float64(e.Bad)/float64(e.Total), 100*e.Allowed, &e.Last)
}

// Unwrap returns the last unreadable image.
func (e *TooManyBadError) Unwrap() error { return &e.Last }

// OtherRunError is the error of a run directory that belongs to another run, or to
// something else: it is not empty, or what it holds was begun with another recipe, task or
// images. Nothing in the directory is changed.
type OtherRunError struct {
	Dir    string // run directory
	Reason string // what is found and what is wanted
	Key    string // key of the recipe that differs, as in a recipe file; "" if something else does
}

// Error implements error.
func (e *OtherRunError) Error() string { return "train: " + e.Reason }
