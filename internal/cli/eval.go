package cli

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"

	"github.com/verydeep/vgg/dataset"
	"github.com/verydeep/vgg/dataset/sample"
	"github.com/verydeep/vgg/eval"
	"github.com/verydeep/vgg/internal/atomicfile"
	"github.com/verydeep/vgg/progress"
	"github.com/verydeep/vgg/report"
)

type evalCommand struct {
	Weights string `arg:"" help:"File of weights, or a configuration's name for its public release, with scales and a protocol behind it if wanted: D.safetensors@256,384,512:dense. With --merge: result files."`
	setFlags
	withFlag
	readFlags
	Protocol    string `default:"centre" placeholder:"NAME" help:"Views of an image: centre, the central crop; dense, the whole image; multi-crop, 5×5 crops and their mirror images; multi-crop-dense, the mean of these two; ten-crop, corners, centre and mirror images (centre)."`
	Scales      []int  `placeholder:"Q" help:"Smallest sides to which images are rescaled, in pixels (as the weights tell)."`
	TrainScale  string `placeholder:"S" help:"Instead of --scales: the paper's three test scales for a training scale S, as 256 (S−32, S, S+32) or 256-512 (both ends and their mean)."`
	SingleScale bool   `help:"With --train-scale: the paper's one test scale, S or the mean of both ends."`
	Flip        bool   `help:"Average the outputs for an image with those for its mirror image. Multi-crop and ten-crop always do."`
	Batch       int    `placeholder:"N" help:"Batch size: crops or images of one size that go through the network together (as many as hold 800,000 pixels, at most 128)."`
	thresholdFlag
	imagesFlags
	ranksFlag
	Memory size `placeholder:"SIZE" help:"Bound of the memory, as 4GiB. An image that needs more is unreadable (the memory of the weights and 2 GiB)."`
	shardFlag
	Out string `placeholder:"FILE" help:"Output: a result file with the posteriors of every image, as soon as they are known. An interrupted run continues from it."`
	verifyFlag
	Merge bool   `help:"Combine the shards of one run, which the arguments name, instead of running."`
	CSV   string `name:"csv" placeholder:"FILE" help:"Write the posteriors of every image as a table."`
	overwriteFlag
	Mistakes   int `default:"10" placeholder:"N" help:"Number of worst mistakes to show (10)."`
	Confusions int `default:"10" placeholder:"N" help:"Number of pairs of classes most often confused to show (10)."`
	modelFlags
	storageFlag
	deviceFlags
	threadsFlag
	jsonFlag

	weights []string // files of weights or, with --merge, result files
}

func (evalCommand) Help() string {
	return `Measures the top-1 and the top-5 error of a network, or of the fusion of several, on labelled images. Every image counts once. Unreadable images are counted separately and listed.

  - Of a folder with train and val, val is measured. Weights that were trained on the built-in photographs need no images.
  - Classes are matched by name.
  - Posteriors are averaged over crops and mirror images, then over scales, protocols and networks.
  - Intervals contain the true error in 95 of 100 cases (Wilson).
  - The calibration error is the mean difference of probability and share of right answers in 15 bins.
  - The worst mistakes are the wrong answers of the highest probability.

Examples:

    vgg eval D photos
    vgg eval D.safetensors --data ILSVRC --train-scale 256 --protocol dense --flip
    vgg eval D.safetensors@256:dense --with E.safetensors@384:dense --data ILSVRC --out fusion.jsonl
    vgg eval --merge 1.jsonl 2.jsonl` + exitHelp
}

// evalResult is the result with the JSON keys of `vgg eval --json`.
type evalResult struct {
	Weights string // of the first network
	*eval.Result
	Memory  int64 // bound of the process's memory, bytes
	PeakRSS int64 // largest resident memory of the process, bytes
}

// MarshalJSON writes the keys of the result, which depend on the images, between its own.
func (r evalResult) MarshalJSON() ([]byte, error) {
	var parts [3][]byte
	for i, part := range []any{
		struct {
			Weights string `json:"weights"`
		}{r.Weights},
		r.Result,
		struct {
			Memory  int64 `json:"memory_bytes,omitempty"`
			PeakRSS int64 `json:"peak_rss_bytes,omitempty"`
		}{r.Memory, r.PeakRSS},
	} {
		var err error
		if parts[i], err = json.Marshal(part); err != nil {
			return nil, err
		}
		parts[i] = parts[i][1 : len(parts[i])-1]
	}
	inner := bytes.Join(slices.DeleteFunc(parts[:], func(p []byte) bool { return len(p) == 0 }), []byte(","))
	return slices.Concat([]byte("{"), inner, []byte("}")), nil
}

func (c *evalCommand) Run(e *environment) error {
	if err := c.arguments(); err != nil {
		return err
	}
	if err := c.check(); err != nil {
		return err
	}
	release, err := c.claimCSV()
	if err != nil {
		return err
	}
	defer release()
	if c.Merge {
		return c.merge(e)
	}
	if e.ctx.Err() != nil {
		return e.ctx.Err()
	}
	shard, err := c.shard(e, &c.Out)
	if err != nil {
		return err
	}
	threads, err := c.apply()
	if err != nil {
		return err
	}
	open, err := c.opener(e, c.FCWeights, threads)
	if err != nil {
		return err
	}
	if err := open.compute(c.deviceFlags); err != nil {
		return err
	}
	nets, err := c.nets(open)
	if err != nil {
		return err
	}
	if err := errors.Join(outside("--out", c.Out, c.Data), outside("--csv", c.CSV, c.Data)); err != nil {
		return err
	}
	first := nets[0].Description
	data, err := c.images(e, c.Data, first.Classes, nets[0].Weights, threads)
	if err == nil {
		data, err = c.adapt(e.stderr, data)
	}
	if err != nil {
		return err
	}
	options, err := c.options()
	if err != nil {
		return err
	}
	options.OnRemark, options.Shard = e.remark, shard
	if options.Thresholds, err = c.thresholds(first.Options, first.Classes, first.Thresholds); err != nil {
		return err
	}
	if !data.MultiLabel {
		options.Thresholds = nil // refused for another reason
	}
	if c.CSV != "" && options.Out == "" {
		scratch, err := c.scratch()
		if err != nil {
			return err
		}
		defer scratch.Abort()
		options.Out = scratch.Temporary()
	}
	r, err := c.evaluate(e, nets, data, options)
	if err != nil {
		return err
	}
	if have, want := len(data.Classes), len(first.Classes); have < want && !data.MultiLabel {
		fmt.Fprintf(e.stderr, "%s has %d of the network's %d classes; an answer of any other is a wrong one\n", data.Name, have, want)
	}
	if c.auto {
		return c.finishShard(e, r, shard)
	}
	if c.CSV != "" {
		if err := writeCSV(e.ctx, c.CSV, options.Out); err != nil {
			return err
		}
	}
	return c.finish(e, r)
}

// finishShard merges the shards of a job array, if this is the last, and prints the whole result;
// else that of the shard. The images that can't be read count in the whole alone.
func (c *evalCommand) finishShard(e *environment, r evalResult, s eval.Shard) error {
	last, err := c.merging(e, s, func(parts []string) error {
		results, err := eval.OpenResults(e.ctx, parts...)
		if err != nil {
			return err
		}
		defer results.Close()
		if err := results.Write(e.ctx, c.whole); err != nil {
			return err
		}
		o := c.lists()
		if results.Header.Data.MultiLabel && c.Threshold != nil {
			if o.Thresholds, err = c.of(results.Header.Classes, results.Header.Thresholds); err != nil {
				return err
			}
		}
		r.Result, err = results.Evaluate(e.ctx, o)
		return err
	})
	if err != nil {
		return err
	}
	if last {
		return c.finish(e, r)
	}
	if err = c.finish(e, r); errors.Is(err, errUnreadable) {
		return nil
	}
	return err
}

// arguments tells the networks or, with --merge, the result files from the images.
func (c *evalCommand) arguments() error {
	c.weights = append([]string{c.Weights}, c.With...)
	if !c.Merge {
		return c.take("")
	}
	c.weights = append(c.weights, c.Sets...)
	c.Sets = nil
	return nil
}

// claimCSV claims the table.
func (c *evalCommand) claimCSV() (release func(), err error) {
	if err := distinct([]output{{"--out", c.Out}, {"--csv", c.CSV}}, nil); err != nil {
		return nil, err
	}
	return c.claim([]output{{"--csv", c.CSV}}, append(namesOf(c.weights), c.Data, c.Out, c.Map, c.Labels)...)
}

// scratch makes an empty result file, beside the table that is made of it. That of a killed
// process goes with the next one.
func (c *evalCommand) scratch() (*atomicfile.File, error) {
	if atomicfile.IsStream(c.CSV) {
		return atomicfile.Create(filepath.Join(os.TempDir(), "vgg-eval.jsonl"))
	}
	return atomicfile.Create(c.CSV)
}

// evaluate runs the networks over the images, and shows cost, progress and speed.
func (c *evalCommand) evaluate(e *environment, nets []eval.Net, data *dataset.Dataset, o eval.Options) (evalResult, error) {
	bound, restore, err := e.announce(nets, data, o)
	defer restore()
	if err != nil {
		return evalResult{}, err
	}
	bar := e.newProgress()
	defer bar.close()
	o.OnImage = bar.stage("evaluating", unitImages)
	r, err := eval.RunNets(e.ctx, nets, data, o)
	bar.close()
	if err != nil {
		return evalResult{}, e.interrupted(err, c.Out)
	}
	if r.ImagesPerSecond > 0 {
		fmt.Fprintf(e.stderr, "%.4g images/s, %s in all, peak memory %s\n", r.ImagesPerSecond, seconds(r.Seconds), report.Bytes(peakRSS()))
	}
	return evalResult{Result: r, Memory: bound, PeakRSS: peakRSS()}, nil
}

// check returns an error for flags that are out of range or contradict one another.
func (c *evalCommand) check() error {
	switch {
	case c.Mistakes < 0:
		return usagef("--mistakes %d, want at least 0", c.Mistakes)
	case c.Confusions < 0:
		return usagef("--confusions %d, want at least 0", c.Confusions)
	case c.TrainScale != "" && c.Scales != nil:
		return usagef("--scales and --train-scale both, want one of them")
	case c.SingleScale && c.TrainScale == "":
		return usagef("--single-scale without --train-scale, want both")
	case c.Merge && (c.Map != "" || c.MultiLabel):
		return usagef("--merge reads result files, want no --map and no --multi-label")
	case c.Merge && (c.Data != "" || c.Shard != "" || c.With != nil):
		return usagef("--merge reads result files, want no --data, --with or --shard")
	case c.Verify && c.Out == "":
		return usagef("--verify without --out, want both: it compares the images with the result file")
	case c.Shard != "" && c.CSV != "":
		return usagef("--csv with --shard, want it with --merge, for all images")
	}
	if err := checkBatch(c.Batch); err != nil {
		return err
	}
	return c.ranksFlag.check()
}

// nets resolves the weights and their settings.
func (c *evalCommand) nets(open *opener) ([]eval.Net, error) {
	common, err := c.setting()
	if err != nil {
		return nil, err
	}
	var nets []eval.Net
	for _, arg := range c.weights {
		spec, err := parseNet(arg)
		if err != nil {
			return nil, err
		}
		path, err := open.path(spec.name)
		if err != nil {
			return nil, err
		}
		s := common
		if spec.scales != nil {
			s.Scales = spec.scales
		}
		if spec.protocol != nil {
			s.Protocol = *spec.protocol
		}
		n, err := open.identified(path, s, c.Out != "" || c.CSV != "")
		if err != nil {
			return nil, err
		}
		if err := checkScales("--scales", n.Description.Options, s.Scales...); err != nil {
			return nil, err
		}
		nets = append(nets, n)
	}
	return nets, nil
}

// setting returns the protocol and scales of networks without their own.
func (c *evalCommand) setting() (eval.Setting, error) {
	protocol, err := eval.ParseProtocol(c.Protocol)
	if err != nil {
		return eval.Setting{}, usageError{err}
	}
	scales := c.Scales
	if c.TrainScale != "" {
		s, err := eval.ParseTrainScale(c.TrainScale)
		if err != nil {
			return eval.Setting{}, usageError{err}
		}
		scales = s.MultiScale()
		if c.SingleScale {
			scales = s.SingleScale()
		}
	}
	return eval.Setting{Protocol: protocol, Scales: scales, Flip: c.Flip}, nil
}

// options returns the options of the run, apart from the networks' settings.
func (c *evalCommand) options() (eval.Options, error) {
	o := c.lists()
	o.Batch, o.Ranks, o.Memory, o.MaxPixels, o.Out = c.Batch, c.Ranks.n, int64(c.Memory), c.pixels(), c.Out
	o.Verify = c.Verify
	return o, nil
}

// lists returns the default options with the lengths of lists from the flags.
func (c *evalCommand) lists() eval.Options {
	length := func(n int) int {
		if n == 0 {
			return -1 // none
		}
		return n
	}
	o := eval.DefaultOptions()
	o.Mistakes, o.Confusions = length(c.Mistakes), length(c.Confusions)
	return o
}

// images returns the images to evaluate on: those that --data names or, without it, the
// embedded photographs if the classes of the weights are theirs. It describes them on
// standard error.
func (f readFlags) images(e *environment, path string, classes []string, weights string, threads int) (*dataset.Dataset, error) {
	if path == "" || path == sampleName {
		_, val, err := sample.Open()
		if err != nil {
			return nil, err
		}
		if path == "" && !slices.Equal(slices.Sorted(slices.Values(classes)), slices.Sorted(slices.Values(val.Classes))) {
			return nil, usagef("--data SET is needed: %s was not trained on the built-in photographs", weights)
		}
		return val, nil
	}
	all, val, err := f.open(e, path)
	if err != nil {
		return nil, err
	}
	used := all
	if val != nil {
		used = val
	}
	summary := dataSummary{train: all, val: val, used: used, leakFlag: f.leakFlag, threads: threads, maxPixels: f.pixels()}
	return used, summary.print(e, e.stderr)
}

// measuredFrom is the least number of images for which the speed is measured beforehand.
const measuredFrom = 64

// announce prints the expected cost of a run, and tunes the garbage collector to the bound
// of memory until restore is called.
func (e *environment) announce(nets []eval.Net, data *dataset.Dataset, o eval.Options) (bound int64, restore func(), err error) {
	restore = func() {}
	if err := e.ctx.Err(); err != nil {
		return 0, restore, err
	}
	w, err := eval.Work(e.ctx, nets, data, o, o.Shard.Images(data.Len()) >= measuredFrom)
	if err != nil {
		return 0, restore, err
	}
	restore = boundHeap(w.Memory)
	fmt.Fprintf(e.stderr, "%s images of %s%s\n", report.Count(int64(w.Images)), data.Name, takes(w))
	return w.Memory, restore, nil
}

// takes writes the expected cost of a number of images.
func takes(w eval.Estimate) string {
	text := ""
	if w.MACs > 0 {
		text += fmt.Sprintf(", %.3g GMAC each", w.MACs/1e9)
	}
	if w.Time > 0 {
		text += fmt.Sprintf(": about %s (%.1f images/s)", report.Duration(w.Time), progress.Rate(float64(w.Images), w.Time))
	}
	return text + fmt.Sprintf("; memory within %s, of which the network takes %s", report.Bytes(w.Memory), report.Bytes(w.Largest))
}

// ranksFlag is shared by the commands that evaluate.
type ranksFlag struct {
	Ranks rankCount `placeholder:"N" help:"Ranks, which work at the same time: passes over one network, each with its share of threads, memory and images. The result doesn't depend on their number (two, if there are threads and memory for them)."`
}

// check returns an error for a number out of range.
func (f ranksFlag) check() error {
	if f.Ranks.mpi {
		return usagef("--ranks mpi, want a number: vgg train alone joins the processes of a launcher; --shard divides other work among them")
	}
	return nil
}

const maxRanks = 1024

// merge reports on result files.
func (c *evalCommand) merge(e *environment) error {
	results, err := eval.OpenResults(e.ctx, c.weights...)
	if err != nil {
		return err
	}
	defer results.Close()
	o := c.lists()
	if h := results.Header; c.Threshold != nil && !h.Data.MultiLabel {
		return usagef("--threshold %s: the results are of images of one class each, want none", c.Threshold[0])
	} else if c.Threshold != nil {
		if o.Thresholds, err = c.of(h.Classes, h.Thresholds); err != nil {
			return err
		}
	}
	if c.Out != "" {
		if err := c.overwriteFlag.check([]output{{"--out", c.Out}}, c.weights...); err != nil {
			return err
		}
		if err := results.Write(e.ctx, c.Out); err != nil {
			return err
		}
	}
	r, err := results.Evaluate(e.ctx, o)
	if err != nil {
		return err
	}
	if c.CSV != "" {
		if err := writeCSV(e.ctx, c.CSV, c.weights...); err != nil {
			return err
		}
	}
	return c.finish(e, evalResult{Result: r})
}

// finish prints the result.
func (c *evalCommand) finish(e *environment, r evalResult) error {
	r.Weights = r.Nets[0].Weights
	var err error
	if c.JSON {
		err = writeJSON(e.stdout, r)
	} else {
		err = printEval(e.stdout, r.Result)
	}
	if err != nil {
		return err
	}
	return unreadable(r.Unreadable, r.Images+r.Unreadable)
}
