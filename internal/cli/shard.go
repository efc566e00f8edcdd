package cli

import (
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"

	"github.com/verydeep/vgg/dataset"
	"github.com/verydeep/vgg/report"
)

type shardCommand struct {
	setFlags
	Out     string `placeholder:"DIR" help:"Output: the folder for the shards, new or empty."`
	Reindex bool   `help:"Write an index with checksums beside each of the tar shards that there are, instead of packing images."`
	Compare bool   `help:"Compare tar shards, on this machine or a server, with the sizes and the SHA-256 in the indices beside them, instead of packing images."`
	Size    size   `default:"${shardsize}" placeholder:"BYTES" help:"Largest size of a shard, as 500MB or 1GiB (${shardsize})."`
	Shuffle bool   `help:"Shuffle the images, for programs that read shards from end to end. vgg doesn't need it."`
	Seed    uint64 `placeholder:"N" help:"Seed of what is random: --shuffle (0)."`
	dataFlags
	jsonFlag
}

func (shardCommand) Help() string {
	return `Packs images, byte for byte, into tar files by the WebDataset convention (NAME.jpg and NAME.cls). Each shard has an index, classes.txt lists the classes, and train and val have a folder each.

  - vgg reads shards like the images themselves: training on them gives the same bits.
  - An interruption removes what was written. What a killed run leaves is marked INCOMPLETE, refused by every command, and made anew by the next run.

Examples:

    vgg shard photos --out shards
    vgg shard ILSVRC --out shards --size 1GB --shuffle
    vgg shard --reindex 'train-{000000..000127}.tar'
    vgg shard --compare 'https://example.org/train-{000000..000127}.tar'` + exitHelp
}

// shardResult has the JSON keys of `vgg shard --json`.
type shardResult struct {
	Parts      []dataset.ShardReport `json:"parts"`
	Unreadable []dataset.BadImage    `json:"unreadable"`
}

func (c *shardCommand) Run(e *environment) (err error) {
	if err := c.take("a set to pack"); err != nil {
		return err
	}
	switch {
	case c.Reindex && c.Compare:
		return usagef("--reindex and --compare both, want one of them: what was just indexed agrees")
	case c.Compare && c.Out != "":
		return usagef("--compare and --out both, want one of them: nothing is written")
	case c.Compare:
		return c.compare(e)
	case c.Reindex && c.Out != "":
		return usagef("--reindex and --out both, want one of them: an index lies beside its shard")
	case c.Reindex:
		return c.index(e)
	case c.Out == "":
		return usagef("no --out, want the folder for the shards; or --reindex, for an index of shards that there are")
	}
	if c.Size < 1 {
		return usagef("--size %d, want at least 1 byte", c.Size)
	}
	if err := outside("--out", c.Out, c.Data); err != nil {
		return err
	}
	train, val, err := c.open(e, c.Data)
	if err != nil {
		return err
	}
	e.remarkSpecial(train) // and of what is in the other part
	parts := []part{{train, c.Out}}
	if val != nil {
		parts = []part{{train, filepath.Join(c.Out, "train")}, {val, filepath.Join(c.Out, "val")}}
	}
	removed, err := dataset.ClearShards(c.Out)
	_, held := errors.AsType[*dataset.HeldError](err)
	switch {
	case held:
		return fmt.Errorf("--out %w", err)
	case err != nil:
		return err
	case removed:
		fmt.Fprintf(e.stderr, "%s: the shards of an interrupted run are removed, and made anew\n", c.Out)
	}
	made, err := makeEmpty(c.Out, dataset.ShardsHeld, "a new or empty one")
	if err != nil {
		return err
	}
	for _, p := range parts[1:] {
		if err := dataset.MarkShards(p.dir); err != nil {
			return err
		}
	}
	total := 0
	for _, p := range parts {
		total += p.data.Len()
	}
	bar := e.newProgress()
	defer bar.close()
	packed := bar.stage("packing", unitImages)
	r := shardResult{Parts: []dataset.ShardReport{}, Unreadable: []dataset.BadImage{}}
	before := 0
	for _, p := range parts {
		report, err := dataset.WriteShards(e.ctx, p.data, p.dir, dataset.ShardOptions{
			Size: int64(c.Size), Shuffle: c.Shuffle, Seed: c.Seed,
			Progress: func(done, _ int64) { packed(int64(before)+done, int64(total)) },
		})
		if err != nil {
			// Without the other part, a finished one looks like the whole.
			for i, p := range parts {
				if i < len(r.Parts) {
					os.RemoveAll(p.dir)
				} else if i > 0 { // marked above
					dataset.ClearShards(p.dir)
					os.Remove(p.dir)
				}
			}
			if made {
				os.Remove(c.Out)
			}
			return err
		}
		before += p.data.Len()
		r.Parts = append(r.Parts, report)
		r.Unreadable = append(r.Unreadable, report.Bad...)
	}
	bar.close()
	if c.JSON {
		err = writeJSON(e.stdout, r)
	} else {
		err = r.print(e.stdout, c.Out)
	}
	if err != nil {
		return err
	}
	return unreadable(len(r.Unreadable), total)
}

// compare compares shards with their indices.
func (c *shardCommand) compare(e *environment) error {
	bar := e.newProgress()
	defer bar.close()
	r, err := dataset.VerifyShards(e.ctx, c.Data, c.server(e), bar.stage("comparing", unitShards))
	bar.close()
	if err != nil {
		return err
	}
	if c.JSON {
		return writeJSON(e.stdout, shardResult{Parts: []dataset.ShardReport{r}, Unreadable: []dataset.BadImage{}})
	}
	_, err = fmt.Fprintf(e.stdout, "%s images in %s shards (%s): each is what its index says\n", report.Count(int64(r.Images)), report.Count(int64(r.Shards)), report.Bytes(r.Bytes))
	return err
}

// index writes the indices of shards.
func (c *shardCommand) index(e *environment) error {
	bar := e.newProgress()
	defer bar.close()
	report, err := dataset.IndexShards(e.ctx, c.Data, bar.stage("indexing", unitShards))
	bar.close()
	if err != nil {
		return err
	}
	r := shardResult{Parts: []dataset.ShardReport{report}, Unreadable: []dataset.BadImage{}}
	if c.JSON {
		return writeJSON(e.stdout, r)
	}
	return r.print(e.stdout, c.Data)
}

type part struct {
	data *dataset.Dataset
	dir  string
}

func (r shardResult) print(out io.Writer, dir string) error {
	t := report.NewTable(report.Column{Title: "Folder"}, right("Shards"), right("Images"), right("Size"))
	for _, p := range r.Parts {
		t.Row(p.Dir, report.Count(int64(p.Shards)), report.Count(int64(p.Images)), report.Bytes(p.Bytes))
	}
	if _, err := io.WriteString(out, t.String()); err != nil {
		return err
	}
	if len(r.Unreadable) > 0 {
		if _, err := fmt.Fprintf(out, "\n%s", unreadableTable(r.Unreadable)); err != nil {
			return err
		}
	}
	_, err := fmt.Fprintf(out, "\nNext: %s\n", commandLine("train", "--data", dir))
	return err
}
