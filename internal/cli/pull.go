package cli

import (
	"fmt"
	"os"

	"github.com/verydeep/vgg/releases"
	"github.com/verydeep/vgg/releases/pull"
	"github.com/verydeep/vgg/report"
)

type pullCommand struct {
	Names []string `arg:"" optional:"" name:"name" help:"Configurations: A, B, D or E, each also with -BN, or vgg16_bn and the like. -features names the release without a classifier (D-features)."`
	releaseFlags
	jsonFlag
}

func (pullCommand) Help() string {
	return `Downloads public releases, checks them against their published hashes and converts them to safetensors, in the folder vgg of the user's cache directory ($XDG_CACHE_HOME). Without names it lists the releases.

  - Other commands do the same for a configuration's name in the place of a file.
  - An interrupted download continues from its last byte.
  - Published accuracies are those of the central crop; Caffe's are those of the paper's dense multi-scale evaluation.
  - HTTPS_PROXY and NO_PROXY choose the proxy. VGG_MIRROR=https://mirror.example/weights replaces the official hosts.

Examples:

    vgg pull
    vgg pull D E-BN
    vgg pull vgg19 --source keras` + exitHelp
}

// pulled is a line of `vgg pull --json`.
type pulled struct {
	releases.Release
	Path string `json:"path"` // of the file; empty before its download
}

func (c *pullCommand) Run(e *environment) error {
	if len(c.Names) == 0 {
		return c.list(e)
	}
	var wanted []releases.Release
	for _, name := range c.Names {
		r, err := releases.Find(name, c.Source)
		if err != nil {
			return usageError{err}
		}
		wanted = append(wanted, r)
	}
	for _, r := range wanted {
		path, err := e.pull(r, c.Offline)
		if err != nil {
			return err
		}
		if c.JSON {
			err = writeJSON(e.stdout, pulled{r, path})
		} else {
			_, err = fmt.Fprintln(e.stdout, path)
		}
		if err != nil {
			return err
		}
	}
	return nil
}

// list lists all releases.
func (c *pullCommand) list(e *environment) error {
	dir, err := pull.DefaultDir()
	if err != nil {
		return err
	}
	t := report.NewTable(left("Name"), left("Source"), right("Parameters"), right("Top-1"), right("Top-5"), left("Licence"), left("Here"))
	for _, r := range releases.All() {
		path := pull.Path(dir, r)
		if _, err := os.Stat(path); err != nil {
			path = ""
		}
		if c.JSON {
			if err := writeJSON(e.stdout, pulled{r, path}); err != nil {
				return err
			}
			continue
		}
		top1, top5, here := "–", "–", "no"
		if r.Top1 > 0 {
			top1, top5 = report.Percent(r.Top1), report.Percent(r.Top5)
		}
		if path != "" {
			here = "yes"
		}
		t.Row(r.FullName(), r.Source, report.Count(r.Parameters), top1, top5, r.Licence, here)
	}
	if c.JSON {
		return nil
	}
	_, err = fmt.Fprint(e.stdout, t)
	return err
}
