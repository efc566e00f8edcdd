// Package plugins finds the plugins of XLA (PJRT) that are installed on this machine: by name, in
// the environment, and among the packages of the Python on PATH. It loads none of them, see
// accel/pjrt.
package plugins

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
)

// Variable is the environment variable that names a plugin's file.
const Variable = "VGG_PJRT_PLUGIN"

// Kind is a kind of device.
type Kind struct {
	Name    string // as the client of its plugin calls the platform
	Title   string // what it is, in the plural
	Install string // the command that installs a plugin
	Needs   string // what the plugin needs besides, "" if nothing
	Check   string // how to see whether the driver works, "" if nobody can

	patterns []string // of the plugin's file, in a folder of Python packages
}

// Kinds returns the kinds of devices for which plugins are published.
func Kinds() []Kind { return slices.Clone(kinds) }

var kinds = []Kind{
	{
		Name: "cuda", Title: "NVIDIA GPUs", Install: `pip install "jax[cuda13]"`,
		Needs:    `NVIDIA's driver 580 or newer (with an older one, of 525 or newer: "jax[cuda12]")`,
		Check:    "nvidia-smi lists the GPUs that the driver sees",
		patterns: []string{"jax_plugins/xla_cuda*/xla_cuda_plugin.so"},
	},
	{
		Name: "rocm", Title: "AMD GPUs", Install: "pip install jax-rocm7-pjrt",
		Needs:    "ROCm 7",
		Check:    "rocminfo lists the GPUs that the driver sees",
		patterns: []string{"jax_plugins/xla_rocm*/xla_rocm_plugin.so"},
	},
	{
		Name: "oneapi", Title: "Intel GPUs", Install: "pip install jax-oneapi-pjrt",
		Needs:    "Intel's GPU driver and oneAPI's libraries",
		patterns: []string{"jax_plugins/xla_oneapi*/*plugin*.so", "jax_plugins/xla_sycl*/*plugin*.so"},
	},
	{
		Name: "tpu", Title: "TPUs of Google Cloud", Install: "pip install libtpu",
		patterns: []string{"libtpu/libtpu.so"},
	},
	{
		Name: "cpu", Title: "processors, by XLA", Install: "pip install --no-deps lammps-jax-pjrt-cpu",
		patterns: []string{"lammps_jax_pjrt_cpu/pjrt_c_api_cpu_plugin.so"},
	},
}

// others are plugins of no kind above.
var others = []string{"jax_plugins/*/*plugin*.so", "jax_plugins/*/*plugin*.dylib"}

// Plugin is a plugin's file.
type Plugin struct {
	Kind string // "" if its place doesn't tell
	Path string
	From string // where it was found: the command line, the environment variable, a folder of packages
}

// Platform returns what the plugin's client must call its platform, "" if that isn't known.
func (p Plugin) Platform() string {
	if p.Kind == "oneapi" {
		return ""
	}
	return p.Kind
}

// Find returns the plugin for a device that a user names: a kind, or the path of a plugin's
// file. For a kind, the file that [Variable] names comes first, then the packages of the Python
// on PATH. The error says how to install what is missing.
func Find(name string, getenv func(string) string) (Plugin, error) {
	if isPath(name) {
		if _, err := os.Stat(name); err != nil {
			return Plugin{}, fmt.Errorf("plugin: %w", err)
		}
		return Plugin{Path: name, From: "the command line"}, nil
	}
	i := slices.IndexFunc(kinds, func(k Kind) bool { return k.Name == name })
	if i < 0 {
		var names []string
		for _, k := range kinds {
			names = append(names, k.Name)
		}
		return Plugin{}, fmt.Errorf("no kind of device %q: want %s, or the path of a plugin's file", name, strings.Join(names, ", "))
	}
	if path := getenv(Variable); path != "" {
		if _, err := os.Stat(path); err != nil {
			return Plugin{}, fmt.Errorf("%s: %w", Variable, err)
		}
		return Plugin{Kind: name, Path: path, From: Variable}, nil
	}
	folders, err := pythonFolders()
	if found := search(folders, kinds[i]); len(found) > 0 {
		return found[0], nil
	}
	return Plugin{}, &NotFoundError{Kind: kinds[i], Folders: folders, Python: err}
}

// isPath tells a path from a kind.
func isPath(name string) bool {
	return strings.ContainsRune(name, filepath.Separator) || strings.Contains(name, "/") || slices.Contains([]string{".so", ".dylib"}, filepath.Ext(name))
}

// NotFoundError says that no plugin is installed for a kind of device.
type NotFoundError struct {
	Kind    Kind
	Folders []string // of packages, where it was looked for
	Python  error    // why Python couldn't be asked for them
}

func (e *NotFoundError) Error() string {
	where := fmt.Sprintf("none in %d folders of Python packages", len(e.Folders))
	if e.Python != nil {
		where = e.Python.Error()
	}
	return fmt.Sprintf("no plugin for %s (%s is not set; %s): %s", e.Kind.Title, Variable, where, e.Kind.Advice())
}

// Advice says how to install the plugin.
func (k Kind) Advice() string {
	advice := k.Install
	if k.Needs != "" {
		advice += ", and it needs " + k.Needs
	}
	return advice
}

// Installed returns all plugins that [Find] could find, and others that lie among JAX's: that of
// the environment first. Each file is there once.
func Installed(getenv func(string) string) ([]Plugin, error) {
	folders, err := pythonFolders()
	var found []Plugin
	for _, k := range kinds {
		found = append(found, search(folders, k)...)
	}
	found = append(found, search(folders, Kind{patterns: others})...)
	var all []Plugin
	if path := getenv(Variable); path != "" {
		p := Plugin{Path: path, From: Variable}
		if i := slices.IndexFunc(found, p.same); i >= 0 {
			p.Kind = found[i].Kind
		}
		all = append(all, p)
	}
	for _, p := range found {
		if !slices.ContainsFunc(all, p.same) {
			all = append(all, p)
		}
	}
	return all, err
}

// same reports whether both are one file, by whatever path.
func (p Plugin) same(o Plugin) bool {
	if p.Path == o.Path {
		return true
	}
	a, err := os.Stat(p.Path)
	if err != nil {
		return false
	}
	b, err := os.Stat(o.Path)
	return err == nil && os.SameFile(a, b)
}

// search returns a kind's plugins in folders of packages: by the order of folders, in each the
// newest first, by the number in its name.
func search(folders []string, k Kind) []Plugin {
	var all []Plugin
	for _, folder := range folders {
		for _, pattern := range k.patterns {
			found, err := newestFirst(folder, pattern)
			if err != nil {
				continue
			}
			for _, path := range found {
				all = append(all, Plugin{Kind: k.Name, Path: path, From: folder})
			}
		}
	}
	return all
}

// errNoPython says that packages can't be found.
var errNoPython = errors.New("no python3 or python on PATH answers")
