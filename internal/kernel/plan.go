package kernel

import "slices"

// Purpose is what a pass by Winograd's algorithm is for. It decides which forms may compute
// it, and with it the bits of the result.
type Purpose int

const (
	Inference Purpose = iota
	Training          // forms and tiles as in inference, for 3×3 filters
	Training4         // F(4×4,3×3) of whole tiles, which training used before it had F(6×6,3×3)
)

// PlanWinograd chooses how Winograd's algorithm computes the convolution of n images of
// h × w; ok is false where the direct algorithm is better. M, on which the bits of the
// result depend, depends on the layer, on h and w and on the purpose alone, not on n or the
// threads.
func (g Conv) PlanWinograd(n, h, w, threads int, purpose Purpose) (best Winograd, ok bool) {
	return g.planWinograd(thisMachine(), n, h, w, threads, purpose)
}

func (g Conv) planWinograd(m machine, n, h, w, threads int, purpose Purpose) (best Winograd, ok bool) {
	if !g.canWinograd() || purpose != Inference && (g.R != 3 || g.transposed().patched()) {
		return best, false
	}
	p := Winograd{Form: g.winogradForm(h, w, purpose), Trim: purpose != Training4}
	if !p.pays(g, h, w) {
		return best, false
	}
	cost := 0.0
	for _, p.Tiles = range p.tileBlocks(g, n, h, w, threads) {
		if p.Tiles == 0 {
			continue
		}
		for _, p.Order = range orders {
			if c := p.cost(m, g, n, h, w, threads); !ok || c < cost {
				best, cost, ok = p, c, true
			}
		}
	}
	return best, ok
}

// tileBlocks lists the tile blocks that a plan chooses from: some multiples of the
// register tile's rows, those that give every thread the same number of blocks, and 7 where
// there are fewer tiles than 14 for each thread. A zero is no candidate.
func (p Winograd) tileBlocks(g Conv, n, h, w, threads int) [17]int {
	th, tw := p.grid(g, h, w)
	total := n * th * tw
	blocks := [17]int{14, 28, 42, 56, 84, 112, 168}
	for i := range 9 {
		if even := (total + threads*(i+1) - 1) / (threads * (i + 1)); even >= 7 && even <= 224 {
			blocks[7+i] = even
		}
	}
	if total < 14*threads {
		blocks[16] = 7
	}
	for i := range blocks {
		blocks[i] = min(blocks[i], total)
	}
	return blocks
}

// winogradForm is F(4×4,5×5) for 5×5 filters and F(2×2,7×7) for the fully connected layer
// of dense evaluation. For 3×3 filters it is F(6×6,3×3) where F(4×4,3×3) takes at least a
// twentieth more multiplications and the transformed weights are small or shared
// by enough tiles, else F(4×4,3×3). Bits depend on the form, so it follows from the layer
// and the image's size, never from the machine.
func (g Conv) winogradForm(h, w int, purpose Purpose) Form {
	switch g.R {
	case 5:
		return Form{4, 5}
	case 7:
		return Form{2, 7}
	}
	large, small := Winograd{Form: Form{6, 3}, Trim: true}, Winograd{Form: Form{4, 3}, Trim: true}
	th, tw := large.grid(g, h, w)
	if purpose != Training4 && (th*tw >= minTiles6 || large.FilterLen(g) <= smallFilter) &&
		(minSaving+1)*large.products(g, h, w) <= minSaving*small.products(g, h, w) {
		return large.Form
	}
	return small.Form
}

var orders = [...]Order{byPanel, byPosition, sharedV}

// WinogradPlans lists the plans that [Conv.PlanWinograd] chooses from for inference; none
// where Winograd's algorithm can't compute the layer.
func (g Conv) WinogradPlans(n, h, w, threads int) []Winograd {
	if !g.canWinograd() {
		return nil
	}
	p := Winograd{Form: g.winogradForm(h, w, Inference), Trim: true}
	if p.R == 7 && !p.pays(g, h, w) {
		return nil // its transformed weights would take half a gigabyte
	}
	var plans []Winograd
	for _, tiles := range p.tileBlocks(g, n, h, w, threads) {
		for _, order := range orders {
			plan := Winograd{p.Form, tiles, order, p.Trim}
			if tiles > 0 && !slices.Contains(plans, plan) {
				plans = append(plans, plan)
			}
		}
	}
	return plans
}
