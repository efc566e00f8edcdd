package progress_test

import (
	"testing"

	"github.com/verydeep/vgg/progress"
)

func TestReport(t *testing.T) {
	progress.Func(nil).Report(1, 2) // hears nothing
	var done, total int64
	progress.Func(func(d, n int64) { done, total = d, n }).Report(3, 7)
	if done != 3 || total != 7 {
		t.Errorf("told of %d of %d, want 3 of 7", done, total)
	}
}
