#include "textflag.h"

// func floatMode() uint64
TEXT ·floatMode(SB), NOSPLIT, $0-8
	MOVQ    $0, ret+0(FP)
	STMXCSR ret+0(FP)
	RET

// func setFloatMode(mode uint64)
TEXT ·setFloatMode(SB), NOSPLIT, $0-8
	LDMXCSR mode+0(FP)
	RET
