package kernel

import "github.com/klauspost/cpuid/v2"

var avx512 = newISA("avx512", kernels{
	gemm: gemmTiles{rows: [2]int{14, 14}, depth: 16, funcs: [2][]gemmFunc{
		{nil, gemm1x16AVX512, gemm2x16AVX512, gemm3x16AVX512, gemm4x16AVX512, gemm5x16AVX512, gemm6x16AVX512, gemm7x16AVX512,
			gemm8x16AVX512, gemm9x16AVX512, gemm10x16AVX512, gemm11x16AVX512, gemm12x16AVX512, gemm13x16AVX512, gemm14x16AVX512},
		{nil, gemm1x32AVX512, gemm2x32AVX512, gemm3x32AVX512, gemm4x32AVX512, gemm5x32AVX512, gemm6x32AVX512, gemm7x32AVX512,
			gemm8x32AVX512, gemm9x32AVX512, gemm10x32AVX512, gemm11x32AVX512, gemm12x32AVX512, gemm13x32AVX512, gemm14x32AVX512},
	}},
	gemmRGB: gemmTiles{rows: [2]int{14, 14}, depth: 16, funcs: [2][]gemmFunc{
		{nil, rgbgemm1x16AVX512, rgbgemm2x16AVX512, rgbgemm3x16AVX512, rgbgemm4x16AVX512, rgbgemm5x16AVX512, rgbgemm6x16AVX512, rgbgemm7x16AVX512,
			rgbgemm8x16AVX512, rgbgemm9x16AVX512, rgbgemm10x16AVX512, rgbgemm11x16AVX512, rgbgemm12x16AVX512, rgbgemm13x16AVX512, rgbgemm14x16AVX512},
		{nil, rgbgemm1x32AVX512, rgbgemm2x32AVX512, rgbgemm3x32AVX512, rgbgemm4x32AVX512, rgbgemm5x32AVX512, rgbgemm6x32AVX512, rgbgemm7x32AVX512,
			rgbgemm8x32AVX512, rgbgemm9x32AVX512, rgbgemm10x32AVX512, rgbgemm11x32AVX512, rgbgemm12x32AVX512, rgbgemm13x32AVX512, rgbgemm14x32AVX512},
	}},
	wgrad:          wgradTiles{rows: 8, funcs: [2]wgradFunc{wgrad8x16AVX512, wgrad8x32AVX512}},
	maxPool:        maxPoolAVX512,
	maxPoolGrad:    maxPoolGradAVX512,
	reluGrad:       reluGradAVX512,
	sumPixels:      sumPixelsAVX512,
	addSquares:     addSquaresAVX512,
	addDifferences: addDifferencesAVX512,
	sgd:            sgdAVX512,
	scaleShift:     scaleShiftAVX512, normSums: normSumsAVX512, normDots: normDotsAVX512, normGrad: normGradAVX512,
	squares: squaresAVX512, lrn: lrnAVX512, lrnGrad: lrnGradAVX512, lrnSpread: lrnSpreadAVX512,
	widenF16: widenF16AVX512, widenBF16: widenBF16AVX512, mixedDot: mixedDotAVX512, mixedAdd: mixedAddAVX512,
	transpose: transpose16AVX2,
	winoInput: winoFuncs[winoInputFunc]{
		{{winoInput4AVX512, winoInput4r4c2AVX512}, {winoInput4r2c4AVX512, winoInput4r2c2AVX512}},
		{{winoInput6AVX512, winoInput6r6c4AVX512, winoInput6r6c2AVX512}, {winoInput6r4c6AVX512, winoInput6r4c4AVX512, winoInput6r4c2AVX512}, {winoInput6r2c6AVX512, winoInput6r2c4AVX512, winoInput6r2c2AVX512}},
		{{winoInput4x5AVX512}},
		{{winoInput2x7AVX512}},
	},
	winoOutput: winoFuncs[winoOutputFunc]{
		{{winoOutput4AVX512, winoOutput4r4c2AVX512}, {winoOutput4r2c4AVX512, winoOutput4r2c2AVX512}},
		{{winoOutput6AVX512, winoOutput6r6c4AVX512, winoOutput6r6c2AVX512}, {winoOutput6r4c6AVX512, winoOutput6r4c4AVX512, winoOutput6r4c2AVX512}, {winoOutput6r2c6AVX512, winoOutput6r2c4AVX512, winoOutput6r2c2AVX512}},
		{{winoOutput4x5AVX512}},
		{{winoOutput2x7AVX512}},
	},
	winoOutputPool: winoFuncs[winoOutputFunc]{
		{{winoOutputPool4AVX512, winoOutputPool4r4c2AVX512}, {winoOutputPool4r2c4AVX512, winoOutputPool4r2c2AVX512}},
		{{winoOutputPool6AVX512, winoOutputPool6r6c4AVX512, winoOutputPool6r6c2AVX512}, {winoOutputPool6r4c6AVX512, winoOutputPool6r4c4AVX512, winoOutputPool6r4c2AVX512}, {winoOutputPool6r2c6AVX512, winoOutputPool6r2c4AVX512, winoOutputPool6r2c2AVX512}},
		{{winoOutputPool4x5AVX512}},
		{{winoOutputPool2x7AVX512}},
	},
	winoWeights:     [len(forms)]winoWeightsFunc{winoWeights4AVX512, winoWeights6AVX512, winoWeights4x5AVX512, winoWeights2x7AVX512},
	winoWeightsPast: [len(forms)]winoWeightsFunc{winoWeightsPast4AVX512, winoWeightsPast6AVX512},
	maxPoolHits:     maxPoolHitsAVX512, unpool: unpoolAVX512, addPixels: addPixelsAVX512,
	prefetch: prefetchAMD64,
	rgbWgrad: [2]rgbWgradFunc{rgbwgrad9x16AVX512, rgbwgrad9x32AVX512},
	winoGrad: winoFuncs[winoInputFunc]{
		{{winoGrad4AVX512, winoGrad4r4c2AVX512}, {winoGrad4r2c4AVX512, winoGrad4r2c2AVX512}},
		{{winoGrad6AVX512, winoGrad6r6c4AVX512, winoGrad6r6c2AVX512}, {winoGrad6r4c6AVX512, winoGrad6r4c4AVX512, winoGrad6r4c2AVX512}, {winoGrad6r2c6AVX512, winoGrad6r2c4AVX512, winoGrad6r2c2AVX512}},
	},
	winoOutputHits: winoFuncs[winoHitsFunc]{
		{{winoOutputHits4AVX512, winoOutputHits4r4c2AVX512}, {winoOutputHits4r2c4AVX512, winoOutputHits4r2c2AVX512}},
		{{winoOutputHits6AVX512, winoOutputHits6r6c4AVX512, winoOutputHits6r6c2AVX512}, {winoOutputHits6r4c6AVX512, winoOutputHits6r4c4AVX512, winoOutputHits6r4c2AVX512}, {winoOutputHits6r2c6AVX512, winoOutputHits6r2c4AVX512, winoOutputHits6r2c2AVX512}},
	},
	winoOutputMask: winoFuncs[winoMaskFunc]{
		{{winoOutputMask4AVX512, winoOutputMask4r4c2AVX512}, {winoOutputMask4r2c4AVX512, winoOutputMask4r2c2AVX512}},
		{{winoOutputMask6AVX512, winoOutputMask6r6c4AVX512, winoOutputMask6r6c2AVX512}, {winoOutputMask6r4c6AVX512, winoOutputMask6r4c4AVX512, winoOutputMask6r4c2AVX512}, {winoOutputMask6r2c6AVX512, winoOutputMask6r2c4AVX512, winoOutputMask6r2c2AVX512}},
	},
	winoWeightsGrad: [len(forms)]winoWeightsFunc{winoWeightsGrad4AVX512, winoWeightsGrad6AVX512},
})

var avx2 = newISA("avx2", kernels{
	gemm: gemmTiles{rows: [2]int{6, 3}, depth: 8, funcs: [2][]gemmFunc{
		{nil, gemm1x16AVX2, gemm2x16AVX2, gemm3x16AVX2, gemm4x16AVX2, gemm5x16AVX2, gemm6x16AVX2},
		{nil, gemm1x32AVX2, gemm2x32AVX2, gemm3x32AVX2},
	}},
	gemmRGB: gemmTiles{rows: [2]int{6, 3}, depth: 8, funcs: [2][]gemmFunc{
		{nil, rgbgemm1x16AVX2, rgbgemm2x16AVX2, rgbgemm3x16AVX2, rgbgemm4x16AVX2, rgbgemm5x16AVX2, rgbgemm6x16AVX2},
		{nil, rgbgemm1x32AVX2, rgbgemm2x32AVX2, rgbgemm3x32AVX2},
	}},
	wgrad:          wgradTiles{rows: 4, funcs: [2]wgradFunc{wgrad4x16AVX2}},
	maxPool:        maxPoolAVX2,
	maxPoolGrad:    maxPoolGradAVX2,
	reluGrad:       reluGradAVX2,
	sumPixels:      sumPixelsAVX2,
	addSquares:     addSquaresAVX2,
	addDifferences: addDifferencesAVX2,
	sgd:            sgdAVX2,
	scaleShift:     scaleShiftAVX2, normSums: normSumsAVX2, normDots: normDotsAVX2, normGrad: normGradAVX2,
	squares: squaresAVX2, lrn: lrnAVX2, lrnGrad: lrnGradAVX2, lrnSpread: lrnSpreadAVX2,
	widenF16: widenF16AVX2, widenBF16: widenBF16AVX2, mixedDot: mixedDotAVX2, mixedAdd: mixedAddAVX2,
	transpose: transpose16AVX2,
	winoInput: winoFuncs[winoInputFunc]{
		{{winoInput4AVX2, winoInput4r4c2AVX2}, {winoInput4r2c4AVX2, winoInput4r2c2AVX2}},
		{{winoInput6AVX2, winoInput6r6c4AVX2, winoInput6r6c2AVX2}, {winoInput6r4c6AVX2, winoInput6r4c4AVX2, winoInput6r4c2AVX2}, {winoInput6r2c6AVX2, winoInput6r2c4AVX2, winoInput6r2c2AVX2}},
		{{winoInput4x5AVX2}},
		{{winoInput2x7AVX2}},
	},
	winoOutput: winoFuncs[winoOutputFunc]{
		{{winoOutput4AVX2, winoOutput4r4c2AVX2}, {winoOutput4r2c4AVX2, winoOutput4r2c2AVX2}},
		{{winoOutput6AVX2, winoOutput6r6c4AVX2, winoOutput6r6c2AVX2}, {winoOutput6r4c6AVX2, winoOutput6r4c4AVX2, winoOutput6r4c2AVX2}, {winoOutput6r2c6AVX2, winoOutput6r2c4AVX2, winoOutput6r2c2AVX2}},
		{{winoOutput4x5AVX2}},
		{{winoOutput2x7AVX2}},
	},
	winoOutputPool: winoFuncs[winoOutputFunc]{
		{{winoOutputPool4AVX2, winoOutputPool4r4c2AVX2}, {winoOutputPool4r2c4AVX2, winoOutputPool4r2c2AVX2}},
		{{winoOutputPool6AVX2, winoOutputPool6r6c4AVX2, winoOutputPool6r6c2AVX2}, {winoOutputPool6r4c6AVX2, winoOutputPool6r4c4AVX2, winoOutputPool6r4c2AVX2}, {winoOutputPool6r2c6AVX2, winoOutputPool6r2c4AVX2, winoOutputPool6r2c2AVX2}},
		{{winoOutputPool4x5AVX2}},
		{{winoOutputPool2x7AVX2}},
	},
	winoWeights: [len(forms)]winoWeightsFunc{winoWeights4AVX2, winoWeights6AVX2, winoWeights4x5AVX2, winoWeights2x7AVX2},
	maxPoolHits: maxPoolHitsAVX2, unpool: unpoolAVX2, addPixels: addPixelsAVX2,
	prefetch: prefetchAMD64,
	rgbWgrad: [2]rgbWgradFunc{rgbwgrad9x16AVX2},
	winoGrad: winoFuncs[winoInputFunc]{
		{{winoGrad4AVX2, winoGrad4r4c2AVX2}, {winoGrad4r2c4AVX2, winoGrad4r2c2AVX2}},
		{{winoGrad6AVX2, winoGrad6r6c4AVX2, winoGrad6r6c2AVX2}, {winoGrad6r4c6AVX2, winoGrad6r4c4AVX2, winoGrad6r4c2AVX2}, {winoGrad6r2c6AVX2, winoGrad6r2c4AVX2, winoGrad6r2c2AVX2}},
	},
	winoOutputHits: winoFuncs[winoHitsFunc]{
		{{winoOutputHits4AVX2, winoOutputHits4r4c2AVX2}, {winoOutputHits4r2c4AVX2, winoOutputHits4r2c2AVX2}},
		{{winoOutputHits6AVX2, winoOutputHits6r6c4AVX2, winoOutputHits6r6c2AVX2}, {winoOutputHits6r4c6AVX2, winoOutputHits6r4c4AVX2, winoOutputHits6r4c2AVX2}, {winoOutputHits6r2c6AVX2, winoOutputHits6r2c4AVX2, winoOutputHits6r2c2AVX2}},
	},
	winoOutputMask: winoFuncs[winoMaskFunc]{
		{{winoOutputMask4AVX2, winoOutputMask4r4c2AVX2}, {winoOutputMask4r2c4AVX2, winoOutputMask4r2c2AVX2}},
		{{winoOutputMask6AVX2, winoOutputMask6r6c4AVX2, winoOutputMask6r6c2AVX2}, {winoOutputMask6r4c6AVX2, winoOutputMask6r4c4AVX2, winoOutputMask6r4c2AVX2}, {winoOutputMask6r2c6AVX2, winoOutputMask6r2c4AVX2, winoOutputMask6r2c2AVX2}},
	},
	winoWeightsGrad: [len(forms)]winoWeightsFunc{winoWeightsGrad4AVX2, winoWeightsGrad6AVX2},
})

// native lists the instruction sets of this CPU that the operating system saves.
func native() []*ISA {
	var s []*ISA
	if cpuid.CPU.Supports(cpuid.AVX512F, cpuid.AVX512DQ, cpuid.AVX512BW, cpuid.AVX512VL, cpuid.AVX2, cpuid.FMA3, cpuid.F16C) {
		s = append(s, avx512)
	}
	if cpuid.CPU.Supports(cpuid.AVX2, cpuid.FMA3, cpuid.F16C) {
		s = append(s, avx2)
	}
	return s
}
