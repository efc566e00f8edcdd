package report

import "strings"

// Markdown returns the table in the form that GitHub and pandoc read, which has no rules
// between rows.
func (t *Table) Markdown() string {
	var b strings.Builder
	line := func(cells []string) {
		b.WriteString("|")
		for _, c := range cells {
			b.WriteString(" " + markdownEscape.Replace(c) + " |")
		}
		b.WriteString("\n")
	}
	titles, aligns := make([]string, len(t.columns)), make([]string, len(t.columns))
	for i, c := range t.columns {
		titles[i] = printable(c.Title)
		aligns[i] = "---"
		if c.Align == Right {
			aligns[i] = "---:"
		}
	}
	line(titles)
	b.WriteString("|" + strings.Join(aligns, "|") + "|\n")
	for _, row := range t.rows {
		if row != nil {
			line(row)
		}
	}
	return b.String()
}

// markdownEscape escapes what Markdown would read as markup.
var markdownEscape = strings.NewReplacer(`\`, `\\`, "|", `\|`, "<", "&lt;", "*", `\*`, "_", `\_`, "`", "\\`", "[", `\[`)
