package cli_test

import (
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"github.com/verydeep/vgg/internal/vggtest"
)

// faults are what a trial of the whole program found: by its commands as a user runs them, and
// by the tests of the packages in which each was mended. docs/reliability.md lists them.
var faults = []struct {
	name  string
	run   func(faultFolder) // nil: the tests below make the trial's case
	tests string            // FOLDER.TEST …
}{
	{"JSON bombs", jsonBombs, "weights.TestBombs internal/boundedjson.TestUnmarshal internal/hdf5.TestManyMessages internal/wholefile.TestZipBomb"},
	{"a picture's file size", pictureSize, "dataset.TestHostileFiles dataset.TestZipEntryBomb dataset.TestShardIndexBomb internal/wholefile.TestSparseFile"},
	{"backslash in the run directory", oddRunDirectory, "train.TestResumeInOddDirectory train.TestResumeWithoutCheckpoints"},
	{"output among the data", outputAmongData, "internal/cli.TestLayouts"},
	{"silent overwriting", overwriting, "internal/cli.TestScripts"},
	{"pipes", pipes, "dataset.TestHostileFiles internal/wholefile.TestNotRegular internal/cli.TestInterruptedWaiting"},
	{"half files", halfFiles, "transfer.TestResumeAndShards transfer.TestPairIsWholeAtEveryStep cmd/vgg.TestKilledWriter internal/atomicfile.TestNothingElseReplacesFiles internal/cli.TestTrainOnFullDisk"},
	{"quadratic reading", nil, "weights.TestCompressedTransposedReadsOnce internal/hdf5.TestReadsChunksOnce cmd/vgg.TestSignalled cmd/vgg.TestSignals"},
	{"NaN weights", notFinite, "..TestNotFinite ..TestBoxesNotFinite internal/cli.TestScripts"},
	{"fuzzing that isn't", everyTargetRuns, "tools/fuzz.TestInputs tools/fuzz.TestPackages"},
	{"one budget of decoding", decodingBudget, "dataset.TestDecodingSharesOneRoom resources.TestDecodeRoom train.TestMicroBatch metrics.TestConfusionIsSparse internal/cli.TestEvaluationMemory"},
	{"JPEG of thousands of scans", nil, "preprocess.TestJPEGScans preprocess.TestDecodeIsCancelled dataset.TestCancelledWhileDecoding"},
	{"changed pictures", changedPictures, "eval.TestChangedPictures transfer.TestChangedPicturesAreDescribedAgain dataset.TestFingerprintOfContents train.TestChangedImages"},
	{"smaller ones", smallerFaults, "train.TestResumeWithoutLog releases/pull.TestOneProcessDownloads releases/pull.TestStalled internal/cli.TestNamesOfAnyBytes train.TestMalformedRecipes " +
		"dataset.TestNoMoreOpenFiles internal/wholefile.TestExhausted nn.TestWorkspacesAreBounded nn.TestSetThreadsDuringPasses internal/atomicfile.TestAbandonedFilesGo"},
}

// TestFaults makes the case of each fault by real commands, and finds the tests of its kind.
func TestFaults(t *testing.T) {
	vggtest.SkipShort(t, "runs commands")
	tests := testsByFolder(t)
	for _, fault := range faults {
		t.Run(fault.name, func(t *testing.T) {
			for _, name := range strings.Fields(fault.tests) {
				folder, test, _ := strings.Cut(strings.TrimPrefix(name, "."), ".")
				if !tests[folder+"."+test] {
					t.Errorf("no test %s", name)
				}
			}
			if fault.run != nil {
				fault.run(newFaultFolder(t))
			}
		})
	}
}

var testFunction = regexp.MustCompile(`(?m)^func (Test\w+)\(t \*testing\.T\)`)

// testsByFolder returns the module's tests as FOLDER.TEST; FOLDER is empty for the root.
func testsByFolder(t *testing.T) map[string]bool {
	t.Helper()
	found := map[string]bool{}
	root := filepath.Join("..", "..")
	err := filepath.WalkDir(root, func(path string, e os.DirEntry, err error) error {
		if err != nil || e.IsDir() || !strings.HasSuffix(path, "_test.go") {
			return err
		}
		text, err := os.ReadFile(path)
		if err != nil {
			return err
		}
		folder, err := filepath.Rel(root, filepath.Dir(path))
		if err != nil {
			return err
		}
		for _, m := range testFunction.FindAllSubmatch(text, -1) {
			found[strings.TrimPrefix(filepath.ToSlash(folder), ".")+"."+string(m[1])] = true
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	return found
}

// everyTargetRuns: continuous integration runs each target of fuzzing, and counts its inputs.
func everyTargetRuns(f faultFolder) {
	text, err := os.ReadFile("../../.ci/run")
	if err != nil {
		f.Fatal(err)
	}
	if !regexp.MustCompile(`go run \./tools/fuzz .*-least 5000`).Match(text) {
		f.Error("no run of all targets that fails under 5000 inputs")
	}
}

func smallerFaults(f faultFolder) {
	text := f.vgg(1, "a smaller width, input or fc of the recipe takes less", small, "train", "--data", "photos", "--out", "run", "--config", "A", "--width", "64")
	if strings.Contains(text, "out of memory") || f.exists("run") {
		f.Errorf("memory is asked for before it is compared:\n%s", text)
	}
	train := append([]string{"train", "--data", "photos", "--out", "run", "--epochs=2"}, faultRecipe...)
	f.vgg(0, "", small, train...)
	if err := os.Rename(f.path("run/metrics.jsonl"), f.path("log")); err != nil {
		f.Fatal(err)
	}
	f.vgg(0, "the log was cut or deleted: it goes on with the epochs that are left to do", small, "train", "--resume", "--out", "run", "--epochs", "3")
	f.write("two.yaml", []byte("epochs: 1\n---\nepochs: 2\n"))
	f.vgg(1, "document", small, "train", "--data", "photos", "--recipe", "two.yaml", "--out", "other")
	const odd = "\xff\xfe.png"
	if err := os.Rename(f.path("photos/red/000.png"), f.path("photos/red/"+odd)); err == nil {
		f.vgg(0, "name that isn't UTF-8", small, "stats", "photos")
	}
	// What killed runs left beside their outputs.
	for i, args := range [][]string{{"convert", "net.safetensors", "w.npz"}, {"convert", "net.safetensors", "w.keras"}, {"eval", "net.safetensors", "photos", "--csv", "t.csv"}} {
		out := args[len(args)-1]
		for _, left := range []string{fmt.Sprintf(".%s.%08x.tmp", out, 0), fmt.Sprintf(".%s.%08x.tmp", out, 1), out + ".lock"} {
			f.write(left, []byte("4711\n"))
		}
		f.vgg(0, "", small, args...)
		if left, _ := filepath.Glob(f.path(".*.tmp")); len(left) > 0 || f.exists(out+".lock") {
			f.Errorf("%d: %v is left", i, left)
		}
	}
}
