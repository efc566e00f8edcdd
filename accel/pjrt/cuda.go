package pjrt

import (
	"cmp"
	"io/fs"
	"os"
	"path"
	"path/filepath"
	"slices"
	"strings"
)

// cudaFlags are the compiler's flags for a plugin that lies among Python's packages: the folder
// of NVIDIA's assembler and device library, which pip installs beside it in nvidia/cu13 (CUDA 13)
// or nvidia/cuda_nvcc (CUDA 12). The compiler doesn't look there by itself.
func cudaFlags(plugin string) map[string]any {
	const name = "xla_gpu_cuda_data_dir"
	version, packages, ok := cudaVersion(plugin)
	if !ok || strings.Contains(os.Getenv("XLA_FLAGS"), name) {
		return nil
	}
	for _, dir := range []string{"cu" + version, "cuda_nvcc"} {
		dir = filepath.Join(packages, dir)
		if _, err := os.Stat(filepath.Join(dir, "nvvm")); err == nil {
			return map[string]any{name: dir}
		}
	}
	return nil
}

// nvidiaLibraries are NVIDIA's libraries that a plugin for CUDA calls, those first that others
// call: where pip puts them with CUDA 12, and the beginning of the file's name. From CUDA 13 on
// those with a version of their own alone have a folder of their own.
var nvidiaLibraries = []struct {
	folder, file string
	own          bool
}{
	{"cuda_runtime", "libcudart", false},
	{"nvjitlink", "libnvJitLink", false},
	{"cuda_nvrtc", "libnvrtc", false},
	{"cublas", "libcublasLt", false},
	{"cublas", "libcublas", false},
	{"cusparse", "libcusparse", false},
	{"cusolver", "libcusolver", false},
	{"cufft", "libcufft", false},
	{"cuda_cupti", "libcupti", false},
	{"cudnn", "libcudnn", true},
	{"nccl", "libnccl", true},
	{"nvshmem", "libnvshmem_host", true},
}

// cudaVersion returns the version of CUDA of a plugin that lies among Python's packages, in
// jax_plugins/xla_cuda13, and the folder of NVIDIA's packages.
func cudaVersion(plugin string) (version, packages string, ok bool) {
	folder := filepath.Dir(plugin)
	version, ok = strings.CutPrefix(filepath.Base(folder), "xla_cuda")
	return version, filepath.Join(filepath.Dir(filepath.Dir(folder)), "nvidia"), ok && version != ""
}

// cudaLibraries lists NVIDIA's libraries that pip installs beside a plugin, in the order in which
// they can be loaded. The plugin looks for them by name where the system has libraries, and finds
// those that are loaded.
func cudaLibraries(plugin string) []string {
	version, packages, ok := cudaVersion(plugin)
	if !ok {
		return nil
	}
	var all []string
	for _, l := range nvidiaLibraries {
		folder := l.folder
		if version != "12" && !l.own {
			folder = "cu" + version
		}
		// Beside libcudart.so.13 there may be libcudart.so.13.0.96.
		found, err := fs.Glob(os.DirFS(packages), path.Join(folder, "lib", l.file+".so.*"))
		if err != nil || len(found) == 0 {
			continue
		}
		shortest := slices.MinFunc(found, func(a, b string) int { return cmp.Or(len(a)-len(b), strings.Compare(b, a)) })
		all = append(all, filepath.Join(packages, filepath.FromSlash(shortest)))
	}
	return all
}
