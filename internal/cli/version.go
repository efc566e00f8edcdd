package cli

import (
	"fmt"
	"runtime"
	"runtime/debug"
	"strings"

	"github.com/verydeep/vgg/internal/kernel"
)

type versionCommand struct{ jsonFlag }

func (versionCommand) Help() string {
	return `Shows the version of the program, the Go release that built it, and the instruction sets that it can use on this machine, the one in use first.

Examples:

    vgg version
    vgg version --json` + exitHelp
}

// versionResult has the JSON keys of `vgg version --json`.
type versionResult struct {
	Version string   `json:"version"`
	Go      string   `json:"go"`
	OS      string   `json:"os"`
	Arch    string   `json:"arch"`
	Threads int      `json:"threads"`
	ISA     string   `json:"isa"`  // in use
	ISAs    []string `json:"isas"` // that this machine can run, best first
}

// programVersion returns the version that the build tells.
func programVersion() string {
	if info, ok := debug.ReadBuildInfo(); ok && info.Main.Version != "" {
		return info.Main.Version
	}
	return "(devel)"
}

func (c *versionCommand) Run(e *environment) error {
	r := versionResult{
		Version: programVersion(), Go: runtime.Version(), OS: runtime.GOOS, Arch: runtime.GOARCH,
		Threads: runtime.GOMAXPROCS(0), ISA: kernel.Current().Name(),
	}
	for _, s := range kernel.ISAs() {
		r.ISAs = append(r.ISAs, s.Name())
	}
	if c.JSON {
		return writeJSON(e.stdout, r)
	}
	_, err := fmt.Fprintf(e.stdout, "vgg %s, %s %s/%s\n%d threads, instruction set %s (of %s)\n",
		r.Version, r.Go, r.OS, r.Arch, r.Threads, r.ISA, strings.Join(r.ISAs, ", "))
	return err
}
