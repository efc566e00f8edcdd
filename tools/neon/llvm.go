package main

import (
	"bytes"
	"fmt"
	"os/exec"
	"strings"
)

// llvm runs LLVM's programs, whose names end in a suffix such as "-22".
type llvm struct{ suffix string }

func (l llvm) run(input, program string, arguments ...string) (string, error) {
	return run(exec.Command(program+l.suffix, arguments...), input)
}

// run returns what a command prints.
func run(command *exec.Cmd, input string) (string, error) {
	var out, errors bytes.Buffer
	command.Stdin, command.Stdout, command.Stderr = strings.NewReader(input), &out, &errors
	if err := command.Run(); err != nil {
		return "", fmt.Errorf("%s: %v\n%s", command, err, errors.Bytes())
	}
	return out.String(), nil
}
