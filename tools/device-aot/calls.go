package main

import (
	"fmt"
	"strings"

	"google.golang.org/protobuf/encoding/protowire"
)

// libraryCall is a call of cuDNN or cuBLASLt in a compiled program.
type libraryCall struct {
	target string // the name that XLA gives it
	// precision is that of the operands, which decides whether products of float32 may be TF32's:
	// the greatest of both, as XLA's runtime takes it.
	precision precision
}

// precision is XLA's PrecisionConfig.Precision.
type precision int

func (p precision) String() string {
	names := []string{"DEFAULT", "HIGH", "HIGHEST"}
	if int(p) < len(names) {
		return names[p]
	}
	return fmt.Sprintf("precision %d", int(p))
}

// Fields of XLA's protobuf messages (xla/service/hlo.proto, xla/xla_data.proto).
const (
	moduleOfConfig           = 1  // HloModuleProtoWithConfig.hlo_module
	computationsOfModule     = 3  // HloModuleProto.computations
	instructionsOf           = 2  // HloComputationProto.instructions
	targetOfInstruction      = 28 // HloInstructionProto.custom_call_target
	backendOfInstruction     = 43 // HloInstructionProto.backend_config
	precisionOfInstruction   = 51 // HloInstructionProto.precision_config
	operandsOfPrecision      = 1  // PrecisionConfig.operand_precision
	operandPrecisionsOfGEMM  = `"operand_precision":[`
	targetPrefixes           = "__cudnn$ __cublas$"
	precisionNamesInBackends = "DEFAULT HIGH HIGHEST"
)

// fields calls visit for the fields of a protobuf message that are messages, texts or packed
// numbers, and for numbers.
func fields(message []byte, visit func(n protowire.Number, bytes []byte, number uint64) error) error {
	for len(message) > 0 {
		n, kind, size := protowire.ConsumeTag(message)
		if size < 0 {
			return protowire.ParseError(size)
		}
		message = message[size:]
		var bytes []byte
		var number uint64
		switch kind {
		case protowire.BytesType:
			bytes, size = protowire.ConsumeBytes(message)
		case protowire.VarintType:
			number, size = protowire.ConsumeVarint(message)
		default:
			size = protowire.ConsumeFieldValue(n, kind, message)
		}
		if size < 0 {
			return protowire.ParseError(size)
		}
		message = message[size:]
		if err := visit(n, bytes, number); err != nil {
			return err
		}
	}
	return nil
}

// within calls visit for the messages in field n of a message.
func within(message []byte, n protowire.Number, visit func([]byte) error) error {
	return fields(message, func(field protowire.Number, bytes []byte, _ uint64) error {
		if field != n {
			return nil
		}
		return visit(bytes)
	})
}

// libraryCalls lists the calls of libraries in a serialised xla.HloModuleProtoWithConfig.
func libraryCalls(module []byte) (calls []libraryCall, err error) {
	err = within(module, moduleOfConfig, func(m []byte) error {
		return within(m, computationsOfModule, func(c []byte) error {
			return within(c, instructionsOf, func(i []byte) error {
				call, err := libraryCallOf(i)
				if call.target != "" {
					calls = append(calls, call)
				}
				return err
			})
		})
	})
	return calls, err
}

// libraryCallOf reads an instruction; without a target if it is no call of a library.
func libraryCallOf(instruction []byte) (call libraryCall, err error) {
	var target, backend string
	err = fields(instruction, func(n protowire.Number, bytes []byte, _ uint64) error {
		switch n {
		case targetOfInstruction:
			target = string(bytes)
		case backendOfInstruction:
			backend = string(bytes)
		case precisionOfInstruction:
			return fields(bytes, func(n protowire.Number, packed []byte, number uint64) error {
				if n != operandsOfPrecision {
					return nil
				}
				call.precision = max(call.precision, precision(number))
				for len(packed) > 0 {
					v, size := protowire.ConsumeVarint(packed)
					if size < 0 {
						return protowire.ParseError(size)
					}
					call.precision = max(call.precision, precision(v))
					packed = packed[size:]
				}
				return nil
			})
		}
		return nil
	})
	for _, prefix := range strings.Fields(targetPrefixes) {
		if strings.HasPrefix(target, prefix) {
			call.target = target
		}
	}
	// Products keep theirs in the call's own settings.
	if _, list, ok := strings.Cut(backend, operandPrecisionsOfGEMM); ok {
		list, _, _ = strings.Cut(list, "]")
		for p, name := range strings.Fields(precisionNamesInBackends) {
			if strings.Contains(list, `"`+name+`"`) {
				call.precision = max(call.precision, precision(p))
			}
		}
	}
	return call, err
}
