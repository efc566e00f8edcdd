package interchange

import "fmt"

// oneNetwork checks that no two layers with different names have the same position, as
// those of a network and of its average or its teacher in one file.
func oneNetwork(layers []*layerTensors) error {
	first := map[position]*layerTensors{}
	for _, g := range layers {
		p := g.position
		if p.part == elsewhere {
			continue
		}
		p.norm = g.isNorm()
		if other, ok := first[p]; ok {
			return fmt.Errorf("%s and %s: two layers at one place, as if the file held two networks: choose one (--prefix)", other.name, g.name)
		}
		first[p] = g
	}
	return nil
}
