package reproduce

import (
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/verydeep/vgg/internal/journal"
	"github.com/verydeep/vgg/internal/wholefile"
	"github.com/verydeep/vgg/metrics"
	"github.com/verydeep/vgg/transfer"
)

// TransferPlan is a table of appendix B: linear SVMs on networks' descriptors of several
// sets.
type TransferPlan struct {
	Title string        `yaml:"title"`
	Sets  []TransferSet `yaml:"sets"`
	Rows  []TransferRow `yaml:"rows"`
}

// TransferSet is a set of a transfer table and the paper's protocol for it.
type TransferSet struct {
	Name    string          `yaml:"name"`
	Folders []string        `yaml:"folders"` // possible names in a folder of sets
	Layout  transfer.Layout `yaml:"layout"`
	Scales  []int           `yaml:"scales"`  // Q, pixels
	Average bool            `yaml:"average"` // average the scales' descriptors instead of stacking them
	Splits  TransferSplits  `yaml:"splits"`
	// AveragePrecision is the definition of the mean average precision that the set is
	// measured by; empty: mean class recall.
	AveragePrecision metrics.APForm `yaml:"average_precision"`
}

// TransferSplits is the number of random splits of a set, and the number of images of each
// class in their two parts; a Test of 0 is all other images. The zero value is the set's
// own parts.
type TransferSplits struct {
	Count int `yaml:"count"`
	Train int `yaml:"train"`
	Test  int `yaml:"test"`
}

// TransferRow is a row of a transfer table; without networks it is another group's result.
type TransferRow struct {
	Label   string            `yaml:"label"`
	Nets    []string          `yaml:"nets"`    // names of weights, whose descriptors are stacked
	Regions []transfer.Region `yaml:"regions"` // stacked; empty: the whole image
	Paper   []PaperMean       `yaml:"paper"`   // by set
}

// PaperMean is a mean over splits and the deviation of one split, in per cent, as the paper
// prints them; 0 where it has none.
type PaperMean struct {
	Mean      float64 `json:"mean,omitempty" yaml:"mean"`
	Deviation float64 `json:"deviation,omitempty" yaml:"deviation"`
}

// TransferPlanNames lists the built-in transfer plans: the paper's tables 11 and 12.
func TransferPlanNames() []string { return []string{"table11", "table12"} }

// NamedTransferPlan returns a built-in transfer plan.
func NamedTransferPlan(name string) (TransferPlan, error) {
	if !slices.Contains(TransferPlanNames(), name) {
		return TransferPlan{}, fmt.Errorf("reproduce: transfer table %q, want one of %s", name, strings.Join(TransferPlanNames(), ", "))
	}
	data, err := planFiles.ReadFile("plans/" + name + ".yaml")
	if err != nil {
		return TransferPlan{}, fmt.Errorf("reproduce: plan: %w", err)
	}
	return parseTransferPlan(name, data)
}

// LoadTransferPlan reads a transfer plan from a YAML file. An unknown key is an error.
func LoadTransferPlan(path string) (TransferPlan, error) {
	data, err := wholefile.Read(path, wholefile.MaxText)
	if err != nil {
		return TransferPlan{}, fmt.Errorf("reproduce: plan: %w", err)
	}
	return parseTransferPlan(path, data)
}

func parseTransferPlan(name string, data []byte) (TransferPlan, error) {
	var p TransferPlan
	if err := decodePlan(name, data, &p); err != nil {
		return TransferPlan{}, err
	}
	if err := p.validate(); err != nil {
		return TransferPlan{}, fmt.Errorf("reproduce: plan %s: %w", name, err)
	}
	return p, nil
}

func (p TransferPlan) validate() error {
	if len(p.Sets) == 0 || len(p.Rows) == 0 {
		return errors.New("no sets or no rows, want at least one of each")
	}
	for _, s := range p.Sets {
		if err := s.validate(); err != nil {
			return fmt.Errorf("set %q: %w", s.Name, err)
		}
	}
	for i, r := range p.Rows {
		if len(r.Paper) != len(p.Sets) {
			return fmt.Errorf("row %d: the paper's figures for %d sets, want %d", i+1, len(r.Paper), len(p.Sets))
		}
		for _, name := range r.Nets {
			if !weightsName.MatchString(name) {
				return fmt.Errorf("row %d: weights %q, want a file's name without folder and ending, as D-256-512", i+1, name)
			}
		}
		for _, region := range r.Regions {
			if region != transfer.WholeImage && region != transfer.Box {
				return fmt.Errorf("row %d: region %q, want %q or %q", i+1, region, transfer.WholeImage, transfer.Box)
			}
		}
	}
	return nil
}

func (s TransferSet) validate() error {
	switch {
	case s.Name == "" || len(s.Folders) == 0 || len(s.Scales) == 0:
		return errors.New("no name, folders or scales, want each")
	case !slices.Contains(transfer.Layouts(), s.Layout):
		return fmt.Errorf("layout %q, want one of %s", s.Layout, journal.List(transfer.Layouts()))
	case s.AveragePrecision != "" && !slices.Contains(metrics.APForms(), s.AveragePrecision):
		return fmt.Errorf("average precision %q, want one of %s", s.AveragePrecision, journal.List(metrics.APForms()))
	case s.Splits.Count < 0 || s.Splits.Test < 0 || s.Splits.Count > 0 && s.Splits.Train < 1 || s.Splits.Count == 0 && s.Splits != TransferSplits{}:
		return fmt.Errorf("splits %+v, want a count, and at least 1 training image of each class", s.Splits)
	}
	return nil
}

// Weights lists the names of the weights that the plan needs, each once.
func (p TransferPlan) Weights() []string {
	var names []string
	for _, r := range p.Rows {
		names = appendNew(names, r.Nets...)
	}
	return names
}

// protocol returns how a classifier on the set's descriptors is measured.
func (s TransferSet) protocol() transfer.Protocol {
	return transfer.Protocol{Splits: s.Splits.Count, Train: s.Splits.Train, Test: s.Splits.Test}
}

// measure names what the set is measured by.
func (s TransferSet) measure() string {
	if s.AveragePrecision == "" {
		return "mean class recall"
	}
	return "mean AP (" + string(s.AveragePrecision) + ")"
}
