package main

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"runtime"
	"strconv"

	"github.com/verydeep/vgg/internal/kernel"
	"github.com/verydeep/vgg/network"
	"github.com/verydeep/vgg/tensor"
)

// sides are the inputs of configuration D that are counted. The portable kernels take many
// times the instructions: their count stays with the smaller.
var sides = []struct {
	side int
	sets []string
}{
	{64, []string{"neon", "go"}},
	{224, []string{"neon"}},
}

var counted = regexp.MustCompile(`instructions: (\d+)`)

// instructions prints how many instructions one image takes through configuration D: those of a
// process with two forward passes less those of a process with one.
func instructions() error {
	folder, err := os.MkdirTemp("", "neon")
	if err != nil {
		return err
	}
	defer os.RemoveAll(folder)
	plugin, program := filepath.Join(folder, "count.so"), filepath.Join(folder, "program")
	if _, err := run(exec.Command("gcc", "-shared", "-fPIC", "-O2", "-o", plugin, "tools/neon/plugin/count.c"), ""); err != nil {
		return err
	}
	build := exec.Command("go", "build", "-o", program, "./tools/neon")
	build.Env = append(os.Environ(), "GOOS=linux", "GOARCH=arm64", "CGO_ENABLED=0")
	if _, err := run(build, ""); err != nil {
		return err
	}
	count := func(set string, side, passes int) (float64, error) {
		output, err := exec.Command("qemu-aarch64", "-plugin", plugin, program, "forward", set, strconv.Itoa(side), strconv.Itoa(passes)).CombinedOutput()
		m := counted.FindSubmatch(output)
		if err != nil || m == nil {
			return 0, fmt.Errorf("%s: %v: %s", set, err, output)
		}
		return strconv.ParseFloat(string(m[1]), 64)
	}
	fmt.Println("| input | kernels | instructions of a forward pass |\n|---|---|--:|")
	for _, s := range sides {
		for _, set := range s.sets {
			one, err := count(set, s.side, 1)
			if err != nil {
				return err
			}
			two, err := count(set, s.side, 2)
			if err != nil {
				return err
			}
			fmt.Printf("| %d×%[1]d | %s | %.3f·10⁹ |\n", s.side, set, (two-one)/1e9)
		}
	}
	return nil
}

// forward is the program that is counted: passes of one image through configuration D, whose
// weights are zero, on an instruction set. It takes one thread, as the plugin wants.
func forward(arguments []string) error {
	if len(arguments) != 3 {
		return fmt.Errorf("want an instruction set, a side and a number of passes")
	}
	side, err := strconv.Atoi(arguments[1])
	if err != nil {
		return err
	}
	passes, err := strconv.Atoi(arguments[2])
	if err != nil {
		return err
	}
	if err := kernel.Use(arguments[0]); err != nil {
		return err
	}
	runtime.GOMAXPROCS(1)
	o := network.DefaultOptions("D")
	o.Input = side
	n, err := network.New(o)
	if err != nil {
		return err
	}
	for range passes {
		if _, err := n.Forward(tensor.New(1, 3, side, side)); err != nil {
			return err
		}
	}
	return nil
}
