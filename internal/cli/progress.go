package cli

import (
	"fmt"
	"io"
	"os"
	"time"

	"github.com/schollz/progressbar/v3"
	"golang.org/x/term"

	"github.com/verydeep/vgg/progress"
	"github.com/verydeep/vgg/report"
)

// unit is the unit in which a progress bar counts.
type unit struct {
	name string
	size int64 // in the units that the work reports
}

var (
	unitImages     = unit{"images", 1}
	unitIterations = unit{"iterations", 1}
	unitClasses    = unit{"classes", 1}
	unitMegabytes  = unit{"MB", 1e6}
	unitMillions   = unit{"million values", 1e6}
)

// progressBar shows the progress of long work, one stage after another: as a bar on a
// terminal, elsewhere as a line now and then. Work that is done within patience shows
// nothing.
type progressBar struct {
	w     io.Writer
	bar   *progressbar.ProgressBar // nil if none is on the terminal
	start time.Time                // of the stage
	shown time.Time                // of the latest line
}

const (
	// patience is the time before a stage shows anything.
	patience = 500 * time.Millisecond
	// linesEvery is the time between two lines.
	linesEvery = 10 * time.Second
)

// newProgress returns a progress bar that shows nothing yet.
func (e *environment) newProgress() *progressBar { return &progressBar{w: e.stderr} }

// stage ends the stage before and begins another. It returns the function to which the
// work reports; what says in a few words what is done.
func (p *progressBar) stage(what string, u unit) progress.Func {
	p.begin()
	return func(done, total int64) { p.set(done, total, what, u) }
}

// begin ends the stage before and begins another, whose work calls set.
func (p *progressBar) begin() {
	p.close()
	p.start = time.Now()
	p.shown = p.start
}

// set shows that done of total are done. A total of 0 is not known yet, and shows nothing.
func (p *progressBar) set(done, total int64, what string, u unit) {
	now := time.Now()
	if total <= 0 || now.Sub(p.start) < patience {
		return
	}
	done, total = min(done, total)/u.size, max(1, total/u.size)
	if f, ok := p.w.(*os.File); ok && term.IsTerminal(int(f.Fd())) {
		if p.bar == nil {
			p.bar = p.onTerminal(total)
		}
		p.bar.Describe(what)
		_ = p.bar.Set64(done)
		return
	}
	if now.Sub(p.shown) < linesEvery {
		return
	}
	p.shown = now
	left := "?"
	if done > 0 {
		left = report.Duration(now.Sub(p.start) / time.Duration(done) * time.Duration(total-done))
	}
	fmt.Fprintf(p.w, "%s: %d of %d %s, %s left\n", what, done, total, u.name, left)
}

func (p *progressBar) onTerminal(total int64) *progressbar.ProgressBar {
	return progressbar.NewOptions64(total,
		progressbar.OptionSetWriter(p.w),
		progressbar.OptionShowCount(),
		progressbar.OptionSetPredictTime(true),
		progressbar.OptionSetWidth(24),
		progressbar.OptionThrottle(100*time.Millisecond),
		progressbar.OptionUseANSICodes(true),
		progressbar.OptionClearOnFinish(),
		progressbar.OptionSetTheme(progressbar.ThemeUnicode),
	)
}

// clear removes the bar from the terminal, so that a line can be printed; the next report
// brings it back.
func (p *progressBar) clear() {
	if p.bar != nil {
		_ = p.bar.Clear()
	}
}

// close ends the stage and removes its bar.
func (p *progressBar) close() {
	if p.bar != nil {
		_ = p.bar.Exit()
		_ = p.bar.Clear()
		p.bar = nil
	}
}

// named returns a progress function for work that names its stages: each new name begins
// one.
func (p *progressBar) named(u unit) func(name string, done, total int) {
	current := ""
	var report progress.Func
	return func(name string, done, total int) {
		if report == nil || name != current {
			current, report = name, p.stage(name, u)
		}
		report(int64(done), int64(total))
	}
}

// counted adapts a progress function to work that reports in int.
func counted(report progress.Func) func(done, total int) {
	return func(done, total int) { report(int64(done), int64(total)) }
}
