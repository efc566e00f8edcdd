package cli

import (
	"context"
	"fmt"
	"path/filepath"
	"strings"

	"github.com/alecthomas/kong"

	"github.com/verydeep/vgg"
	"github.com/verydeep/vgg/nn"
	"github.com/verydeep/vgg/server"
	"github.com/verydeep/vgg/transfer"
)

// more serves the localisation network and the index.
func (c *serveCommand) more(e *environment, s *server.Server, list []served) error {
	if c.Localiser != "" {
		source, err := c.localiser(e)
		if err != nil {
			return err
		}
		if err := s.SetLocaliser(e.ctx, source.Source); err != nil {
			return fmt.Errorf("--localiser %s: %w", c.Localiser, err)
		}
	}
	if c.Index == "" {
		return nil
	}
	source, err := c.indexSource(e, list)
	if err == nil {
		err = s.SetIndex(e.ctx, source)
	}
	if err != nil {
		return fmt.Errorf("--index %s: %w", c.Index, err)
	}
	return nil
}

// localiser returns the localisation network.
func (c *serveCommand) localiser(e *environment) (served, error) {
	open := c.releaseFlags.opener(e, c.FCWeights, c.Threads)
	open.options.Localiser = true
	open.options.Fit, open.options.Orient = c.Resize, c.Orient
	if err := open.compute(c.deviceFlags); err != nil {
		return served{}, err
	}
	return c.source(open, modelName(c.Localiser), c.Localiser), nil
}

// indexSource returns the index. Its networks are those at the paths that it names, or else
// those of the command line that have their hash.
func (c *serveCommand) indexSource(e *environment, list []served) (server.IndexSource, error) {
	pictures := c.IndexPictures
	if pictures == "" {
		pictures = filepath.Dir(c.Index)
	}
	pictures, err := filepath.Abs(pictures)
	if err != nil {
		return server.IndexSource{}, err
	}
	return server.IndexSource{
		Open: func(ctx context.Context) (*transfer.Index, error) {
			return transfer.OpenIndex(ctx, c.Index, transfer.SearchOptions{})
		},
		Network: func(_ context.Context, n transfer.NetID) (*vgg.Model, error) {
			return c.indexNetwork(list, n).openAs(e, c.Index, c.Threads)(n)
		},
		Stamp: func() (string, error) {
			stamp, err := stampOf(c.Index)
			if err != nil {
				return "", err
			}
			rows, err := stampOf(c.Index + ".jsonl")
			if err != nil {
				return stamp, nil // of another format
			}
			return stamp + " " + rows, nil
		},
		Pictures: pictures,
	}, nil
}

// indexNetwork tells how a network of the index is found: where the index says it is, or else
// among the models of the command line, by its hash.
func (c *serveCommand) indexNetwork(list []served, n transfer.NetID) *describeFlags {
	f := &describeFlags{Config: c.Config, leftoverFlags: c.leftoverFlags, releaseFlags: c.releaseFlags}
	if !exists(n.Weights) {
		for _, s := range list {
			f.Weights = append(f.Weights, s.path)
		}
	}
	return f
}

// indexNets lists the networks of the index.
func (c *serveCommand) indexNets(e *environment) ([]transfer.NetID, error) {
	if c.Index == "" {
		return nil, nil
	}
	d, err := openIndex(e, c.Index) // with progress, if sketches are made
	if err != nil {
		return nil, fmt.Errorf("--index %s: %w", c.Index, err)
	}
	defer d.Close()
	return d.Header.Nets, nil
}

// storageOf is the storage of a network of the index.
func storageOf(n transfer.NetID) nn.Storage {
	if n.FCWeights == "" {
		return nn.F32
	}
	return n.FCWeights
}

// serveEnvironment gives every flag of vgg serve a name in the environment: VGG_MAX_BATCH is
// --max-batch.
func serveEnvironment(k *kong.Kong) error {
	for _, command := range k.Model.Children {
		if command.Name != "serve" {
			continue
		}
		for _, f := range command.Flags {
			name := "VGG_" + strings.ToUpper(strings.ReplaceAll(f.Name, "-", "_"))
			f.Envs, f.Tag.Envs = []string{name}, []string{name}
		}
	}
	return nil
}
