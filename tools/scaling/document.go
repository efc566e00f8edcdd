package main

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
)

// documents are the files with tables of this command, and the functions that make them.
var documents = []struct {
	file, mark string
	table      func() (string, error)
}{
	{"docs/scaling.md", "nodes", nodeTables},
	{"docs/kernels.md", "cores", coreTables},
}

// marked returns the parts of a document before, in and behind the lines that mark a table.
func marked(text, mark string) (before, table, behind string, err error) {
	begin, end := fmt.Sprintf("<!-- begin: go run ./tools/scaling write: %s -->\n", mark), fmt.Sprintf("<!-- end: %s -->", mark)
	before, rest, ok := strings.Cut(text, begin)
	table, behind, ok2 := strings.Cut(rest, end)
	if !ok || !ok2 {
		return "", "", "", fmt.Errorf("want lines %q and %q", begin, end)
	}
	return before + begin, table, end + behind, nil
}

// writeDocuments writes the tables into the documents of the project at root.
func writeDocuments(root string) error {
	for _, d := range documents {
		path := filepath.Join(root, d.file)
		text, err := os.ReadFile(path)
		if err != nil {
			return err
		}
		before, _, behind, err := marked(string(text), d.mark)
		if err != nil {
			return fmt.Errorf("%s: %w", d.file, err)
		}
		table, err := d.table()
		if err != nil {
			return err
		}
		if err := os.WriteFile(path, []byte(before+table+behind), 0o666); err != nil {
			return err
		}
	}
	return nil
}
