package vgg_test

import (
	"fmt"
	"go/ast"
	"go/constant"
	"go/parser"
	"go/token"
	"go/types"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"github.com/verydeep/vgg/report"
)

// limits are what docs/limits.md says of a package's constants: {name} stands for a number and
// {name B} for bytes.
var limits = []struct{ folder, says string }{
	{"preprocess", "an image file, also an entry of a ZIP file or a shard | {MaxFileBytes B} |"},
	{"internal/wholefile", "a shard's index, unpacked too | {MaxTable B} |"},
	{"dataset", "a shard's index, unpacked too | {maxUnpacked B} |"},
	{"internal/wholefile", "a line of a result file or an index | {MaxText B} |"},
	{"preprocess", "pixels of an image | {DefaultMaxPixels}, where PIL"},
	{"resources", "of its control group's), at most {mostRoom B}. "},
	{"train", "of which up to a quarter, at most {mostReserved B}, is reserved"},
	{"internal/cli", "keeps in the user's cache | {mostKeptDescriptors B}; "},
	{"preprocess", "scans of a JPEG | {maxScans} |"},
	{"dataset", "{DefaultCacheBytes B} each for training and validation"},
	{"internal/boundedjson", "preprocessing | {maxBytes B}, {maxValues} values, {maxLevels} objects and lists in one another |"},
	{"weights", "header of a safetensors file | {maxHeader B}, as its reference implementation has it; {maxMetadata} keys of metadata |"},
	{"internal/pickle", "a pickle | {maxLength B}; {maxStack} values on the stack; values of {memoryRatio} bytes for each of its first {memoryFirst B} and of {longRatio} for the others |"},
	{"internal/hdf5", "messages in the header of an HDF5 object | {maxMessages} |"},
	{"internal/matfile", "what arrays inflate to | {inflateRatio} times the file and {inflateSlack B} |"},
	{"weights", "what arrays inflate to | {maxShared} times the file"},
	{"weights", "a network in ONNX or Caffe | {maxProtoLayers} layers and tensors, {maxProtoParts} inputs, outputs and attributes |"},
	{"weights", "files beside a file of weights that have its data | {maxFolderFiles} |"},
	{"internal/matfile", "arrays in a MATLAB file | {maxArrays} |"},
	{"nn", "buffers that a network keeps for further passes | {maxFreeBytes B} and {maxFree} sets, at least one."},
	{"architecture", "a configuration's layers; channels of a convolution at width 1; units of a fully connected layer | {MaxLayers}; {MaxChannels}; {MaxUnits} |"},
	{"internal/cli", "images of servers that are kept in the user's cache | {mostKeptImages B}; "},
	{"internal/remote", "each process may exceed it by a {shareUncounted}nd"},
	{"dataset", "images that are asked of a server ahead of their use | {aheadTogether} at a time, up to {aheadImages} images or {aheadBytes B} in memory, "},
	{"dataset", "a block of a shard on a server that has no index | {scanBytes B} |"},
	{"internal/remote", "waiting for a server | {mostAttempts} attempts without a byte, in about 45 seconds; an attempt ends after {mostIdle} seconds without a byte |"},
	{"internal/remote", "a file beside shards on a server, as an index | {maxBeside B} |"},
	{"network", "side of the input | {MaxInput} pixels |"},
}

var placeholder = regexp.MustCompile(`\{(\w+)( B)?\}`)

// docs/limits.md has the limits of the code, and no number of a size that isn't one of them.
func TestLimitsDocument(t *testing.T) {
	text, err := os.ReadFile("docs/limits.md")
	if err != nil {
		t.Fatal(err)
	}
	rest := regexp.MustCompile("`[^`]*`").ReplaceAllString(string(text), "") // examples of options
	for _, l := range limits {
		says := placeholder.ReplaceAllStringFunc(l.says, func(at string) string {
			part := placeholder.FindStringSubmatch(at)
			n := constantIn(t, l.folder, part[1])
			if part[2] == "" {
				return report.Count(n)
			}
			return bytesOf(n)
		})
		if !strings.Contains(string(text), says) {
			t.Errorf("docs/limits.md lacks %q, of the constants in %s", says, l.folder)
		}
		rest = strings.ReplaceAll(rest, says, "")
	}
	if left := regexp.MustCompile(`.{0,40}\b(\d+,\d{3}|\d{3,}|\d+ ([KMG]i?B))\b.{0,40}`).FindAllString(rest, -1); left != nil {
		t.Errorf("numbers that no line of this test compares with the code:\n%s", strings.Join(left, "\n"))
	}
}

// bytesOf writes bytes as the document does, in a unit that divides them.
func bytesOf(n int64) string {
	for _, unit := range []struct {
		bytes int64
		name  string
	}{{1 << 30, "GiB"}, {1 << 20, "MiB"}, {1_000_000, "MB"}} {
		if n%unit.bytes == 0 {
			return fmt.Sprintf("%d %s", n/unit.bytes, unit.name)
		}
	}
	return report.Count(n) + " bytes"
}

// constantIn returns a constant of the package in a folder, whose expression has only numbers.
func constantIn(t *testing.T, folder, name string) int64 {
	t.Helper()
	paths, err := filepath.Glob(folder + "/*.go")
	if err != nil {
		t.Fatal(err)
	}
	for _, path := range paths {
		f, err := parser.ParseFile(token.NewFileSet(), path, nil, parser.SkipObjectResolution)
		if err != nil {
			t.Fatal(err)
		}
		for _, d := range f.Decls {
			group, ok := d.(*ast.GenDecl)
			if !ok || group.Tok != token.CONST {
				continue
			}
			for _, s := range group.Specs {
				s := s.(*ast.ValueSpec)
				for i, ident := range s.Names {
					if ident.Name != name || i >= len(s.Values) {
						continue
					}
					v, err := types.Eval(token.NewFileSet(), nil, token.NoPos, types.ExprString(s.Values[i]))
					if err != nil {
						t.Fatalf("%s: %s: %v", path, name, err)
					}
					n, exact := constant.Int64Val(v.Value)
					if !exact {
						t.Fatalf("%s: %s is %v", path, name, v.Value)
					}
					return n
				}
			}
		}
	}
	t.Fatalf("%s has no constant %s", folder, name)
	return 0
}
