package kernel

// neon is the instruction set that every arm64 processor has (ASIMD).
var neon = newISA("neon", kernels{
	gemm: gemmTiles{rows: [2]int{6, 3}, depth: 8, funcs: [2][]gemmFunc{
		{nil, gemm1x16NEON, gemm2x16NEON, gemm3x16NEON, gemm4x16NEON, gemm5x16NEON, gemm6x16NEON},
		{nil, gemm1x32NEON, gemm2x32NEON, gemm3x32NEON},
	}},
	gemmRGB: gemmTiles{rows: [2]int{6, 3}, depth: 8, funcs: [2][]gemmFunc{
		{nil, rgbgemm1x16NEON, rgbgemm2x16NEON, rgbgemm3x16NEON, rgbgemm4x16NEON, rgbgemm5x16NEON, rgbgemm6x16NEON},
		{nil, rgbgemm1x32NEON, rgbgemm2x32NEON, rgbgemm3x32NEON},
	}},
	wgrad:       wgradTiles{rows: 4, funcs: [2]wgradFunc{wgrad4x16NEON}},
	rgbWgrad:    [2]rgbWgradFunc{rgbwgrad9x16NEON},
	maxPool:     maxPoolNEON,
	maxPoolGrad: maxPoolGradNEON,
	maxPoolHits: maxPoolHitsNEON, unpool: unpoolNEON,
	reluGrad:  reluGradNEON,
	sumPixels: sumPixelsNEON, addPixels: addPixelsNEON, addSquares: addSquaresNEON, addDifferences: addDifferencesNEON,
	sgd:        sgdNEON,
	transpose:  transpose16NEON,
	prefetch:   prefetchNEON,
	scaleShift: scaleShiftNEON, normSums: normSumsNEON, normDots: normDotsNEON, normGrad: normGradNEON,
	squares: squaresNEON, lrn: lrnNEON, lrnGrad: lrnGradNEON, lrnSpread: lrnSpreadNEON,
	widenF16: widenF16NEON, widenBF16: widenBF16NEON, mixedDot: mixedDotNEON, mixedAdd: mixedAddNEON,
	winoInput: winoFuncs[winoInputFunc]{
		{{winoInput4NEON, winoInput4r4c2NEON}, {winoInput4r2c4NEON, winoInput4r2c2NEON}},
		{{winoInput6NEON, winoInput6r6c4NEON, winoInput6r6c2NEON}, {winoInput6r4c6NEON, winoInput6r4c4NEON, winoInput6r4c2NEON}, {winoInput6r2c6NEON, winoInput6r2c4NEON, winoInput6r2c2NEON}},
		{{winoInput4x5NEON}},
		{{winoInput2x7NEON}},
	},
	winoOutput: winoFuncs[winoOutputFunc]{
		{{winoOutput4NEON, winoOutput4r4c2NEON}, {winoOutput4r2c4NEON, winoOutput4r2c2NEON}},
		{{winoOutput6NEON, winoOutput6r6c4NEON, winoOutput6r6c2NEON}, {winoOutput6r4c6NEON, winoOutput6r4c4NEON, winoOutput6r4c2NEON}, {winoOutput6r2c6NEON, winoOutput6r2c4NEON, winoOutput6r2c2NEON}},
		{{winoOutput4x5NEON}},
		{{winoOutput2x7NEON}},
	},
	winoOutputPool: winoFuncs[winoOutputFunc]{
		{{winoOutputPool4NEON, winoOutputPool4r4c2NEON}, {winoOutputPool4r2c4NEON, winoOutputPool4r2c2NEON}},
		{{winoOutputPool6NEON, winoOutputPool6r6c4NEON, winoOutputPool6r6c2NEON}, {winoOutputPool6r4c6NEON, winoOutputPool6r4c4NEON, winoOutputPool6r4c2NEON}, {winoOutputPool6r2c6NEON, winoOutputPool6r2c4NEON, winoOutputPool6r2c2NEON}},
		{{winoOutputPool4x5NEON}},
		{{winoOutputPool2x7NEON}},
	},
	winoWeights: [len(forms)]winoWeightsFunc{winoWeights4NEON, winoWeights6NEON, winoWeights4x5NEON, winoWeights2x7NEON},
	winoGrad: winoFuncs[winoInputFunc]{
		{{winoGrad4NEON, winoGrad4r4c2NEON}, {winoGrad4r2c4NEON, winoGrad4r2c2NEON}},
		{{winoGrad6NEON, winoGrad6r6c4NEON, winoGrad6r6c2NEON}, {winoGrad6r4c6NEON, winoGrad6r4c4NEON, winoGrad6r4c2NEON}, {winoGrad6r2c6NEON, winoGrad6r2c4NEON, winoGrad6r2c2NEON}},
	},
	winoOutputHits: winoFuncs[winoHitsFunc]{
		{{winoOutputHits4NEON, winoOutputHits4r4c2NEON}, {winoOutputHits4r2c4NEON, winoOutputHits4r2c2NEON}},
		{{winoOutputHits6NEON, winoOutputHits6r6c4NEON, winoOutputHits6r6c2NEON}, {winoOutputHits6r4c6NEON, winoOutputHits6r4c4NEON, winoOutputHits6r4c2NEON}, {winoOutputHits6r2c6NEON, winoOutputHits6r2c4NEON, winoOutputHits6r2c2NEON}},
	},
	winoOutputMask: winoFuncs[winoMaskFunc]{
		{{winoOutputMask4NEON, winoOutputMask4r4c2NEON}, {winoOutputMask4r2c4NEON, winoOutputMask4r2c2NEON}},
		{{winoOutputMask6NEON, winoOutputMask6r6c4NEON, winoOutputMask6r6c2NEON}, {winoOutputMask6r4c6NEON, winoOutputMask6r4c4NEON, winoOutputMask6r4c2NEON}, {winoOutputMask6r2c6NEON, winoOutputMask6r2c4NEON, winoOutputMask6r2c2NEON}},
	},
	winoWeightsGrad: [len(forms)]winoWeightsFunc{winoWeightsGrad4NEON, winoWeightsGrad6NEON},
})

// native lists the instruction sets of this CPU.
func native() []*ISA { return []*ISA{neon} }
