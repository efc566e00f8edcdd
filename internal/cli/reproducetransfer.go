package cli

import (
	"fmt"
	"slices"

	"github.com/verydeep/vgg/eval"
	"github.com/verydeep/vgg/internal/remote"
	"github.com/verydeep/vgg/progress"
	"github.com/verydeep/vgg/reproduce"
	"github.com/verydeep/vgg/transfer"
)

// transfer reproduces a table of the paper's appendix B.
func (c *reproduceCommand) transfer(e *environment) error {
	plan, err := reproduce.NamedTransferPlan(c.Table)
	if err != nil {
		return usageError{err}
	}
	if err := folder("weights", c.Weights); err != nil {
		return err
	}
	if remote.IsAddress(c.Data) {
		return fmt.Errorf("--data %s: an address, want a folder of sets on this machine", remote.Plain(c.Data))
	}
	if err := folder("--data", c.Data); err != nil {
		return err
	}
	threads, err := c.apply()
	if err != nil {
		return err
	}
	open, err := c.opener(e, c.FCWeights, threads)
	if err != nil {
		return err
	}
	open.headless = true
	found := map[string]string{}
	for _, name := range plan.Weights() {
		if found[name], err = c.findWeights(open, name); err != nil {
			return err
		}
	}
	if !slices.ContainsFunc(plan.Weights(), func(name string) bool { return found[name] != "" }) {
		return c.noWeights(plan.Weights())
	}
	bar := e.newProgress()
	defer bar.close()
	var described progress.Func
	r, err := reproduce.Transfer(e.ctx, plan, reproduce.TransferOptions{
		Data: c.Data, Results: c.results(), Train: transfer.DefaultTraining(),
		Extract: transfer.Options{
			Resources: c.resources(),
			OnImage:   func(done, total int64) { described.Report(done, total) },
		},
		Find: func(name string) (transfer.Net, bool, error) {
			file := found[name]
			if file == "" {
				return transfer.Net{}, false, nil
			}
			n, err := open.net(file, eval.Setting{}, true)
			return transfer.Net{Weights: file, SHA256: n.SHA256, FCWeights: n.FCWeights, Open: n.Open}, true, err
		},
		OnStage: func(name string) {
			described = bar.stage(name, unitImages)
			fmt.Fprintf(e.stderr, "%s\n", name)
		},
	})
	bar.close()
	if err != nil {
		return e.interrupted(err, c.results())
	}
	table := r.Report(plan, c.Data)
	table.Notes = append(table.Notes, c.missing(r.Missing)...)
	if err := c.write(e, table, r); err != nil {
		return err
	}
	bad, total := 0, 0
	for _, s := range r.Sets {
		bad, total = bad+s.Unreadable, total+s.Images
	}
	return unreadable(bad, total)
}
