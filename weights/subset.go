package weights

import "fmt"

// Subset returns a view of f with some of its tensors, under other names. rename returns a
// tensor's name in the view, and whether the view has it. Two tensors of one name are an
// error. The view shares f's data: it is valid until f is closed, and needs no closing.
func (f *File) Subset(rename func(name string) (as string, keep bool)) (*File, error) {
	v := *f
	v.closer, v.last = closers{}, &wholeTensor{}
	v.entries, v.byName = nil, make(map[string]int, len(f.entries))
	for _, e := range f.entries {
		name, keep := rename(e.Name)
		if !keep {
			continue
		}
		if i, ok := v.byName[name]; ok {
			return nil, fmt.Errorf("weights: %s: %s: two tensors would get this name, %s and one more", f.name, display(name), display(v.entries[i].Name))
		}
		v.byName[name] = len(v.entries)
		e.Name = name
		v.entries = append(v.entries, e)
	}
	v.layers = nil
	for _, l := range f.layers {
		tensors := make(map[string]string, len(l.Tensors))
		for role, name := range l.Tensors {
			if as, keep := rename(name); keep {
				tensors[role] = as
			}
		}
		l.Tensors = tensors
		v.layers = append(v.layers, l)
	}
	return &v, nil
}
