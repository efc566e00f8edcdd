package pjrt

import (
	"maps"
	"os"
	"path/filepath"
	"slices"
	"testing"

	"github.com/verydeep/vgg/internal/vggtest"
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

// TestCUDALibraries lists libraries in the order in which they can be loaded, those of the plugin's
// CUDA and no other's.
func TestCUDALibraries(t *testing.T) {
	packages := filepath.Join(t.TempDir(), "site [packages]")
	for _, name := range []string{
		"cu13/lib/libcublas.so.13", "cu13/lib/libcublasLt.so.13", "cu13/lib/libcudart.so.13", "cu13/lib/libcudart.so.13.0.96", "cu13/lib/libcudart_static.a",
		"cu13/lib/libcufft.so.12", "cu13/lib/libcufftw.so.12", "cu13/lib/libcupti.so.13", "cu13/lib/libcusolver.so.12", "cu13/lib/libcusolverMg.so.12",
		"cu13/lib/libcusparse.so.12", "cu13/lib/libnvJitLink.so.13", "cu13/lib/libnvrtc.so.13", "cu13/lib/libnvrtc-builtins.so.13.2",
		"cublas/lib/libcublas.so.12", "cublas/lib/libcublasLt.so.12", "cuda_runtime/lib/libcudart.so.12", "cusolver/lib/libcusolver.so.11",
		"cudnn/lib/libcudnn.so.9", "cudnn/lib/libcudnn_ops.so.9", "nccl/lib/libnccl.so.2", "nvshmem/lib/libnvshmem_host.so.3", "cusparselt/lib/libcusparseLt.so.0",
	} {
		file := filepath.Join(packages, "nvidia", filepath.FromSlash(name))
		if err := os.MkdirAll(filepath.Dir(file), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(file, nil, 0o644); err != nil {
			t.Fatal(err)
		}
	}
	for plugin, want := range map[string][]string{
		"xla_cuda13": {"cu13/lib/libcudart.so.13", "cu13/lib/libnvJitLink.so.13", "cu13/lib/libnvrtc.so.13", "cu13/lib/libcublasLt.so.13", "cu13/lib/libcublas.so.13",
			"cu13/lib/libcusparse.so.12", "cu13/lib/libcusolver.so.12", "cu13/lib/libcufft.so.12", "cu13/lib/libcupti.so.13",
			"cudnn/lib/libcudnn.so.9", "nccl/lib/libnccl.so.2", "nvshmem/lib/libnvshmem_host.so.3"},
		"xla_cuda12": {"cuda_runtime/lib/libcudart.so.12", "cublas/lib/libcublasLt.so.12", "cublas/lib/libcublas.so.12", "cusolver/lib/libcusolver.so.11",
			"cudnn/lib/libcudnn.so.9", "nccl/lib/libnccl.so.2", "nvshmem/lib/libnvshmem_host.so.3"},
		"xla_rocm7": nil,
	} {
		var got []string
		for _, path := range cudaLibraries(filepath.Join(packages, "jax_plugins", plugin, "xla_cuda_plugin.so")) {
			name, err := filepath.Rel(filepath.Join(packages, "nvidia"), path)
			if err != nil {
				t.Fatal(err)
			}
			got = append(got, filepath.ToSlash(name))
		}
		if !slices.Equal(got, want) {
			t.Errorf("%s: %v, want %v", plugin, got, want)
		}
	}
	if got := cudaLibraries(filepath.Join(t.TempDir(), "xla_cuda_plugin.so")); got != nil {
		t.Errorf("elsewhere: %v", got)
	}
}

// TestLibrariesBeforeThePlugin loads a plugin after files that can't be: what it misses is the
// plugin's to tell.
func TestLibrariesBeforeThePlugin(t *testing.T) {
	plugin := os.Getenv("VGG_PJRT_PLUGIN")
	if plugin == "" {
		vggtest.Skip(t, "a PJRT plugin in VGG_PJRT_PLUGIN")
	}
	broken := filepath.Join(t.TempDir(), "libcudart.so.13")
	if err := os.WriteFile(broken, []byte("no library"), 0o644); err != nil {
		t.Fatal(err)
	}
	if get, err := openLibrary(plugin, "GetPjrtApi", []string{broken, broken + ".missing"}); err != nil || get == 0 {
		t.Errorf("%#x, %v", get, err)
	}
}
