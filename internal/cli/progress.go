package cli

import (
	"fmt"
	"io"
	"os"
	"sync"
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
	unitPasses     = unit{"passes", 1}
	unitShards     = unit{"shards", 1}
	unitIterations = unit{"iterations", 1}
	unitClasses    = unit{"classes", 1}
	unitMegabytes  = unit{"MB", 1e6}
	unitMillions   = unit{"million values", 1e6}
)

// progressBar shows the progress of long work, one stage after another: as a bar on a
// terminal, elsewhere as a line now and then. Work that is done within patience shows
// nothing; after it the stage is named, whether the work has reported or not.
type progressBar struct {
	w io.Writer

	mu    sync.Mutex               // of all that follows, which the timer uses, too
	bar   *progressbar.ProgressBar // nil if none is on the terminal
	named bool                     // the stage's name is on the terminal in the place of a bar
	timer *time.Timer              // that names the stage
	start time.Time                // of the stage
	shown time.Time                // of the latest line
	eta   estimate
	whole int64 // of the stage: what is done beyond it takes next to no time; 0: nothing does
}

const (
	// patience is the time before a stage shows anything.
	patience = 700 * time.Millisecond
	// linesEvery is the time between two lines.
	linesEvery = 10 * time.Second
)

// newProgress returns a progress bar that shows nothing yet.
func (e *environment) newProgress() *progressBar { return &progressBar{w: e.stderr} }

// stage ends the stage before and begins another. It returns the function to which the
// work reports; what says in a few words what is done.
func (p *progressBar) stage(what string, u unit) progress.Func {
	p.begin(what)
	return func(done, total int64) { p.set(done, total, what, u) }
}

// begin ends the stage before and begins another, whose work calls set.
func (p *progressBar) begin(what string) {
	p.close()
	p.mu.Lock()
	defer p.mu.Unlock()
	p.start = time.Now()
	p.shown = p.start
	p.eta, p.whole = estimate{}, 0
	p.timer = time.AfterFunc(patience, func() { p.name(what) })
}

// slow tells how much of the stage's work takes time; the rest takes next to none.
func (p *progressBar) slow(whole int64) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.whole = max(0, whole)
}

// name shows the name of the stage, of which nothing is known yet.
func (p *progressBar) name(what string) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.timer == nil || p.bar != nil || p.shown != p.start {
		return
	}
	if isTerminal(p.w) {
		fmt.Fprintf(p.w, "%s ...", what)
		p.named = true
		return
	}
	fmt.Fprintf(p.w, "%s ...\n", what)
}

// set shows that done of total are done. A total of 0 is not known yet, and shows nothing.
func (p *progressBar) set(done, total int64, what string, u unit) {
	p.mu.Lock()
	defer p.mu.Unlock()
	now := time.Now()
	if total <= 0 {
		return
	}
	slow, all := done, total
	if p.whole > 0 {
		slow, all = min(done, p.whole), min(total, p.whole)
	}
	p.eta.add(now, slow)
	if now.Sub(p.start) < patience {
		return
	}
	left := ""
	if d, ok := p.eta.left(all); ok && (slow < all || done == total) {
		left = ", " + coarse(d) + " left"
	}
	done, total = min(done, total)/u.size, max(1, total/u.size)
	if isTerminal(p.w) {
		if p.bar == nil {
			p.unname()
			p.bar = p.onTerminal(total)
		}
		p.bar.Describe(what + left)
		_ = p.bar.Set64(done)
		return
	}
	if now.Sub(p.shown) < linesEvery {
		return
	}
	p.shown = now
	fmt.Fprintf(p.w, "%s: %d of %d %s%s\n", what, done, total, u.name, left)
}

// onTerminal returns a bar of characters that every font has.
func (p *progressBar) onTerminal(total int64) *progressbar.ProgressBar {
	return progressbar.NewOptions64(total,
		progressbar.OptionSetWriter(p.w),
		progressbar.OptionShowCount(),
		progressbar.OptionSetPredictTime(false),
		progressbar.OptionSetElapsedTime(false),
		progressbar.OptionSetWidth(24),
		progressbar.OptionThrottle(100*time.Millisecond),
		progressbar.OptionUseANSICodes(true),
		progressbar.OptionClearOnFinish(),
		progressbar.OptionSetTheme(progressbar.ThemeASCII),
	)
}

// unname removes the stage's name from the terminal.
func (p *progressBar) unname() {
	if p.named {
		fmt.Fprint(p.w, "\r\x1b[K")
		p.named = false
	}
}

// clear removes the bar from the terminal, so that a line can be printed; the next report
// brings it back.
func (p *progressBar) clear() {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.unname()
	if p.bar != nil {
		_ = p.bar.Clear()
	}
}

// close ends the stage and removes its bar.
func (p *progressBar) close() {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.timer != nil {
		p.timer.Stop()
		p.timer = nil
	}
	p.unname()
	if p.bar != nil {
		_ = p.bar.Exit()
		_ = p.bar.Clear()
		p.bar = nil
	}
}

// each returns what begins a stage for each name.
func (p *progressBar) each(u unit) func(name string) progress.Func {
	return func(name string) progress.Func { return p.stage(name, u) }
}

// estimate says how long work takes that has reported for a while. The first report begins
// it: what comes before is opening files, making plans and filling caches.
type estimate struct {
	points []point // since the first report of something done, thinned out
}

type point struct {
	at   time.Time
	done int64
}

const (
	// estimateAfter is the time from the first report to the first estimate.
	estimateAfter = 3 * time.Second
	// steady is the greatest ratio of the speeds over the whole time, over its later half and
	// over the latest reports with which there is an estimate.
	steady = 2
	// estimateReports is the number of reports that an estimate of long work needs.
	estimateReports = 10
	// estimatePoints is the number of points at which every second one is dropped.
	estimatePoints = 64
)

// add takes a report.
func (s *estimate) add(now time.Time, done int64) {
	if done <= 0 {
		return
	}
	n := len(s.points)
	if n > 0 && done < s.points[n-1].done {
		s.points, n = nil, 0 // the work began again
	}
	if n == estimatePoints {
		// The first one and the latest one stay.
		kept := s.points[:1]
		for i := 2; i < n; i += 2 {
			kept = append(kept, s.points[i])
		}
		s.points = append(kept, s.points[n-1])
	}
	s.points = append(s.points, point{now, done})
}

// left returns the time that the rest takes, if it can be told.
func (s *estimate) left(total int64) (time.Duration, bool) {
	n := len(s.points)
	if n < 3 || int64(n) < min(estimateReports, total/4) {
		return 0, false
	}
	first, last := s.points[0], s.points[n-1]
	elapsed := last.at.Sub(first.at)
	if elapsed < estimateAfter || last.done <= first.done {
		return 0, false
	}
	middle := first
	for _, p := range s.points {
		if p.at.Sub(first.at) <= elapsed/2 {
			middle = p
		}
	}
	speed := func(from point) float64 { return float64(last.done-from.done) / last.at.Sub(from.at).Seconds() }
	whole, later, latest := speed(first), speed(middle), speed(s.points[n-1-max(2, n/4)])
	for _, v := range []float64{later, latest} {
		if !(v > 0) || whole > steady*v || v > steady*whole {
			if n >= 2*estimateReports { // the beginning tells nothing any more
				s.points = append([]point(nil), s.points[n/4:]...)
			}
			return 0, false
		}
	}
	return time.Duration(float64(total-last.done) / ((whole + later) / 2) * float64(time.Second)), true
}

// coarse writes a time as exactly as an estimate is.
func coarse(d time.Duration) string {
	switch {
	case d < time.Minute:
		return fmt.Sprintf("%d s", int(d.Seconds()+0.5))
	case d < 10*time.Minute:
		d = d.Round(10 * time.Second)
	case d < time.Hour:
		d = d.Round(time.Minute)
	default:
		d = d.Round(5 * time.Minute)
	}
	return report.Duration(d)
}

// isTerminal reports whether a stream is a terminal.
func isTerminal(w io.Writer) bool {
	if s, ok := w.(*sharedWriter); ok {
		w = s.w
	}
	f, ok := w.(*os.File)
	return ok && term.IsTerminal(int(f.Fd()))
}

// sharedWriter is a stream that several goroutines write to. It knows whether one did.
type sharedWriter struct {
	w    io.Writer
	seen *activity
}

// activity is whether a command has shown anything.
type activity struct {
	mu  sync.Mutex
	any bool
}

func (s *sharedWriter) Write(p []byte) (int, error) {
	s.seen.mu.Lock()
	defer s.seen.mu.Unlock()
	s.seen.any = true
	return s.w.Write(p)
}

// silence is the time after which a command that has shown nothing says that it is at work.
const silence = time.Second

// breakSilence says what is at work, unless something is shown within a second. stop ends it.
func (e *environment) breakSilence(what string) (stop func()) {
	shared, ok := e.stderr.(*sharedWriter)
	if !ok {
		return func() {}
	}
	timer := time.AfterFunc(silence, func() {
		shared.seen.mu.Lock()
		defer shared.seen.mu.Unlock()
		if !shared.seen.any {
			shared.seen.any = true
			fmt.Fprintf(shared.w, "%s: at work ...\n", what)
		}
	})
	return func() { timer.Stop() }
}
