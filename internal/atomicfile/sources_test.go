package atomicfile

import (
	"io/fs"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
)

// writesFiles lists the other packages and files that may make or rename files, with what
// they write in place of replacing.
var writesFiles = map[string]string{
	"internal/atomicfile/":      "",
	"internal/journal/":         "files that grow",
	"internal/lockfile/":        "locks",
	"internal/vggtest/":         "files of tests",
	"releases/pull/":            "parts of downloads, which grow",
	"transfer/file.go":          "numbers that come row by row",
	"server/teach.go":           "a file in the system's folder for temporary ones",
	"internal/kernel/_asm/":     "the assembly that it generates",
	"internal/remote/cache.go":  "parts of files, each with a checksum",
	"internal/cli/processes.go": "what a rank prints, line by line",
}

var makesFile = regexp.MustCompile(`\bos\.(Create|CreateTemp|MkdirTemp|WriteFile|OpenFile|Rename|Link|Symlink)\(`)

// Everything that replaces a file does it by this package.
func TestNothingElseReplacesFiles(t *testing.T) {
	root := filepath.Join("..", "..")
	seen := map[string]bool{}
	err := filepath.WalkDir(root, func(path string, e fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		name, err := filepath.Rel(root, path)
		if err != nil {
			return err
		}
		name = filepath.ToSlash(name)
		if e.IsDir() {
			if name != "." && strings.HasPrefix(e.Name(), ".") || name == "tools" {
				return fs.SkipDir
			}
			return nil
		}
		if filepath.Ext(name) != ".go" || strings.HasSuffix(name, "_test.go") {
			return nil
		}
		text, err := os.ReadFile(path)
		if err != nil {
			return err
		}
		call := makesFile.Find(text)
		if call == nil {
			return nil
		}
		for allowed := range writesFiles {
			if strings.HasPrefix(name, allowed) {
				seen[allowed] = true
				return nil
			}
		}
		t.Errorf("%s calls %s…): want internal/atomicfile, or a line in this test", name, call)
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	for allowed := range writesFiles {
		if !seen[allowed] {
			t.Errorf("%s makes no file: it needs no line in this test", allowed)
		}
	}
}
