package cli

import (
	"bufio"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"log/slog"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/verydeep/vgg/internal/wholefile"
	"github.com/verydeep/vgg/report"
	"github.com/verydeep/vgg/train"
)

// trainProgress shows a training run and draws its curve.
type trainProgress struct {
	out      io.Writer
	errors   io.Writer
	dir      string
	bar      *progressBar
	perEpoch int  // iterations
	from     int  // iteration that the run continues from
	left     int  // iterations from there
	header   bool // the header of the epochs is printed
	curve    report.Curve
	drawn    time.Time
	whole    bool // the drawing shows all of the curve
	boxes    bool // the run learns boxes
	labels   bool // an image has several labels
	begun    time.Time
	last     train.Iteration
	status   *trainerStatus // nil: nobody asks
}

// showLabels shows the errors of several labels an image.
func (p *trainProgress) showLabels() {
	p.labels = true
	p.curve.Errors = [2]string{"1 − mean average precision", "1 − F1"}
}

// showBoxes shows the errors of box regression.
func (p *trainProgress) showBoxes(regression string) {
	p.boxes = true
	p.curve.Title += ", " + regression
	p.curve.Errors = [2]string{"localisation error", "1 − mean IoU"}
}

// judged returns the two errors of an epoch that the curve shows.
func (p *trainProgress) judged(e train.Epoch) (a, b float64) {
	switch {
	case p.boxes:
		return e.LocalisationError, 1 - e.MeanIoU
	case p.labels:
		return 1 - e.MeanAP, 1 - e.MicroF1
	}
	return e.Top1Error, e.Top5Error
}

// drawEvery is the least time between two drawings of the curve. Drawing after every short
// epoch would take a good part of the run.
const drawEvery = 5 * time.Second

// start prints the beginning of the run: its weights, memory and time.
func (p *trainProgress) start(s train.Start) {
	p.bar.close()
	if s.Checkpoint != "" {
		fmt.Fprintf(p.out, "Continuing from %s: epoch %d, after iteration %d\n", s.Checkpoint, s.Epoch, s.Iteration)
		p.from = s.Iteration
		if err := p.earlier(); err != nil {
			p.warn(fmt.Sprintf("the curve begins here: %v", err))
		}
	} else if i := s.Init; i != nil {
		fmt.Fprintf(p.out, "Weights of %s (configuration %s), by the rule %s\n  taken   %s\n  random  %s\n  left    %s\n",
			i.File, i.Config, i.Rule, list(i.Taken), list(i.Random), list(i.Left))
	}
	parts := ""
	if n := min(s.Recipe.Batch, s.Images); s.Micro < n {
		parts = fmt.Sprintf(", %d images at a time", s.Micro)
	}
	fmt.Fprintf(p.out, "Memory  at most about %s%s\n", report.Bytes(s.Memory), parts)
	p.left, p.begun = s.Iterations-s.Iteration, time.Now()
	fmt.Fprintf(p.out, "Time    about %s for %d iterations: an estimate from a forward pass, if images are ready when they are needed\n\n",
		seconds(s.Seconds), p.left)
	p.bar.begin("training")
	p.bar.slow(int64(s.Whole - p.from))
}

// list joins names, or returns a word for none.
func list(names []string) string {
	if len(names) == 0 {
		return "nothing"
	}
	return strings.Join(names, " ")
}

// earlier reads the curve of the run up to the checkpoint.
func (p *trainProgress) earlier() error {
	f, err := wholefile.Open(filepath.Join(p.dir, train.MetricsFile))
	if err != nil {
		return err
	}
	defer f.Close()
	lines := bufio.NewScanner(f)
	lines.Buffer(nil, 1<<20)
	for lines.Scan() {
		var kind struct {
			Kind string `json:"kind"`
		}
		var i train.Iteration
		var e train.Epoch
		err := json.Unmarshal(lines.Bytes(), &kind)
		switch {
		case err != nil:
		case kind.Kind == "iteration":
			if err = json.Unmarshal(lines.Bytes(), &i); err == nil {
				p.addIteration(i)
			}
		case kind.Kind == "epoch":
			if err = json.Unmarshal(lines.Bytes(), &e); err == nil {
				p.addEpoch(e)
			}
		}
		if err != nil {
			return fmt.Errorf("%s: %w", f.Name(), err)
		}
	}
	return lines.Err()
}

func (p *trainProgress) addIteration(i train.Iteration) {
	p.whole = false
	p.curve.Iterations = append(p.curve.Iterations, report.IterationPoint{
		Epoch: float64(i.Iteration) / float64(p.perEpoch), Loss: i.Loss,
	})
}

func (p *trainProgress) addEpoch(e train.Epoch) {
	first, second := p.judged(e)
	p.whole = false
	p.curve.Epochs = append(p.curve.Epochs, report.EpochPoint{
		Epoch: e.Epoch, Loss: e.Loss, Top1: first, Top5: second, LearningRate: e.LearningRate,
	})
}

func (p *trainProgress) iteration(i train.Iteration) {
	p.addIteration(i)
	exchange := ""
	if i.ExchangeSeconds > 0 { // the iteration's own time is images over images/s
		exchange = fmt.Sprintf(", exchange %.0f %%, hidden %.0f %%", 100*i.ExchangeSeconds*i.ImagesPerSecond/float64(i.Images), 100*i.Hidden())
	}
	p.bar.set(int64(i.Iteration-p.from), int64(p.left), fmt.Sprintf("epoch %d, loss %.3g, %.0f images/s%s", i.Epoch, i.Loss, i.ImagesPerSecond, exchange), unitIterations)
	p.last = i
	p.report(i, false)
}

// rescue removes from the curve what the run goes back from.
func (p *trainProgress) rescue(r train.Rescue) {
	p.bar.clear()
	epoch := float64(r.Back) / float64(p.perEpoch)
	p.whole = false
	p.curve.Iterations = slices.DeleteFunc(p.curve.Iterations, func(i report.IterationPoint) bool { return i.Epoch > epoch+1e-9 })
	p.curve.Epochs = slices.DeleteFunc(p.curve.Epochs, func(e report.EpochPoint) bool { return float64(e.Epoch) > epoch+1e-9 })
}

func (p *trainProgress) epoch(e train.Epoch) {
	p.addEpoch(e)
	p.bar.clear()
	const columns = "%9s  %7s  %10s  %11s  %11s  %6s  %7s%s\n"
	first, second := "top-1 error", "top-5 error"
	losses, judged := "%.3f", [2]string{report.Percent(e.Top1Error), report.Percent(e.Top5Error)}
	if p.boxes {
		first, second = "loc. error", "mean IoU"
		losses, judged = "%.4f", [2]string{report.Percent(e.LocalisationError), fmt.Sprintf("%.3f", e.MeanIoU)}
	}
	if p.labels {
		first, second = "mAP", "F1"
		judged = [2]string{report.Percent(e.MeanAP), report.Percent(e.MicroF1)}
	}
	if !p.header {
		fmt.Fprintf(p.out, columns, "epoch", "loss", "validation", first, second, "rate", "time", "")
		p.header = true
	}
	best := ""
	if e.Best {
		best = "  best"
	}
	fmt.Fprintf(p.out, columns, fmt.Sprintf("%d/%d", e.Epoch, e.Epochs),
		fmt.Sprintf(losses, e.TrainLoss), fmt.Sprintf(losses, e.Loss), judged[0], judged[1],
		fmt.Sprintf("%.2g", e.LearningRate), seconds(e.Seconds), best)
	if time.Since(p.drawn) >= drawEvery {
		_ = p.draw() // the last drawing reports errors
		p.drawn = time.Now()
	}
}

// draw writes the curve so far, if there is any and it isn't written.
func (p *trainProgress) draw() error {
	if len(p.curve.Iterations) == 0 || p.whole {
		return nil
	}
	err := p.curve.WritePNG(filepath.Join(p.dir, "curve.png"))
	p.whole = err == nil
	return err
}

// warn prints a warning on a line of its own.
func (p *trainProgress) warn(text string) {
	p.bar.clear()
	fmt.Fprintf(p.errors, "vgg: warning: %s\n", text)
}

// warnings returns a log handler that prints the run's warnings.
func (p *trainProgress) warnings() slog.Handler { return warnings{p.warn} }

// warnings is a log handler that prints warnings and errors.
type warnings struct{ print func(text string) }

func (warnings) Enabled(_ context.Context, l slog.Level) bool { return l >= slog.LevelWarn }

func (w warnings) Handle(_ context.Context, r slog.Record) error {
	text := r.Message
	r.Attrs(func(a slog.Attr) bool {
		text += fmt.Sprintf("; %s: %v", a.Key, a.Value)
		return true
	})
	w.print(text)
	return nil
}

func (w warnings) WithAttrs([]slog.Attr) slog.Handler { return w }
func (w warnings) WithGroup(string) slog.Handler      { return w }
