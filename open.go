package vgg

import (
	"context"
	"fmt"
	"io"
	"io/fs"

	"github.com/verydeep/vgg/internal/interchange"
	"github.com/verydeep/vgg/nn"
	"github.com/verydeep/vgg/preprocess"
	"github.com/verydeep/vgg/progress"
	"github.com/verydeep/vgg/weights"
)

// AmbiguousError is the error of opening weights that fit several networks, which give
// other numbers. [OpenOptions].Head and Input say which it is.
type AmbiguousError = interchange.AmbiguousError

// OpenOptions gives what a file of weights doesn't tell, and chooses how the weights are
// kept in memory. The zero value takes everything from the file.
type OpenOptions struct {
	// FCStorage is the format of the fully connected layers' weights in memory; see
	// [network.Options]. Empty: [nn.F32].
	//
	// [nn.InFile] leaves them in the file, which stays open as long as the model is used and
	// must not be written to: a pass after that is [weights.ErrChanged], as the size and the
	// time of modification of a path tell; of a reader or an [fs.FS] nothing is known. Where
	// the file's tensors are compressed or in another order, they are held in memory in 32 bits.
	FCStorage nn.Storage
	// Config is the configuration, for files whose tensors don't tell it. Weights that
	// contradict it are an error.
	Config string
	// Preprocess is the preprocessing of the network's input: a name of
	// [preprocess.Preset], "unit" (pixel/255), or a [preprocess.Spec] as a JSON object.
	// Empty: that of the file, or of its release. If neither is known, opening fails.
	//
	// For a file from elsewhere, "caffe" and "keras" also mean that its first convolution
	// takes BGR; its channels are swapped while it is read. A file that [Model.Save] or
	// [Model.Export] wrote is in RGB whatever its preprocessing.
	Preprocess string
	// Head is the network's head, in the language of package architecture ("GAP FC"), for
	// files whose tensors don't tell it. A file that tells another is an error.
	Head string
	// Input is the side of the network's input in pixels, for files that don't tell it; 0
	// where the caller doesn't know it. A file that contradicts it is an error.
	Input int
	// Fit, unless nil, is Preprocess.Fit in place of what the file tells. Squash makes
	// Preprocess.Resize the side of the crop, unless the file says squash too or Preprocess
	// names a "resize".
	Fit *preprocess.Fit
	// Orient, unless nil, is Preprocess.Orient in place of what the file tells. A file that
	// tells nothing, from elsewhere or of an earlier version, is [preprocess.Upright].
	Orient *preprocess.Orient
	// Classes are the names of the classes, by index. Nil: those of the file; ImageNet's
	// for a release that was trained on it; otherwise the indices, "0", "1", ….
	Classes []string
	// Headless leaves the fully connected layers in the file: they are neither read nor
	// built.
	Headless bool
	// Prefix takes the tensors below a prefix of names, such as "backbone.", and leaves out
	// the rest of the file.
	Prefix string
	// Ignore leaves out the tensors whose names match one of these patterns, in which *
	// stands for any text and ? for any character.
	Ignore []string
	// Localiser asks for a localisation network, and makes any other an error. Without it,
	// a localisation network is an error, unless Headless.
	Localiser bool
	// Described is told what the file was taken for, before its weights are read.
	Described func(*Description)
	// Progress is told the values that are read and those in all.
	Progress progress.Func
}

// Open reads a model from a file of weights in any format that package weights reads: one
// that [Model.Save] wrote, or one from elsewhere, whose configuration, width, classes and
// input side are inferred from its tensors. The path may be that of a folder, as timm and
// Hugging Face's tools write it: the file of weights in it is read, with the preprocessing
// and the classes that the files beside it describe. Errors name the file and each tensor that
// doesn't fit. The end of ctx ends the reading with its cause.
func Open(ctx context.Context, path string, o OpenOptions) (*Model, error) {
	f, err := weights.Open(ctx, path)
	if err != nil {
		return nil, err
	}
	return openFile(ctx, f, o)
}

// OpenReader is [Open] for a file of size bytes that r holds: in memory, in an object
// store, in an archive. The name stands for it in errors, and helps to recognise
// releases.
func OpenReader(ctx context.Context, name string, r io.ReaderAt, size int64, o OpenOptions) (*Model, error) {
	f, err := weights.OpenReader(ctx, name, r, size)
	if err != nil {
		return nil, err
	}
	return openFile(ctx, f, o)
}

// OpenFS is [Open] for a file in a file system, such as an embed.FS.
func OpenFS(ctx context.Context, fsys fs.FS, name string, o OpenOptions) (*Model, error) {
	f, err := weights.OpenFS(ctx, fsys, name)
	if err != nil {
		return nil, err
	}
	return openFile(ctx, f, o)
}

// openFile reads the model of a file and closes it, unless weights stay there. Then the file
// is closed when nothing refers to it any more, as package os closes files.
func openFile(ctx context.Context, f *weights.File, o OpenOptions) (m *Model, err error) {
	defer func() {
		if err != nil || m.Net.Options().FCStorage != nn.InFile {
			f.Close()
		}
	}()
	d, err := Identify(ctx, f, o)
	if err != nil {
		return nil, err
	}
	switch {
	case o.Localiser && d.Localisation == nil:
		return nil, fmt.Errorf("vgg: %s: %w: vgg localize train makes one of it", f.Name(), ErrNotLocaliser)
	case !o.Localiser && !o.Headless && d.Localisation != nil:
		return nil, fmt.Errorf("vgg: %s: %w", f.Name(), d.Localisation.refusal(len(d.Classes)))
	}
	if o.Described != nil {
		o.Described(d)
	}
	return d.Open(ctx)
}
