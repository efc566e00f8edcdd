package main

import (
	"bytes"
	"fmt"
	"os/exec"
)

// llvm runs LLVM's programs, whose names end in a suffix such as "-22".
type llvm struct{ suffix string }

func (l llvm) run(input, program string, arguments ...string) (string, error) {
	command := exec.Command(program+l.suffix, arguments...)
	var out, errors bytes.Buffer
	command.Stdin, command.Stdout, command.Stderr = bytes.NewBufferString(input), &out, &errors
	if err := command.Run(); err != nil {
		return "", fmt.Errorf("%s%s: %v\n%s", program, l.suffix, err, errors.Bytes())
	}
	return out.String(), nil
}
