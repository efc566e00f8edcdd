package accel

import (
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"time"

	"github.com/klauspost/cpuid/v2"

	"github.com/verydeep/vgg/accel/pjrt"
	"github.com/verydeep/vgg/internal/atomicfile"
	"github.com/verydeep/vgg/internal/wholefile"
)

// cache keeps compiled programs on disk, one file each, named by all that they depend on. What
// goes wrong with it costs a compilation and nothing else.
type cache struct {
	dir    string // empty: nothing is kept
	client *pjrt.Client
	place  string // of the programs: plugin, driver, devices and variables
	most   int64  // bytes of all files; what was unused longest goes
}

// maxPrograms is the most bytes that programs take on disk.
const maxPrograms = 4 << 30

// variables are those of the environment that plugins compile by: flags of the compiler, threads
// of a processor, which NVIDIA's libraries there are and what they may do.
var variables = []string{"XLA_FLAGS", "LIBTPU_INIT_ARGS", "NPROC", "NVIDIA_TF32_OVERRIDE", "CUBLAS_WORKSPACE_CONFIG", "LD_LIBRARY_PATH"}

// drivers are the files in which Linux tells the version of a GPU's driver.
var drivers = []string{"/proc/driver/nvidia/version", "/sys/module/amdgpu/version"}

// newCache returns a cache in a folder. drivers are files that tell the version of a driver.
func newCache(dir string, c *pjrt.Client, drivers []string) cache {
	if dir == "" {
		return cache{}
	}
	var place strings.Builder
	fmt.Fprintf(&place, "%d.%d\n%s\n%s\n", c.Plugin.Major, c.Plugin.Minor, c.Platform, c.Version)
	for _, path := range append([]string{c.Plugin.Path}, c.Plugin.Libraries...) {
		info, err := os.Stat(path)
		if err != nil {
			return cache{}
		}
		fmt.Fprintf(&place, "%s\n%d\n%d\n", path, info.Size(), info.ModTime().UnixNano())
	}
	for _, d := range c.Devices {
		fmt.Fprintf(&place, "%d %s\n", d.ID, d.Kind)
	}
	for _, name := range variables {
		fmt.Fprintf(&place, "%s=%q\n", name, os.Getenv(name))
	}
	// Flags may be in a file.
	if flags := os.Getenv("XLA_FLAGS"); flags != "" && !strings.HasPrefix(flags, "-") {
		text, _ := wholefile.Read(flags, wholefile.MaxText) // the plugin tells what is wrong with it
		fmt.Fprintf(&place, "%q\n", text)
	}
	if c.Platform == "cpu" { // the code is this processor's, and its threads'
		fmt.Fprintf(&place, "%s\n%s\n%d\n", cpuid.CPU.BrandName, strings.Join(cpuid.CPU.FeatureSet(), " "), runtime.NumCPU())
	} else {
		for _, file := range drivers {
			text, _ := os.ReadFile(file) // there is none
			fmt.Fprintf(&place, "%q\n", text)
		}
	}
	return cache{dir, c, place.String(), maxPrograms}
}

// file is the file of a program.
func (c cache) file(p pjrt.Program, o pjrt.CompileOptions) string {
	h := sha256.New()
	fmt.Fprint(h, c.place, o.Flags, "\n") // maps are printed in order
	for _, d := range o.Devices {
		fmt.Fprintln(h, d.ID)
	}
	h.Write(p.Code)
	return filepath.Join(c.dir, hex.EncodeToString(h.Sum(nil))+suffix)
}

// suffix ends the names of the files.
const suffix = ".pjrt"

// maxProgram is the most bytes of a file that is read.
const maxProgram = 1 << 30

// load returns the program that was kept; nil if there is none, or a damaged one.
func (c cache) load(p pjrt.Program, o pjrt.CompileOptions) (*pjrt.Executable, error) {
	if c.dir == "" {
		return nil, nil
	}
	file := c.file(p, o)
	data, err := wholefile.Read(file, maxProgram)
	if err != nil || len(data) <= sha256.Size {
		return nil, nil // it is compiled anew
	}
	// The plugin trusts what it loads, so a damaged file must not come to it.
	sum := sha256.Sum256(data[sha256.Size:])
	if !bytes.Equal(sum[:], data[:sha256.Size]) {
		return nil, nil
	}
	e, err := c.client.Load(data[sha256.Size:], p)
	if err != nil {
		return nil, nil // it is compiled anew
	}
	if len(e.Devices) != len(o.Devices) {
		return nil, e.Free()
	}
	for i, d := range e.Devices {
		if d != o.Devices[i] {
			return nil, e.Free()
		}
	}
	now := time.Now()
	os.Chtimes(file, now, now) // it was used
	return e, nil
}

// save keeps a program, and removes those that were unused longest if there are too many.
func (c cache) save(e *pjrt.Executable, o pjrt.CompileOptions) {
	if c.dir == "" {
		return
	}
	data, err := e.Serialize()
	if err != nil {
		return // not every plugin can
	}
	if err := os.MkdirAll(c.dir, 0o755); err != nil {
		return
	}
	sum := sha256.Sum256(data)
	atomicfile.Write(c.file(e.Program, o), func(w io.Writer) error { // it is compiled anew next time
		_, err := w.Write(append(sum[:], data...))
		return err
	})
	c.evict()
}

// evict removes the programs that were unused longest, until the rest is few enough.
func (c cache) evict() {
	entries, err := os.ReadDir(c.dir)
	if err != nil {
		return
	}
	type program struct {
		name string
		size int64
		used time.Time
	}
	var all []program
	total := int64(0)
	for _, e := range entries {
		if !e.Type().IsRegular() || !strings.HasSuffix(e.Name(), suffix) {
			continue
		}
		if info, err := e.Info(); err == nil { // else another process removed it
			all = append(all, program{e.Name(), info.Size(), info.ModTime()})
			total += info.Size()
		}
	}
	slices.SortFunc(all, func(a, b program) int { return a.used.Compare(b.used) })
	for _, p := range all {
		if total <= c.most {
			return
		}
		if os.Remove(filepath.Join(c.dir, p.name)) == nil {
			total -= p.size
		}
	}
}
