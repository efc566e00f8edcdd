//go:build !arm64 || (!linux && !darwin)

package kernel

import "github.com/klauspost/cpuid/v2"

func systemCaches() caches { return caches{cpuid.CPU.Cache.L2, cpuid.CPU.Cache.L3} }
