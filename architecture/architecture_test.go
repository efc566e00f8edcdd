package architecture

import (
	"slices"
	"strings"
	"testing"
)

func TestConfigNames(t *testing.T) {
	for name, want := range map[string]string{
		"D": "D", "d": "D", "vgg16": "D", "VGG19_bn": "E-BN", "a-lrn": "A-LRN", "E-lrn": "E-LRN",
		"B-shallow": "B-shallow", "b-SHALLOW-bn": "B-shallow-BN", "A-LRN-BN": "A-LRN-BN", "B-shallow-LRN": "B-shallow-LRN",
	} {
		a, err := Parse(name)
		if err != nil || a.Name != want {
			t.Errorf("%q: %q, %v, want %q", name, a.Name, err, want)
		}
	}
	for _, name := range []string{"", "F", "D-", "DD", "D-BN-BN", "A-LRN-LRN", "vgg12"} {
		if a, err := Parse(name); err == nil {
			t.Errorf("%q: read as %q", name, a.Name)
		}
	}
}

func TestRows(t *testing.T) {
	for row, want := range map[string]string{
		"32BN 32 m  64bn 64 M\t128bn 128 M fc256 fc":               "32bn 32 M 64bn 64 M 128bn 128 M FC256 FC",
		"3x16 1x8 5×4bn LRN M FC8bn FC":                            "16 1×8 5×4bn LRN M FC8bn FC",
		"16 LRN(5,1,1e-4,0.75) M":                                  "16 LRN(5,1,0.0001,0.75) M",
		"64 M 128 M 256 256 M 512 512 M 512 512 M":                 "A",
		"64 LRN M 128 M 256 256 M 512 512 M 512 512 M FC FC FC":    "A-LRN",
		"64bn M 128bn M 256bn 256bn M 512bn 512bn M 512bn 512bn M": "A-BN",
		"64 M 128 M 256 256 M 512 512 M 512 512 M FC FC":           "64 M 128 M 256 256 M 512 512 M 512 512 M FC FC",
		"64 64 LRN M 128 128 M 256 256 M 512 512 M 512 512 M":      "B-LRN",
		"7": "7",
	} {
		a, err := Parse(row)
		if err != nil || a.Name != want {
			t.Errorf("%q: %q, %v, want %q", row, a.Name, err, want)
			continue
		}
		again, err := Parse(a.Name)
		if err != nil || again.Name != a.Name || !slices.Equal(again.Features, a.Features) || !slices.Equal(again.Head, a.Head) {
			t.Errorf("%q: %+v when read again (%v), want %+v", a.Name, again, err, a)
		}
	}
	for row, want := range map[string]string{
		"M M":                           "no convolution",
		"FC8 FC":                        "no convolution",
		"64 M x":                        `layer 3: "x"`,
		"64 2×64":                       "filters of side 2, want an odd number",
		"64 17×64 M":                    "filters of side 17",
		"0 M":                           "1 to 32768 channels",
		"99999 M":                       "1 to 32768 channels",
		"8 FC8 M FC":                    `"M" after a fully connected layer`,
		"8 M FC8":                       `"FC8" is last, want FC`,
		"8 M FC8 FCbn":                  `"FCbn" is last, want FC`,
		"8 FC0 FC":                      "units",
		"8 LRN(4,1,1,1) FC":             "want an odd number",
		"8 LRN(5,0,1,1) FC":             "k above 0",
		"8 LRN(5,1,nan,1) FC":           "nan, want a number",
		"8 " + strings.Repeat("M ", 15): "15 poolings",
		strings.Repeat("8 ", 513):       "513 layers",
	} {
		if a, err := Parse(row); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%q: %+v, %v, want %q", row, a, err, want)
		}
	}
}

// TestTableIsInTheLanguage: every row of the table is its own canonical spelling.
func TestTableIsInTheLanguage(t *testing.T) {
	for _, c := range table {
		a, err := parseRow(c.row)
		if err != nil || a.Name != c.row {
			t.Errorf("%s: row %q, %v, want %q", c.name, a.Name, err, c.row)
		}
	}
}
