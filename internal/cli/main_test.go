package cli_test

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"image"
	"image/color"
	"image/gif"
	"image/jpeg"
	"image/png"
	"math"
	"math/rand/v2"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"testing"

	"github.com/rogpeppe/go-internal/testscript"

	"github.com/verydeep/vgg"
	"github.com/verydeep/vgg/internal/cli"
	"github.com/verydeep/vgg/internal/lockfile"
	"github.com/verydeep/vgg/internal/vggtest"
	"github.com/verydeep/vgg/internal/vggtest/tiny"
	"github.com/verydeep/vgg/network"
	"github.com/verydeep/vgg/tensor"
	"github.com/verydeep/vgg/weights"
)

var update = flag.Bool("update", false, "rewrite the wanted output in testdata/script")

func TestMain(m *testing.M) {
	testscript.Main(vggtest.Suite(m), map[string]func(){
		"vgg": func() {
			os.Exit(cli.Main(context.Background(), os.Args[1:], os.Stdin, os.Stdout, os.Stderr, os.Getenv))
		},
	})
}

// TestScripts runs every command, with right and wrong arguments. A script finds
// colours.safetensors, weights that tell red, green and blue pictures apart, and in $FOREIGN,
// $MODULES, $CAFFE and the like the files of tools/oracle/foreign.py, modules.py and the others.
func TestScripts(t *testing.T) {
	testscript.Run(t, testscript.Params{
		Dir:                 "testdata/script",
		UpdateScripts:       *update,
		RequireExplicitExec: true,
		Setup: func(e *testscript.Env) error {
			for name, dir := range map[string]string{
				"FOREIGN": "../../testdata/foreign", "MODULES": "../../testdata/modules", "CAFFE": "../../weights/testdata/caffe",
				"KERAS": "../../weights/testdata/keras", "MAT": "../../weights/testdata/mat", "ONNX": "../../weights/testdata/onnx",
			} {
				e.Setenv(name, vggtest.Fixture(t, dir))
			}
			e.Setenv("PLUGIN", plugin)
			return tiny.Colours(3).Save(context.Background(), filepath.Join(e.WorkDir, "colours.safetensors"))
		},
		Condition: func(name string) (bool, error) {
			switch name {
			case "accelerator": // in $PLUGIN
				return plugin != "", nil
			case "accel": // the program can use some
				return hasAccelerators, nil
			}
			return false, fmt.Errorf("no condition %q", name)
		},
		Cmds: map[string]func(ts *testscript.TestScript, neg bool, args []string){
			"corrupt":  corrupt,
			"exits":    exits,
			"follow":   follow,
			"held":     held,
			"json":     checkJSON,
			"lines":    countLines,
			"near":     near,
			"pairs":    pairs,
			"picture":  picture,
			"serve":    serve,
			"tensors":  sameTensors,
			"truncate": truncate,
			"weights":  writeWeights,
		},
	})
}

// exits CODE PROGRAM ARG…: runs a program that must exit with that code.
func exits(ts *testscript.TestScript, neg bool, args []string) {
	want, err := strconv.Atoi(args[0])
	ts.Check(err)
	got := 0
	if err := ts.Exec(args[1], args[2:]...); err != nil {
		exit, ok := errors.AsType[*exec.ExitError](err)
		if !ok {
			ts.Fatalf("%v", err)
		}
		got = exit.ExitCode()
	}
	if got != want || neg {
		ts.Fatalf("exit code %d, want %d", got, want)
	}
}

// follow N: standard output ends with N commands that come next, and each does its work when it
// is pasted into a shell as it is.
func follow(ts *testscript.TestScript, neg bool, args []string) {
	want, err := strconv.Atoi(args[0])
	ts.Check(err)
	_, next, _ := strings.Cut(ts.ReadFile("stdout"), "Next: ")
	var commands []string
	for line := range strings.Lines(next) {
		commands = append(commands, strings.TrimSpace(line))
	}
	if len(commands) != want || neg {
		ts.Fatalf("%d commands come next, want %d: %q", len(commands), want, commands)
	}
	for _, command := range commands {
		ts.Check(ts.Exec("sh", "-e", "-c", command))
	}
}

// held FILE PROGRAM ARG…: while this process writes the file, or one of the pattern, the
// program must be refused and told this process. What ends in /lock or /INCOMPLETE is
// locked itself, anything else by a lock beside it.
func held(ts *testscript.TestScript, neg bool, args []string) {
	path := ts.MkAbs(args[0])
	if found, _ := filepath.Glob(path); len(found) > 0 {
		path = found[0]
	}
	lock := lockfile.Beside
	if base := filepath.Base(path); base == "lock" || base == "INCOMPLETE" {
		lock = lockfile.Take
	}
	release, err := lock(path)
	ts.Check(err)
	defer release()
	exits(ts, neg, append([]string{"75"}, args[1:]...))
	want := fmt.Sprintf("another run is writing it (process %d): wait until it ends, or choose another name", os.Getpid())
	if stderr := ts.ReadFile("stderr"); !strings.Contains(stderr, want) {
		ts.Fatalf("standard error is %q, want %q in it", stderr, want)
	}
}

// json KEY…: every line of standard output is a JSON object, and each has all the keys
// and no others.
func checkJSON(ts *testscript.TestScript, neg bool, keys []string) {
	lines := strings.Split(strings.TrimSuffix(ts.ReadFile("stdout"), "\n"), "\n")
	for _, line := range lines {
		var object map[string]any
		if err := json.Unmarshal([]byte(line), &object); err != nil {
			ts.Fatalf("%q is not a JSON object: %v", line, err)
		}
		for _, k := range keys {
			if _, ok := object[k]; !ok {
				ts.Fatalf("no key %q in %s", k, line)
			}
			delete(object, k)
		}
		for k := range object {
			ts.Fatalf("key %q in %s", k, line)
		}
	}
	if neg {
		ts.Fatalf("json can't be negated")
	}
}

// lines N FILE: the file has that many lines.
func countLines(ts *testscript.TestScript, neg bool, args []string) {
	want, err := strconv.Atoi(args[0])
	ts.Check(err)
	if got := strings.Count(ts.ReadFile(args[1]), "\n"); got != want || neg {
		ts.Fatalf("%s: %d lines, want %d", args[1], got, want)
	}
}

// serve DIR: serves a folder over HTTP until the script ends, as the mirror that releases
// are downloaded from.
func serve(ts *testscript.TestScript, _ bool, args []string) {
	s := httptest.NewServer(http.FileServer(http.Dir(ts.MkAbs(args[0]))))
	ts.Defer(s.Close)
	ts.Setenv("VGG_MIRROR", s.URL)
}

// picture FILE COLOUR W H [COUNT]: writes a noisy picture that is mostly of one colour
// (red, green, blue, or framed: red with a broad blue frame), or COUNT of them, whose
// names have FILE's * replaced.
func picture(ts *testscript.TestScript, _ bool, args []string) {
	w, err := strconv.Atoi(args[2])
	ts.Check(err)
	h, err := strconv.Atoi(args[3])
	ts.Check(err)
	count := 1
	if len(args) > 4 {
		count, err = strconv.Atoi(args[4])
		ts.Check(err)
	}
	for i := range count {
		file := ts.MkAbs(strings.ReplaceAll(args[0], "*", strconv.Itoa(i)))
		ts.Check(os.MkdirAll(filepath.Dir(file), 0o777))
		ts.Check(os.WriteFile(file, encode(ts, filepath.Ext(file), args[1], w, h, uint64(i)), 0o666))
	}
}

func encode(ts *testscript.TestScript, format, colour string, w, h int, seed uint64) []byte {
	rng := rand.New(rand.NewPCG(seed, 1))
	im := image.NewRGBA(image.Rect(0, 0, w, h))
	for y := range h {
		for x := range w {
			c := [3]uint8{uint8(rng.IntN(30)), uint8(rng.IntN(30)), uint8(rng.IntN(30))}
			main := map[string]int{"red": 0, "green": 1, "blue": 2, "framed": 2}[colour]
			if colour == "framed" && abs(2*x-w) < w/2 && abs(2*y-h) < h/2 {
				main = 0
			}
			c[main] = 255
			c[(main+1)%3] += 60 // so that no two classes are equally probable
			im.SetRGBA(x, y, color.RGBA{c[0], c[1], c[2], 255})
		}
	}
	var b bytes.Buffer
	switch format {
	case ".png":
		ts.Check(png.Encode(&b, im))
	case ".jpg":
		ts.Check(jpeg.Encode(&b, im, nil))
	case ".gif":
		ts.Check(gif.Encode(&b, im, nil))
	default:
		ts.Fatalf("no encoder for %s", format)
	}
	return b.Bytes()
}

// truncate N FILE: keeps the first N bytes.
func truncate(ts *testscript.TestScript, _ bool, args []string) {
	n, err := strconv.ParseInt(args[0], 10, 64)
	ts.Check(err)
	ts.Check(os.Truncate(ts.MkAbs(args[1]), n))
}

func abs(n int) int { return max(n, -n) }

// corrupt FILE: overwrites some bytes in its middle.
func corrupt(ts *testscript.TestScript, _ bool, args []string) {
	data, err := os.ReadFile(ts.MkAbs(args[0]))
	ts.Check(err)
	copy(data[len(data)/2:], "\x00these are not the bytes that were written here\xff")
	ts.Check(os.WriteFile(ts.MkAbs(args[0]), data, 0o666))
}

// weights KIND FILE: writes a file of weights that is wrong in some way, or a localisation
// network (boxes), or one of random weights for the classes a to e (random, random-boxes).
func writeWeights(ts *testscript.TestScript, _ bool, args []string) {
	if m, ok := map[string]func() *vgg.Model{"random": func() *vgg.Model { return tiny.Random(24, 3) }, "random-boxes": func() *vgg.Model { return tiny.Boxes(3) }}[args[0]]; ok {
		ts.Check(m().Save(context.Background(), ts.MkAbs(args[1])))
		return
	}
	if value, ok := map[string]float64{"nan": math.NaN(), "infinity": math.Inf(1), "nan-boxes": math.NaN(), "boxes": 1}[args[0]]; ok {
		ts.Check(withValue(value, strings.HasSuffix(args[0], "boxes")).Save(context.Background(), ts.MkAbs(args[1])))
		return
	}
	raw, err := os.ReadFile(ts.MkAbs("colours.safetensors"))
	ts.Check(err)
	replace := func(old, replacement string) {
		if len(old) != len(replacement) || !bytes.Contains(raw, []byte(old)) {
			ts.Fatalf("can't put %q in place of %q", replacement, old)
		}
		raw = bytes.Replace(raw, []byte(old), []byte(replacement), 1)
	}
	switch args[0] {
	case "header-of-2^60-bytes":
		copy(raw, []byte{0, 0, 0, 0, 0, 0, 0, 0x10})
	case "other-configuration":
		replace(`\"config\":\"A\"`, `\"config\":\"B\"`)
	case "other-class-count":
		replace(`\"classes\":3`, `\"classes\":4`)
	case "no-metadata":
		replace(`vgg.options`, `other.words`)
	case "bare": // without metadata, as others write them
		bare(ts, ts.MkAbs(args[1]))
		return
	case "auxiliary": // the same with the tensor of something else
		bare(ts, ts.MkAbs(args[1]), weights.FromTensor("aux.0.conv.weight", tensor.New(5, 7)))
		return
	default:
		ts.Fatalf("no weights are wrong like that: %s", args[0])
	}
	ts.Check(os.WriteFile(ts.MkAbs(args[1]), raw, 0o666))
}

// withValue returns the network of colours.safetensors with a value in its first weights, as a
// localisation network if wanted.
func withValue(value float64, boxes bool) *vgg.Model {
	m := tiny.Colours(3)
	if boxes {
		o := m.Net.Options()
		o.Classes = 4
		net, err := network.New(o)
		if err != nil {
			panic(err)
		}
		m.Net = net
		m.Localisation = &vgg.Localisation{Regression: vgg.SCR, MeanBox: [4]float64{0, 0, 1, 1}, Rule: "whole:0.5", ClassBoxes: make([][4]float64, 3)}
	}
	p := m.Net.Params()[0]
	v := make([]float32, p.Len())
	v[4] = float32(value)
	if err := p.Set(v); err != nil {
		panic(err)
	}
	return m
}

// bare drops a file's metadata and adds tensors.
func bare(ts *testscript.TestScript, path string, more ...weights.Source) {
	f, err := weights.Open(context.Background(), path)
	ts.Check(err)
	var sources []weights.Source
	for _, e := range f.Tensors() {
		x, err := f.Read(e.Name)
		ts.Check(err)
		sources = append(sources, weights.FromTensor(e.Name, x))
	}
	ts.Check(f.Close())
	ts.Check(weights.WriteSafetensors(path, nil, append(sources, more...)))
}
