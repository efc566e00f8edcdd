package cli_test

import (
	"bytes"
	"context"
	"errors"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/rogpeppe/go-internal/testscript"

	"github.com/verydeep/vgg"
	"github.com/verydeep/vgg/internal/cli"
)

// tensors FILE FILE: two files of weights hold the same numbers.
func sameTensors(ts *testscript.TestScript, neg bool, args []string) {
	var values [2][]float32
	for i, file := range args {
		m, err := vgg.Open(context.Background(), ts.MkAbs(file), vgg.OpenOptions{})
		ts.Check(err)
		for _, p := range m.Net.Params() {
			v := make([]float32, p.Len())
			ts.Check(p.Get(v))
			values[i] = append(values[i], v...)
		}
	}
	if same := slices.Equal(values[0], values[1]); same == neg {
		ts.Fatalf("%s and %s have the same numbers: %v", args[0], args[1], same)
	}
}

// An interrupted vgg shard leaves no files.
func TestInterruptedSharding(t *testing.T) {
	for _, first := range []bool{true, false} { // --out is not there yet
		out := filepath.Join(t.TempDir(), "out")
		if !first {
			if err := os.Mkdir(out, 0o777); err != nil {
				t.Fatal(err)
			}
		}
		ctx, cancel := context.WithCancel(context.Background())
		cancel()
		var stderr bytes.Buffer
		code := cli.Main(ctx, []string{"shard", trainFolder(t), "--out", out}, strings.NewReader(""), io.Discard, &stderr, environment)
		if code != 130 || stderr.String() != "vgg: interrupted\n" {
			t.Errorf("exit code %d, standard error %q", code, stderr.String())
		}
		left, err := filepath.Glob(filepath.Join(out, "*"))
		if err != nil || len(left) > 0 {
			t.Errorf("left behind: %v, %v", left, err)
		}
		if _, err := os.Stat(out); first != errors.Is(err, os.ErrNotExist) {
			t.Errorf("the folder: %v", err)
		}
	}
}
