package weights

import (
	"fmt"
	"math"
	"slices"
	"strings"
	"sync"

	"github.com/verydeep/vgg/tensor"
)

// PyTorch's torch.nn.utils keep a parameter as several tensors, from which every forward
// computes it. These are what they compute in evaluation mode.
//
//	prune:          weight = weight_orig · weight_mask, element by element
//	weight_norm:    weight = weight_v · weight_g / ‖weight_v‖, the norm over the axes of which weight_g has length 1
//	spectral_norm:  weight = weight_orig / (uᵀ W v), W being weight_orig as a matrix (out, in…)
//
// Since PyTorch 1.9 the second has the names parametrizations.weight.original0 (g) and
// original1 (v), and the third parametrizations.weight.original and parametrizations.weight.0._u
// and _v.

// MetaComputed is the key of the metadata that lists the tensors that aren't in the file
// as such but computed from others there, with these.
const MetaComputed = "torch.computed"

// parametrizations is the part of names that PyTorch 1.9 and later give to what a
// parameter is computed from.
const parametrizations = "parametrizations."

// reparametrised replaces the tensors that PyTorch computes a parameter from by the
// parameter. What it can't compute is an error that names the tensor.
func (f *File) reparametrised() error {
	used := map[string]string{} // the parameter, by what it is computed from
	groups := f.parametrizationGroups()
	computed := map[string]entry{} // by the first of their tensors
	var list []string
	for i := range f.entries {
		name := f.entries[i].Name
		if used[name] != "" {
			continue
		}
		e, of, err := f.computedFrom(name, groups)
		if err != nil {
			return err
		}
		if of == nil {
			continue
		}
		if _, twice := f.byName[e.Name]; twice {
			return refused(e.Name, "it is in the file beside %s, from which PyTorch computes it: want one of the two", of[0])
		}
		for _, n := range of {
			used[n] = e.Name
		}
		computed[name] = e
		list = append(list, fmt.Sprintf("%s from %s", e.Name, strings.Join(of, ", ")))
	}
	if list == nil {
		return nil
	}
	var entries []entry
	f.byName = make(map[string]int, len(f.entries))
	for _, e := range f.entries {
		c, ok := computed[e.Name]
		switch {
		case ok:
			e = c
		case used[e.Name] != "":
			continue
		}
		if _, twice := f.byName[e.Name]; twice {
			return refused(e.Name, "computed from several tensors of the file: want one of them")
		}
		f.byName[e.Name] = len(entries)
		entries = append(entries, e)
	}
	f.entries = entries
	for _, l := range f.layers {
		for role, name := range l.Tensors {
			if param := used[name]; param != "" {
				l.Tensors[role] = param
			}
		}
	}
	if f.meta == nil {
		f.meta = make(map[string]string)
	}
	const most = 2
	f.meta[MetaComputed] = strings.Join(list[:min(len(list), most)], "; ")
	if len(list) > most {
		f.meta[MetaComputed] += fmt.Sprintf("; and %d more", len(list)-most)
	}
	return nil
}

// parametrizationGroups returns the ends of the names of torch.nn.utils.parametrize's
// tensors, by the beginning that those of one parameter share.
func (f *File) parametrizationGroups() map[string][]string {
	groups := map[string][]string{}
	for i := range f.entries {
		if base, end, ok := cutParametrization(f.entries[i].Name); ok {
			groups[base] = append(groups[base], end)
		}
	}
	for _, ends := range groups {
		slices.Sort(ends)
	}
	return groups
}

// cutParametrization cuts features.0.parametrizations.weight.original0 before its last part.
func cutParametrization(name string) (base, end string, ok bool) {
	at := strings.Index(name, parametrizations)
	if at < 0 || at > 0 && name[at-1] != '.' {
		return "", "", false
	}
	at += len(parametrizations)
	dot := strings.IndexByte(name[at:], '.')
	if dot < 0 {
		return "", "", false
	}
	return name[:at+dot+1], name[at+dot+1:], true
}

// computedFrom returns the parameter that is computed from the tensor of that name and
// others, with the names of all of them, or none if there is no such parameter.
func (f *File) computedFrom(name string, groups map[string][]string) (e entry, of []string, err error) {
	if base, _, ok := cutParametrization(name); ok {
		return f.parametrised(name, base, groups[base])
	}
	if p, ok := strings.CutSuffix(name, "_mask"); ok {
		if _, ok := f.byName[p+"_orig"]; !ok {
			return e, nil, nil
		}
		e, err = f.product(p, p+"_orig", name)
		return e, []string{p + "_orig", name}, err
	}
	if p, ok := strings.CutSuffix(name, "_orig"); ok {
		if _, ok := f.byName[p+"_mask"]; ok {
			e, err = f.product(p, name, p+"_mask")
			return e, []string{name, p + "_mask"}, err
		}
		u, v := p+"_u", p+"_v"
		if _, ok := f.byName[u]; !ok {
			return e, nil, refused(name, "torch.nn.utils left it in place of %s, but neither %s_mask (pruning) nor %s_u (spectral_norm) is there: call torch.nn.utils.prune.remove or remove_spectral_norm, then save the state_dict", p, p, p)
		}
		if _, ok := f.byName[v]; !ok {
			return e, nil, refused(name, "a spectral_norm of PyTorch before 1.1, which doesn't save %s: call torch.nn.utils.remove_spectral_norm, then save the state_dict", v)
		}
		e, err = f.spectral(p, name, u, v)
		return e, []string{name, u, v}, err
	}
	if p, ok := strings.CutSuffix(name, "_g"); ok {
		if _, ok := f.byName[p+"_v"]; ok {
			e, err = f.normed(p, name, p+"_v")
			return e, []string{name, p + "_v"}, err
		}
	}
	if p, ok := strings.CutSuffix(name, "_v"); ok {
		if _, ok := f.byName[p+"_g"]; ok {
			e, err = f.normed(p, p+"_g", name)
			return e, []string{p + "_g", name}, err
		}
	}
	return e, nil, nil
}

// parametrised is computedFrom of the tensors of torch.nn.utils.parametrize whose names
// begin with base and end with one of all.
func (f *File) parametrised(name, base string, all []string) (e entry, of []string, err error) {
	param := strings.TrimSuffix(strings.Replace(base, parametrizations, "", 1), ".")
	whole := make([]string, len(all))
	for i, n := range all {
		whole[i] = base + n
	}
	switch {
	case slices.Equal(all, []string{"original0", "original1"}):
		e, err = f.normed(param, base+"original0", base+"original1")
	case slices.Equal(all, []string{"0._u", "0._v", "original"}):
		e, err = f.spectral(param, base+"original", base+"0._u", base+"0._v")
	default:
		return e, nil, refused(name, "a parametrization of torch.nn.utils.parametrize other than weight_norm and spectral_norm, with %s: call parametrize.remove_parametrizations(layer, %q), then save the state_dict", strings.Join(all[:min(len(all), 4)], ", "), display(param[strings.LastIndexByte(param, '.')+1:]))
	}
	return e, whole, err
}

// parts finds tensors that can be read as numbers.
func (f *File) parts(names ...string) ([]*entry, error) {
	var found []*entry
	for _, n := range names {
		e, err := f.find(n)
		if err != nil {
			return nil, err
		}
		if err := f.checkDType(e); err != nil {
			return nil, err
		}
		copied := *e
		found = append(found, &copied)
	}
	return found, nil
}

// product is the parameter of torch.nn.utils.prune.
func (f *File) product(name, values, mask string) (entry, error) {
	of, err := f.parts(values, mask)
	if err != nil {
		return entry{}, err
	}
	x, m := of[0], of[1]
	if !slices.Equal(x.Shape, m.Shape) {
		return entry{}, malformed(mask, "shape %v, want %v, that of %s", m.Shape, x.Shape, values)
	}
	e := entry{Entry: Entry{Name: name, DType: x.DType, Shape: x.Shape}, whole: x.whole || m.whole}
	e.read = func(start int, dst []float32) error {
		if err := f.partOf(x, start, dst); err != nil {
			return err
		}
		size := min(len(dst), chunk)
		if m.whole {
			size = len(dst)
		}
		factors := make([]float32, size)
		for done := 0; done < len(dst); done += len(factors) {
			part := factors[:min(len(factors), len(dst)-done)]
			if err := f.partOf(m, start+done, part); err != nil {
				return err
			}
			for i, v := range part {
				dst[done+i] *= v
			}
		}
		return nil
	}
	return e, nil
}

// normed is the parameter of torch.nn.utils.weight_norm.
func (f *File) normed(name, lengths, directions string) (entry, error) {
	of, err := f.parts(lengths, directions)
	if err != nil {
		return entry{}, err
	}
	g, v := of[0], of[1]
	// g has the axes of v, all of length 1 but one, or it is one number.
	axis := -1
	fits := len(g.Shape) == 0 || len(g.Shape) == len(v.Shape)
	for a, n := range g.Shape {
		if n == 1 {
			continue
		}
		fits = fits && axis < 0 && n == v.Shape[a]
		axis = a
	}
	if !fits {
		return entry{}, malformed(lengths, "shape %v, want %v with all axes but one of length 1, for weight_norm", g.Shape, v.Shape)
	}
	count, inner := 1, 1
	if axis >= 0 {
		count = v.Shape[axis]
		inner, _ = tensor.Size(v.Shape[axis+1:]...)
	}
	var mu sync.Mutex
	var factors []float64 // g / ‖v‖
	scale := func() ([]float64, error) {
		mu.Lock()
		defer mu.Unlock()
		if factors != nil {
			return factors, nil
		}
		squares := make([]float64, count)
		err := f.eachPart(v, func(start int, part []float32) {
			for i, x := range part {
				squares[(start+i)/inner%count] += float64(x) * float64(x)
			}
		})
		if err != nil {
			return nil, err
		}
		of := make([]float32, count)
		if err := f.partOf(g, 0, of); err != nil {
			return nil, err
		}
		for i, s := range squares {
			squares[i] = float64(of[i]) / math.Sqrt(s)
		}
		factors = squares
		return factors, nil
	}
	e := entry{Entry: Entry{Name: name, DType: v.DType, Shape: v.Shape}, whole: v.whole}
	e.read = func(start int, dst []float32) error {
		by, err := scale()
		if err != nil {
			return err
		}
		if err := f.partOf(v, start, dst); err != nil {
			return err
		}
		for i, x := range dst {
			dst[i] = float32(float64(x) * by[(start+i)/inner%count])
		}
		return nil
	}
	return e, nil
}

// spectral is the parameter of torch.nn.utils.spectral_norm in evaluation mode.
func (f *File) spectral(name, values, left, right string) (entry, error) {
	of, err := f.parts(values, left, right)
	if err != nil {
		return entry{}, err
	}
	w, u, v := of[0], of[1], of[2]
	if len(w.Shape) < 2 || w.Shape[0] == 0 {
		return entry{}, malformed(values, "shape %v, want at least two axes for spectral_norm", w.Shape)
	}
	rows := w.Shape[0]
	columns, _ := tensor.Size(w.Shape[1:]...)
	if !slices.Equal(u.Shape, []int{rows}) || !slices.Equal(v.Shape, []int{columns}) {
		return entry{}, malformed(left, "shape %v, with %v of %s: want [%d] and [%d], for a spectral_norm of %s by its first axis", u.Shape, v.Shape, right, rows, columns, values)
	}
	var mu sync.Mutex
	sigma := 0.0
	norm := func() (float64, error) {
		mu.Lock()
		defer mu.Unlock()
		if sigma != 0 {
			return sigma, nil
		}
		us, vs := make([]float32, rows), make([]float32, columns)
		if err := f.partOf(u, 0, us); err != nil {
			return 0, err
		}
		if err := f.partOf(v, 0, vs); err != nil {
			return 0, err
		}
		// Of a square matrix, the shapes don't tell whether the first axis gives the rows.
		sum, turned := 0.0, 0.0
		err := f.eachPart(w, func(start int, part []float32) {
			for i, x := range part {
				r, c := (start+i)/columns, (start+i)%columns
				sum += float64(us[r]) * float64(x) * float64(vs[c])
				if rows == columns {
					turned += float64(us[c]) * float64(x) * float64(vs[r])
				}
			}
		})
		if err != nil {
			return 0, err
		}
		if sum == 0 || math.Abs(turned) > math.Abs(sum) {
			return 0, fmt.Errorf("its norm by spectral_norm is %g by the first axis and %g by the second: call remove_spectral_norm or remove_parametrizations, then save the state_dict", sum, turned)
		}
		sigma = sum
		return sigma, nil
	}
	e := entry{Entry: Entry{Name: name, DType: w.DType, Shape: w.Shape}, whole: w.whole}
	e.read = func(start int, dst []float32) error {
		by, err := norm()
		if err != nil {
			return err
		}
		if err := f.partOf(w, start, dst); err != nil {
			return err
		}
		for i, x := range dst {
			dst[i] = float32(float64(x) / by)
		}
		return nil
	}
	return e, nil
}

// partOf reads len(dst) elements of e, from number start on.
func (f *File) partOf(e *entry, start int, dst []float32) error {
	if e.read != nil && !e.whole {
		return e.read(start, dst)
	}
	if e.whole { // its reader keeps nothing
		n, _ := tensor.Size(e.Shape...)
		if len(dst) == n {
			return e.read(0, dst)
		}
		all := make([]float32, n)
		if err := e.read(0, all); err != nil {
			return err
		}
		copy(dst, all[start:])
		return nil
	}
	part := *e
	width := int64(dtypeBits(e.DType) / 8)
	part.begin += int64(start) * width
	part.end = part.begin + int64(len(dst))*width
	return f.decode(&part, dst)
}

// eachPart calls visit with all elements of e, a part at a time.
func (f *File) eachPart(e *entry, visit func(start int, part []float32)) error {
	n, _ := tensor.Size(e.Shape...)
	size := min(n, chunk)
	if e.whole {
		size = n
	}
	part := make([]float32, size)
	for start := 0; start < n; start += len(part) {
		part = part[:min(len(part), n-start)]
		if err := f.partOf(e, start, part); err != nil {
			return err
		}
		visit(start, part)
	}
	return nil
}
