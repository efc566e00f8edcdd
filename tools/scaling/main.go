// Command scaling computes how training scales over nodes and over cores, from the sizes of the
// layers and the plans of the kernels.
//
//	go run ./tools/scaling nodes      # a step on 1 to 64 nodes, by bandwidth and exchange
//	go run ./tools/scaling simulate   # the same by ranks that sleep, over comm.Local with delays
//	go run ./tools/scaling cores      # a forward pass and a step on 1 to 64 cores
//	go run ./tools/scaling write      # the tables of docs/scaling.md and docs/kernels.md
//
// What it prints is computed, not measured; docs/scaling.md says from which measurements.
package main

import (
	"flag"
	"fmt"
	"log"
	"os"
	"time"
)

func main() {
	log.SetFlags(0)
	log.SetPrefix("scaling: ")
	command := ""
	if len(os.Args) > 1 {
		command = os.Args[1]
	}
	if err := run(command, os.Args[min(2, len(os.Args)):]); err != nil {
		log.Fatal(err)
	}
}

func run(command string, args []string) error {
	switch command {
	case "nodes":
		table, err := nodeTables()
		fmt.Print(table)
		return err
	case "cores":
		table, err := coreTables()
		fmt.Print(table)
		return err
	case "write":
		return writeDocuments(".")
	case "simulate":
		return simulateCommand(args)
	}
	return fmt.Errorf("%q: want nodes, simulate, cores or write", command)
}

// simulateCommand simulates steps in real time, faster by a factor.
func simulateCommand(args []string) error {
	flags := flag.NewFlagSet("simulate", flag.ExitOnError)
	ranks := flags.Int("ranks", 8, "ranks")
	gigabits := flags.Float64("gigabits", 10, "bandwidth of a link each way, Gbit/s")
	cores := flags.Int("cores", 16, "cores of a node: 2, 16 or 64")
	exchange := flags.String("exchange", "float32", "float32, bf16 or factors")
	jitter := flags.Float64("jitter", 0.05, "greatest deviation of a layer's time, a share of it")
	faster := flags.Float64("faster", 1, "factor by which all times are divided")
	flags.Parse(args)
	n, err := nodeOf(*cores)
	if err != nil {
		return err
	}
	s, err := newStep(n, link{*gigabits * 1e9 / 8, latency}, *ranks, *exchange)
	if err != nil {
		return err
	}
	start := time.Now()
	simulated, err := s.simulate(*jitter, *faster)
	if err != nil {
		return err
	}
	fmt.Printf("model %.3f s, simulated %.3f s, in %.1f s\n", s.model().total, simulated, time.Since(start).Seconds())
	return nil
}
