package cli

import (
	"fmt"

	"github.com/verydeep/vgg/eval"
	"github.com/verydeep/vgg/reproduce"
	"github.com/verydeep/vgg/transfer"
)

// transfer reproduces a table of the paper's appendix B.
func (c *reproduceCommand) transfer(e *environment) error {
	plan, err := reproduce.NamedTransferPlan(c.Table)
	if err != nil {
		return usageError{err}
	}
	if err := folder("--weights", c.Weights); err != nil {
		return err
	}
	if err := folder("--data", c.Data); err != nil {
		return err
	}
	threads, err := c.apply()
	if err != nil {
		return err
	}
	open := &opener{fc: c.FCWeights, threads: threads, flags: &modelFlags{fileFlags: c.fileFlags}, env: e, headless: true}
	bars := &namedBars{e: e}
	defer bars.close()
	stage := ""
	r, err := reproduce.Transfer(e.ctx, plan, reproduce.TransferOptions{
		Data: c.Data, Results: c.results(), Train: transfer.DefaultTraining(),
		Extract: transfer.Options{
			Resources: c.resources(),
			OnImage:   func(done, total int64) { bars.set(stage, done, total) },
		},
		Find: func(name string) (transfer.Net, bool, error) {
			file, err := findWeights(c.Weights, name)
			if err != nil || file == "" {
				return transfer.Net{}, false, err
			}
			n, err := open.net(file, eval.Setting{}, true)
			return transfer.Net{Weights: file, SHA256: n.SHA256, FCWeights: n.FCWeights, Open: n.Open}, true, err
		},
		OnStage: func(name string) {
			bars.close()
			stage = name
			fmt.Fprintf(e.stderr, "%s\n", name)
		},
	})
	bars.close()
	if err != nil {
		return c.interrupted(e, err)
	}
	table := r.Report(plan, c.Data)
	for _, name := range r.Missing {
		table.Notes = append(table.Notes, fmt.Sprintf("No weights %s in %s.", name, c.Weights))
	}
	if err := c.write(e, table, r); err != nil {
		return err
	}
	bad, total := 0, 0
	for _, s := range r.Sets {
		bad, total = bad+s.Unreadable, total+s.Images
	}
	return unreadable(bad, total)
}
