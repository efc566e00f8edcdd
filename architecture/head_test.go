package architecture

import (
	"reflect"
	"slices"
	"strings"
	"testing"

	"pgregory.net/rapid"
)

func TestHeads(t *testing.T) {
	for head, want := range map[string]string{
		"gap FC256 bn relu FC":            "GAP FC256 BN RELU FC",
		"gmap bn FC5 relu fc":             "GMAP BN FC5 RELU FC",
		"GMP FC logsoftmax":               "GMP FC LOGSOFTMAX",
		"flatten FC":                      "FC",
		"flatten bn FC":                   "FLATTEN BN FC",
		"drop0.3 flatten bn FC":           "DROP0.3 FLATTEN BN FC",
		"gap flatten bn FC":               "GAP BN FC",
		"fc256 relu drop fc":              "FC256 FC",
		"fc256 bn relu drop fc":           "FC256bn FC",
		"fc256bn relu fc":                 "FC256 BN RELU FC",
		"fc256bn drop0.2 fc":              "FC256 BN RELU DROP0.2 FC",
		"fc256 drop0.2 fc":                "FC256 RELU DROP0.2 FC",
		"fc256 linear l2 fc":              "FC256 LINEAR L2 FC",
		"fc256 bn linear fc":              "FC256 BN FC",
		"fc256 l2 fc":                     "FC256 L2 FC",
		"fc256 relu drop tanh fc":         "FC256 RELU DROP TANH FC",
		"fc256 relu drop drop0.1 fc":      "FC256 RELU DROP DROP0.1 FC",
		"gap fc1 sigmoid":                 "GAP FC1 SIGMOID",
		"adapt7 fc fc fc":                 "ADAPT7 FC FC FC",
		"adapt3 gap fc":                   "ADAPT3 GAP FC",
		"gap fc sigmoid":                  "GAP FC SIGMOID",
		"gap fc sigmoid softmax":          "GAP FC SIGMOID SOFTMAX",
		"gap fc tanh softmax":             "GAP FC TANH",
		"gap fc linear scores":            "GAP FC SCORES",
		"gap leaky0.2 elu gelu silu fc":   "GAP LEAKY0.2 ELU GELU SILU FC",
		"sigmoid":                         "FC FC FC SIGMOID",
		"fc256 linear drop0.3 linear  fc": "FC256 LINEAR DROP0.3 FC",
	} {
		a, err := ParseHead(head)
		if err != nil || a.Name != want {
			t.Errorf("%q: %q, %v, want %q", head, a.Name, err, want)
		}
	}
	for head, want := range map[string]string{
		"gap":                 "no fully connected layer",
		"fc gap fc":           "GAP of a vector",
		"gap adapt7 fc":       "ADAPT7 of a vector",
		"adapt0 fc":           "want a map of 1 to 64 pixels a side",
		"adapt fc":            `"adapt"`,
		"fc2 sigmoid":         `"fc2" is last, want FC`,
		"fc1":                 `"fc1" is last, want FC`,
		"fc1 tanh sigmoid":    "layers between FC1 and SIGMOID",
		"gap softmax fc":      `"softmax"`,
		"gap leaky fc":        `"leaky"`,
		"gap leaky2 fc":       "slope",
		"gap drop1 fc":        "ratio",
		"gap 64 fc":           "begins the head",
		"m fc":                "without convolutions",
		"":                    "empty",
		"gap fc bn fcbn":      "is last, want FC",
		"fc256 gmp fc scores": "GMP of a vector",
	} {
		if a, err := ParseHead(head); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%q: %+v, %v, want %q", head, a, err, want)
		}
	}
}

func TestHeadOnConfiguration(t *testing.T) {
	const d = "64 64 M 128 128 M 256 256 256 M 512 512 512 M 512 512 512 M "
	for row, want := range map[string]string{
		"D gap fc": d + "GAP FC", "vgg16 FC FC FC": "D", "d FC1 sigmoid": d + "FC1 SIGMOID",
		"A-BN gap fc": "64bn M 128bn M 256bn 256bn M 512bn 512bn M 512bn 512bn M GAP FC",
	} {
		if name, err := Canonical(row); err != nil || name != want {
			t.Errorf("%q: %q, %v, want %q", row, name, err, want)
		}
	}
	for _, c := range []struct{ config, head, want string }{
		{"D", "gap fc", d + "GAP FC"}, {d + "GAP FC", "fc fc fc", "D"}, {"8 M FC4 FC", "gmp fc", "8 M GMP FC"},
	} {
		if name, err := WithHead(c.config, c.head); err != nil || name != c.want {
			t.Errorf("%q with head %q: %q, %v, want %q", c.config, c.head, name, err, c.want)
		}
	}
	if _, err := WithHead("D", "gap M fc"); err == nil {
		t.Error("a head with a pooling was taken")
	}
}

// TestHeadRoundTrip: a head in canonical spelling is read back as the same layers, and is
// its own canonical spelling.
func TestHeadRoundTrip(t *testing.T) {
	tokens := []string{"FC", "FC7", "FC9bn", "L2", "BN", "DROP", "DROP0.3", "RELU", "LEAKY0.2", "ELU", "GELU", "SILU", "TANH", "SIGMOID", "LINEAR", "FLATTEN"}
	rapid.Check(t, func(t *rapid.T) {
		row := []string{"8", "M"}
		row = append(row, rapid.SliceOfN(rapid.SampledFrom([]string{"GAP", "GMP", "GMAP", "ADAPT7", "FLATTEN", "BN", "L2", "DROP0.1", "TANH"}), 0, 3).Draw(t, "before")...)
		row = append(row, rapid.SliceOfN(rapid.SampledFrom(tokens), 0, 8).Draw(t, "middle")...)
		row = append(row, "FC")
		row = append(row, rapid.SliceOfN(rapid.SampledFrom([]string{"TANH", "SIGMOID", "BN", "DROP", "LINEAR"}), 0, 2).Draw(t, "after")...)
		row = append(row, rapid.SampledFrom([]string{"", "SOFTMAX", "LOGSOFTMAX", "SIGMOID", "SCORES"}).Draw(t, "ending"))
		text := strings.Join(row, " ")
		a, err := Parse(text)
		if err != nil {
			if count := strings.Count(text, "GAP") + strings.Count(text, "GMP") + strings.Count(text, "GMAP") + strings.Count(text, "ADAPT7"); count == 0 {
				t.Fatalf("%q: %v", text, err)
			}
			return // several global poolings
		}
		b, err := Parse(a.Name)
		if err != nil || b.Name != a.Name || !slices.Equal(a.Head, b.Head) || a.Ending != b.Ending || !reflect.DeepEqual(a.Features, b.Features) {
			t.Fatalf("%q is %q, which is read as %+v (%v), want %+v", text, a.Name, b, err, a)
		}
	})
}
