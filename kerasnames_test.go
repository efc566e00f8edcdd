package vgg

import (
	"fmt"
	"path/filepath"
	"strings"
	"testing"

	"pgregory.net/rapid"

	"github.com/verydeep/vgg/internal/interchange"
	"github.com/verydeep/vgg/network"
	"github.com/verydeep/vgg/weights"
)

// kerasNames gives the tensors of a network with those features the names that people give to
// Keras's layers: block1_conv1 or those of their kinds, conv2d_1, batch_normalization, dense_2, or
// for the fully connected layers fc1, fc2, …, predictions.
func kerasNames(t *rapid.T, features string, s []weights.Source) (blocks bool) {
	blocks = rapid.Bool().Draw(t, "blocks")
	paper := rapid.Bool().Draw(t, "fc1")
	of := map[string]string{}
	layer := func(i int) string { return s[i].Name[:strings.LastIndexByte(s[i].Name, '/')] }
	connected := 0
	for i := range s {
		if strings.HasSuffix(s[i].Name, "/kernel") && len(s[i].Shape) == 2 {
			connected++
		}
	}
	var places []string // block1_conv1, …
	block, index := 1, 0
	for token := range strings.FieldsSeq(features) {
		switch {
		case token == "M":
			block, index = block+1, 0
		case token != "BN":
			index++
			places = append(places, fmt.Sprintf("block%d_conv%d", block, index))
		}
	}
	count := map[string]int{}
	numbered := func(kind string) string {
		count[kind]++
		if count[kind] == 1 {
			return kind
		}
		return fmt.Sprintf("%s_%d", kind, count[kind]-1)
	}
	conv, fc := 0, 0
	for i := range s {
		old := layer(i)
		if _, ok := of[old]; ok {
			continue
		}
		switch _, word := old, s[i].Name[len(old)+1:]; {
		case word != "kernel":
			of[old] = numbered("batch_normalization")
		case len(s[i].Shape) == 4:
			if of[old] = numbered("conv2d"); blocks {
				of[old] = places[conv]
			}
			conv++
		default:
			fc++
			switch of[old] = numbered("dense"); {
			case paper && fc == connected:
				of[old] = "predictions"
			case paper:
				of[old] = fmt.Sprintf("fc%d", fc)
			}
		}
	}
	for i := range s {
		old := layer(i)
		s[i].Name = of[old] + s[i].Name[len(old):]
	}
	return blocks
}

// TestKerasWeights: the weights of a network with any features and any head, as Keras's
// save_weights writes them, with nothing beside them: the answer is right, or an error. With the
// whole network and the input side given, it is right.
func TestKerasWeights(t *testing.T) {
	dir := t.TempDir()
	rapid.Check(t, func(t *rapid.T) {
		head := drawHead(t)
		features, poolings, table := drawFeatures(t)
		side := rapid.IntRange(1, 3).Draw(t, "side")
		input := side<<poolings + rapid.IntRange(0, 1<<poolings-1).Draw(t, "more")
		classes := 3
		if strings.Contains(head, "FC1 SIGMOID") {
			classes = 2
		}
		m := headModel(t, features+head, input, classes, 1e-3) // Keras's default, which weights don't tell
		want := posteriorsOf(t, m, input)
		s, err := interchange.Tensors(m.Net, interchange.Keras, "F32")
		if err != nil {
			t.Fatal(err)
		}
		told := kerasNames(t, features, s) && table
		path := filepath.Join(dir, "model.weights.h5")
		if err := weights.WriteKeras(path, nil, s); err != nil {
			t.Fatal(err)
		}
		whole := features + head
		for _, o := range []OpenOptions{{}, {Head: head}, {Head: head, Input: input}, {Config: whole, Input: input}} {
			o.Preprocess = "unit"
			got, err := Open(t.Context(), path, o)
			switch {
			case err != nil && o.Config != "" && o.Input != 0:
				t.Fatalf("%s%s: %v", features, head, err)
			case err != nil:
			case o.Config == "" && !told:
				t.Fatalf("%s%s: %+v: opened as %q, which nothing tells", features, head, o, got.Net.Options().Config)
			case o.Head == "" && o.Config == "" && strings.HasSuffix(head, "TANH"): // Convention: nothing follows the last layer
			case o.Head == "" && o.Config == "" && m.Net.Options().Posterior() != network.BySoftmax:
				// Convention, as in TestStateDicts.
				d := got.Net.Options()
				if a, b := scoresOf(t, got, input), scoresOf(t, m, input); d.Posterior() != network.BySoftmax || d.Input == input && !samePosteriors(a, b) {
					t.Fatalf("%s: opened as %q with other scores", head, d.Config)
				}
			case got.Net.Options().Input != input && o.Input == 0:
				if !globalHead(head) {
					t.Fatalf("%s%s: %+v: input side %d, want %d", features, head, o, got.Net.Options().Input, input)
				}
			case !samePosteriors(posteriorsOf(t, got, input), want):
				t.Fatalf("%s%s: %+v: opened as %q with other posteriors", features, head, o, got.Net.Options().Config)
			}
		}
	})
}
