package kernel

// Processor is what the cost model knows about a processor, for plans of other machines than
// this one.
type Processor struct {
	L2, L3      int  // bytes of a core's second-level cache, and of the third-level one
	Mesh        bool // cores reach the third-level cache over a mesh of several dies, not within a complex
	Rows, Depth int  // of the register tile: rows of two column blocks, steps at a time
}

func (c Processor) machine() machine {
	m := machine{l2: c.L2 / 4, l3: c.L3 / 4, reach: reachComplex, rows: c.Rows, depth: c.Depth}
	if c.Mesh {
		m.reach = reachDies
	}
	return m
}

// Plan is [Conv.PlanWinograd] on the processor.
func (c Processor) Plan(g Conv, n, h, w, threads int, purpose Purpose) (Winograd, bool) {
	return g.planWinograd(c.machine(), n, h, w, threads, purpose)
}

// Cost is [Winograd.Cost] on the processor.
func (c Processor) Cost(p Winograd, g Conv, n, h, w, threads int) float64 {
	return p.cost(c.machine(), g, n, h, w, threads)
}
