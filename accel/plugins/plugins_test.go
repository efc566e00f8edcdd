package plugins

import (
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/verydeep/vgg/internal/vggtest"
)

func TestMain(m *testing.M) { vggtest.Main(m) }

// packages makes a folder of Python packages with empty plugins.
func packages(t *testing.T, names ...string) string {
	t.Helper()
	dir := t.TempDir()
	for _, name := range names {
		path := filepath.Join(dir, filepath.FromSlash(name))
		if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(path, nil, 0o644); err != nil {
			t.Fatal(err)
		}
	}
	return dir
}

func environment(pairs ...string) func(string) string {
	return func(name string) string {
		for i := 0; i < len(pairs); i += 2 {
			if pairs[i] == name {
				return pairs[i+1]
			}
		}
		return ""
	}
}

func TestFindByPath(t *testing.T) {
	dir := packages(t, "plugin.so")
	path := filepath.Join(dir, "plugin.so")
	if p, err := Find(path, environment(Variable, "elsewhere")); err != nil || p.Path != path || p.Kind != "" {
		t.Errorf("%+v, %v", p, err)
	}
	if _, err := Find(filepath.Join(dir, "no"), environment()); err == nil || !strings.Contains(err.Error(), "no such file") {
		t.Errorf("a path that isn't: %v", err)
	}
	if _, err := Find("no.so", environment()); err == nil || !strings.Contains(err.Error(), "no such file") {
		t.Errorf("a file that isn't: %v", err)
	}
	_, err := Find("gpu", environment())
	if err == nil || !strings.Contains(err.Error(), `no kind of device "gpu": want cuda, rocm, oneapi, tpu, cpu`) {
		t.Errorf("a kind that isn't: %v", err)
	}
}

func TestFindByVariable(t *testing.T) {
	path := filepath.Join(packages(t, "plugin.so"), "plugin.so")
	if p, err := Find("rocm", environment(Variable, path)); err != nil || p.Path != path || p.Kind != "rocm" || p.From != Variable {
		t.Errorf("%+v, %v", p, err)
	}
	if _, err := Find("rocm", environment(Variable, path+"x")); err == nil || !strings.Contains(err.Error(), Variable) {
		t.Errorf("a variable that names nothing: %v", err)
	}
}

func TestSearch(t *testing.T) {
	first := packages(t, "libtpu/libtpu.so", "jax_plugins/xla_cuda9/xla_cuda_plugin.so", "jax_plugins/xla_cuda12/xla_cuda_plugin.so",
		"jax_plugins/xla_cuda13/xla_cuda_plugin.so", "jax_plugins/mine/my_plugin.so", "jax_plugins/xla_cuda13/version.py")
	second := packages(t, "jax_plugins/xla_cuda14/xla_cuda_plugin.so", "lammps_jax_pjrt_cpu/pjrt_c_api_cpu_plugin.so")
	for kind, want := range map[string][]string{
		"cuda": {first + "/jax_plugins/xla_cuda13", first + "/jax_plugins/xla_cuda12", first + "/jax_plugins/xla_cuda9", second + "/jax_plugins/xla_cuda14"},
		"tpu":  {first + "/libtpu"},
		"cpu":  {second + "/lammps_jax_pjrt_cpu"},
		"rocm": {},
	} {
		var k Kind
		for _, k = range kinds {
			if k.Name == kind {
				break
			}
		}
		found := search([]string{first, filepath.Join(first, "missing"), second}, k)
		if len(found) != len(want) {
			t.Errorf("%s: %+v, want %v", kind, found, want)
			continue
		}
		for i, p := range found {
			if got := filepath.ToSlash(filepath.Dir(p.Path)); got != filepath.ToSlash(want[i]) || p.Kind != kind {
				t.Errorf("%s, %d: %+v, want %s", kind, i, p, want[i])
			}
		}
	}
}

// TestPackagesOfPython asks the Python on PATH.
func TestPackagesOfPython(t *testing.T) {
	python, err := exec.LookPath("python3")
	if err != nil {
		vggtest.Skip(t, "python3")
	}
	dir := packages(t, "jax_plugins/xla_rocm7/xla_rocm_plugin.so", "jax_plugins/mine/my_plugin.so")
	t.Setenv("PYTHONPATH", dir)
	p, err := Find("rocm", environment())
	if want := filepath.Join(dir, "jax_plugins", "xla_rocm7", "xla_rocm_plugin.so"); err != nil || p.Path != want || p.From != dir {
		t.Errorf("%+v, %v, want %s", p, err, want)
	}
	all, err := Installed(environment(Variable, python))
	if err != nil {
		t.Fatal(err)
	}
	found := map[string]string{}
	for _, p := range all {
		found[p.Path] = p.Kind
	}
	mine := filepath.Join(dir, "jax_plugins", "mine", "my_plugin.so")
	if kind, ok := found[mine]; !ok || kind != "" || all[0].Path != python || found[p.Path] != "rocm" {
		t.Errorf("%+v", all)
	}
}

// TestInstalledOnce: a plugin that the environment names by another path is among the packages too.
func TestInstalledOnce(t *testing.T) {
	if _, err := exec.LookPath("python3"); err != nil {
		vggtest.Skip(t, "python3")
	}
	dir := packages(t, "jax_plugins/xla_rocm7/xla_rocm_plugin.so", "jax_plugins/mine/my_plugin.so")
	t.Setenv("PYTHONPATH", dir)
	t.Chdir(dir)
	for path, kind := range map[string]string{"jax_plugins/xla_rocm7/xla_rocm_plugin.so": "rocm", "jax_plugins/mine/my_plugin.so": ""} {
		all, err := Installed(environment(Variable, path))
		if err != nil {
			t.Fatal(err)
		}
		count := 0
		for _, p := range all {
			if (Plugin{Path: path}).same(p) {
				count++
			}
		}
		if first := all[0]; count != 1 || first.Path != path || first.From != Variable || first.Kind != kind {
			t.Errorf("%s: %d times, first %+v", path, count, first)
		}
	}
}

func TestNothingInstalled(t *testing.T) {
	dir := t.TempDir()
	t.Setenv("PATH", dir)
	_, err := Find("cuda", environment())
	if e, ok := errors.AsType[*NotFoundError](err); !ok || e.Kind.Name != "cuda" {
		t.Fatalf("%v", err)
	}
	for _, part := range []string{"NVIDIA", Variable, "no python3 or python on PATH", `pip install "jax[cuda13]"`, "driver 580"} {
		if !strings.Contains(err.Error(), part) {
			t.Errorf("%v: no %q", err, part)
		}
	}
	if all, err := Installed(environment()); len(all) != 0 || !errors.Is(err, errNoPython) {
		t.Errorf("%v, %v", all, err)
	}
}
