package report

import (
	"io"
	"strings"

	"github.com/rivo/uniseg"
)

// Align is the side of the column that cells are aligned to.
type Align int

// Words are aligned to the left, figures to the right.
const (
	Left Align = iota
	Right
)

// Column is the heading of a column and the alignment of its cells.
type Column struct {
	Title string
	Align Align
}

// Table is a table of text with aligned columns. (text/tabwriter aligns all
// columns to one side and counts code points, so that a class name with
// combining or wide characters would shift its row.)
type Table struct {
	columns []Column
	rows    [][]string // a nil row is a rule
}

// NewTable returns a table with the given columns and no rows.
func NewTable(columns ...Column) *Table {
	return &Table{columns: columns}
}

// Row appends a row. Missing cells are empty. Row panics if there are more cells
// than columns.
func (t *Table) Row(cells ...string) {
	if len(cells) > len(t.columns) {
		panic("report: a table row with more cells than columns")
	}
	row := make([]string, len(t.columns))
	for i, cell := range cells {
		row[i] = printable(cell)
	}
	t.rows = append(t.rows, row)
}

// Rule appends a line across the table, for example above totals.
func (t *Table) Rule() {
	t.rows = append(t.rows, nil)
}

// String returns the table in the form of WriteTo.
func (t *Table) String() string {
	titles := make([]string, len(t.columns))
	widths := make([]int, len(t.columns))
	for i, column := range t.columns {
		titles[i] = printable(column.Title)
		widths[i] = uniseg.StringWidth(titles[i])
	}
	for _, row := range t.rows {
		for i, cell := range row {
			widths[i] = max(widths[i], uniseg.StringWidth(cell))
		}
	}

	var b strings.Builder
	t.writeRow(&b, titles, widths)
	t.writeRule(&b, widths)
	for _, row := range t.rows {
		if row == nil {
			t.writeRule(&b, widths)
		} else {
			t.writeRow(&b, row, widths)
		}
	}
	return b.String()
}

// WriteTo writes the headings, a rule and the rows, each with a final newline
// and without trailing blanks. Columns are two blanks apart.
func (t *Table) WriteTo(w io.Writer) (int64, error) {
	n, err := io.WriteString(w, t.String())
	return int64(n), err
}

const columnGap = "  "

func (t *Table) writeRow(b *strings.Builder, cells []string, widths []int) {
	var line strings.Builder
	for i, cell := range cells {
		if i > 0 {
			line.WriteString(columnGap)
		}
		blanks := strings.Repeat(" ", widths[i]-uniseg.StringWidth(cell))
		if t.columns[i].Align == Right {
			line.WriteString(blanks + cell)
		} else {
			line.WriteString(cell + blanks)
		}
	}
	b.WriteString(strings.TrimRight(line.String(), " "))
	b.WriteByte('\n')
}

func (t *Table) writeRule(b *strings.Builder, widths []int) {
	total := len(columnGap) * max(0, len(widths)-1)
	for _, width := range widths {
		total += width
	}
	b.WriteString(strings.Repeat("─", total))
	b.WriteByte('\n')
}

// printable replaces control characters: names of files and classes may contain
// newlines, or escape sequences that a terminal would obey.
func printable(cell string) string {
	return strings.Map(func(r rune) rune {
		if r < ' ' || 0x7f <= r && r < 0xa0 {
			return '\uFFFD'
		}
		return r
	}, cell)
}
