package train

import (
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"strings"
	"time"

	"github.com/verydeep/vgg"
	"github.com/verydeep/vgg/comm"
	"github.com/verydeep/vgg/dataset"
	"github.com/verydeep/vgg/progress"
	"github.com/verydeep/vgg/resources"
)

// Options chooses what to train, on which images and into which directory. A field that
// is zero takes the value of [DefaultOptions]; what a run can do without is switched off
// by a constant: [KeepNone], [EpochsOnly], [NoneBad], [NoCache].
type Options struct {
	Recipe Recipe
	Task   Task             // what is learnt; nil: the classes of the images
	Train  *dataset.Dataset // training images
	Val    *dataset.Dataset // validation images; nil: there are none, and the last weights count as the best
	Dir    string           // run directory; made, and must be empty if it exists

	// Initial gives what the file of Recipe.InitFrom doesn't tell, and chooses what is read of
	// it. A run that resumes doesn't read the file.
	Initial vgg.OpenOptions

	// Resources: Batch is a micro-batch, the most images of a group that a rank computes at a
	// time; 0: a whole group, or what fits into Memory. Ranks share the recipe's groups, whose
	// number must be a multiple of theirs; 0: 1. A Memory of 0 bounds nothing.
	resources.Resources
	// Processes are those that train together, this one among them, as of comm/mpi; nil: this one
	// alone. Each has Ranks ranks, and all ranks share the groups. All call [Run] with the same
	// options and images; each reads its part of the images. Rank 0's process alone reads
	// Recipe.InitFrom and reads and writes Dir, and reports to OnSurvey, OnStart, OnIteration,
	// OnEpoch and OnRescue. The group is of no more use when Run has returned an error.
	Processes comm.Group
	// CacheBytes is the most bytes of decoded images kept in memory, for each of Train and Val. What
	// frozen layers make of them counts as such, but may take an eighth of the machine's memory if
	// Memory is 0 and CacheBytes isn't less than the default ([FrontBytes]).
	CacheBytes int64

	// Device, if it isn't nil, trains and validates instead of the CPU. Ranks are its devices,
	// and Memory is the memory of each that a pass may take. A run may go on with another device
	// than it began with, or with none, to rounding.
	Device Device

	// A checkpoint is written at the end of every epoch, when CheckpointEvery has passed
	// since the last one, and when the context is done. The newest Keep checkpoints stay.
	CheckpointEvery time.Duration
	Keep            int
	// Resume continues from the newest intact checkpoint in Dir, to the same bits as if the
	// run had not stopped. If there is no checkpoint yet, the run starts from the beginning.
	Resume bool
	// Verify keeps a hash of the contents of all images in the checkpoints, for which it reads all
	// of them at the beginning, and compares them when the run resumes: other contents are an
	// [*OtherRunError]. Without it, images with another time of change are a warning.
	Verify bool
	Note   map[string]string // kept in every checkpoint
	Choice *Choice           // by which Recipe was chosen, for the log; nil: by somebody
	// NoRescue makes a training that diverges an error at once, as does KeepNone. Without it
	// the run goes back and lowers its learning rate.
	NoRescue bool

	// MaxBad is the greatest share of the images, of training and validation together, that
	// may be unreadable, 0 to 1. The run stops with a [*TooManyBadError] when there are more;
	// before the first iteration if that many training images are found in their survey.
	MaxBad   float64
	StatsDir string // folder for the images' statistics where the images' own folder can't be written to; "": none

	Log *slog.Logger // nil: nothing is logged
	// OnSurvey hears of the training images whose colours have been measured. OnStart,
	// OnIteration, OnEpoch and OnRescue hear of the run. All are called by the goroutine of Run, but
	// for OnSurvey, and may be nil.
	OnSurvey    progress.Func
	OnStart     func(Start)
	OnIteration func(Iteration)
	OnEpoch     func(Epoch)
	OnRescue    func(Rescue) // what was reported after iteration Rescue.Back no longer counts
}

// Values that switch off a part of a run.
const (
	KeepNone   = -1                // Options.Keep: no checkpoint is written
	EpochsOnly = time.Duration(-1) // Options.CheckpointEvery: no checkpoint between the ends of epochs
	NoneBad    = -1.0              // Options.MaxBad: the first unreadable image stops the run
	NoCache    = dataset.NoCache   // Options.CacheBytes: no decoded image is kept
)

// DefaultOptions returns the options of the command line: three checkpoints are kept and
// one is written every ten minutes, one image in a hundred may be unreadable, and 512 MiB of
// decoded images are kept for each of training and validation. The caller sets Recipe, Train,
// Val and Dir.
func DefaultOptions() Options {
	return Options{Resources: resources.Resources{Ranks: 1}, CacheBytes: dataset.DefaultCacheBytes, CheckpointEvery: 10 * time.Minute, Keep: 3, MaxBad: 0.01}
}

// withDefaults returns the options with the defaults in place of zeros, and zeros in place
// of the values that switch off.
func (o Options) withDefaults() Options {
	defaults := DefaultOptions()
	resolve(&o.Ranks, defaults.Ranks, 0)
	resolve(&o.Keep, defaults.Keep, KeepNone)
	resolve(&o.CheckpointEvery, defaults.CheckpointEvery, EpochsOnly)
	resolve(&o.MaxBad, defaults.MaxBad, NoneBad)
	resolve(&o.CacheBytes, defaults.CacheBytes, NoCache)
	if o.Log == nil {
		o.Log = slog.New(slog.DiscardHandler)
	}
	return o
}

// resolve replaces zero by the default and off by zero.
func resolve[T int | int64 | float64 | time.Duration](v *T, byDefault, off T) {
	switch *v {
	case 0:
		*v = byDefault
	case off:
		*v = 0
	}
}

// validate reports the first option with which no run is possible.
func (o Options) validate() error {
	if o.Recipe.Config == "" {
		return errors.New("train: no recipe with a configuration: set Options.Recipe, to PaperRecipe() or SampleRecipe() for instance")
	}
	if err := o.Recipe.Validate(); err != nil {
		return err
	}
	if err := o.Resources.Validate("train"); err != nil {
		return err
	}
	switch {
	case o.Train == nil:
		return errors.New("train: no training images: set Options.Train")
	case o.Train.Len() == 0:
		return fmt.Errorf("train: %s: no images to train on, want at least one", o.Train.Name)
	case o.Dir == "":
		return errors.New("train: no run directory: set Options.Dir")
	case o.Memory > 0 && o.Batch > 0:
		return fmt.Errorf("train: memory of %d bytes with micro-batches of %d: want one of them", o.Memory, o.Batch)
	case o.CacheBytes < 0 && o.CacheBytes != NoCache:
		return fmt.Errorf("train: %d bytes of decoded images to keep, want 0 or more, or NoCache", o.CacheBytes)
	case o.Device != nil && o.Recipe.Exchange == Rounded:
		return errors.New("train: recipe: exchange: bf16 on a device, whose sums are float32: want float32 or factors, or no device")
	case o.Keep < 0 && o.Keep != KeepNone:
		return fmt.Errorf("train: %d checkpoints to keep, want 0 or more, or KeepNone", o.Keep)
	case !(o.MaxBad >= 0 && o.MaxBad <= 1) && o.MaxBad != NoneBad:
		return fmt.Errorf("train: a share of %v of unreadable images, want 0 to 1, or NoneBad", o.MaxBad)
	case o.CheckpointEvery < 0 && o.CheckpointEvery != EpochsOnly:
		return fmt.Errorf("train: a checkpoint every %v, want 0 or more, or EpochsOnly", o.CheckpointEvery)
	case o.Val != nil && o.Val.MultiLabel != o.Train.MultiLabel:
		return fmt.Errorf("train: %s and %s: several labels an image in one alone, want the same in both", o.Train.Name, o.Val.Name)
	case o.Val != nil && !slices.Equal(o.Val.Classes, o.Train.Classes):
		return fmt.Errorf("train: %s: validation images of %s, want those of the training images, %s", o.Val.Name, classNames(o.Val.Classes), classNames(o.Train.Classes))
	}
	return o.validateTask()
}

// classNames lists the first classes, with their number.
func classNames(names []string) string {
	const most = 20
	n := len(names)
	if n > most {
		names = append(names[:most:most], "…")
	}
	return fmt.Sprintf("%d classes (%s)", n, strings.Join(names, ", "))
}
