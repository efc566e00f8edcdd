package cli

import (
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"

	"github.com/verydeep/vgg/dataset"
	"github.com/verydeep/vgg/transfer"
)

// program returns how this program is called, for command lines that can be pasted.
func program() string {
	executable, err := os.Executable()
	if err != nil {
		return "vgg"
	}
	found, _ := exec.LookPath("vgg")
	return calledAs(executable, os.Args[0], found)
}

// underGoRun matches the executables that go run makes: in a temporary folder or, from Go 1.24
// on, in the build cache.
var underGoRun = regexp.MustCompile(`[/\\](go-build[0-9]+[/\\]b001[/\\]exe|[0-9a-f]{64}-d)[/\\]vgg(\.exe)?$`)

// calledAs returns how an executable was called, by its path, the first word of its command
// line and the path of the vgg that a shell finds, "" for none.
func calledAs(executable, word, found string) string {
	if underGoRun.MatchString(executable) {
		if info, err := os.Stat(filepath.Join("cmd", "vgg")); err == nil && info.IsDir() {
			return "go run ./cmd/vgg"
		}
		return "go run github.com/verydeep/vgg/cmd/vgg"
	}
	base := strings.TrimSuffix(filepath.Base(executable), ".exe")
	if base != "vgg" || sameFile(found, executable) || !strings.ContainsAny(word, `/\`) {
		return "vgg"
	}
	return quoted(word)
}

func sameFile(a, b string) bool {
	first, err := os.Stat(a)
	if err != nil {
		return false
	}
	second, err := os.Stat(b)
	return err == nil && os.SameFile(first, second)
}

// commandLine writes a command of this program that can be pasted.
func commandLine(words ...string) string {
	for i, word := range words {
		words[i] = quoted(word)
	}
	return program() + " " + strings.Join(words, " ")
}

// photoOf returns the file of an image of a set, for a command line that can be pasted: "" for
// a set whose images aren't files.
func photoOf(root string, d *dataset.Dataset) string {
	if d == nil || d.Len() == 0 {
		return ""
	}
	if root == "" || root == sampleName {
		return somePhoto
	}
	for _, path := range []string{filepath.Join(root, filepath.FromSlash(d.Samples[0].Name)), filepath.FromSlash(d.Samples[0].Name)} {
		if isImageFile(path) {
			return path
		}
	}
	return ""
}

// anyFile returns the file of the first image described that is there, or a built-in photograph.
func anyFile(rows []transfer.Row) string {
	if len(rows) > 0 && isImageFile(rows[0].File) {
		return rows[0].File
	}
	return somePhoto
}
