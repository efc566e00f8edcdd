package pjrt

import (
	"os"
	"path/filepath"
	"strings"
)

// cudaFlags are the compiler's flags for a plugin that lies among Python's packages: the folder
// of NVIDIA's assembler and device library, which pip installs beside it in nvidia/cu13 (CUDA 13)
// or nvidia/cuda_nvcc (CUDA 12). The compiler doesn't look there by itself.
func cudaFlags(plugin string) map[string]any {
	const name = "xla_gpu_cuda_data_dir"
	folder := filepath.Dir(plugin)
	version, ok := strings.CutPrefix(filepath.Base(folder), "xla_cuda")
	if !ok || strings.Contains(os.Getenv("XLA_FLAGS"), name) {
		return nil
	}
	packages := filepath.Dir(filepath.Dir(folder))
	for _, dir := range []string{"cu" + version, "cuda_nvcc"} {
		dir = filepath.Join(packages, "nvidia", dir)
		if _, err := os.Stat(filepath.Join(dir, "nvvm")); err == nil {
			return map[string]any{name: dir}
		}
	}
	return nil
}
