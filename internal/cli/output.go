package cli

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"os"
	"runtime"
	"strings"
	"unicode"

	"github.com/verydeep/vgg/internal/atomicfile"
)

// quoted writes a word for the command line of a shell, as it is or in quotes.
func quoted(word string) string {
	if word != "" && !strings.ContainsFunc(word, func(r rune) bool {
		return !unicode.IsLetter(r) && !unicode.IsDigit(r) && !strings.ContainsRune("-_./:,@%+=\\", r)
	}) {
		if runtime.GOOS == "windows" || !strings.Contains(word, "\\") {
			return word
		}
	}
	if runtime.GOOS == "windows" { // no name has a double quote there
		return `"` + word + `"`
	}
	return "'" + strings.ReplaceAll(word, "'", `'\''`) + "'"
}

// writeFile lets write replace the file at path, or write to the pipe or device at path.
func writeFile(path string, write func(io.Writer) error) error {
	return atomicfile.WriteOrStream(path, func(w io.Writer) error {
		buffered := bufio.NewWriter(w)
		if err := write(buffered); err != nil {
			return err
		}
		return buffered.Flush()
	})
}

// makeEmpty makes the folder of --out, unless there is one and it is empty. The error of
// another one is that of held, if another process writes it, or names what is wanted. made
// is false if the folder existed.
func makeEmpty(dir string, held func(dir string) error, want string) (made bool, err error) {
	entries, err := os.ReadDir(dir)
	switch {
	case errors.Is(err, os.ErrNotExist):
		if err := os.MkdirAll(dir, 0o777); err != nil {
			return false, fmt.Errorf("--out: %w", err)
		}
		return true, nil
	case err != nil:
		return false, fmt.Errorf("--out: %w", err)
	case len(entries) > 0:
		if err := held(dir); err != nil {
			return false, fmt.Errorf("--out %w", err)
		}
		return false, fmt.Errorf("--out %s: the folder is not empty, want %s", dir, want)
	}
	return false, nil
}
