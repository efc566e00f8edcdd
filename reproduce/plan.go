// Package reproduce runs the evaluations behind the paper's tables, as far as there are
// weights and data, and sets the results beside the paper's figures.
//
// A plan, in YAML, lists the rows of a table: networks, how they are shown images, and the
// paper's figures. The plans of tables 3 to 9, 11 and 12 are built in. Weights go by names
// in plans; the caller finds them. Results are kept in files that tables share.
package reproduce

import (
	"bytes"
	"embed"
	"errors"
	"fmt"
	"io"
	"regexp"
	"slices"
	"strings"

	"go.yaml.in/yaml/v3"

	"github.com/verydeep/vgg/eval"
	"github.com/verydeep/vgg/internal/wholefile"
)

// Plan is a table of classification or localisation errors: a row for each evaluation,
// with the paper's figures. docs/evaluation.md describes the YAML form.
type Plan struct {
	Title    string        `yaml:"title"`
	Labels   []string      `yaml:"labels"`   // headings of the columns that name a row
	Protocol eval.Protocol `yaml:"protocol"` // default for networks that name none
	Flip     bool          `yaml:"flip"`     // likewise
	Measure  Measure       `yaml:"measure"`
	Rows     []PlanRow     `yaml:"rows"`
}

// Measure names the errors of a plan's rows.
type Measure string

const (
	// Top1Top5 is the top-1 and the top-5 classification error.
	Top1Top5 Measure = ""
	// GTClass is the localisation error given the class (§A.2).
	GTClass Measure = "gt-class"
	// Top5Localisation is the top-5 localisation error of boxes merged and rated (§A.2),
	// besides GTClass.
	Top5Localisation Measure = "localisation"
)

// PlanRow is a row of a plan: one network, the fusion of several, or without networks
// another group's result.
type PlanRow struct {
	Labels []string  `yaml:"labels"`
	Nets   []PlanNet `yaml:"nets"`
	// Classifiers lists the weights of the networks that rate the boxes of a localisation.
	Classifiers []string    `yaml:"classifiers"`
	Paper       PaperErrors `yaml:"paper"`
}

// PlanNet is a network by the name of its weights, and how it is shown images.
type PlanNet struct {
	Weights  string         `yaml:"weights"`
	Scales   []int          `yaml:"scales"`   // Q, pixels
	Protocol *eval.Protocol `yaml:"protocol"` // nil: the plan's
	Flip     *bool          `yaml:"flip"`     // nil: the plan's
}

// PaperErrors holds errors in per cent, as the paper prints them; nil where it has none.
type PaperErrors struct {
	Top1     *float64 `yaml:"top1"`      // validation set
	Top5     *float64 `yaml:"top5"`      // validation set
	Top5Test *float64 `yaml:"top5_test"` // test set
	GTClass  *float64 `yaml:"gt_class"`  // localisation given the class, validation set
}

//go:embed plans/*.yaml
var planFiles embed.FS

// PlanNames lists the built-in plans of classification and localisation: the paper's
// tables 3 to 9.
func PlanNames() []string {
	return []string{"table3", "table4", "table5", "table6", "table7", "table8", "table9"}
}

// NamedPlan returns a built-in plan.
func NamedPlan(name string) (Plan, error) {
	if !slices.Contains(PlanNames(), name) {
		return Plan{}, fmt.Errorf("reproduce: table %q, want one of %s", name, strings.Join(PlanNames(), ", "))
	}
	data, err := planFiles.ReadFile("plans/" + name + ".yaml")
	if err != nil {
		return Plan{}, fmt.Errorf("reproduce: plan: %w", err)
	}
	return parsePlan(name, data)
}

// LoadPlan reads a plan from a YAML file. An unknown key is an error.
func LoadPlan(path string) (Plan, error) {
	data, err := wholefile.Read(path, wholefile.MaxText)
	if err != nil {
		return Plan{}, fmt.Errorf("reproduce: plan: %w", err)
	}
	return parsePlan(path, data)
}

func parsePlan(name string, data []byte) (Plan, error) {
	p := Plan{Protocol: eval.Dense, Flip: true}
	if err := decodePlan(name, data, &p); err != nil {
		return Plan{}, err
	}
	if err := p.validate(); err != nil {
		return Plan{}, fmt.Errorf("reproduce: plan %s: %w", name, err)
	}
	return p, nil
}

// unknownKey matches the YAML decoder's message about a key that no field has.
var unknownKey = regexp.MustCompile(`field (\S+) not found in type \S+`)

// decodePlan decodes YAML into a plan. An unknown key and a second document are errors.
func decodePlan(name string, data []byte, plan any) error {
	d := yaml.NewDecoder(bytes.NewReader(data))
	d.KnownFields(true)
	err := d.Decode(plan)
	if errors.Is(err, io.EOF) {
		err = errors.New("empty, want a title and rows")
	}
	if err == nil && !errors.Is(d.Decode(new(any)), io.EOF) {
		err = errors.New("more than one document, want one")
	}
	if err != nil {
		return fmt.Errorf("reproduce: plan %s: %s", name, unknownKey.ReplaceAllString(err.Error(), "unknown key $1"))
	}
	return nil
}

// weightsName matches names of weights in a plan: the name of a file without its folder
// and ending.
var weightsName = regexp.MustCompile(`^[A-Za-z0-9][A-Za-z0-9._-]*$`)

func (p Plan) validate() error {
	if len(p.Labels) == 0 || len(p.Rows) == 0 {
		return errors.New("no labels or no rows, want at least one of each")
	}
	if !slices.Contains([]Measure{Top1Top5, GTClass, Top5Localisation}, p.Measure) {
		return fmt.Errorf("measure %q, want %q, %q or none", p.Measure, GTClass, Top5Localisation)
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
			if err := p.Setting(n).Validate(1); err != nil {
				return fmt.Errorf("row %d: weights %s: %w", i+1, n.Weights, err)
			}
		}
	}
	return nil
}

// validateBoxes checks the localisation part of a row.
func (p Plan) validateBoxes(r PlanRow) error {
	switch {
	case p.Measure != Top5Localisation && len(r.Classifiers) > 0:
		return fmt.Errorf("classifiers, want none with measure %q", p.Measure)
	case p.Measure == Top5Localisation && len(r.Nets) > 0 && len(r.Classifiers) == 0:
		return errors.New("no classifiers, want one at least, which rates the boxes")
	case p.Measure == GTClass && p.Protocol == eval.Centre && (len(r.Nets) > 1 || len(r.Nets) == 1 && len(r.Nets[0].Scales) > 1):
		return errors.New("several networks or scales of the central crop, want one")
	}
	for _, name := range r.Classifiers {
		if !weightsName.MatchString(name) {
			return fmt.Errorf("classifier %q, want a file's name without folder and ending, as D-256", name)
		}
	}
	if p.Measure == Top1Top5 {
		return nil
	}
	for _, n := range r.Nets {
		if s := p.Setting(n); s.Flip || s.Protocol != p.Protocol || s.Protocol != eval.Centre && s.Protocol != eval.Dense || p.Measure == Top5Localisation && s.Protocol != eval.Dense {
			return fmt.Errorf("weights %s: %v, want protocol centre (measure gt-class alone) or dense, the plan's, and flip false", n.Weights, s)
		}
	}
	return nil
}

// Setting returns how one of the plan's networks is shown images.
func (p Plan) Setting(n PlanNet) eval.Setting {
	s := eval.Setting{Protocol: p.Protocol, Scales: n.Scales, Flip: p.Flip}
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
	for _, r := range p.Rows {
		for _, n := range r.Nets {
			names = appendNew(names, n.Weights)
		}
		names = appendNew(names, r.Classifiers...)
	}
	return names
}

// appendNew appends the names that are not in the list yet.
func appendNew(list []string, names ...string) []string {
	for _, name := range names {
		if !slices.Contains(list, name) {
			list = append(list, name)
		}
	}
	return list
}

// conventional matches names of weights by the convention CONFIGURATION-S, such as D-256,
// A-LRN-256 and D-256-512.
var conventional = regexp.MustCompile(`^([A-Z](?:-[A-Za-z]+)?)-([0-9]+)(?:-([0-9]+))?$`)

// ConventionalName reads a name of weights by the convention of the built-in plans: the
// configuration and the training scale S, as in D-256 and A-LRN-256, or a range of S, as in
// D-256-512.
func ConventionalName(name string) (config string, s eval.TrainScale, ok bool) {
	m := conventional.FindStringSubmatch(name)
	if m == nil {
		return "", eval.TrainScale{}, false
	}
	text := m[2]
	if m[3] != "" {
		text += "-" + m[3]
	}
	s, err := eval.ParseTrainScale(text)
	return m[1], s, err == nil
}

// localiser matches names of localisation weights by the convention of the built-in plans.
var localiser = regexp.MustCompile(`^(.+)-(SCR|PCR)(-fc)?$`)

// ConventionalLocaliser reads a name of localisation weights by the convention of the
// built-in plans: the classification network's name and the regression, SCR or PCR, as in
// D-256-PCR, and a final -fc if only the fully connected layers were fine-tuned.
func ConventionalLocaliser(name string) (classifier, regression string, fcOnly, ok bool) {
	m := localiser.FindStringSubmatch(name)
	if m == nil {
		return "", "", false, false
	}
	_, _, ok = ConventionalName(m[1])
	return m[1], m[2], m[3] != "", ok
}

// unsafe matches what names of result files don't contain.
var unsafe = regexp.MustCompile(`[^A-Za-z0-9._-]+`)

// fileName returns a text as the name of a result file.
func fileName(text string) string { return unsafe.ReplaceAllString(text, "_") }
