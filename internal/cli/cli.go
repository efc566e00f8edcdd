// Package cli is the vgg command line. Each command has a file, which turns flags into
// options and options into library calls.
package cli

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"reflect"
	"runtime"
	"slices"
	"strings"
	"sync"

	"github.com/alecthomas/kong"

	"github.com/verydeep/vgg"
	"github.com/verydeep/vgg/architecture"
	"github.com/verydeep/vgg/comm"
	"github.com/verydeep/vgg/internal/kernel"
	"github.com/verydeep/vgg/internal/lockfile"
	"github.com/verydeep/vgg/internal/remote"
	"github.com/verydeep/vgg/internal/wholefile"
	"github.com/verydeep/vgg/localize"
	"github.com/verydeep/vgg/network"
	"github.com/verydeep/vgg/nn"
	"github.com/verydeep/vgg/preprocess"
	"github.com/verydeep/vgg/report"
	"github.com/verydeep/vgg/resources"
)

// Exit codes, the same for every command.
const (
	exitDone        = 0
	exitError       = 1
	exitUsage       = 2
	exitUnreadable  = 3
	exitTemporary   = 75 // EX_TEMPFAIL of sysexits.h
	exitInterrupted = 130
)

// exitHelp is the end of every command's help.
const exitHelp = `

Exit codes: 0 done, 1 error, 2 usage, 3 done but some images were unreadable, 75 a server didn't answer or another process is writing the file: try again later, 130 interrupted. VGG_CPU=avx512, avx2, neon or go in the environment chooses the instruction set; the default is the best that the processor has.`

type commands struct {
	Summary   summaryCommand   `cmd:"" help:"Show a network's layers, parameters and memory."`
	Train     trainCommand     `cmd:"" help:"Train a network (without arguments, on the built-in photographs)."`
	Teach     teachCommand     `cmd:"" help:"Teach a network the classes of a few pictures, in a minute."`
	Eval      evalCommand      `cmd:"" help:"Measure top-1 and top-5 error on a folder of images."`
	Classify  classifyCommand  `cmd:"" help:"Name the classes of photographs."`
	Features  featuresCommand  `cmd:"" help:"Describe images by a network's activations."`
	Transfer  transferCommand  `cmd:"" help:"Train and measure linear SVMs on descriptors."`
	Localize  localizeCommand  `cmd:"" help:"Find the boxes of objects; train and evaluate networks for it."`
	Index     indexCommand     `cmd:"" help:"Index images for vgg similar, and list near-duplicates."`
	Similar   similarCommand   `cmd:"" help:"Find similar images."`
	Convert   convertCommand   `cmd:"" help:"Convert weights between formats."`
	Inspect   inspectCommand   `cmd:"" help:"Show what a file of weights holds."`
	Pull      pullCommand      `cmd:"" help:"Download and check public releases of weights."`
	Reproduce reproduceCommand `cmd:"" help:"Reproduce a table of the paper."`
	Explain   explainCommand   `cmd:"" help:"Show where in a photograph a network sees its most probable classes."`
	Distance  distanceCommand  `cmd:"" help:"Measure how different two pictures look (LPIPS)."`
	Stylise   styliseCommand   `cmd:"" help:"Paint a picture in the style of another."`
	Compare   compareCommand   `cmd:"" help:"Compare two evaluations image by image."`
	Stats     statsCommand     `cmd:"" help:"Show mean RGB, colour eigenvectors, sizes and class balance of images."`
	Serve     serveCommand     `cmd:"" help:"Serve models over HTTP."`
	Shard     shardCommand     `cmd:"" help:"Pack images into tar shards."`
	Bench     benchCommand     `cmd:"" help:"Measure a network's speed and memory on this machine."`
	Devices   devicesCommand   `cmd:"" help:"List accelerators, and how to install what they need."`
	Version   versionCommand   `cmd:"" help:"Show version and processor (also vgg --version)."`

	Help       helpCommand       `cmd:"" help:"Show the help of a command, or a text on a topic."`
	Completion completionCommand `cmd:"" help:"Print a script that completes command lines in a shell."`
	Man        manCommand        `cmd:"" help:"Write manual pages."`
}

// environment is all that a command uses of the world outside.
type environment struct {
	ctx            context.Context
	stdin          io.Reader
	stdout, stderr io.Writer
	getenv         func(string) string
	grey16         sync.Once // remarked on
	device         device    // once it is taken
}

// remark says on standard error what a reader of the result should know.
func (e *environment) remark(text string) { fmt.Fprintf(e.stderr, "note: %s\n", text) }

// Main runs the command line and returns the exit code. At the end of ctx the command saves
// its results and stops.
func Main(ctx context.Context, args []string, stdin io.Reader, stdout, stderr io.Writer, getenv func(string) string) int {
	out := &checkedWriter{w: stdout}
	seen := &activity{}
	stderr = &sharedWriter{stderr, seen}
	e := &environment{ctx: ctx, stdin: stdin, stdout: &sharedWriter{out, seen}, stderr: stderr, getenv: getenv}
	err := e.run(args, getenv)
	if out.err != nil {
		err = fmt.Errorf("standard output: %w", out.err)
	}
	code := exitCode(ctx, err)
	if code == exitInterrupted && (errors.Is(err, context.Cause(ctx)) || errors.Is(err, ctx.Err())) {
		err = errors.New("interrupted")
	}
	if wholefile.Exhausted(err) {
		err = fmt.Errorf("%w: the process may open no more files; raise its limit (ulimit -n) or lower --threads", err)
	}
	_, shown := errors.AsType[shownError](err)
	_, bad := errors.AsType[unreadableError](err) // the results tell, too
	switch {
	case err == nil || shown:
	case wantsJSON(args) && !bad && out.err == nil:
		_ = writeJSON(out, map[string]string{"error": err.Error()})
	default:
		// The library's root package begins its errors with the program's name.
		fmt.Fprintf(stderr, "vgg: %s\n", strings.TrimPrefix(err.Error(), "vgg: "))
	}
	return code
}

func (e *environment) run(args []string, getenv func(string) string) error {
	if err := kernel.Use(getenv("VGG_CPU")); err != nil {
		return usageError{fmt.Errorf("VGG_CPU: %w", err)}
	}
	switch {
	case len(args) > 0 && args[0] == completeWord:
		return e.complete(args[1:])
	case len(args) > 0 && args[0] == "--version":
		args = append([]string{"version"}, args[1:]...)
	}
	helped, bare, help := false, len(args) == 0, e.stdout
	if bare {
		args, help = []string{"--help"}, e.stderr
	}
	parser, err := newParserOf(grammarOf(args), e, help, func(int) { helped = true })
	if err != nil {
		return err
	}
	command, err := parser.Parse(args)
	switch {
	case helped && bare:
		return usageError{errors.New("no command given")}
	case helped:
		return nil
	case err != nil:
		command := askedFor(err)
		if image := imageFirst(args, err); image != "" {
			return usageError{weightsMissing(command, image)}
		}
		return usageError{fmt.Errorf("%w (see %s --help)", err, command)}
	}
	defer e.breakSilence("vgg " + command.Selected().Path())()
	return command.Run()
}

// askedFor returns the command that a command line with an error begins with, or "vgg".
func askedFor(err error) string {
	if e, ok := errors.AsType[*kong.ParseError](err); ok && e.Context.Selected() != nil {
		return e.Context.Selected().FullPath()
	}
	return "vgg"
}

// imageFirst returns the image that stands in the place of the weights, on a command line that
// lacks images behind it; "" if that is not what is wrong.
func imageFirst(args []string, err error) string {
	if !strings.HasPrefix(err.Error(), `expected "<input>`) {
		return ""
	}
	for _, arg := range args {
		if !strings.HasPrefix(arg, "-") && isImageFile(arg) {
			return arg
		}
	}
	return ""
}

// weightsMissing is the error of an image in the place of the weights of a command.
func weightsMissing(command, image string) error {
	if command == "vgg localize images" {
		return fmt.Errorf("%s: an image in the place of a localisation network, want vgg localize BOXES.safetensors %[1]s; vgg localize train makes such a network of a classification network and images with boxes", quoted(image))
	}
	return fmt.Errorf("%s: an image in the place of weights, want %s WEIGHTS %[1]s, such as %[2]s D %[1]s", quoted(image), command)
}

// newParser returns the parser of the command line. The parser writes help texts to help and
// then calls exit.
func newParser(e *environment, help io.Writer, exit func(code int)) (*kong.Kong, error) {
	return newParserOf(&commands{}, e, help, exit)
}

// newParserOf is newParser for a struct of commands.
func newParserOf(grammar any, e *environment, help io.Writer, exit func(code int)) (*kong.Kong, error) {
	return kong.New(grammar,
		kong.Name("vgg"),
		kong.Description("The VGG networks of Simonyan & Zisserman (ICLR 2015): train, evaluate, classify.\n\nvgg COMMAND --help shows a command, vgg help TOPIC a text on "+topicList()+"."+exitHelp),
		kong.Writers(help, e.stderr),
		kong.Exit(exit),
		kong.KindMapper(reflect.String, kong.MapperFunc(asGiven)),
		kong.ConfigureHelp(kong.HelpOptions{Compact: true, WrapUpperBound: 90}),
		kong.Vars{
			"configs": strings.Join(architecture.Names(), ", "), "merge": fmt.Sprint(localize.MergeThreshold), "boxrule": localize.DefaultRule().String(),
			"maxpixels": fmt.Sprint(preprocess.DefaultMaxPixels), "topics": topicList(), "photo": somePhoto,
		},
		trainingDefaults(),
		kong.PostBuild(serveEnvironment),
		kong.Bind(e),
	)
}

// asGiven decodes a string of the command line byte by byte. Kong's own decoder goes by way of
// JSON, which has no names of files that aren't UTF-8.
func asGiven(ctx *kong.DecodeContext, target reflect.Value) error {
	t, err := ctx.Scan.PopValue("string")
	if err != nil {
		return err
	}
	target.SetString(fmt.Sprint(t.Value))
	return nil
}

// usageError is an error in the command line.
type usageError struct{ error }

func (u usageError) Unwrap() error { return u.error }

func usagef(format string, args ...any) error {
	return usageError{fmt.Errorf(format, args...)}
}

// interruptedError is the error of a command that was interrupted, in whichever process.
type interruptedError struct{ error }

// shownError is an error that the command's output tells already.
type shownError struct{ error }

// errUnreadable is the error of a command that did its work without some images.
var errUnreadable = errors.New("unreadable")

// unreadable is errUnreadable with numbers, or nil if all images could be read.
func unreadable(bad, total int) error {
	if bad == 0 {
		return nil
	}
	return unreadableError{bad, total}
}

// forEach calls do for every image. do returns whether it is unreadable, which is counted, or
// an error, which ends the command.
func (e *environment) forEach(pictures []picture, do func(picture) (bad bool, err error)) error {
	count := 0
	for _, p := range pictures {
		if e.ctx.Err() != nil {
			return e.ctx.Err()
		}
		bad, err := do(p)
		if err != nil {
			return err
		}
		if bad {
			count++
		}
	}
	return unreadable(count, len(pictures))
}

// stops reports whether an error of an image is not the image's own: the command was
// interrupted, the process can't open any file, the network gives no finite scores, or the
// device that it computes on failed.
func (e *environment) stops(err error) bool {
	return err != nil && e.ctx.Err() != nil || wholefile.Exhausted(err) || remote.Failed(err) || errors.Is(err, vgg.ErrNotFinite) || errors.Is(err, nn.ErrDevice)
}

// printImage prints the result of an image file: a line of JSON or a table. failed is why the
// image is unreadable, or "".
func (e *environment) printImage(asJSON bool, line any, file, failed string, table func() *report.Table) error {
	if asJSON {
		return writeJSON(e.stdout, line)
	}
	if failed != "" {
		_, err := fmt.Fprintf(e.stderr, "%s: %s\n\n", file, failed)
		return err
	}
	_, err := fmt.Fprintln(e.stdout, table())
	return err
}

type unreadableError struct{ bad, total int }

func (u unreadableError) Error() string {
	switch {
	case u.bad < u.total:
	case u.total == 1:
		return "the image could not be read"
	default:
		return fmt.Sprintf("none of the %d images could be read", u.total)
	}
	return fmt.Sprintf("%d of %d images could not be read", u.bad, u.total)
}

// Is reports whether the command did some work: without any image that could be read, it
// failed.
func (u unreadableError) Is(target error) bool { return target == errUnreadable && u.bad < u.total }

func exitCode(ctx context.Context, err error) int {
	var usage usageError
	switch {
	case err == nil:
		return exitDone
	case ctx.Err() != nil || errors.As(err, new(interruptedError)):
		return exitInterrupted
	case errors.Is(err, errUnreadable):
		return exitUnreadable
	case errors.As(err, &usage):
		return exitUsage
	case temporary(err):
		return exitTemporary
	}
	return exitError
}

// temporary reports whether the same command may succeed later, with nothing done.
func temporary(err error) bool {
	_, held := errors.AsType[*lockfile.HeldError](err)
	return held || remote.Temporary(err) || errors.Is(err, comm.ErrTemporary)
}

// interrupted returns the error of a run that makes out; nil stays nil. After an interruption
// it tells how to continue, wherever what is done lies.
func (e *environment) interrupted(err error, out string) error {
	if err != nil && out != "" && e.ctx.Err() != nil {
		return fmt.Errorf("interrupted; the same command continues, and completes %s", out)
	}
	return err
}

// human returns the stream for text that accompanies results: standard error if the results
// are JSON.
func (e *environment) human(asJSON bool) io.Writer {
	if asJSON {
		return e.stderr
	}
	return e.stdout
}

// wantsJSON looks for --json itself, because the error of a command line that can't be
// parsed is printed as JSON too.
func wantsJSON(args []string) bool {
	if end := slices.Index(args, "--"); end >= 0 {
		args = args[:end]
	}
	return slices.Contains(args, "--json")
}

func writeJSON(w io.Writer, v any) error {
	enc := json.NewEncoder(w)
	enc.SetEscapeHTML(false)
	return enc.Encode(v)
}

// checkedWriter keeps the first error, so that the end of the command reports a full disk.
type checkedWriter struct {
	w   io.Writer
	err error
}

func (c *checkedWriter) Write(p []byte) (int, error) {
	if c.err != nil {
		return 0, c.err
	}
	n, err := c.w.Write(p)
	c.err = err
	return n, err
}

// jsonFlag is shared by all commands.
type jsonFlag struct {
	JSON bool `name:"json" help:"Print results and errors as JSON on standard output, and nothing else."`
}

// maxBatch bounds batches from the command line, so that no size overflows.
const maxBatch = 1 << 16

// checkBatch returns an error for a batch out of range; 0 is the default.
func checkBatch(n int) error {
	if n < 0 || n > maxBatch {
		return usagef("--batch %d, want 1 to %d", n, maxBatch)
	}
	return nil
}

// checkScales returns an error for a scale below the network's input side.
func checkScales(flag string, o network.Options, scales ...int) error {
	for _, q := range scales {
		if q < o.Input {
			return usagef("%s %d, want at least the network's input side %d", flag, q, o.Input)
		}
	}
	return nil
}

// storageFlag is shared by all commands that infer.
type storageFlag struct {
	FCWeights nn.Storage `name:"fc-weights" default:"f32" enum:"f32,f16,bf16" placeholder:"FORMAT" help:"Format of the fully connected layers' weights in memory: f32, f16 or bf16. 16 bits need half the memory and time, and round the weights (f32)."`
}

// pixelsFlag is shared by the commands that decode images.
type pixelsFlag struct {
	MaxPixels uint32 `placeholder:"N" help:"Most pixels of an image. A larger one is unreadable (${maxpixels})."`
}

// memoryFlag is shared by the commands that decode many images at once, without a bound of their
// own.
type memoryFlag struct {
	Memory size `placeholder:"SIZE" help:"Bound of the memory, as 4GiB. A quarter is for images that are being decoded, and one that needs more is unreadable (a quarter of the machine's memory, at most 5 GiB, for decoding)."`
}

// room returns the room of the images that are being decoded.
func (f memoryFlag) room() *resources.Room {
	return resources.Resources{Memory: int64(f.Memory)}.DecodeRoom()
}

// bound bounds the heap until restore is called.
func (f memoryFlag) bound() (restore func()) {
	if f.Memory == 0 {
		return func() {}
	}
	return boundHeap(int64(f.Memory))
}

// pixels returns the limit for the library's options.
func (f pixelsFlag) pixels() int { return int(f.MaxPixels) }

// threadsFlag is shared by all commands that compute.
type threadsFlag struct {
	Threads int `placeholder:"N" help:"Number of processor threads (all that the process may use)."`
}

// apply limits the process to the number of threads of the flag, and returns the number in
// use.
func (f threadsFlag) apply() (int, error) {
	const most = 1024
	if f.Threads < 0 || f.Threads > most {
		return 0, usagef("--threads %d, want 1 to %d", f.Threads, most)
	}
	threads := f.Threads
	if threads == 0 {
		threads = kernel.Threads()
	}
	runtime.GOMAXPROCS(threads)
	return threads, nil
}

// verifyFlag is shared by the commands that go on from an earlier run of theirs.
type verifyFlag struct {
	Verify bool `help:"Compare the contents of all images with those of the earlier run that goes on. Without it, the contents of images whose time of change is another."`
}
