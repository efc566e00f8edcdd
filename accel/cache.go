package accel

import (
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"io"
	"os"
	"path/filepath"

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
	place  string // of the programs: plugin, platform and device
}

// newCache returns a cache in a folder.
func newCache(dir string, c *pjrt.Client) cache {
	if dir == "" {
		return cache{}
	}
	place := fmt.Sprintf("%s\n%d.%d\n%s\n%s\n", c.Plugin.Path, c.Plugin.Major, c.Plugin.Minor, c.Platform, c.Version)
	info, err := os.Stat(c.Plugin.Path)
	if err != nil {
		return cache{}
	}
	place += fmt.Sprintf("%d\n%d\n", info.Size(), info.ModTime().UnixNano())
	for _, d := range c.Devices {
		place += fmt.Sprintf("%d %s\n", d.ID, d.Kind)
	}
	if c.Platform == "cpu" { // the code is this processor's
		place += cpuid.CPU.BrandName + "\n" + fmt.Sprint(cpuid.CPU.FeatureSet()) + "\n"
	}
	return cache{dir, c, place}
}

// file is the file of a program.
func (c cache) file(p pjrt.Program, o pjrt.CompileOptions) string {
	h := sha256.New()
	fmt.Fprint(h, c.place, o.Flags, "\n") // maps are printed in order
	for _, d := range o.Devices {
		fmt.Fprintln(h, d.ID)
	}
	h.Write(p.Code)
	return filepath.Join(c.dir, hex.EncodeToString(h.Sum(nil))+".pjrt")
}

// maxProgram is the most bytes of a file that is read.
const maxProgram = 1 << 30

// load returns the program that was kept; nil if there is none, or a damaged one.
func (c cache) load(p pjrt.Program, o pjrt.CompileOptions) (*pjrt.Executable, error) {
	if c.dir == "" {
		return nil, nil
	}
	data, err := wholefile.Read(c.file(p, o), maxProgram)
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
	return e, nil
}

// save keeps a program.
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
}
