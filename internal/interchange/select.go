package interchange

import (
	"fmt"
	"regexp"
	"slices"
	"strings"

	"github.com/verydeep/vgg/weights"
)

// Selection is the part of a file that holds the network.
type Selection struct {
	// File is a view of the network's tensors.
	File *weights.File
	// Ignored describes what was left out, each with the reason.
	Ignored []string
	// Prefix is what was removed from the front of all names.
	Prefix string
	// Normalize is the normalisation of pixels inside the model; nil if there is none.
	Normalize *Normalize
}

// leftovers are the tensors that training leaves in a checkpoint beside the network's, by
// their names, in groups of one reason.
var leftovers = []struct {
	name   *regexp.Regexp
	reason string
}{
	{regexp.MustCompile(`(^|[./])num_batches_tracked$`), "PyTorch's counter of batches in batch normalisation"},
	{regexp.MustCompile(`(^|[./])n_averaged$`), "PyTorch's counter of averaged models"},
	{regexp.MustCompile(`(^|[./])total_(ops|params)$`), "thop's counter of operations"},
	{regexp.MustCompile(`(^|[./])(criterion|loss|loss_fn|loss_func|loss_function)[./]`), "of the loss function"},
	{regexp.MustCompile(`(^|[./])(optimizer|optimizers|optimizer_state|optimizer_weights|optimizer_state_dict)[./]`), "state of the optimiser"},
	{regexp.MustCompile(`[./](exp_avg|exp_avg_sq|max_exp_avg_sq|momentum_buffer)$`), "state of the optimiser"},
	{regexp.MustCompile(`(^|[./])(scheduler|lr_scheduler|grad_scaler|amp_scaler)[./]`), "state of training"},
	{regexp.MustCompile(`^(global_step|iteration|iterations|epoch|step)$`), "counter of training"},
	{regexp.MustCompile(`(^|[./])((train|val|valid|test)_(acc|accuracy|f1|auroc|confmat|metrics?)|metrics?)[./]`), "a metric's state"},
}

// wrappers are the first parts of names that hold a whole network and tell nothing of it:
// of DataParallel, torch.compile, Lightning, averaged models and timm in Transformers.
var wrappers = []string{
	"module", "_orig_mod", "model", "net", "network", "backbone", "encoder", "base_model", "feature_extractor",
	"ema", "ema_model", "model_ema", "averaged_model", "timm_model", "vgg", "vgg11", "vgg13", "vgg16", "vgg19",
}

// Select finds the tensors of the network in f: those below the prefix, if one is given,
// without those that a pattern of ignore matches and those that training leaves there.
// In a pattern * stands for any text and ? for any character. A prefix or a pattern that
// matches nothing is an error.
func Select(f *weights.File, prefix string, ignore []string) (*Selection, error) {
	s := &Selection{Prefix: prefix}
	names := map[string]string{} // in the view, by name in the file
	groups := reasons{}
	for _, e := range f.Tensors() {
		if name, ok := strings.CutPrefix(e.Name, prefix); ok && name != "" {
			names[e.Name] = name
		} else {
			groups.add(e.Name, fmt.Sprintf("not below the prefix %q", prefix))
		}
	}
	if prefix != "" && len(names) == 0 {
		return nil, fmt.Errorf("no tensor below the prefix %q: the names begin with %s", prefix, firstParts(f))
	}
	for _, pattern := range ignore {
		matches, found := wildcard(pattern), false
		for _, e := range f.Tensors() {
			if _, ok := names[e.Name]; matches.MatchString(e.Name) {
				found = true
				if ok {
					delete(names, e.Name)
					groups.add(e.Name, fmt.Sprintf("matches --ignore %s", pattern))
				}
			}
		}
		if !found {
			return nil, fmt.Errorf("no tensor matches --ignore %s", pattern)
		}
	}
	for _, e := range f.Tensors() {
		for _, l := range leftovers {
			if _, ok := names[e.Name]; ok && l.name.MatchString(names[e.Name]) {
				delete(names, e.Name)
				groups.add(e.Name, l.reason)
			}
		}
	}
	if err := s.normalize(f, names); err != nil {
		return nil, err
	}
	s.unwrap(names)
	s.Ignored = groups.lines()
	s.File = f
	if len(names) == len(f.Tensors()) && s.Prefix == "" {
		return s, nil
	}
	var err error
	s.File, err = f.Subset(func(name string) (string, bool) {
		as, ok := names[name]
		return as, ok
	})
	return s, err
}

// unwrap removes the wrappers that all names begin with.
func (s *Selection) unwrap(names map[string]string) {
	for len(names) > 0 {
		shared := ""
		for _, name := range names {
			first, rest, _ := strings.Cut(name, ".")
			if !slices.Contains(wrappers, first) || !strings.Contains(rest, ".") || shared != "" && shared != first {
				return
			}
			shared = first
		}
		for of, name := range names {
			names[of] = name[len(shared)+1:]
		}
		s.Prefix += shared + "."
	}
}

// reasons groups the names of tensors by the reason why they are left out.
type reasons struct {
	order []string
	names map[string][]string
}

func (r *reasons) add(name, reason string) {
	if r.names == nil {
		r.names = map[string][]string{}
	}
	if r.names[reason] == nil {
		r.order = append(r.order, reason)
	}
	r.names[reason] = append(r.names[reason], name)
}

// lines describes each group: its first names, and the reason.
func (r *reasons) lines() []string {
	const most = 3
	var lines []string
	for _, reason := range r.order {
		names := r.names[reason]
		text := strings.Join(names[:min(len(names), most)], ", ")
		if len(names) > most {
			text += fmt.Sprintf(" and %d more", len(names)-most)
		}
		lines = append(lines, text+": "+reason)
	}
	return lines
}

// wildcard returns the expression that a pattern with * and ? stands for.
func wildcard(pattern string) *regexp.Regexp {
	text := regexp.QuoteMeta(pattern)
	text = strings.ReplaceAll(strings.ReplaceAll(text, `\*`, `.*`), `\?`, `.`)
	return regexp.MustCompile(`^(?s:` + text + `)$`)
}

// firstParts lists the first parts of the names in f, as prefixes.
func firstParts(f *weights.File) string {
	const most = 8
	var parts []string
	for _, e := range f.Tensors() {
		if at := strings.IndexAny(e.Name, "./"); at > 0 && !slices.Contains(parts, e.Name[:at+1]) {
			parts = append(parts, e.Name[:at+1])
		}
	}
	text := strings.Join(parts[:min(len(parts), most)], ", ")
	if len(parts) > most {
		text += " …"
	}
	return text
}
