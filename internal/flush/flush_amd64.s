#include "textflag.h"

// func mode() uint64
TEXT ·mode(SB), NOSPLIT, $0-8
	MOVQ    $0, ret+0(FP)
	STMXCSR ret+0(FP)
	RET

// func setMode(mode uint64)
TEXT ·setMode(SB), NOSPLIT, $0-8
	LDMXCSR mode+0(FP)
	RET
