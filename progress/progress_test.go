package progress_test

import (
	"sync"
	"testing"

	"github.com/verydeep/vgg/progress"
)

func TestCounter(t *testing.T) {
	var last, calls int64
	c := progress.NewCounter(func(done, total int64) {
		if done <= last || total != 1000 {
			t.Errorf("%d of %d after %d", done, total, last)
		}
		last = done
		calls++
	}, 1000)
	var wait sync.WaitGroup
	for range 10 {
		wait.Go(func() {
			for range 50 {
				c.Add(2)
			}
		})
	}
	wait.Wait()
	if last != 1000 || calls != 500 {
		t.Errorf("%d units in %d calls, want 1000 in 500", last, calls)
	}
	progress.NewCounter(nil, 1).Add(1) // reports to nobody
}

func TestReport(t *testing.T) {
	progress.Func(nil).Report(1, 2) // reports to nobody
	var done, total int64
	progress.Func(func(d, n int64) { done, total = d, n }).Report(3, 7)
	if done != 3 || total != 7 {
		t.Errorf("%d of %d, want 3 of 7", done, total)
	}
}
