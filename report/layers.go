package report

import (
	"strconv"
	"strings"
)

// Layer is one row of a network's summary.
type Layer struct {
	Name    string
	Type    string
	Output  []int // shape for one image, without the batch: (K, H, W) or (K)
	Weights int64
	Biases  int64
	MACs    int64 // multiply-accumulates for one image
}

// LayerTable lists layers in the order of the network, with their numbers of
// weights, biases and parameters (both together), and the totals.
func LayerTable(layers []Layer) *Table {
	t := NewTable(
		Column{Title: "Layer"},
		Column{Title: "Type"},
		Column{Title: "Output", Align: Right},
		Column{Title: "Weights", Align: Right},
		Column{Title: "Biases", Align: Right},
		Column{Title: "Parameters", Align: Right},
		Column{Title: "MACs", Align: Right},
	)
	var total Layer
	for _, l := range layers {
		t.Row(l.Name, l.Type, shape(l.Output),
			countOrBlank(l.Weights), countOrBlank(l.Biases), countOrBlank(l.Weights+l.Biases), countOrBlank(l.MACs))
		total.Weights += l.Weights
		total.Biases += l.Biases
		total.MACs += l.MACs
	}
	t.Rule()
	t.Row("total", "", "",
		Count(total.Weights), Count(total.Biases), Count(total.Weights+total.Biases), Count(total.MACs))
	return t
}

// countOrBlank formats n, and 0 as blank, so that the weight layers stand out.
func countOrBlank(n int64) string {
	if n == 0 {
		return ""
	}
	return Count(n)
}

func shape(dims []int) string {
	parts := make([]string, len(dims))
	for i, d := range dims {
		parts[i] = strconv.Itoa(d)
	}
	return strings.Join(parts, "×")
}
