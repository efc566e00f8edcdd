package cli

import (
	"fmt"
	"io"
	"os"
	"time"

	"github.com/schollz/progressbar/v3"
	"golang.org/x/term"

	"github.com/verydeep/vgg/report"
)

// progressBar shows how far a command has come: a bar on a terminal, elsewhere a line now
// and then.
type progressBar struct {
	w     io.Writer
	total int
	unit  string
	bar   *progressbar.ProgressBar // nil if w is not a terminal
	start time.Time
	shown time.Time
}

// linesEvery is how long no line is written after one.
const linesEvery = 10 * time.Second

func newProgress(w io.Writer, total int, unit string) *progressBar {
	p := &progressBar{w: w, total: total, unit: unit, start: time.Now()}
	p.shown = p.start
	if f, ok := w.(*os.File); ok && term.IsTerminal(int(f.Fd())) {
		p.bar = progressbar.NewOptions(total,
			progressbar.OptionSetWriter(w),
			progressbar.OptionShowCount(),
			progressbar.OptionSetPredictTime(true),
			progressbar.OptionSetWidth(24),
			progressbar.OptionThrottle(100*time.Millisecond),
			progressbar.OptionUseANSICodes(true),
			progressbar.OptionClearOnFinish(),
			progressbar.OptionSetTheme(progressbar.ThemeUnicode),
		)
	}
	return p
}

// set says that done of the total are done, and what is being done.
func (p *progressBar) set(done int, what string) {
	if p.bar != nil {
		p.bar.Describe(what)
		_ = p.bar.Set(done)
		return
	}
	now := time.Now()
	if now.Sub(p.shown) < linesEvery {
		return
	}
	p.shown = now
	left := "?"
	if done > 0 {
		left = report.Duration(now.Sub(p.start) / time.Duration(done) * time.Duration(p.total-done))
	}
	fmt.Fprintf(p.w, "%s: %d of %d %s, %s left\n", what, done, p.total, p.unit, left)
}

// clear takes the bar off the terminal, so that a line can be printed; the next set
// brings it back.
func (p *progressBar) clear() {
	if p.bar != nil {
		_ = p.bar.Clear()
	}
}

// close takes the bar off for good.
func (p *progressBar) close() {
	if p.bar != nil {
		_ = p.bar.Exit()
		_ = p.bar.Clear()
		p.bar = nil
	}
}
