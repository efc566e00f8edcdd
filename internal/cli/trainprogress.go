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
	best := ""
	if e.Best {
		best = "  best"
	}
	fmt.Fprintf(p.out, "epoch %*d/%d  loss %.3f, validation %.3f  top-1 error %6s  top-5 error %6s  rate %-6.2g %7s%s\n",
		len(fmt.Sprint(e.Epochs)), e.Epoch, e.Epochs, e.TrainLoss, e.Loss, report.Percent(e.Top1Error), report.Percent(e.Top5Error),
		e.LearningRate, report.Duration(time.Duration(e.Seconds*float64(time.Second))), best)
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
