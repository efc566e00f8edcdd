package train

import (
	"context"
	"errors"
	"fmt"
	"math"

	"github.com/verydeep/vgg/dataset"
	"github.com/verydeep/vgg/preprocess"
)

// choosePreprocessing surveys the training images and derives the preprocessing, or takes
// both from the checkpoint. A run that begins with the weights of a file keeps the pixel
// values of fileSpec, the file's preprocessing. All processes survey; what follows from it is
// the first one's, which shares it with the beginning.
func (r *run) choosePreprocessing(ctx context.Context, from *savedRun, fileSpec *preprocess.Spec) error {
	begins := from == nil
	if r.o.Processes != nil { // the checkpoint is the first one's
		if err := shareJSON(ctx, r.o.Processes, &begins); err != nil {
			return err
		}
	}
	if begins {
		if err := r.survey(ctx); err != nil || !r.first() {
			return err
		}
		r.spec = preprocessing(r.o.Recipe, r.stats, fileSpec)
	} else if r.first() {
		r.stats, r.spec = from.Stats, from.Spec
	}
	r.describe()
	return nil
}

// survey measures the colours of the training images.
func (r *run) survey(ctx context.Context) error {
	o := dataset.StatsOptions{Workers: r.o.Workers, MaxPixels: r.o.MaxPixels, Room: r.room, Processes: r.o.Processes, CacheDir: r.o.StatsDir}
	if r.first() {
		o.Progress = r.o.OnSurvey
	}
	survey, _, err := dataset.CachedSurvey(ctx, r.o.Train, o)
	if errors.Is(err, context.Canceled) && ctx.Err() == nil { // in another process
		return ErrStopped
	}
	if err != nil {
		return err
	}
	if n := len(survey.Unreadable); n > 0 {
		if err := r.o.checkBad(n, survey.Unreadable[n-1]); err != nil {
			return err
		}
	}
	if r.first() && survey.Grey16 > 0 {
		r.o.Log.Warn(fmt.Sprintf("%d training images: %s", survey.Grey16, preprocess.Grey16Remark))
	}
	r.stats = survey.Stats
	return nil
}

// describe notes in the model what it is trained with.
func (r *run) describe() {
	r.model.Preprocess = r.spec
	r.model.Provenance = map[string]string{"trained_on": r.trainSet.Name, "recipe": string(r.o.Recipe.YAML())}
}

// preprocessing subtracts the mean RGB, and divides by the standard deviation if the recipe
// says so; or it treats pixels as fileSpec does. Sizes are the recipe's.
func preprocessing(rec Recipe, stats preprocess.Stats, fileSpec *preprocess.Spec) preprocess.Spec {
	spec := preprocess.Spec{Name: "vgg", Scale: 1, Std: [3]float32{1, 1, 1}}
	if fileSpec != nil {
		spec = *fileSpec
	} else {
		for c, m := range stats.Mean {
			spec.Mean[c] = float32(m)
			if rec.Standardise {
				spec.Std[c] = deviation(stats, c)
			}
		}
	}
	spec.Filter, spec.Crop, spec.Resize = rec.Filter, rec.Input, rec.TestScale
	spec.Fit, spec.Orient = rec.Resize, rec.Orient
	return spec
}

// deviation returns the standard deviation of channel c, by the covariance Σ λᵢ pᵢ pᵢᵀ. For
// a channel that doesn't vary it returns 1.
func deviation(s preprocess.Stats, c int) float32 {
	var variance float64
	for i, l := range s.Eigenvalues {
		variance += l * s.Eigenvectors[i][c] * s.Eigenvectors[i][c]
	}
	if variance < 1e-6 {
		return 1
	}
	return float32(math.Sqrt(variance))
}
