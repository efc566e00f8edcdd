// Command mpi tries training over MPI on this machine, with whichever of Open MPI and MPICH it
// has.
//
//	go run ./tools/mpi kills -kills 200       # kill random ranks at random moments, resume, compare bits
//	go run ./tools/mpi throughput             # two processes of a thread against one of two threads
package main

import (
	"context"
	"flag"
	"fmt"
	"log"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
)

// launcher is a program that starts ranks.
type launcher struct {
	name      string
	arguments []string
}

var launchers = []launcher{
	{"mpiexec.openmpi", []string{"--oversubscribe", "--allow-run-as-root"}},
	{"mpiexec.mpich", nil},
}

// installed lists the launchers that this machine has.
func installed() []launcher {
	var found []launcher
	for _, l := range launchers {
		if _, err := exec.LookPath(l.name); err == nil {
			found = append(found, l)
		}
	}
	return found
}

// command starts a number of ranks of a program.
func (l launcher) command(ctx context.Context, ranks int, program string, arguments ...string) *exec.Cmd {
	all := append(append([]string{}, l.arguments...), "-n", fmt.Sprint(ranks), program)
	return exec.CommandContext(ctx, l.name, append(all, arguments...)...)
}

func main() {
	log.SetFlags(0)
	log.SetPrefix("mpi: ")
	kills := flag.NewFlagSet("kills", flag.ExitOnError)
	number := kills.Int("kills", 200, "number of kills")
	seed := kills.Uint64("seed", 1, "seed of ranks and moments")
	through := flag.NewFlagSet("throughput", flag.ExitOnError)
	iterations := through.Int("iterations", 4, "steps of each run; the first doesn't count")
	turns := through.Int("turns", 3, "runs of each kind, in turn")
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt)
	defer stop()
	err := fmt.Errorf("want kills or throughput")
	if len(os.Args) > 1 {
		switch os.Args[1] {
		case "kills":
			kills.Parse(os.Args[2:])
			err = with(ctx, func(dir, vgg string) error { return killRanks(ctx, dir, vgg, *number, *seed) })
		case "throughput":
			through.Parse(os.Args[2:])
			err = with(ctx, func(dir, vgg string) error { return throughput(ctx, dir, vgg, *iterations, *turns) })
		}
	}
	if err != nil {
		log.Fatal(err)
	}
}

// with calls do with an empty folder and the program, built with MPI.
func with(ctx context.Context, do func(dir, vgg string) error) error {
	if len(installed()) == 0 {
		return fmt.Errorf("neither %s nor %s is installed", launchers[0].name, launchers[1].name)
	}
	dir, err := os.MkdirTemp("", "vgg-mpi-")
	if err != nil {
		return err
	}
	vgg := filepath.Join(dir, "vgg")
	if text, err := exec.CommandContext(ctx, "go", "build", "-tags", "mpi", "-o", vgg, "github.com/verydeep/vgg/cmd/vgg").CombinedOutput(); err != nil {
		return fmt.Errorf("build: %w\n%s", err, text)
	}
	if err := do(dir, vgg); err != nil {
		return fmt.Errorf("%w (the files are in %s)", err, dir)
	}
	return os.RemoveAll(dir)
}
