package transfer

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/verydeep/vgg/tensor"
	"github.com/verydeep/vgg/weights"
)

// TrainOptions are the options of a classifier. [DefaultTraining] returns those of the commands,
// from which the caller goes on; the zero value is an error.
type TrainOptions struct {
	SVMOptions
	// Cs are candidates for C. With several, each is tried on the training images without
	// those held out, and tested on the latter: by mean class recall or, if images have
	// several classes, by mean average precision (area). The best one, of equals the smallest,
	// then trains on all training images. Without Cs, C counts.
	Cs      []float64
	HoldOut float64 // share of the training images of each class that is held out

	// OnStage, if set, is told the name of each stage when it begins. OnClass counts the
	// classes of each stage.
	OnStage func(what string)
}

// DefaultTraining returns the options of the commands: C is chosen on a fifth of the training
// images, as in the paper (appendix B).
func DefaultTraining() TrainOptions {
	return TrainOptions{SVMOptions: DefaultSVM(), Cs: []float64{0.01, 0.1, 1, 10, 100}, HoldOut: 0.2}
}

// SVM is a classifier for descriptors of one kind: linear SVMs, one for each class against the
// rest.
type SVM struct {
	Header Header // of the descriptors that it was trained on
	Info   SVMInfo
	linear
}

// SVMInfo says how SVMs were trained. Its JSON keys are those of a file.
type SVMInfo struct {
	Classes       []string `json:"classes"`
	Multi         bool     `json:"multi"`
	Loss          Loss     `json:"loss"`
	C             float64  `json:"c"`
	Bias          float64  `json:"bias"`
	Balance       bool     `json:"balance"`
	Tolerance     float64  `json:"tolerance"`
	MaxIterations int      `json:"max_iterations"`
	Seed          uint64   `json:"seed"`
	Images        int      `json:"images"` // trained on
	Iterations    []int    `json:"iterations"`
	Converged     bool     `json:"converged"`
	Seconds       float64  `json:"seconds,omitempty"` // of the last training; not in a file
	Tried         []Trial  `json:"tried,omitempty"`
}

// Trial is a C and its score on the images held out.
type Trial struct {
	C     float64 `json:"c"`
	Score float64 `json:"score"` // mean class recall or mean average precision (area)
}

// Train trains a classifier on rows of d, whose descriptors are x (Len × Header.Dim).
func Train(ctx context.Context, d *Descriptors, x []float32, rows []int, o TrainOptions) (*SVM, error) {
	if d == nil {
		return nil, errNoDescriptors
	}
	if !d.Header.Labelled() {
		return nil, fmt.Errorf("transfer: %s: no labels, want descriptors of labelled images", d.Header.Data.Name)
	}
	if len(d.Header.Data.Classes) < 2 && !d.Header.Multi() {
		return nil, fmt.Errorf("transfer: %s: one class, want at least two", d.Header.Data.Name)
	}
	var tried []Trial
	if len(o.Cs) == 1 {
		o.C = o.Cs[0]
	} else if len(o.Cs) > 1 {
		if !(o.HoldOut > 0 && o.HoldOut < 1) {
			return nil, fmt.Errorf("transfer: %v of the images held out, want more than 0 and less than 1", o.HoldOut)
		}
		split := d.holdOut(rows, o.HoldOut, o.Seed)
		if len(split.Test) == 0 {
			return nil, fmt.Errorf("transfer: %s: no class has two training images to choose C by, want a single C", d.Header.Data.Name)
		}
		cs := slices.Clone(o.Cs)
		slices.Sort(cs)
		best := -1.0
		for _, c := range cs {
			try := o
			try.Cs, try.C = nil, c
			try.stage(fmt.Sprintf("C %g, on %d images", c, len(split.Train)))
			s, err := train(ctx, d, x, split.Train, try)
			if err != nil {
				return nil, err
			}
			score, err := s.Evaluate(ctx, d, x, split.Test)
			if err != nil {
				return nil, err
			}
			tried = append(tried, Trial{c, score.value()})
			if v := score.value(); v > best {
				best, o.C = v, c
			}
		}
	}
	o.stage(fmt.Sprintf("C %g, on all %d images", o.C, len(rows)))
	s, err := train(ctx, d, x, rows, o)
	if err == nil {
		s.Info.Tried = tried
	}
	return s, err
}

func (o TrainOptions) stage(what string) {
	if o.OnStage != nil {
		o.OnStage(what)
	}
}

// train trains with o.C.
func train(ctx context.Context, d *Descriptors, x []float32, rows []int, o TrainOptions) (*SVM, error) {
	p := problem{X: x, Dim: d.Header.Dim, Rows: rows, Classes: len(d.Header.Data.Classes), Target: d.targets(), Multi: d.Header.Multi()}
	start := time.Now()
	l, err := p.train(ctx, o.SVMOptions)
	if err != nil {
		return nil, err
	}
	return &SVM{Header: d.Header, linear: *l, Info: SVMInfo{
		Classes: d.Header.Data.Classes, Multi: p.Multi, Loss: o.Loss, C: o.C, Bias: o.Bias, Balance: o.Balance,
		Tolerance: o.Tolerance, MaxIterations: o.MaxIterations, Seed: o.Seed, Images: len(rows),
		Iterations: l.iterations, Converged: l.converged, Seconds: time.Since(start).Seconds(),
	}}, nil
}

// Scores puts the score of each class for the descriptor x into dst. A score above 0 means that
// x is of the class.
func (s *SVM) Scores(dst, x []float32) { s.score(dst, x) }

// Weights returns the weights (K,D), class by class, and the biases (K), which the caller must
// not change: the score of class k for x is w[k]·x + b[k].
func (s *SVM) Weights() (w, b []float32) { return s.w, s.b }

// Prediction is a class and its score for a descriptor.
type Prediction struct {
	Class string  `json:"class"`
	Score float32 `json:"score"` // above 0: the descriptor is of the class
}

// Top returns the k classes with the highest scores, best first, equal ones in the set's order.
func (s *SVM) Top(x []float32, k int) []Prediction {
	scores := make([]float32, len(s.Info.Classes))
	s.Scores(scores, x)
	all := make([]Prediction, len(scores))
	for c, v := range scores {
		all[c] = Prediction{s.Info.Classes[c], v}
	}
	slices.SortStableFunc(all, func(a, b Prediction) int { return cmp.Compare(b.Score, a.Score) })
	return all[:min(k, len(all))]
}

// metaSVM is the key of SVMInfo in the metadata of a file.
const metaSVM = "vgg.svm"

// Save writes the classifier to a safetensors file: weight (K,D) and bias (K).
func (s *SVM) Save(path string) error {
	header, err := json.Marshal(s.Header)
	if err != nil {
		return fmt.Errorf("transfer: %s: %w", path, err)
	}
	same := s.Info
	same.Seconds = 0 // equal SVMs give equal files
	info, err := json.Marshal(same)
	if err != nil {
		return fmt.Errorf("transfer: %s: %w", path, err)
	}
	w, err := tensor.FromSlice(s.w, len(s.b), s.Header.Dim)
	if err != nil {
		return fmt.Errorf("transfer: %s: %w", path, err)
	}
	b, err := tensor.FromSlice(s.b, len(s.b))
	if err != nil {
		return fmt.Errorf("transfer: %s: %w", path, err)
	}
	return weights.WriteSafetensors(path, map[string]string{metaHeader: string(header), metaSVM: string(info)},
		[]weights.Source{weights.FromTensor("weight", w), weights.FromTensor("bias", b)})
}

// OpenSVM reads a classifier. The error is a [*FormatError] if the file holds none.
func OpenSVM(ctx context.Context, path string) (*SVM, error) {
	s, err := openSVM(ctx, path)
	if err != nil {
		return nil, ofFile(path, err)
	}
	return s, nil
}

func openSVM(ctx context.Context, path string) (*SVM, error) {
	f, err := weights.Open(ctx, path)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	s := &SVM{}
	meta := f.Metadata()
	if meta[metaSVM] == "" {
		return nil, &FormatError{Path: path, Err: errors.New("no metadata " + metaSVM + ", want a file of vgg transfer train")}
	}
	if err := json.Unmarshal([]byte(meta[metaSVM]), &s.Info); err != nil {
		return nil, fmt.Errorf("metadata %s: %w", metaSVM, err)
	}
	if err := json.Unmarshal([]byte(meta[metaHeader]), &s.Header); err != nil {
		return nil, fmt.Errorf("metadata %s: %w", metaHeader, err)
	}
	if err := s.Header.validate(); err != nil {
		return nil, fmt.Errorf("metadata %s: %w", metaHeader, err)
	}
	w, b := tensor.New(len(s.Info.Classes), s.Header.Dim), tensor.New(len(s.Info.Classes))
	if err := f.ReadTensor("weight", w); err != nil {
		return nil, err
	}
	if err := f.ReadTensor("bias", b); err != nil {
		return nil, err
	}
	s.w, s.b = w.Data, b.Data
	return s, nil
}

// check returns an error if d has descriptors of another kind than the SVM was trained on.
func (s *SVM) check(d *Descriptors) error {
	if diff := d.Header.recipe(s.Header); diff != "" {
		return fmt.Errorf("transfer: %s: descriptors of another kind than the SVM's: %s", d.Header.Data.Name, diff)
	}
	if !slices.Equal(d.Header.Data.Classes, s.Info.Classes) {
		return fmt.Errorf("transfer: %s: %d classes, want the SVM's %d, in the same order", d.Header.Data.Name, len(d.Header.Data.Classes), len(s.Info.Classes))
	}
	return nil
}
