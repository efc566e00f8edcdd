#include "textflag.h"

// func mode() uint64
TEXT ·mode(SB), NOSPLIT, $0-8
	MRS  FPCR, R0
	MOVD R0, ret+0(FP)
	RET

// func setMode(mode uint64)
TEXT ·setMode(SB), NOSPLIT, $0-8
	MOVD mode+0(FP), R0
	MSR  R0, FPCR
	RET
