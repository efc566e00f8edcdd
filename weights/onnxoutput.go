package weights

import (
	"fmt"
	"slices"
	"strings"
)

// summaries are the operators that tell the class alone, which isn't part of the network.
var summaries = []string{"ArgMax", "TopK", "ZipMap", "ArrayFeatureExtractor", "LabelEncoder"}

// needed chooses the output that the chain ends with, and returns the nodes that it needs.
// Other outputs must be values on the way to it. What is left out is noted.
func (c *onnxChain) needed() ([]*onnxNode, error) {
	made := map[string]int{} // index of the node that makes a value
	nodes := make([]*onnxNode, len(c.m.graph.nodes))
	for i := range c.m.graph.nodes {
		n := &c.m.graph.nodes[i]
		if nodes[i] = n; len(n.outputs) == 0 || n.outputs[0] == "" {
			return nil, malformed("", "%s: no output", n.describe())
		}
		if err := n.complete(); err != nil {
			return nil, err
		}
		for _, out := range n.outputs {
			if _, twice := made[out]; out != "" && (twice || c.values[out] != nil) {
				return nil, malformed("", "%s: output %s given twice", n.describe(), display(out))
			}
			made[out] = i
		}
	}
	var ends []string
	for _, out := range c.m.graph.outputs {
		end, node := c.beforeSummary(out.name, nodes, made)
		if node != nil {
			c.note([]string{node.label() + " (" + node.op + ")"}, "tells the class, which the outputs before it tell")
		}
		ends = append(ends, end)
	}
	last := -1
	for i, end := range ends {
		at, ok := made[end]
		if ok && (last < 0 || at > made[ends[last]]) {
			last = i
		}
	}
	if last < 0 {
		return nodes, nil // finish says what is wrong
	}
	c.end = ends[last]
	live, values := ancestors(c.end, nodes, made)
	var apart, before []string
	for i, end := range ends {
		switch {
		case end == c.end:
		case values[end]:
			before = append(before, c.m.graph.outputs[i].name)
		default:
			apart = append(apart, c.m.graph.outputs[i].name)
		}
	}
	if len(apart) > 0 {
		name := c.m.graph.outputs[last].name
		return nil, refused("", "a graph with outputs on several branches, %s beside %s: want one chain: cut it out (onnx.utils.extract_model(FILE, NEW, [%q], [%q]))",
			display(strings.Join(apart, ", ")), display(name), c.inputName(), name)
	}
	c.note(before, "outputs before the last, which is "+display(c.m.graph.outputs[last].name))
	var kept []*onnxNode
	var dead []string
	for i, n := range nodes {
		if live[i] {
			kept = append(kept, n)
		} else if n.op != "Constant" && !slices.Contains(summaries, n.op) {
			dead = append(dead, fmt.Sprintf("%s (%s)", n.name, n.op))
		}
	}
	c.note(dead, "nodes that the output doesn't need")
	return kept, nil
}

// inputName returns the name of the graph's input.
func (c *onnxChain) inputName() string {
	for _, in := range c.m.graph.inputs {
		if v := c.values[in.name]; v != nil && v.tensor == nil {
			return in.name
		}
	}
	return ""
}

// beforeSummary returns the value that the classes of an output are told from, and the node
// that tells them; the output itself and nil if it isn't of classes.
func (c *onnxChain) beforeSummary(output string, nodes []*onnxNode, made map[string]int) (string, *onnxNode) {
	for value, steps := output, 0; steps < 8; steps++ {
		i, ok := made[value]
		if !ok || len(nodes[i].inputs) == 0 {
			break
		}
		switch n := nodes[i]; {
		case slices.Contains(summaries, n.op):
			end := n.inputs[0]
			if n.op == "ArrayFeatureExtractor" && len(n.inputs) > 1 { // of labels, by the index
				end = n.inputs[1]
			}
			before, inner := c.beforeSummary(end, nodes, made)
			if inner == nil {
				inner = n
			}
			return before, inner
		case slices.Contains([]string{"Cast", "Squeeze", "Unsqueeze", "Identity", "Reshape", "Flatten"}, n.op):
			value = n.inputs[0]
		default:
			return output, nil
		}
	}
	return output, nil
}

// ancestors returns the nodes that a value needs, and the values that these take or make.
func ancestors(of string, nodes []*onnxNode, made map[string]int) (live []bool, values map[string]bool) {
	live, values = make([]bool, len(nodes)), map[string]bool{of: true}
	stack := []string{of}
	for len(stack) > 0 {
		name := stack[len(stack)-1]
		stack = stack[:len(stack)-1]
		i, ok := made[name]
		if !ok || live[i] {
			continue
		}
		live[i] = true
		for _, in := range nodes[i].inputs {
			if !values[in] && in != "" {
				values[in] = true
				stack = append(stack, in)
			}
		}
	}
	return live, values
}
