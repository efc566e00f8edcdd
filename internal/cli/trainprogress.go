package cli

import (
	"fmt"
	"io"
	"time"

	"github.com/verydeep/vgg/report"
	"github.com/verydeep/vgg/train"
)

// trainProgress shows a training run and draws its curve.
type trainProgress struct {
	out       io.Writer
	bar       *progress
	perEpoch  int // iterations
	curve     report.Curve
	curveFile string
	drawn     time.Time
}

// drawEvery is how long the curve is not drawn again: with short epochs drawing would
// take a good part of the time.
const drawEvery = 5 * time.Second

func (p *trainProgress) iteration(i train.Iteration) {
	p.curve.Iterations = append(p.curve.Iterations, report.IterationPoint{
		Epoch: float64(i.Iteration) / float64(p.perEpoch), Loss: i.Loss,
	})
	p.bar.set(i.Iteration, fmt.Sprintf("epoch %d, loss %.3f, %.0f images/s", i.Epoch, i.Loss, i.ImagesPerSecond))
}

func (p *trainProgress) epoch(e train.Epoch) {
	p.curve.Epochs = append(p.curve.Epochs, report.EpochPoint{
		Epoch: e.Epoch, Loss: e.Loss, Top1: e.Top1Error, Top5: e.Top5Error, LearningRate: e.LearningRate,
	})
	p.bar.clear()
	const columns = "%9s  %7s  %10s  %11s  %11s  %6s  %7s%s\n"
	if e.Epoch == 1 {
		fmt.Fprintf(p.out, columns, "epoch", "loss", "validation", "top-1 error", "top-5 error", "rate", "time", "")
	}
	best := ""
	if e.Best {
		best = "  best"
	}
	fmt.Fprintf(p.out, columns, fmt.Sprintf("%d/%d", e.Epoch, e.Epochs),
		fmt.Sprintf("%.3f", e.TrainLoss), fmt.Sprintf("%.3f", e.Loss), report.Percent(e.Top1Error), report.Percent(e.Top5Error),
		fmt.Sprintf("%.2g", e.LearningRate), report.Duration(time.Duration(e.Seconds*float64(time.Second))), best)
	if e.Epoch == 1 {
		for _, b := range e.Bad {
			fmt.Fprintf(p.out, "unreadable: %s: %v\n", b.Name, b.Err)
		}
	}
	if time.Since(p.drawn) >= drawEvery {
		_ = p.draw() // an error will show at the end
		p.drawn = time.Now()
	}
}

// draw writes the curve so far, if there is any.
func (p *trainProgress) draw() error {
	if len(p.curve.Iterations) == 0 {
		return nil
	}
	return p.curve.WritePNG(p.curveFile)
}
