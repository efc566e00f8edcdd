// Command neon checks the arm64 kernels of internal/kernel without an arm64 machine, by LLVM's
// tools (Debian's package llvm-22; other versions by -suffix).
//
//	go run ./tools/neon encodings   # every instruction written as a word is the one in its comment
//	go run ./tools/neon cycles      # cycles of the inner loops, by llvm-mca's models of processors
//	go run ./tools/neon model       # from these, the time of configuration D on known machines
//	go run ./tools/neon instructions # instructions of configuration D, NEON and portable, by qemu
//
// The last needs no LLVM but gcc and Debian's package qemu-user.
package main

import (
	"fmt"
	"log"
	"os"
)

const assembly = "internal/kernel/kernels_arm64.s"

func main() {
	log.SetFlags(0)
	log.SetPrefix("neon: ")
	if len(os.Args) < 2 {
		log.Fatal("want encodings, cycles, model or instructions")
	}
	tools := llvm{suffix: "-22"}
	if len(os.Args) == 3 {
		tools.suffix = os.Args[2]
	}
	var err error
	switch os.Args[1] {
	case "encodings":
		err = encodings(tools, assembly)
	case "cycles":
		err = cycles(tools)
	case "model":
		err = model(tools)
	case "instructions":
		err = instructions()
	case "forward":
		err = forward(os.Args[2:])
	default:
		err = fmt.Errorf("%q: want encodings, cycles, model or instructions", os.Args[1])
	}
	if err != nil {
		log.Fatal(err)
	}
}
