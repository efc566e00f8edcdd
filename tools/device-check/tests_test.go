package main

import (
	"strings"
	"testing"

	"github.com/verydeep/vgg/internal/vggtest"
)

func TestMain(m *testing.M) { vggtest.Main(m) }

func TestReadTests(t *testing.T) {
	const in = `{"Action":"run","Package":"m/accel","Test":"TestA"}
{"Action":"output","Package":"m/accel","Test":"TestA","Output":"all is well\n"}
{"Action":"pass","Package":"m/accel","Test":"TestA/part","Elapsed":1}
{"Action":"pass","Package":"m/accel","Test":"TestA","Elapsed":1.25}
{"Action":"output","Package":"m/accel","Test":"TestB/part","Output":"too far: 3\n"}
{"Action":"fail","Package":"m/accel","Test":"TestB/part","Elapsed":0}
{"Action":"fail","Package":"m/accel","Test":"TestB","Elapsed":0.5}
{"Action":"skip","Package":"m/accel","Test":"TestC","Elapsed":0}
{"Action":"fail","Package":"m/accel","Elapsed":2}
# m/accel/hlo
hlo.go:1: broken
{"Action":"output","Package":"m/accel/hlo","Output":"FAIL [build failed]\n"}
{"Action":"fail","Package":"m/accel/hlo","Elapsed":0}
{"Action":"pass","Package":"m/accel/plugins","Elapsed":1}
`
	var out strings.Builder
	n, err := readTests(strings.NewReader(in), &out)
	if want := (results{passed: 1, failed: 2, skipped: 1}); err != nil || n != want {
		t.Errorf("%+v, %v, want %+v", n, err, want)
	}
	for _, line := range []string{"accel.TestA", "passed         1.2\n", "accel.TestB", "FAILED         0.5\ntoo far: 3\n", "accel.TestC", "skipped", "hlo.go:1: broken\n", "FAIL [build failed]\n"} {
		if !strings.Contains(out.String(), line) {
			t.Errorf("no %q in\n%s", line, out.String())
		}
	}
	if strings.Contains(out.String(), "all is well") {
		t.Errorf("output of a test that passed:\n%s", out.String())
	}
}
