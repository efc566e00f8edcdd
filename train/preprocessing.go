package train

import (
	"context"
	"fmt"
	"math"

	"github.com/verydeep/vgg/dataset"
	"github.com/verydeep/vgg/preprocess"
)

// choosePreprocessing surveys the training images and derives the preprocessing, or takes
// both from the checkpoint. A run that begins with the weights of a file keeps the pixel
// values of fileSpec, the file's preprocessing.
func (r *run) choosePreprocessing(ctx context.Context, from *savedRun, fileSpec *preprocess.Spec) error {
	if from != nil {
		r.stats, r.spec = from.Stats, from.Spec
	} else {
		survey, _, err := dataset.CachedSurvey(ctx, r.o.Train, dataset.StatsOptions{Workers: r.o.Workers, MaxPixels: r.o.MaxPixels, Room: r.room, Progress: r.o.OnSurvey, CacheDir: r.o.StatsDir})
		if err != nil {
			return err
		}
		if n := len(survey.Unreadable); n > 0 {
			if err := r.o.checkBad(n, survey.Unreadable[n-1]); err != nil {
				return err
			}
		}
		if survey.Grey16 > 0 {
			r.o.Log.Warn(fmt.Sprintf("%d training images: %s", survey.Grey16, preprocess.Grey16Remark))
		}
		r.stats = survey.Stats
		r.spec = preprocessing(r.o.Recipe, r.stats, fileSpec)
	}
	r.describe()
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
