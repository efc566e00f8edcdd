package eval

import (
	"bytes"
	"embed"
	"errors"
	"fmt"
	"io"
	"os"
	"regexp"
	"slices"
	"strings"

	"go.yaml.in/yaml/v3"
)

// Plan says what a table of the paper is made of: a row for each evaluation, with the
// figures that the paper has for it.
type Plan struct {
	Title    string    `yaml:"title"`
	Labels   []string  `yaml:"labels"`   // headings of the columns that name a row
	Protocol Protocol  `yaml:"protocol"` // of networks that don't say
	Flip     bool      `yaml:"flip"`     // likewise
	Measure  Measure   `yaml:"measure"`
	Rows     []PlanRow `yaml:"rows"`
}

// Measure is what the rows of a plan are measured by.
type Measure string

const (
	// Classification is top-1 and top-5 error.
	Classification Measure = ""
	// GTClass is the localisation error given the class; package localize measures it.
	GTClass Measure = "gt-class"
	// Localisation is the top-5 localisation error of boxes merged and rated; likewise.
	Localisation Measure = "localisation"
)

// PlanRow is a row of a plan; of several networks it is the fusion, of none another's
// result.
type PlanRow struct {
	Labels []string  `yaml:"labels"`
	Nets   []PlanNet `yaml:"nets"`
	// Classifiers are the networks that rate the boxes of a localisation, by the names of
	// their weights.
	Classifiers []string `yaml:"classifiers"`
	Paper       Figures  `yaml:"paper"`
}

// PlanNet is a network by the name of its weights, and how it is shown images.
type PlanNet struct {
	Weights  string    `yaml:"weights"`
	Scales   []int     `yaml:"scales"`
	Protocol *Protocol `yaml:"protocol"`
	Flip     *bool     `yaml:"flip"`
}

// Figures are errors in per cent, as the paper prints them; nil where it has none.
type Figures struct {
	Top1     *float64 `yaml:"top1"`      // validation
	Top5     *float64 `yaml:"top5"`      // validation
	Top5Test *float64 `yaml:"top5_test"` // test set
	GTClass  *float64 `yaml:"gt_class"`  // localisation given the class, validation
}

//go:embed plans/*.yaml
var planFiles embed.FS

// PlanNames lists the plans that are built in: the paper's tables 3 to 9.
func PlanNames() []string {
	return []string{"table3", "table4", "table5", "table6", "table7", "table8", "table9"}
}

// NamedPlan returns a plan that is built in.
func NamedPlan(name string) (Plan, error) {
	data, err := planFiles.ReadFile("plans/" + name + ".yaml")
	if err != nil {
		return Plan{}, fmt.Errorf("eval: table %q, want one of %s", name, strings.Join(PlanNames(), ", "))
	}
	return parsePlan(name, data)
}

// LoadPlan reads a plan from a YAML file. An unknown key is an error.
func LoadPlan(path string) (Plan, error) {
	data, err := os.ReadFile(path)
	if err != nil {
		return Plan{}, fmt.Errorf("eval: plan: %w", err)
	}
	return parsePlan(path, data)
}

// unknownKey is what the YAML decoder says of a key that no field has.
var unknownKey = regexp.MustCompile(`field (\S+) not found in type \S+`)

func parsePlan(name string, data []byte) (Plan, error) {
	p := Plan{Protocol: Dense, Flip: true}
	d := yaml.NewDecoder(bytes.NewReader(data))
	d.KnownFields(true)
	if err := d.Decode(&p); err != nil {
		if errors.Is(err, io.EOF) {
			err = errors.New("empty, want title, labels and rows")
		}
		return Plan{}, fmt.Errorf("eval: plan %s: %s", name, unknownKey.ReplaceAllString(err.Error(), "unknown key $1"))
	}
	if err := p.validate(); err != nil {
		return Plan{}, fmt.Errorf("eval: plan %s: %w", name, err)
	}
	return p, nil
}

// weightsName is what weights may be called in a plan: a file's name without its folder
// and ending.
var weightsName = regexp.MustCompile(`^[A-Za-z0-9][A-Za-z0-9._-]*$`)

func (p Plan) validate() error {
	if len(p.Labels) == 0 || len(p.Rows) == 0 {
		return errors.New("no labels or no rows, want at least one of each")
	}
	if !slices.Contains([]Measure{Classification, GTClass, Localisation}, p.Measure) {
		return fmt.Errorf("measure %q, want %q, %q or none", p.Measure, GTClass, Localisation)
	}
	for i, r := range p.Rows {
		if len(r.Labels) != len(p.Labels) {
			return fmt.Errorf("row %d: %d labels, want %d", i+1, len(r.Labels), len(p.Labels))
		}
		if err := p.validateBoxes(r); err != nil {
			return fmt.Errorf("row %d: %w", i+1, err)
		}
		for _, n := range r.Nets {
			if !weightsName.MatchString(n.Weights) {
				return fmt.Errorf("row %d: weights %q, want a file's name without folder and ending, as D-256", i+1, n.Weights)
			}
			if err := p.setting(n).validate(1); err != nil {
				return fmt.Errorf("row %d: weights %s: %w", i+1, n.Weights, err)
			}
		}
	}
	return nil
}

// validateBoxes checks what a row has of localisation.
func (p Plan) validateBoxes(r PlanRow) error {
	switch {
	case p.Measure != Localisation && len(r.Classifiers) > 0:
		return fmt.Errorf("classifiers, want none with measure %q", p.Measure)
	case p.Measure == Localisation && len(r.Nets) > 0 && len(r.Classifiers) == 0:
		return errors.New("no classifiers, want one at least, which rates the boxes")
	case p.Measure == GTClass && p.Protocol == Centre && (len(r.Nets) > 1 || len(r.Nets) == 1 && len(r.Nets[0].Scales) > 1):
		return errors.New("several networks or scales of the central crop, want one")
	}
	for _, name := range r.Classifiers {
		if !weightsName.MatchString(name) {
			return fmt.Errorf("classifier %q, want a file's name without folder and ending, as D-256", name)
		}
	}
	if p.Measure == Classification {
		return nil
	}
	for _, n := range r.Nets {
		if s := p.setting(n); s.Flip || s.Protocol != p.Protocol || s.Protocol != Centre && s.Protocol != Dense || p.Measure == Localisation && s.Protocol != Dense {
			return fmt.Errorf("weights %s: %v, want protocol centre (measure gt-class alone) or dense, the plan's, and flip false", n.Weights, s)
		}
	}
	return nil
}

// setting is how a network is shown images.
func (p Plan) setting(n PlanNet) Setting {
	s := Setting{p.Protocol, n.Scales, p.Flip}
	if n.Protocol != nil {
		s.Protocol = *n.Protocol
	}
	if n.Flip != nil {
		s.Flip = *n.Flip
	}
	return s
}

// Weights lists the names of the weights that the plan needs, each once.
func (p Plan) Weights() []string {
	var names []string
	seen := map[string]bool{}
	for _, r := range p.Rows {
		for _, n := range r.Nets {
			if !seen[n.Weights] {
				seen[n.Weights] = true
				names = append(names, n.Weights)
			}
		}
		for _, name := range r.Classifiers {
			if !seen[name] {
				seen[name] = true
				names = append(names, name)
			}
		}
	}
	return names
}

// conventional is a name of weights by the convention CONFIGURATION-S, as D-256,
// A-LRN-256 and D-256-512.
var conventional = regexp.MustCompile(`^([A-Z](?:-[A-Za-z]+)?)-([0-9]+)(?:-([0-9]+))?$`)

// ConventionalName reads a name of weights by the convention of the plans that are built
// in: the configuration and the smallest side S that it was trained at, D-256,
// A-LRN-256, or a range, D-256-512.
func ConventionalName(name string) (config string, s TrainScale, ok bool) {
	m := conventional.FindStringSubmatch(name)
	if m == nil {
		return "", TrainScale{}, false
	}
	text := m[2]
	if m[3] != "" {
		text += "-" + m[3]
	}
	s, err := ParseTrainScale(text)
	return m[1], s, err == nil
}
