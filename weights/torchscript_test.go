package weights

import (
	"strings"
	"testing"

	"github.com/verydeep/vgg/internal/pickle"
)

// scriptOf runs the forward of a module M whose code is text, with a convolution c in it.
func scriptOf(text string) (*scriptReader, error) {
	r := &scriptReader{functions: map[string]*codeFunction{}, read: func(scriptTensor) []float64 { return nil }}
	readCode("__torch__", text, r.functions)
	dict := func(items ...any) *pickle.Dict {
		d := &pickle.Dict{}
		for i := 0; i < len(items); i += 2 {
			d.Keys, d.Values = append(d.Keys, items[i]), append(d.Values, items[i+1])
		}
		return d
	}
	c := &pickle.Object{Class: pickle.Global{Module: "__torch__", Name: "C"}, Attributes: dict("weight", &torchTensor{}, "bias", nil, "training", true)}
	root := &pickle.Object{Class: pickle.Global{Module: "__torch__", Name: "M"}, Attributes: dict("c", c, "training", true)}
	return r, r.run(root)
}

const scriptConv = `class C(Module):
  def forward(self: __torch__.C,
    input: Tensor) -> Tensor:
    weight = self.weight
    return torch.conv2d(input, weight, self.bias, [1, 1], [1, 1])
`

// scriptBody returns the code of a module with that body.
func scriptBody(lines ...string) string {
	return scriptConv + "class M(Module):\n  def forward(self: __torch__.M,\n    x: Tensor) -> Tensor:\n    " + strings.Join(lines, "\n    ") + "\n"
}

// Code that isn't a chain of known operators is an error that names the line; what only
// training or a check of shapes does is left out.
func TestScriptCode(t *testing.T) {
	for name, c := range map[string]struct {
		body []string
		ops  string // of the layers
		err  string
	}{
		"chain":            {[]string{"c = self.c", "y = torch.relu_((c).forward(x, ))", "return torch.flatten(y, 1)"}, "conv relu flatten", ""},
		"training":         {[]string{"c = self.c", "if self.training:", "  y = torch.relu(x)", "else:", "  y = (c).forward(x, )", "return y"}, "conv", ""},
		"check of shapes":  {[]string{"if torch.ne(torch.dim(x), 4):", "  ops.prim.RaiseException(\"a (\", \"b\")", "else:", "  pass", "return (self.c).forward(x, )"}, "conv", ""},
		"loop":             {[]string{"for _1 in range(3):", "  x = torch.relu(x)", "return x"}, "", `M.forward: "for _1 in range(3):": no assignment, call or condition`},
		"unknown operator": {[]string{"y = (self.c).forward(x, )", "return torch.hardtanh(y, 0., 6.)"}, "conv", "torch.hardtanh, which isn't understood"},
		"residual":         {[]string{"y = (self.c).forward(x, )", "return torch.add(y, x)"}, "conv", "arithmetic on the activation"},
		"twice":            {[]string{"y = (self.c).forward(x, )", "z = torch.relu(x)", "return y"}, "conv", "torch.relu of the output of an earlier layer"},
		"after the head":   {[]string{"y = (self.c).forward(x, )", "return torch.mul(y, 2)"}, "conv", "arithmetic on the activation"},
		"condition":        {[]string{"y = (self.c).forward(x, )", "if torch.gt(torch.size(y, 2), 7):", "  z = torch.relu(y)", "else:", "  z = torch.tanh(y)", "return z"}, "conv", "only a run could tell"},
		"raised":           {[]string{"ops.prim.RaiseException(\"\", \"\")", "return x"}, "", "an error that is raised"},
		"part":             {[]string{"return x[0]"}, "", "a part of the activation"},
		"trained dropout":  {[]string{"return torch.dropout(x, 0.5, True)"}, "", "model.eval()"},
		"batch's norm":     {[]string{"return torch.batch_norm(x, None, None, None, None, True, 0.1, 1e-5, True)"}, "", "normalises by each batch"},
		"two outputs":      {[]string{"y = (self.c).forward(x, )", "return (y, y)"}, "conv", "returns something else"},
		"no method":        {[]string{"return (self.d).forward(x, )"}, "", "a call of no function"},
		"itself":           {[]string{"return (self).forward(x, )"}, "", "calls in calls"},
		"open bracket":     {[]string{"return torch.relu(x"}, "", `want ")"`},
		"other alpha":      {[]string{"return torch.sub(x, 0.5, alpha=2)"}, "", "torch.sub with alpha 2"},
		"approximation":    {[]string{"return torch.gelu(x, approximate=\"tanh\")"}, "", "approximate tanh"},
		"no approximation": {[]string{"return torch.gelu(x, approximate=\"none\")"}, "gelu", ""},
		"axes":             {[]string{"return torch.mean(x, [-1, -2])"}, "globalavgpool", ""},
		"other axes":       {[]string{"return torch.mean(x, [1])"}, "", "over other axes than height and width"},
	} {
		r, err := scriptOf(scriptBody(c.body...))
		var ops []string
		for _, l := range r.layers {
			ops = append(ops, l.Op)
		}
		if got := strings.Join(ops, " "); got != c.ops || c.err == "" && err != nil || c.err != "" && (err == nil || !strings.Contains(err.Error(), c.err)) {
			t.Errorf("%s: %q, %v; want %q, %q", name, got, err, c.ops, c.err)
		}
	}
	r, err := scriptOf(scriptBody("y = torch.div(torch.sub(torch.div(x, 255), 0.5), 0.25)", "return (self.c).forward(y, )"))
	h := &header{meta: map[string]string{}}
	if err == nil {
		err = r.pixels.note(h)
	}
	if want := `[{"Source":"M.forward","Mean":[127.5,127.5,127.5],"Std":[63.75,63.75,63.75]}]`; err != nil || h.meta["torch.normalize"] != want {
		t.Errorf("pixels: %v, %v; want %s", h.meta, err, want)
	}
}

// FuzzScriptCode runs any text as the code of a module.
func FuzzScriptCode(f *testing.F) {
	f.Add(scriptBody("c = self.c", "if self.training:", "  y = x", "else:", "  y, _1 = [(c).forward(x, ), [1, -2.5e-3], ]", "return annotate(Tensor, y)"))
	f.Add(scriptBody("return __torch__.M.forward(self, x, )"))
	f.Fuzz(func(t *testing.T, text string) {
		r, err := scriptOf(text)
		if err == nil && len(r.functions) == 0 {
			t.Error("no code, and no error")
		}
	})
}
