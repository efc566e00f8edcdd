package cli

import (
	"fmt"

	"github.com/verydeep/vgg/network"
	"github.com/verydeep/vgg/report"
	"github.com/verydeep/vgg/server"
)

// servePlan has the JSON keys of `vgg serve --plan --json`.
type servePlan struct {
	Models []servePlanModel `json:"models"`
	Passes int64            `json:"passes_bytes"` // the largest pass, of one model at a time
	Queues int64            `json:"queues_bytes"`
	Bodies int64            `json:"bodies_bytes"`
	Decode int64            `json:"decoding_bytes"`
	Cache  int64            `json:"cache_bytes"`
	Bytes  int64            `json:"bytes"` // in all, with a second copy of the largest model while it is reloaded
}

type servePlanModel struct {
	Name       string `json:"name"`
	Parameters int64  `json:"parameters_bytes"`
	Pass       int64  `json:"pass_bytes"` // of a full batch of crops
}

// plan estimates the memory of the service.
func (c *serveCommand) plan(e *environment, list []served, folder string, limits server.Limits, threads int) (servePlan, error) {
	p := servePlan{Models: []servePlanModel{}, Bodies: limits.Bodies, Decode: limits.Decoding, Cache: max(limits.Answers, 0)}
	open, err := c.opener(e, c.FCWeights, threads)
	if err != nil {
		return p, err
	}
	var largest int64
	for _, s := range list {
		d, _, err := open.identify(s.path)
		if err != nil {
			if folder != "" { // others of the folder are served
				fmt.Fprintf(e.stderr, "%s: %v\n", s.path, err)
				continue
			}
			return p, err
		}
		d.Options.FCStorage = c.FCWeights
		chain, err := network.Plan(d.Options)
		if err != nil {
			return p, err
		}
		pass, err := chain.InferenceFloats(c.MaxBatch, d.Options.Input, d.Options.Input)
		if err != nil {
			return p, err
		}
		m := servePlanModel{Name: s.Name, Pass: 4 * int64(pass), Parameters: chain.ParamBytes()}
		p.Models = append(p.Models, m)
		p.Bytes += m.Parameters
		largest = max(largest, m.Parameters)
		p.Passes = max(p.Passes, limits.Pass)
		p.Queues += int64(limits.Queue) * int64(d.Options.Input*d.Options.Input*3*4)
	}
	p.Bytes += largest + p.Passes + p.Queues + p.Bodies + p.Decode + p.Cache
	return p, nil
}

func (p servePlan) print(e *environment, asJSON bool) error {
	if asJSON {
		return writeJSON(e.stdout, p)
	}
	t := report.NewTable(left("Memory"), right("At most"))
	for _, m := range p.Models {
		t.Row("parameters of "+m.Name, report.Bytes(m.Parameters))
	}
	t.Row("a model that is read anew", report.Bytes(p.Bytes-p.sum()))
	t.Row("passes", report.Bytes(p.Passes))
	t.Row("images that wait", report.Bytes(p.Queues))
	t.Row("bodies of requests", report.Bytes(p.Bodies))
	t.Row("pictures that are decoded", report.Bytes(p.Decode))
	t.Row("answers that are kept", report.Bytes(p.Cache))
	t.Row("in all", report.Bytes(p.Bytes))
	_, err := fmt.Fprintln(e.stdout, t)
	return err
}

// sum is all but the second copy of a model.
func (p servePlan) sum() int64 {
	n := p.Passes + p.Queues + p.Bodies + p.Decode + p.Cache
	for _, m := range p.Models {
		n += m.Parameters
	}
	return n
}
