package cli

import (
	"fmt"

	"github.com/verydeep/vgg/network"
	"github.com/verydeep/vgg/nn"
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
	Taught int64            `json:"taught_bytes"` // models that requests make
	Teach  int64            `json:"teaching_bytes"`
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
	add := func(name string, open *opener, path string, fc nn.Storage) error {
		d, _, err := open.identify(path)
		if err != nil {
			return err
		}
		d.Options.FCStorage = fc
		chain, err := network.Plan(d.Options)
		if err != nil {
			return err
		}
		pass, err := chain.InferenceFloats(c.MaxBatch, d.Options.Input, d.Options.Input)
		if err != nil {
			return err
		}
		m := servePlanModel{Name: name, Pass: 4 * int64(pass), Parameters: chain.ParamBytes()}
		p.Models = append(p.Models, m)
		p.Bytes += m.Parameters
		largest = max(largest, m.Parameters)
		p.Passes = max(p.Passes, limits.Pass)
		// An idle model takes a request of more images than may wait.
		p.Queues += int64(max(limits.Queue, limits.Images)) * int64(d.Options.Input*d.Options.Input*3*4)
		return nil
	}
	for _, s := range list {
		if err := add(s.Name, open, s.path, c.FCWeights); err != nil {
			if folder != "" { // others of the folder are served
				fmt.Fprintf(e.stderr, "%s: %v\n", s.path, err)
				continue
			}
			return p, err
		}
		if d, _, err := open.identify(s.path); err == nil && c.teaches() && d.Options.Until == "" {
			front, err := network.Plan(d.Options.WithoutHead())
			if err != nil {
				return p, err
			}
			p.Taught = max(p.Taught, (server.MostTaught+1)*front.ParamBytes()) // one more while it is made
			p.Teach = limits.TeachMemory
		}
	}
	if c.Localiser != "" {
		boxes := c.releaseFlags.opener(e, c.FCWeights, threads)
		boxes.options.Localiser = true
		if err := add(modelName(c.Localiser)+" (boxes)", boxes, c.Localiser, c.FCWeights); err != nil {
			return p, err
		}
	}
	nets, err := c.indexNets(e)
	if err != nil {
		return p, err
	}
	for _, n := range nets {
		f := c.indexNetwork(list, n)
		open := f.opener(e, storageOf(n), threads)
		open.headless = true
		path, err := f.weightsOf(open, n)
		if err == nil && path != "" { // else the service tells why it doesn't start
			err = add(modelName(path)+" (index)", open, path, storageOf(n))
		}
		if err != nil {
			return p, err
		}
	}
	p.Bytes += largest + p.Passes + p.Queues + p.Bodies + p.Decode + p.Cache + p.Taught + p.Teach
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
	t.Row("models that it is taught", report.Bytes(p.Taught))
	t.Row("teaching", report.Bytes(p.Teach))
	t.Row("in all", report.Bytes(p.Bytes))
	_, err := fmt.Fprintln(e.stdout, t)
	return err
}

// sum is all but the second copy of a model.
func (p servePlan) sum() int64 {
	n := p.Passes + p.Queues + p.Bodies + p.Decode + p.Cache + p.Taught + p.Teach
	for _, m := range p.Models {
		n += m.Parameters
	}
	return n
}
