package main

import (
	"fmt"
	"path"
	"strings"
	"time"
)

// command is one way to call vgg, in an empty folder of its own. The inputs are in ../../in.
type command struct {
	name string
	args []string
	// again is added when the command is run once more, and at the first time where an
	// earlier file has the name of its output.
	again []string
	// replaces lists outputs that an earlier file may have the names of.
	replaces []string
	// copies lists folders and files of the inputs that are copied beside the outputs, since
	// the command changes them or writes there.
	copies []string
	input  string // file of the standard input, below the folder of all; "" for none
	// grows matches files that a run continues from, and changes such as are replaced by other
	// whole ones while it runs, before the last. Both are patterns of [path.Match] of the path
	// below the folder, or of a folder above the file.
	grows, changes []string
	// unordered matches files whose lines are in the order in which images were done.
	unordered []string
	// varies matches files with times in them, which differ from run to run.
	varies []string
	// stays is in the error of a command that refuses to replace a whole result.
	stays string
	// refused is a command that must not take what is left half done for whole. It is run
	// after a kill if the file named first is there.
	refused []string
	self    bool // pull, which this program runs
	// service is a command that answers requests until it is told to end. Its answers are a
	// file of the run.
	service bool

	reference
}

// reference is what a command does that is left alone.
type reference struct {
	before []string          // files that are there before it begins
	want   outcome           // of its files
	whole  map[string][]byte // its files
	size   int64             // of all of them, in bytes
	took   time.Duration
	events int  // changes of names in its folder
	prints bool // it writes to standard output
}

// An input's path as seen from the folder of a trial.
func in(name string) string { return "../../in/" + name }

// matches reports whether a file or a folder above it has one of the patterns.
func matches(name string, patterns []string) bool {
	for _, p := range patterns {
		for n := name; n != "."; n = path.Dir(n) {
			if ok, _ := path.Match(p, n); ok {
				return true
			}
		}
	}
	return false
}

// commands returns the commands that write files, and those whose output people redirect.
func commands() []*command {
	training := []string{
		"--set", "standardise=true",
		"--input", "32", "--scale-min", "34", "--scale-max", "40", "--test-scale", "36", "--batch", "8",
		"--checkpoint-every", "1ms", "--keep", "2", "--resume", "--out", "run",
	}
	runFiles := []string{"run/*.safetensors", "run/checkpoints", "run/curve.png"}
	runLogs := []string{"run/metrics.jsonl", "run/events.out.tfevents.*"}
	overwrite := []string{"--overwrite"}
	list := []*command{
		{
			name: "train",
			args: append([]string{
				"train", "--data", in("photos"), "--config", "A-BN", "--width", "0.0625", "--fc", "16", "--init", "he",
				"--learning-rate", "0.0001", "--epochs", "5",
			}, training...),
			changes: runFiles, grows: runLogs, varies: []string{"run/events.out.tfevents.*", "run/checkpoints"},
		},
		{
			name: "train, fine-tuning by ranks",
			args: append([]string{
				"train", "--data", in("photos"), "--init-from", in("net.safetensors"), "--epochs", "3", "--ranks", "2", "--learning-rate", "0.0001",
			}, training...),
			changes: runFiles, grows: runLogs, varies: []string{"run/events.out.tfevents.*", "run/checkpoints"},
		},
		{
			name: "localize train",
			args: append([]string{
				"localize", "train", "--data", in("boxed"), "--init-from", in("net.safetensors"), "--epochs", "3", "--learning-rate", "0.0001",
			}, training...),
			changes: runFiles, grows: runLogs, varies: []string{"run/events.out.tfevents.*", "run/checkpoints"},
		},
		{
			name: "eval", args: []string{"eval", in("net.safetensors"), "--data", in("photos"), "--out", "r.jsonl", "--csv", "r.csv"},
			again: overwrite, replaces: []string{"r.csv"}, grows: []string{"r.jsonl"},
			refused: []string{"r.jsonl", "compare", "r.jsonl", in("r1.jsonl")},
		},
		{
			name: "eval, dense", args: []string{
				"eval", in("net.safetensors") + "@36,48:dense", "--with", in("net.safetensors"), "--data", in("photos"), "--out", "r.jsonl", "--threads", "2",
			},
			grows: []string{"r.jsonl"}, refused: []string{"r.jsonl", "compare", "r.jsonl", in("r1.jsonl")},
		},
		{
			name: "eval --merge", args: []string{"eval", "--merge", in("s1.jsonl"), in("s2.jsonl"), "--csv", "r.csv"},
			again: overwrite, replaces: []string{"r.csv"},
		},
		{
			name: "features, npy", args: []string{"features", in("net.safetensors"), in("photos"), "--out", "d.npy"},
			grows: []string{"d.npy.part.*"}, unordered: []string{"d.npy.jsonl"}, refused: []string{"d.npy", "transfer", "train", "d.npy", "--out", "never.safetensors"},
		},
		{
			name: "features, jsonl", args: []string{"features", in("net.safetensors"), in("photos"), "--out", "d.jsonl"},
			again: overwrite, replaces: []string{"d.jsonl"}, grows: []string{"d.jsonl.part.*"},
		},
		{
			name: "features, safetensors", args: []string{
				"features", in("net.safetensors") + "@36,40", in("photos"), "--with", in("net.safetensors"), "--out", "d.safetensors",
			},
			again: overwrite, grows: []string{"d.safetensors.part.*"},
		},
		{
			name: "features --merge", args: []string{"features", "--merge", in("d1.npy"), in("d2.npy"), "--out", "d.npy"},
			again: overwrite, grows: []string{"d.npy.new.*"}, refused: []string{"d.npy", "transfer", "train", "d.npy", "--out", "never.safetensors"},
		},
		{
			name: "index", args: []string{"index", in("net.safetensors"), in("photos"), "--out", "i.npy"},
			grows: []string{"i.npy.part.*"}, unordered: []string{"i.npy.jsonl"}, refused: []string{"i.npy", "similar", "i.npy", in("photos/red/00.png")},
		},
		{
			name: "index --update", args: []string{"index", in("net.safetensors"), in("more"), "--out", "i.npy", "--update"},
			copies: []string{"i.npy", "i.npy.jsonl"}, grows: []string{"i.npy", "i.npy.*"},
		},
		{
			name: "similar --html", args: []string{"similar", in("i.npy"), in("more/red"), "--html", "s.html"},
			again: overwrite, replaces: []string{"s.html"},
		},
		{
			name: "transfer train", args: []string{"transfer", "train", in("d.npy"), "--out", "svm.safetensors", "--c", "1,10"},
			again: overwrite, replaces: []string{"svm.safetensors"},
		},
		{name: "transfer eval", args: []string{"transfer", "eval", in("d.npy"), "--splits", "5", "--train-images", "3", "--test-images", "3", "--json"}},
		{name: "transfer predict", args: []string{"transfer", "predict", in("svm.safetensors"), in("photos"), "--json"}},
		{
			name: "localize eval", args: []string{
				"localize", "eval", in("boxes.safetensors") + "@36,48", "--classifier", in("net.safetensors"), "--data", in("boxed"),
				"--protocol", "dense", "--out", "b.jsonl", "--draw", "b.png", "--draw-images", "4",
			},
			again: overwrite, replaces: []string{"b.png"}, grows: []string{"b.jsonl"},
		},
		{
			name: "localize", args: []string{
				"localize", in("boxes.safetensors"), in("photos/red/00.png"), in("photos/blue/01.png"), "--classifier", in("net.safetensors"), "--draw", "b.png",
			},
			again: overwrite, replaces: []string{"00-b.png", "01-b.png"},
		},
		{
			name: "explain", args: []string{"explain", in("net.safetensors"), in("photos/red/00.png"), "--out", "e.png"},
			again: overwrite, replaces: []string{"e.png"},
		},
		{
			name: "reproduce", args: []string{
				"reproduce", in("plan.yaml"), in("w"), "--data", in("photos"), "--results", "results", "--markdown", "t.md", "--html", "t.html",
			},
			again: overwrite, replaces: []string{"t.md", "t.html"}, grows: []string{"results"},
		},
		{
			name: "stats --sheets", args: []string{"stats", "photos", "--sheets", "sheets"}, copies: []string{"photos"}, again: overwrite, varies: []string{"photos/.vgg-stats.json"},
		},
		{
			name: "shard", args: []string{"shard", in("photos"), "--out", "shards", "--size", "40kB"},
			grows: []string{"shards"}, stays: "the folder is not empty", refused: []string{"shards", "eval", in("net.safetensors"), "--data", "shards"},
		},
		{
			name: "eval --csv alone", args: []string{"eval", in("net.safetensors"), "--data", in("photos"), "--csv", "r.csv"},
			again: overwrite, replaces: []string{"r.csv"},
		},
		{
			name: "features --merge, safetensors", args: []string{"features", "--merge", in("d1.npy"), in("d2.npy"), "--out", "d.safetensors"},
			again: overwrite, replaces: []string{"d.safetensors"},
		},
		{name: "similar, standard input", args: []string{"similar", in("i.npy"), "-", "--json"}, input: "in/photos/red/01.png"},
		{name: "man", args: []string{"man", "pages"}, again: overwrite, replaces: []string{"pages/man1/vgg.1", "pages/man7/vgg-data.7"}},
		{name: "completion", args: []string{"completion", "bash"}},
		{name: "inspect", args: []string{"inspect", in("net.safetensors"), "--json"}},
		{name: "summary", args: []string{"summary", "D", "--json"}},
		{name: "serve", service: true, args: []string{"serve", "net.safetensors", "--addr", "127.0.0.1:0"}, copies: []string{"net.safetensors"}},
		{name: "compare", args: []string{"compare", in("r1.jsonl"), in("r2.jsonl"), "--json"}},
		{name: "classify", args: []string{"classify", in("net.safetensors"), in("photos/red/00.png"), in("photos/green/01.png"), in("photos/blue/02.png"), "--json"}},
		{name: "pull", self: true, grows: []string{"cache/downloads"}},
	}
	for _, form := range []string{
		"w.safetensors", "w.pth", "w.npz", "w.onnx", "w.keras", "w.weights.h5", "torchvision.safetensors --to torchvision", "half.safetensors --dtype f16", "dense.onnx --dense --batch 2",
	} {
		words := strings.Fields(form)
		list = append(list, &command{
			name: "convert " + form, args: append([]string{"convert", in("net.safetensors")}, words...), again: overwrite, replaces: words[:1],
		})
	}
	for _, c := range list {
		if len(c.args) == 0 && !c.self {
			panic(fmt.Sprintf("%s: no arguments", c.name))
		}
	}
	return list
}
