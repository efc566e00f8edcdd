// Package pjrt is a client of the PJRT C API, the interface of XLA's plugins: CPU, NVIDIA GPUs
// (CUDA), AMD GPUs (ROCm) and TPUs. A plugin is a shared library, loaded when [Open] is called;
// nothing of it is needed to build, and there is no cgo.
//
// The way through the package: [Open] loads a plugin, [Plugin.NewClient] takes its devices,
// [Client.Compile] compiles a [Program] (StableHLO), [Upload] copies data to a [Device],
// [Executable.Run] runs the program on [Buffer]s, [Download] copies results back.
// [Plugin.NewTopology] compiles for devices that this machine doesn't have.
//
// XLA takes nonsense for granted, reads past the end of arrays or aborts the process. So
// everything is checked before a call: the number, types and dimensions of buffers against the
// program's signature, and lengths of slices against dimensions. What the plugin finds itself
// comes back as an [Error] with one of absl's codes.
//
// All functions may be called by several goroutines, except that nothing may be used by one
// while another frees it. Buffers, programs, topologies and clients are freed by the caller;
// [Client.Close] refuses while there is something left of the client's. Calls that wait block
// their goroutine, and can't be given up: no function takes a context.
//
// Source: xla/pjrt/c/pjrt_c_api.h of https://github.com/openxla/xla.
package pjrt
