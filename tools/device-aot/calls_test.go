package main

import (
	"slices"
	"testing"

	"google.golang.org/protobuf/encoding/protowire"

	"github.com/verydeep/vgg/internal/vggtest"
)

func TestMain(m *testing.M) { vggtest.Main(m) }

func TestLibraryCalls(t *testing.T) {
	field := func(n protowire.Number, content string) string {
		return string(protowire.AppendString(protowire.AppendTag(nil, n, protowire.BytesType), content))
	}
	instruction := func(target, backend, operands string) string {
		number := string(protowire.AppendVarint(protowire.AppendTag(nil, 3, protowire.VarintType), 7))
		return field(instructionsOf, field(1, "name")+number+field(targetOfInstruction, target)+
			field(precisionOfInstruction, field(operandsOfPrecision, operands))+field(backendOfInstruction, backend))
	}
	computation := instruction("", "", "\x02\x02") +
		instruction("__cudnn$convForward", `{"algorithm":{}}`, "\x01\x00") +
		instruction("__cublas$lt$matmul", `{"gemm_backend_config":{"precision_config":{"operand_precision":["DEFAULT","HIGHEST"],"algorithm":"ALG_UNSET"}}}`, "") +
		instruction("other", "", "\x02\x02")
	module := []byte(field(moduleOfConfig, field(computationsOfModule, computation)))
	calls, err := libraryCalls(module)
	if want := []libraryCall{{"__cudnn$convForward", 1}, {"__cublas$lt$matmul", 2}}; err != nil || !slices.Equal(calls, want) {
		t.Errorf("%v, %v, want %v", calls, err, want)
	}
	if _, err := libraryCalls(module[:len(module)-3]); err == nil {
		t.Error("a module that is cut off was read")
	}
}
