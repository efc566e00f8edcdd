// Command licences writes the licences of everything that is linked into vgg to one file,
// which travels with every binary:
//
//	go run ./tools/licences -out THIRD_PARTY_LICENSES
//
// or, of a binary, the list of what is linked into it, a bill of materials in SPDX 2.3's JSON:
//
//	go run ./tools/licences -sbom vgg -out vgg.spdx.json
//
// It takes the files of licences and notices that lie in the folders of the packages and above
// them, up to the module's, and those in a folder licenses there. A module without any is an
// error.
package main

import (
	"bytes"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"io"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
)

func main() {
	out := flag.String("out", "THIRD_PARTY_LICENSES", "file to write")
	binary := flag.String("sbom", "", "write the bill of materials of this binary instead")
	flag.Parse()
	write := collect
	if *binary != "" {
		write = func() ([]byte, error) { return billOfMaterials(*binary) }
	}
	text, err := write()
	if err == nil {
		err = os.WriteFile(*out, text, 0o666)
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, "licences:", err)
		os.Exit(1)
	}
}

// systems are those that binaries are built for.
var systems = []string{"linux/amd64", "linux/arm64", "darwin/amd64", "darwin/arm64", "windows/amd64", "windows/arm64"}

const program = "github.com/verydeep/vgg/cmd/vgg"

// module is what is told of a module that the program is made of.
type module struct{ Path, Version, Dir string }

// collect returns the text of the file.
func collect() ([]byte, error) {
	modules := map[module]map[string]bool{} // to the folders of the packages that are linked
	for _, system := range systems {
		if err := list(system, modules); err != nil {
			return nil, err
		}
	}
	order := make([]module, 0, len(modules))
	for m := range modules {
		order = append(order, m)
	}
	slices.SortFunc(order, func(a, b module) int { return strings.Compare(a.Path, b.Path) })
	root, err := exec.Command("go", "env", "GOROOT").Output()
	if err != nil {
		return nil, err
	}
	var text bytes.Buffer
	fmt.Fprintf(&text, "vgg is under the licence in the file LICENSE. The programs and libraries that are linked\ninto it are under the licences below.\n")
	goLicence, err := os.ReadFile(filepath.Join(strings.TrimSpace(string(root)), "LICENSE"))
	if err != nil {
		return nil, err
	}
	section(&text, "The Go programming language and its standard library", goLicence)
	for _, m := range order {
		files, err := m.licences(modules[m])
		if err != nil {
			return nil, err
		}
		for _, file := range files {
			licence, err := os.ReadFile(filepath.Join(m.Dir, file))
			if err != nil {
				return nil, err
			}
			section(&text, fmt.Sprintf("%s %s: %s", m.Path, m.Version, filepath.ToSlash(file)), licence)
		}
	}
	own, err := exec.Command("go", "list", "-m", "-f", "{{.Dir}}").Output()
	if err != nil {
		return nil, err
	}
	for _, v := range vendored {
		licence, err := os.ReadFile(filepath.Join(strings.TrimSpace(string(own)), filepath.FromSlash(v.file)))
		if err != nil {
			return nil, err
		}
		section(&text, v.title, licence)
	}
	return text.Bytes(), nil
}

// vendored are the works of others that lie in this module itself.
var vendored = []struct{ title, file, name, version, download, purl, licence string }{{
	"uPlot 1.6.32, in the page of the service", "server/page/uplot/LICENSE",
	"uplot", "1.6.32", "https://registry.npmjs.org/uplot/-/uplot-1.6.32.tgz", "pkg:npm/uplot@1.6.32", "MIT",
}}

func section(w io.Writer, title string, licence []byte) {
	text := strings.TrimSpace(strings.ReplaceAll(string(licence), "\r\n", "\n"))
	fmt.Fprintf(w, "\n%s\n%s\n\n%s\n", title, strings.Repeat("=", len([]rune(title))), text)
}

// list adds the modules and folders of the program's packages on one system.
func list(system string, to map[module]map[string]bool) error {
	goos, goarch, _ := strings.Cut(system, "/")
	c := exec.Command("go", "list", "-deps", "-json=Dir,Module", program)
	c.Env = append(os.Environ(), "GOOS="+goos, "GOARCH="+goarch, "CGO_ENABLED=0")
	c.Stderr = os.Stderr
	out, err := c.Output()
	if err != nil {
		return fmt.Errorf("go list for %s: %w", system, err)
	}
	for d := json.NewDecoder(bytes.NewReader(out)); ; {
		var p struct {
			Dir    string
			Module *struct {
				Path, Version, Dir string
				Main               bool
			}
		}
		if err := d.Decode(&p); errors.Is(err, io.EOF) {
			return nil
		} else if err != nil {
			return err
		}
		if p.Module == nil || p.Module.Main {
			continue
		}
		m := module{p.Module.Path, p.Module.Version, p.Module.Dir}
		if to[m] == nil {
			to[m] = map[string]bool{}
		}
		to[m][p.Dir] = true
	}
}

// licenceName matches the files that hold terms.
var licenceName = regexp.MustCompile(`(?i)^(un)?(licen[cs]es?|copying|notice|patents|copyright|ofl)([-._].*)?$`)

// licences lists the files of terms in the folders and above them, up to the module's, whose
// own come first. They are relative to the module.
func (m module) licences(folders map[string]bool) ([]string, error) {
	seen := map[string]bool{}
	var files []string
	add := func(folder string, isTerms func(name string) bool) error {
		entries, err := os.ReadDir(folder)
		if err != nil {
			return err
		}
		for _, e := range entries {
			if !e.Type().IsRegular() || !isTerms(e.Name()) || filepath.Ext(e.Name()) == ".go" {
				continue
			}
			file, err := filepath.Rel(m.Dir, filepath.Join(folder, e.Name()))
			if err != nil {
				return err
			}
			files = append(files, file)
		}
		return nil
	}
	for folder := range folders {
		for ; !seen[folder]; folder = filepath.Dir(folder) {
			seen[folder] = true
			if err := add(folder, licenceName.MatchString); err != nil {
				return nil, err
			}
			if folder == m.Dir {
				break
			}
		}
	}
	// freetype's LICENSE names the files of this folder.
	all := func(string) bool { return true }
	if err := add(filepath.Join(m.Dir, "licenses"), all); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return nil, err
	}
	if len(files) == 0 {
		return nil, fmt.Errorf("%s %s has no file of its licence in %s, want one (LICENSE, COPYING, …)", m.Path, m.Version, m.Dir)
	}
	slices.SortFunc(files, func(a, b string) int {
		if d := strings.Count(a, string(filepath.Separator)) - strings.Count(b, string(filepath.Separator)); d != 0 {
			return d
		}
		return strings.Compare(a, b)
	})
	return files, nil
}
