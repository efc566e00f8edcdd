package pjrt

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"sync"
	"unsafe"
)

// Versions of the interface that this package speaks. From MinMinor on, the oldest that its
// layouts were checked against, versions are compatible until the major version changes.
const (
	Major    = 0
	MinMinor = 90
)

// Plugin is a loaded plugin. It stays loaded as long as the process lives.
type Plugin struct {
	Path         string   // absolute, without symbolic links
	Major, Minor int      // version of the C API that it was built with
	Libraries    []string // NVIDIA's beside it, which are loaded before it where they can be
	functions    []uintptr
	flags        map[string]any // of every compilation, unless given
}

var loaded struct {
	sync.Mutex
	plugins map[string]*Plugin
}

// Open loads a plugin and initialises it. The same file gives the same Plugin.
func Open(path string) (*Plugin, error) {
	file, err := resolve(path)
	if err != nil {
		return nil, fmt.Errorf("plugin: %w", err)
	}
	loaded.Lock()
	defer loaded.Unlock()
	if p := loaded.plugins[file]; p != nil {
		return p, nil
	}
	p, err := load(file)
	if err != nil {
		return nil, err
	}
	if loaded.plugins == nil {
		loaded.plugins = map[string]*Plugin{}
	}
	loaded.plugins[file] = p
	return p, nil
}

// resolve returns the path of the plugin's file. A name without a folder is a file too: the
// loader's search path is not used.
func resolve(path string) (string, error) {
	if path == "" {
		return "", errors.New("no file given")
	}
	path, err := filepath.Abs(path)
	if err != nil {
		return "", err
	}
	path, err = filepath.EvalSymlinks(path)
	if err != nil {
		return "", err
	}
	info, err := os.Stat(path)
	if err == nil && !info.Mode().IsRegular() {
		err = fmt.Errorf("%s is no file: want the plugin's shared library (.so, .dylib)", path)
	}
	return path, err
}

func load(path string) (*Plugin, error) {
	libraries := cudaLibraries(path)
	get, err := openLibrary(path, "GetPjrtApi", libraries)
	if err != nil {
		return nil, fmt.Errorf("%s can't be loaded as a PJRT plugin: %w", path, err)
	}
	table := invokeHandle(get, 0)
	if table == 0 {
		return nil, fmt.Errorf("%s: GetPjrtApi returns no table", path)
	}
	p, err := readTable(path, table)
	if err != nil {
		return nil, err
	}
	p.Libraries = libraries
	if _, err := call(p, pluginInitialize, header{}); err != nil {
		return nil, fmt.Errorf("%s: %w", path, err)
	}
	return p, nil
}

// readTable reads the plugin's PJRT_Api, which says how many functions it has.
func readTable(path string, table uintptr) (*Plugin, error) {
	h := at[tableHeader](table)
	p := &Plugin{Path: path, Major: int(h.version.major), Minor: int(h.version.minor), flags: cudaFlags(path)}
	if p.Major != Major || p.Minor < MinMinor {
		return nil, fmt.Errorf("%s speaks PJRT %d.%d, this program %d.%d and newer: install a newer plugin (vgg devices says how), or a newer version of this program if the plugin's is %d.0 or above",
			path, p.Major, p.Minor, Major, MinMinor, Major+1)
	}
	first, size := unsafe.Sizeof(tableHeader{}), h.size
	if size < first+(uintptr(bufferUnsafePointer)+1)*unsafe.Sizeof(first) || size > 1<<16 {
		return nil, fmt.Errorf("%s: a table of %d bytes for PJRT %d.%d: the file is damaged, or no PJRT plugin", path, size, p.Major, p.Minor)
	}
	p.functions = unsafe.Slice(at[uintptr](table+first), (size-first)/unsafe.Sizeof(first))
	return p, nil
}

// spare is how many zero bytes follow a struct. A plugin that is newer than this package refuses
// a struct that is smaller than its own, and takes a larger one.
const spare = 192

// padded is a struct for the plugin with room for what newer ones add.
type padded[T any] struct {
	arguments T
	spare     [spare]byte
}

// pad copies a struct, which begins with a header, and sets its size.
func pad[T any](arguments T) *padded[T] {
	a := &padded[T]{arguments: arguments}
	(*header)(unsafe.Pointer(a)).size = unsafe.Sizeof(*a)
	return a
}

// call calls a function and returns the arguments as it left them. What they point to is alive
// during the call, since the copy is; memory that the plugin uses after the call is for the
// caller to keep and to pin.
func call[T any](p *Plugin, f function, arguments T) (T, error) {
	if int(f) >= len(p.functions) || p.functions[f] == 0 {
		return arguments, &Error{Code: Unimplemented, Function: f.String(), Message: fmt.Sprintf("%s, PJRT %d.%d, has no such function", p.Path, p.Major, p.Minor)}
	}
	a := pad(arguments)
	if h := invoke(p.functions[f], unsafe.Pointer(a)); h != 0 {
		return arguments, p.take(f, h)
	}
	return a.arguments, nil
}

// free calls a function that frees a handle.
func (p *Plugin) free(f function, handle uintptr) error {
	if handle == 0 {
		return nil
	}
	_, err := call(p, f, handleArgs{handle: handle})
	return err
}

// await waits for an event and frees it. It blocks a thread, not the scheduler.
func (p *Plugin) await(event uintptr) error {
	if event == 0 {
		return nil
	}
	_, err := call(p, eventAwait, handleArgs{handle: event})
	if e := p.free(eventDestroy, event); err == nil {
		err = e
	}
	return err
}

// text calls a function that returns a string.
func (p *Plugin) text(f function, handle uintptr) (string, error) {
	a, err := call(p, f, textArgs{in: handle})
	return copyText(a.address, a.size), err
}

// Attributes returns what the plugin says of itself, such as stablehlo_current_version: values
// are string, int64, []int64, float32 or bool.
func (p *Plugin) Attributes() (map[string]any, error) {
	a, err := call(p, pluginAttributes, attributesArgs{})
	if err != nil {
		return nil, err
	}
	return readValues(a.address, a.count), nil
}

// at makes a pointer of an address in the plugin's memory.
func at[T any](address uintptr) *T { return *(**T)(unsafe.Pointer(&address)) }

// copyText copies a string of the plugin's.
func copyText(address, size uintptr) string {
	if address == 0 || size == 0 {
		return ""
	}
	return string(unsafe.Slice(at[byte](address), size))
}
