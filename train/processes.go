package train

import (
	"bytes"
	"cmp"
	"context"
	"crypto/sha256"
	"encoding/gob"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"slices"
	"strings"

	"github.com/verydeep/vgg/comm"
	"github.com/verydeep/vgg/dataset"
	"github.com/verydeep/vgg/internal/kernel"
	"github.com/verydeep/vgg/preprocess"
)

// processes is the number of processes that train together.
func (o Options) processes() int {
	if o.Processes == nil {
		return 1
	}
	return o.Processes.Size()
}

// first reports whether this process writes the run directory.
func (r *run) first() bool { return r.o.Processes == nil || r.o.Processes.Rank() == 0 }

// setup is what a process trains by, and on what.
type setup struct {
	Host    string
	Program string
	Build   string // that tells two programs of one version apart; "": not known
	ISA     string
	Device  string // "" for the CPU
	Ranks   int

	MaxBad    float64
	MaxPixels int

	Recipe string // YAML
	Task   string
	Train  imageSet
	Val    *imageSet
}

// agree compares the processes' set-ups. recipe is the one that this process was given.
func (r *run) agree(ctx context.Context, recipe string) error {
	if r.o.Processes == nil {
		return nil
	}
	host, _ := os.Hostname()
	device := ""
	if r.o.Device != nil {
		device = r.o.Device.ID()
	}
	mine := setup{
		Host: host, Program: programVersion(), ISA: kernel.Current().Name(), Device: device, Ranks: r.o.Ranks,
		MaxBad: r.o.MaxBad, MaxPixels: cmp.Or(r.o.MaxPixels, preprocess.DefaultMaxPixels),
		Recipe: recipe, Task: r.o.identity(), Train: r.trainSet, Val: r.valSet,
	}
	if mine.Program == unversioned {
		mine.Build = executableHash()
	}
	text, err := json.Marshal(mine)
	if err != nil {
		return err
	}
	all, err := comm.Gather(context.WithoutCancel(ctx), r.o.Processes, text)
	if err != nil {
		return err
	}
	setups := make([]setup, len(all))
	for i, text := range all {
		if err := json.Unmarshal(text, &setups[i]); err != nil {
			return fmt.Errorf("train: set-up of rank %d: %w", i, err)
		}
	}
	var differences []string
	for rank := 1; rank < len(setups); rank++ {
		if d := setups[rank].difference(setups[0]); d != "" {
			differences = append(differences, fmt.Sprintf("rank %d (%s) %s", rank, setups[rank].Host, d))
		}
	}
	if len(differences) > 0 {
		const most = 5
		if n := len(differences) - most; n > 0 {
			differences = append(differences[:most], fmt.Sprintf("and %d more", n))
		}
		return fmt.Errorf("train: the ranks were started differently, and would train apart: %s; rank 0 is on %s", strings.Join(differences, "; "), setups[0].Host)
	}
	return nil
}

// executableHash is the beginning of the SHA-256 of this process's executable, "" if it can't be
// read.
func executableHash() string {
	path, err := os.Executable()
	if err != nil {
		return ""
	}
	f, err := os.Open(path)
	if err != nil {
		return ""
	}
	defer f.Close()
	h := sha256.New()
	if _, err := io.Copy(h, f); err != nil {
		return ""
	}
	return hex.EncodeToString(h.Sum(nil)[:8])
}

// difference tells how a set-up differs from rank 0's; "" if it doesn't.
func (s setup) difference(first setup) string {
	switch {
	case s.Program != first.Program:
		return fmt.Sprintf("is version %s of the program, rank 0 %s: want the same", s.Program, first.Program)
	case s.Build != first.Build && s.Build != "" && first.Build != "":
		return fmt.Sprintf("is another build of the program (%s, rank 0 %s): want the same", s.Build, first.Build)
	case s.ISA != first.ISA:
		return fmt.Sprintf("computes with %s, rank 0 with %s, which round differently: want one that all can run (VGG_CPU)", s.ISA, first.ISA)
	case s.Device != first.Device:
		return fmt.Sprintf("computes on %s, rank 0 on %s, which round differently: want the same --device and --precision", deviceName(s.Device), deviceName(first.Device))
	case s.Ranks != first.Ranks:
		return fmt.Sprintf("has %d ranks in it, rank 0's process %d: want as many in each", s.Ranks, first.Ranks)
	case s.MaxBad != first.MaxBad:
		return fmt.Sprintf("bears a share of %v unreadable images, rank 0 of %v: want the same (--max-bad)", max(0, s.MaxBad), max(0, first.MaxBad))
	case s.MaxPixels != first.MaxPixels:
		return fmt.Sprintf("reads images of up to %d pixels, rank 0 of up to %d: want the same (--max-pixels)", s.MaxPixels, first.MaxPixels)
	case s.Task != first.Task:
		return fmt.Sprintf("learns %s, rank 0 %s", taskName(s.Task), taskName(first.Task))
	case (s.Val == nil) != (first.Val == nil):
		return fmt.Sprintf("has validation images: %s, rank 0 has: %s", s.Val.describe(), first.Val.describe())
	}
	mine, mineErr := ParseRecipe([]byte(s.Recipe), PaperRecipe())
	other, otherErr := ParseRecipe([]byte(first.Recipe), PaperRecipe())
	if mineErr != nil || otherErr != nil {
		return fmt.Sprintf("has a recipe that can't be compared: %v", errors.Join(mineErr, otherErr))
	}
	for _, d := range Differences(mine, other) {
		return fmt.Sprintf("has the recipe's %s: %s, rank 0 has %s", d.Key, d.A, d.B)
	}
	if d := s.Train.unlike(first.Train); d != "" {
		return "has other training images: " + d
	}
	if s.Val != nil {
		if d := s.Val.unlike(*first.Val); d != "" {
			return "has other validation images: " + d
		}
	}
	return ""
}

// deviceName names a device for a person.
func deviceName(id string) string { return cmp.Or(id, "the processor") }

// unlike tells how the images of a rank differ from rank 0's; "" if they don't.
func (s imageSet) unlike(first imageSet) string {
	switch {
	case !slices.Equal(s.Classes, first.Classes):
		return fmt.Sprintf("%s has %s, on rank 0 %s", s.Name, classNames(s.Classes), classNames(first.Classes))
	case s.Images != first.Images:
		return fmt.Sprintf("%s has %d images, on rank 0 %d", s.Name, s.Images, first.Images)
	case s.Fingerprint != first.Fingerprint:
		return fmt.Sprintf("the images of %s have other names, classes or sizes than on rank 0", s.Name)
	case s.Contents != "" && first.Contents != "" && s.Contents != first.Contents:
		return fmt.Sprintf("the images of %s have other contents than on rank 0", s.Name)
	}
	return ""
}

// beginningState is what rank 0's process tells the others of the run's beginning.
type beginningState struct {
	State  *runState // of the checkpoint; nil if the run begins
	Recipe string    // with the rule of initialisation that was applied
	Init   *InitReport
	Stats  preprocess.Stats
	Spec   preprocess.Spec
}

// shareBeginning gives rank 0's beginning to the other processes. It returns the checkpoint to
// go on from, whose tensors [stepper.sync] brings; nil if the run begins.
func (r *run) shareBeginning(ctx context.Context, from *savedRun) (*savedRun, error) {
	if r.o.Processes == nil {
		return from, nil
	}
	b := beginningState{Recipe: string(r.o.Recipe.YAML()), Init: r.init, Stats: r.stats, Spec: r.spec}
	if from != nil {
		b.State = &from.runState
	}
	if err := shareJSON(ctx, r.o.Processes, &b); err != nil || r.first() {
		return from, err
	}
	var err error
	if r.o.Recipe, err = ParseRecipe([]byte(b.Recipe), PaperRecipe()); err != nil {
		return nil, err
	}
	r.init, r.stats, r.spec = b.Init, b.Stats, b.Spec
	r.describe()
	return b.State.saved(), nil
}

// saved is a checkpoint of which another process has the file.
func (s *runState) saved() *savedRun {
	if s == nil {
		return nil
	}
	return &savedRun{runState: *s}
}

// shareState gives the state of rank 0's checkpoint to the other processes.
func (r *run) shareState(ctx context.Context, from *savedRun) (*savedRun, error) {
	if r.o.Processes == nil {
		return from, nil
	}
	var state *runState
	if from != nil {
		state = &from.runState
	}
	if err := shareJSON(ctx, r.o.Processes, &state); err != nil || r.first() {
		return from, err
	}
	return state.saved(), nil
}

// shareJSON sets v to that of rank 0.
func shareJSON(ctx context.Context, g comm.Group, v any) error {
	text, err := json.Marshal(v)
	if err != nil {
		return err
	}
	if text, err = comm.Share(context.WithoutCancel(ctx), g, 0, text); err != nil || g.Rank() == 0 {
		return err
	}
	return json.Unmarshal(text, v)
}

// told is what a process tells the others of its part of a validation.
type told struct {
	Verdicts []verdict
	Bad      []badImage
	Stopped  bool // its context is done
}

// badImage is an unreadable image in a message.
type badImage struct {
	Index int
	Text  string
}

// messages are the unreadable images as a process tells others of them.
func messages(bad []dataset.BadImage) []badImage {
	var all []badImage
	for _, b := range bad {
		all = append(all, badImage{b.Index, b.Err.Error()})
	}
	return all
}

// received are the unreadable images that process rank tells of.
func received(d *dataset.Dataset, rank int, bad []badImage) []dataset.BadImage {
	var all []dataset.BadImage
	for _, b := range bad {
		all = append(all, dataset.BadImage{Name: d.Samples[b.Index].Name, Index: b.Index, Err: fmt.Errorf("rank %d: %s", rank, b.Text)})
	}
	return all
}

// gatherVerdicts returns the verdicts and the unreadable images of all processes, in the order
// of the images.
func (r *run) gatherVerdicts(ctx context.Context, verdicts []verdict, bad []dataset.BadImage) ([]verdict, []dataset.BadImage, error) {
	if r.o.Processes == nil {
		return verdicts, bad, nil
	}
	mine := r.o.Processes.Rank()
	all, err := gather(ctx, r.o.Processes, told{verdicts, messages(bad), ctx.Err() != nil})
	if err != nil {
		return nil, nil, err
	}
	verdicts = nil
	for rank, t := range all {
		if t.Stopped {
			return nil, nil, stopCause(ctx)
		}
		verdicts = append(verdicts, t.Verdicts...)
		if rank != mine { // one's own errors are whole
			bad = append(bad, received(r.o.Val, rank, t.Bad)...)
		}
	}
	slices.SortFunc(verdicts, func(a, b verdict) int { return a.Index - b.Index })
	slices.SortFunc(bad, func(a, b dataset.BadImage) int { return a.Index - b.Index })
	return verdicts, bad, nil
}

// gather returns the values of all processes.
func gather[T any](ctx context.Context, g comm.Group, mine T) ([]T, error) {
	var buf bytes.Buffer
	if err := gob.NewEncoder(&buf).Encode(mine); err != nil {
		return nil, err
	}
	texts, err := comm.Gather(context.WithoutCancel(ctx), g, buf.Bytes())
	if err != nil {
		return nil, err
	}
	all := make([]T, len(texts))
	for i, text := range texts {
		if err := gob.NewDecoder(bytes.NewReader(text)).Decode(&all[i]); err != nil {
			return nil, fmt.Errorf("train: message of rank %d: %w", i, err)
		}
	}
	return all, nil
}

// leave ends a run in all processes together: when one of them ends, a launcher may end the
// others, and the first may still be writing. It returns the error of the run, or that of
// another process.
func (o Options) leave(ctx context.Context, err error) error {
	if o.Processes == nil {
		return err
	}
	if err != nil {
		o.Processes.Abort(err)
		return err
	}
	return o.Processes.Barrier(context.WithoutCancel(ctx))
}
