package pjrt

import (
	"maps"
	"os"
	"path/filepath"
	"testing"
)

func TestCUDAFlags(t *testing.T) {
	packages := t.TempDir()
	for _, dir := range []string{"nvidia/cu13/nvvm", "nvidia/cuda_nvcc/nvvm"} {
		if err := os.MkdirAll(filepath.Join(packages, filepath.FromSlash(dir)), 0o755); err != nil {
			t.Fatal(err)
		}
	}
	plugin := func(name string) string { return filepath.Join(packages, "jax_plugins", name, "plugin.so") }
	for name, want := range map[string]string{"xla_cuda13": "cu13", "xla_cuda12": "cuda_nvcc", "xla_rocm7": ""} {
		flags := map[string]any(nil)
		if want != "" {
			flags = map[string]any{"xla_gpu_cuda_data_dir": filepath.Join(packages, "nvidia", want)}
		}
		if got := cudaFlags(plugin(name)); !maps.Equal(got, flags) {
			t.Errorf("%s: %v, want %v", name, got, flags)
		}
	}
	if got := cudaFlags(filepath.Join(t.TempDir(), "jax_plugins", "xla_cuda13", "plugin.so")); got != nil {
		t.Errorf("without NVIDIA's packages: %v", got)
	}
	t.Setenv("XLA_FLAGS", "--xla_gpu_cuda_data_dir=/usr/local/cuda")
	if got := cudaFlags(plugin("xla_cuda13")); got != nil {
		t.Errorf("with the user's own: %v", got)
	}
}
