package cli

import (
	"bufio"
	"io"

	"github.com/verydeep/vgg/internal/atomicfile"
	"github.com/verydeep/vgg/internal/lockfile"
)

// writeFile replaces the file at path by what write writes, or writes to the pipe or device
// at path.
func writeFile(path string, write func(io.Writer) error) error {
	return atomicfile.WriteOrStream(path, func(w io.Writer) error {
		buffered := bufio.NewWriter(w)
		if err := write(buffered); err != nil {
			return err
		}
		return buffered.Flush()
	})
}

// claim keeps other processes from writing the file at path until release is called. A
// command claims its output before it begins what takes long.
func claim(path string) (release func(), err error) {
	if atomicfile.IsStream(path) {
		return func() {}, nil
	}
	return lockfile.Beside(path)
}
