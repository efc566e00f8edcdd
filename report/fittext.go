package report

import (
	"strings"

	"gonum.org/v1/plot/text"
	"gonum.org/v1/plot/vg"
)

// wrapped cuts a text into lines of at most a width, at its spaces. A word that is wider is
// shortened.
func wrapped(style text.Style, s string, width vg.Length) []string {
	var lines []string
	line := ""
	for _, word := range strings.Fields(s) {
		longer := strings.TrimSpace(line + " " + word)
		if line != "" && style.Width(longer) > width {
			lines = append(lines, line)
			longer = word
		}
		line = shortened(style, longer, width)
	}
	return append(lines, line)
}

// shortened leaves out so much of a text's middle that it isn't wider than a width: names differ
// at their ends.
func shortened(style text.Style, s string, width vg.Length) string {
	runes := []rune(s)
	for left := len(runes) - 1; left > 1 && style.Width(s) > width; left-- {
		s = string(runes[:(left+1)/2]) + "…" + string(runes[len(runes)-left/2:])
	}
	return s
}
