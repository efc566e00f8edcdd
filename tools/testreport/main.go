// Testreport reads the output of go test -json, prints that of go test, and ends with a
// list of the skipped tests by reason.
//
//	go test -json ./... | go run ./tools/testreport [-skipped FILE]
//
// With -skipped the list goes to that file. The exit code is 1 if a test or a build failed,
// and 2 if the input isn't the output of go test -json.
package main

import (
	"flag"
	"fmt"
	"log"
	"os"
)

func main() {
	log.SetFlags(0)
	skipped := flag.String("skipped", "", "file for the list of skipped tests")
	flag.Parse()
	r, err := read(os.Stdin, os.Stdout)
	if err != nil {
		log.Print(err)
		os.Exit(2)
	}
	if *skipped == "" {
		fmt.Print("\n", r.skipped())
	} else if err := os.WriteFile(*skipped, []byte(r.skipped()), 0o666); err != nil {
		log.Print(err)
		os.Exit(2)
	}
	if r.failed {
		os.Exit(1)
	}
}
