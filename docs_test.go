package vgg_test

import (
	"encoding/json"
	"flag"
	"fmt"
	"go/ast"
	"go/format"
	"go/parser"
	"go/token"
	"io/fs"
	"maps"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"
	"unicode"

	"github.com/verydeep/vgg/internal/vggtest"
)

var update = flag.Bool("update", false, "rewrite levels and imports in the table of docs/architecture.md")

// documents returns the text of every Markdown file of the repository by its path.
func documents(t *testing.T) map[string]string {
	t.Helper()
	found := map[string]string{}
	err := filepath.WalkDir(".", func(path string, entry fs.DirEntry, err error) error {
		switch {
		case err != nil:
			return err
		case entry.IsDir() && path != "." && (strings.HasPrefix(entry.Name(), ".") || entry.Name() == "testdata"):
			return fs.SkipDir
		case entry.IsDir() || filepath.Ext(path) != ".md":
			return nil
		}
		text, err := os.ReadFile(path)
		found[filepath.ToSlash(path)] = string(text)
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	for _, want := range []string{"README.md", "CONTRIBUTING.md", "docs/architecture.md", "docs/decisions/README.md"} {
		if found[want] == "" {
			t.Fatalf("%s is missing", want)
		}
	}
	return found
}

// block is a fenced block of a Markdown file.
type block struct {
	language, text string
	line           int
}

// split separates the fenced blocks of a Markdown text from its prose.
func split(text string) (prose string, blocks []block) {
	var rest strings.Builder
	inside := false
	for i, line := range strings.Split(text, "\n") {
		switch language, fence := strings.CutPrefix(line, "```"); {
		case fence && !inside:
			blocks = append(blocks, block{language: strings.TrimSpace(language), line: i + 2})
			inside = true
		case fence:
			inside = false
		case inside:
			blocks[len(blocks)-1].text += line + "\n"
		default:
			rest.WriteString(line + "\n")
		}
	}
	return rest.String(), blocks
}

// The table of packages in docs/architecture.md is that of the levels and of what the
// packages import.
func TestArchitectureTable(t *testing.T) {
	if _, err := exec.LookPath("go"); err != nil {
		vggtest.Skip(t, "the go command")
	}
	watchTree(t)
	imports := map[string][]string{}
	for _, target := range targets {
		for _, p := range listPackages(t, target) {
			name, ok := withinModule(p.ImportPath)
			if !ok || outside(name) {
				continue
			}
			all := imports[name]
			for _, path := range p.Imports {
				if to, ok := withinModule(path); ok {
					all = append(all, to)
				}
			}
			slices.Sort(all)
			imports[name] = slices.Compact(all)
		}
	}
	const path = "docs/architecture.md"
	text := documents(t)[path]
	if *update {
		text = updateTable(text, levels, imports)
		if err := os.WriteFile(path, []byte(text), 0o666); err != nil {
			t.Fatal(err)
		}
	}
	for _, difference := range tableDifferences(text, levels, imports) {
		t.Errorf("%s: %s", path, difference)
	}
}

func TestTableDifferencesAreFound(t *testing.T) {
	levels := map[string]int{"tensor": 0, "nn": 2, "": 5}
	imports := map[string][]string{"tensor": nil, "nn": {"tensor"}, "": {"nn", "tensor"}}
	const (
		tensor = "| 0 | `tensor` | – | arrays |\n"
		nn     = "| 2 | `nn` | `tensor` | layers |\n"
		root   = "| 5 | `vgg` (root) | `nn`, `tensor` | models |\n"
	)
	for _, test := range []struct {
		table string
		want  []string
	}{
		{tensor + nn + root, nil},
		{tensor + root, []string{"nn is missing, want | 2 | `nn` | `tensor` | a sentence |"}},
		{tensor + nn + nn + root, []string{"nn comes twice"}},
		{nn + tensor + root, []string{"tensor of level 0 comes after nn of level 2"}},
		{tensor + strings.Replace(nn, "2", "1", 1) + root, []string{"nn has level 1, want 2"}},
		{tensor + nn + strings.Replace(root, "`nn`, ", "", 1), []string{"vgg imports `tensor`, want `nn`, `tensor`"}},
		{tensor + strings.Replace(nn, "layers", "", 1) + root, []string{"nn has no sentence"}},
		{tensor + nn + root + "| 6 | `util` | – | things |\n", []string{"util is no package with a level"}},
	} {
		if got := tableDifferences("## Packages\n| level | package | imports, of ours | what it is |\n|---|---|---|---|\n"+test.table, levels, imports); !slices.Equal(got, test.want) {
			t.Errorf("%s: %q, want %q", test.table, got, test.want)
		}
	}
	const stale = "Text.\n| 1 | `nn` | – | layers |\n"
	if got, want := updateTable(stale+root, levels, imports), "Text.\n"+nn+root; got != want {
		t.Errorf("updated: %q, want %q", got, want)
	}
	levels["eval"] = 6 // a level without a package
	if got := tableDifferences(tensor+nn+root+"| 6 | `eval` | – | errors |\n", levels, imports); !slices.Equal(got, []string{"eval has a level and is no package"}) {
		t.Errorf("a level without a package: %q", got)
	}
}

// tableDifferences compares the table of packages in a text with the levels of the packages
// and their imports, all named relative to the module.
func tableDifferences(text string, levels map[string]int, imports map[string][]string) []string {
	var found []string
	say := func(format string, args ...any) { found = append(found, fmt.Sprintf(format, args...)) }
	seen := map[string]bool{}
	last, lastLevel := "", -1
	for line := range strings.Lines(text) {
		row, ok := parseRow(line)
		if !ok {
			continue
		}
		shown := inTable(row.name)
		want, ok := levels[row.name]
		switch {
		case !ok:
			say("%s is no package with a level", shown)
			continue
		case seen[row.name]:
			say("%s comes twice", shown)
			continue
		case row.level != want:
			say("%s has level %d, want %d", shown, row.level, want)
		case row.level < lastLevel:
			say("%s of level %d comes after %s of level %d", shown, row.level, last, lastLevel)
		}
		seen[row.name], last, lastLevel = true, shown, row.level
		if want := quoted(imports[row.name]); row.imports != want {
			say("%s imports %s, want %s", shown, row.imports, want)
		}
		if row.sentence == "" {
			say("%s has no sentence", shown)
		}
	}
	for _, name := range slices.Sorted(maps.Keys(imports)) {
		if !seen[name] {
			say("%s is missing, want | %d | `%s` | %s | a sentence |", inTable(name), levels[name], inTable(name), quoted(imports[name]))
		}
	}
	for _, name := range slices.Sorted(maps.Keys(levels)) {
		if _, ok := imports[name]; !ok {
			say("%s has a level and is no package", inTable(name))
		}
	}
	return found
}

// updateTable returns a text with the levels and imports of its table of packages replaced.
func updateTable(text string, levels map[string]int, imports map[string][]string) string {
	var updated strings.Builder
	for line := range strings.Lines(text) {
		if row, ok := parseRow(line); ok {
			if level, ok := levels[row.name]; ok {
				line = fmt.Sprintf("| %d | %s | %s | %s |\n", level, row.cell, quoted(imports[row.name]), row.sentence)
			}
		}
		updated.WriteString(line)
	}
	return updated.String()
}

// row is a row of the table of packages.
type row struct {
	level                   int
	name                    string // relative to the module
	cell, imports, sentence string // as they are in the table
}

func parseRow(line string) (row, bool) {
	cells := strings.Split(strings.TrimSpace(line), "|")
	if len(cells) != 6 {
		return row{}, false
	}
	for i := range cells {
		cells[i] = strings.TrimSpace(cells[i])
	}
	level, err := strconv.Atoi(cells[1])
	if err != nil {
		return row{}, false
	}
	name := strings.Trim(strings.TrimSuffix(cells[2], " (root)"), "`")
	if name == inTable("") {
		name = ""
	}
	return row{level, name, cells[2], cells[3], cells[4]}, true
}

// quoted lists packages as the table does.
func quoted(names []string) string {
	if len(names) == 0 {
		return "–"
	}
	shown := make([]string, len(names))
	for i, name := range names {
		shown[i] = inTable(name)
	}
	slices.Sort(shown)
	return "`" + strings.Join(shown, "`, `") + "`"
}

// inTable is the name of a package in the table.
func inTable(relative string) string {
	if relative == "" {
		return "vgg"
	}
	return relative
}

var markdownLink = regexp.MustCompile(`\]\(([^()\s]+)\)`)

// Every link of a document to a file of the repository, and to a heading of it, has its
// target.
func TestDocumentLinks(t *testing.T) {
	docs := documents(t)
	links := 0
	for _, name := range slices.Sorted(maps.Keys(docs)) {
		prose, _ := split(docs[name])
		for _, match := range markdownLink.FindAllStringSubmatch(prose, -1) {
			if regexp.MustCompile(`^[a-z]+:`).MatchString(match[1]) {
				continue
			}
			links++
			if err := checkLink(docs, name, match[1]); err != nil {
				t.Errorf("%s: link to %s: %v", name, match[1], err)
			}
		}
	}
	if links < 50 {
		t.Errorf("%d links, want at least 50", links)
	}
	for link, ok := range map[string]bool{
		"docs/weights.md": true, "docs/weights.md#formats": true, "#more": true, "docs": true,
		"docs/none.md": false, "docs/weights.md#none": false, "#none": false, "docs/curve.png#x": false,
	} {
		if err := checkLink(docs, "README.md", link); (err == nil) != ok {
			t.Errorf("link to %s: %v", link, err)
		}
	}
}

// checkLink looks for the target of a link in the document called from.
func checkLink(docs map[string]string, from, link string) error {
	path, anchor, hasAnchor := strings.Cut(link, "#")
	target := from
	if path != "" {
		target = filepath.ToSlash(filepath.Join(filepath.Dir(from), path))
	}
	if _, err := os.Stat(target); err != nil {
		return err
	}
	if !hasAnchor {
		return nil
	}
	text, ok := docs[target]
	if !ok {
		return fmt.Errorf("%s is no document", target)
	}
	prose, _ := split(text)
	for line := range strings.Lines(prose) {
		if heading := strings.TrimLeft(line, "#"); heading != line && headingAnchor(heading) == anchor {
			return nil
		}
	}
	return fmt.Errorf("%s has no such heading", target)
}

// headingAnchor is the anchor that GitHub gives a heading.
func headingAnchor(heading string) string {
	var anchor strings.Builder
	for _, r := range strings.ToLower(strings.TrimSpace(heading)) {
		switch {
		case r == ' ':
			anchor.WriteByte('-')
		case r == '-' || r == '_' || unicode.IsLetter(r) || unicode.IsNumber(r):
			anchor.WriteRune(r)
		}
	}
	return anchor.String()
}

// The Go in every document compiles. What a block leaves out is supplied: package clause,
// imports, and a function round statements, whose ctx, trainSet and valSet are given.
func TestDocumentSnippets(t *testing.T) {
	if _, err := exec.LookPath("go"); err != nil {
		vggtest.Skip(t, "the go command")
	}
	watchTree(t)
	packages := map[string]string{"context": "context", "embed": "embed", "errors": "errors", "fmt": "fmt", "http": "net/http", "image": "image", "log": "log", "os": "os", "testing": "testing"}
	for _, p := range listPackages(t, targets[0]) {
		if name, ok := withinModule(p.ImportPath); ok && !outside(name) && !strings.HasPrefix(name, "cmd/") {
			packages[p.ImportPath[strings.LastIndexByte(p.ImportPath, '/')+1:]] = p.ImportPath
		}
	}
	module, err := filepath.Abs(".")
	if err != nil {
		t.Fatal(err)
	}
	dir := t.TempDir()
	overlay := map[string]string{} // files that the go command sees in the module, and where they are
	args := []string{"build", "-overlay", filepath.Join(dir, "overlay.json")}
	docs := documents(t)
	for _, name := range slices.Sorted(maps.Keys(docs)) {
		_, blocks := split(docs[name])
		for _, b := range blocks {
			if b.language != "go" {
				continue
			}
			source, err := completeSource(b.text, packages, name, b.line)
			if err != nil {
				t.Errorf("%s:%d: %v", name, b.line, err)
				continue
			}
			file := filepath.Join(dir, fmt.Sprintf("%d.go", len(overlay)))
			if err := os.WriteFile(file, source, 0o666); err != nil {
				t.Fatal(err)
			}
			folder := fmt.Sprintf("snippet%d", len(overlay))
			overlay[filepath.Join(module, folder, "snippet.go")] = file
			args = append(args, "./"+folder)
		}
	}
	if len(overlay) < 3 {
		t.Fatalf("%d blocks of Go, want at least 3", len(overlay))
	}
	text, err := json.Marshal(map[string]any{"Replace": overlay})
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(dir, "overlay.json"), text, 0o666); err != nil {
		t.Fatal(err)
	}
	if out, err := exec.Command("go", args...).CombinedOutput(); err != nil {
		t.Errorf("go build: %v\n%s", err, out)
	}
}

// completeSource makes a file of a block of Go. Compilers name the document and the line of
// what they don't understand.
func completeSource(text string, packages map[string]string, document string, line int) ([]byte, error) {
	if strings.HasPrefix(text, "package ") {
		return []byte(text), nil
	}
	at := fmt.Sprintf("//line %s:%d\n", document, line)
	const clause = "package snippet\n"
	body := at + text
	file, err := parser.ParseFile(token.NewFileSet(), "", clause+body, parser.SkipObjectResolution)
	if err != nil { // statements, not declarations
		const head = "func _(ctx context.Context, trainSet, valSet *dataset.Dataset) {\n"
		file, err = parser.ParseFile(token.NewFileSet(), "", clause+head+body+"}\n", parser.SkipObjectResolution)
		if err != nil {
			return nil, err
		}
		body = head + body
		for _, name := range defined(file) {
			body += "_ = " + name + "\n"
		}
		body += "}\n"
	}
	needed := map[string]bool{}
	ast.Inspect(file, func(n ast.Node) bool {
		if s, ok := n.(*ast.SelectorExpr); ok {
			if from, ok := s.X.(*ast.Ident); ok && packages[from.Name] != "" {
				needed[packages[from.Name]] = true
			}
		}
		return true
	})
	source := clause
	for _, path := range slices.Sorted(maps.Keys(needed)) {
		source += "import " + strconv.Quote(path) + "\n"
	}
	if _, err := format.Source([]byte(source + body)); err != nil {
		return nil, err
	}
	return []byte(source + body), nil
}

// defined lists the variables that the statements of a file's last function define.
func defined(file *ast.File) []string {
	var names []string
	for _, statement := range file.Decls[len(file.Decls)-1].(*ast.FuncDecl).Body.List {
		if s, ok := statement.(*ast.AssignStmt); ok && s.Tok == token.DEFINE {
			for _, x := range s.Lhs {
				if name, ok := x.(*ast.Ident); ok && name.Name != "_" {
					names = append(names, name.Name)
				}
			}
		}
	}
	return names
}

// inlineName matches a name of one of our packages in a sentence: `vgg.Open`,
// `*train.DivergedError`, `transfer.Descriptors.Search`.
var inlineName = regexp.MustCompile("`\\*?([a-z]+)\\.([A-Z]\\w*)(?:\\.([A-Z]\\w*))?")

// The names of the library in the prose of every document exist, except in decision records
// and the list of changes, which have earlier names.
func TestDocumentNames(t *testing.T) {
	exported := map[string]map[string]bool{} // Name and Type.Name by package
	for relative := range levels {
		if relative == "cmd/vgg" {
			continue
		}
		name := inTable(relative)
		exported[name[strings.LastIndexByte(name, '/')+1:]] = exportedNames(t, filepath.FromSlash("./"+relative))
	}
	found := 0
	docs := documents(t)
	for _, name := range slices.Sorted(maps.Keys(docs)) {
		if name == "CHANGELOG.md" || strings.HasPrefix(name, "docs/decisions/") {
			continue
		}
		prose, _ := split(docs[name])
		for _, match := range inlineName.FindAllStringSubmatch(prose, -1) {
			names, ok := exported[match[1]]
			if !ok {
				continue // of another module
			}
			found++
			if !names[match[2]] || match[3] != "" && !names[match[2]+"."+match[3]] {
				t.Errorf("%s: %s` is no name of the library", name, match[0])
			}
		}
	}
	if found < 20 {
		t.Errorf("%d names, want at least 20", found)
	}
}

// exportedNames returns the exported names of the package in a folder. Methods and fields
// are called Type.Name.
func exportedNames(t *testing.T, dir string) map[string]bool {
	t.Helper()
	entries, err := os.ReadDir(dir)
	if err != nil {
		t.Fatal(err)
	}
	names := map[string]bool{}
	add := func(of string, ids ...*ast.Ident) {
		for _, id := range ids {
			names[of+id.Name] = names[of+id.Name] || id.IsExported()
		}
	}
	for _, entry := range entries {
		if filepath.Ext(entry.Name()) != ".go" || strings.HasSuffix(entry.Name(), "_test.go") {
			continue
		}
		file, err := parser.ParseFile(token.NewFileSet(), filepath.Join(dir, entry.Name()), nil, parser.SkipObjectResolution)
		if err != nil {
			t.Fatal(err)
		}
		for _, d := range file.Decls {
			switch d := d.(type) {
			case *ast.FuncDecl:
				of := ""
				if d.Recv != nil {
					of = receiver(d.Recv.List[0].Type) + "."
				}
				add(of, d.Name)
			case *ast.GenDecl:
				for _, spec := range d.Specs {
					switch spec := spec.(type) {
					case *ast.ValueSpec:
						add("", spec.Names...)
					case *ast.TypeSpec:
						add("", spec.Name)
						switch typ := spec.Type.(type) {
						case *ast.StructType:
							for _, f := range typ.Fields.List {
								add(spec.Name.Name+".", f.Names...)
							}
						case *ast.InterfaceType:
							for _, f := range typ.Methods.List {
								add(spec.Name.Name+".", f.Names...)
							}
						}
					}
				}
			}
		}
	}
	return names
}

// receiver is the name of a receiver's type.
func receiver(x ast.Expr) string {
	switch x := x.(type) {
	case *ast.StarExpr:
		return receiver(x.X)
	case *ast.IndexExpr:
		return receiver(x.X)
	case *ast.IndexListExpr:
		return receiver(x.X)
	case *ast.Ident:
		return x.Name
	}
	return ""
}
