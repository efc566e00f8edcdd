//go:build mpi && (linux || darwin || freebsd)

package mpi_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"math"
	"math/rand/v2"
	"os"
	"os/exec"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/verydeep/vgg/comm"
	"github.com/verydeep/vgg/comm/mpi"
	"github.com/verydeep/vgg/internal/bfloat16"
	"github.com/verydeep/vgg/internal/vggtest"
)

// A test starts this binary again, under a launcher; these variables say what a rank does.
const (
	scenarioVariable = "VGG_TEST_MPI_SCENARIO"
	libraryVariable  = "VGG_TEST_MPI_LIBRARY"
)

func TestMain(m *testing.M) {
	name := os.Getenv(scenarioVariable)
	if name == "" {
		vggtest.Main(m)
		return
	}
	g, err := mpi.Open(mpi.Options{Library: os.Getenv(libraryVariable)})
	if err == nil {
		err = scenarios[name](context.Background(), g)
	}
	if err == nil {
		err = mpi.Close(g)
	}
	if err != nil {
		fmt.Println("failed:", err)
		os.Exit(3)
	}
	mpi.Exit(0)
}

// launcher is a program that starts ranks, with its library.
type launcher struct {
	name, program string
	arguments     []string
	library       string
}

var openMPIArguments = []string{"--oversubscribe", "--allow-run-as-root", "--mca", "btl_vader_single_copy_mechanism", "none"}

// launchers are those of distributions, and what else [vggtest.MPIPrefixes] names.
func launchers(t *testing.T) []launcher {
	t.Helper()
	all := []launcher{
		{"Open MPI", "mpiexec.openmpi", openMPIArguments, "libmpi.so.40"},
		{"MPICH", "mpiexec.mpich", nil, "libmpich.so.12"},
	}
	for _, l := range vggtest.PrefixedMPI() {
		all = append(all, launcher{l.Name, l.Program, l.Arguments, l.Library})
	}
	return all
}

// under runs a scenario on ranks of every launcher that there is.
func under(t *testing.T, ranks int, scenario string, check func(t *testing.T, out string, err error)) {
	for _, l := range launchers(t) {
		t.Run(fmt.Sprintf("%s, %d ranks", l.name, ranks), func(t *testing.T) {
			if _, err := exec.LookPath(l.program); err != nil {
				vggtest.Skip(t, l.program)
			}
			ctx := vggtest.UntilDeadline(t)
			arguments := append(slices.Clone(l.arguments), "-n", fmt.Sprint(ranks), os.Args[0])
			c := exec.CommandContext(ctx, l.program, arguments...)
			c.Env = append(os.Environ(), scenarioVariable+"="+scenario, libraryVariable+"="+l.library, "GOMAXPROCS=2")
			var out bytes.Buffer
			c.Stdout, c.Stderr, c.WaitDelay = &out, &out, 5*time.Second
			err := c.Run()
			if ctx.Err() != nil {
				t.Fatalf("not done when the time of the tests was over:\n%s", &out)
			}
			check(t, out.String(), err)
		})
	}
}

// wantLines checks that every rank ended well and printed the line.
func wantLines(ranks int, line string) func(*testing.T, string, error) {
	return func(t *testing.T, out string, err error) {
		if n := strings.Count(out, line+"\n"); err != nil || n != ranks {
			t.Errorf("%d lines %q of %d ranks, error %v:\n%s", n, line, ranks, err, out)
		}
	}
}

// scenarios are what the ranks do.
var scenarios = map[string]func(context.Context, comm.Group) error{
	"sums":      sums,
	"mismatch":  mismatch,
	"abort":     abort,
	"temporary": temporary,
	"cancel":    cancelled,
	"killed":    killed,
	"aborts":    aborts,
	"late":      late,
	"alone":     alone,
	"occupied":  occupied,
}

// leaf has values of many magnitudes, so that another order of a sum has other bits.
func leaf(i, n int) []float32 {
	r := rand.New(rand.NewPCG(uint64(i), 7))
	v := make([]float32, n)
	const period = 65537 // a prime, so that no cut of a message is one of these values
	for j := range v {
		if j >= period {
			v[j] = v[j-period]
			continue
		}
		v[j] = float32(math.Exp(8*r.NormFloat64()) * (r.Float64() - 0.5))
	}
	return v
}

// roundedLeaf is one of bfloat16.
func roundedLeaf(i, n int) []float32 {
	v := leaf(i, n)
	bfloat16.Round(v)
	return v
}

// partsOf and roundedParts form a rank's sums of the leaves.
func partsOf(tree comm.Tree, rank, size, n int) [][]float32 {
	return partsOfLeaves(tree, rank, size, n, leaf)
}

func roundedParts(tree comm.Tree, rank, size, n int) [][]float32 {
	return partsOfLeaves(tree, rank, size, n, roundedLeaf)
}

func partsOfLeaves(tree comm.Tree, rank, size, n int, leaf func(i, n int) []float32) [][]float32 {
	var all [][]float32
	tree.Sum(tree.Share(rank, size), func(i int) error { all = append(all, leaf(i, n)); return nil }, func() error {
		a, b := all[len(all)-2], all[len(all)-1]
		for i, v := range b {
			a[i] += v
		}
		all = all[:len(all)-1]
		return nil
	})
	return all
}

func wide(parts [][]float32) [][]float64 {
	all := make([][]float64, len(parts))
	for i, p := range parts {
		for _, v := range p {
			all[i] = append(all[i], float64(v)*1.1)
		}
	}
	return all
}

// sums compares the bits with those of a local group of as many ranks.
func sums(ctx context.Context, g comm.Group) error {
	for _, leaves := range []int{g.Size(), 4, 5, 12} {
		for _, n := range []int{0, 1, 7, 1003, 1<<22 + 5} { // the last in two chunks
			if leaves < g.Size() || n > 1<<20 && leaves != 4 {
				continue
			}
			tree := comm.Tree(leaves)
			parts := partsOf(tree, g.Rank(), g.Size(), n)
			doubles, rounded := wide(parts), roundedParts(tree, g.Rank(), g.Size(), n)
			want, wantDoubles, wantRounded := local(tree, g.Size(), n)
			if err := errors.Join(g.AllReduce(ctx, tree, parts), g.AllReduceBF16(ctx, tree, rounded)); err != nil {
				return err
			}
			if err := g.AllReduce64(ctx, tree, doubles); err != nil {
				return err
			}
			for i, v := range want {
				if math.Float32bits(v) != math.Float32bits(parts[0][i]) {
					return fmt.Errorf("%d leaves, element %d of %d: %g, want %g", leaves, i, n, parts[0][i], v)
				}
				if math.Float32bits(wantRounded[i]) != math.Float32bits(rounded[0][i]) {
					return fmt.Errorf("%d leaves, element %d of %d in bfloat16: %g, want %g", leaves, i, n, rounded[0][i], wantRounded[i])
				}
				if math.Float64bits(wantDoubles[i]) != math.Float64bits(doubles[0][i]) {
					return fmt.Errorf("%d leaves, element %d of %d in float64: %g, want %g", leaves, i, n, doubles[0][i], wantDoubles[i])
				}
			}
		}
	}
	data := make([]float32, 1000)
	root := g.Size() - 1
	if g.Rank() == root {
		copy(data, leaf(99, len(data)))
	}
	if err := errors.Join(g.Broadcast(ctx, root, data), g.Barrier(ctx)); err != nil {
		return err
	}
	if !slices.Equal(data, leaf(99, len(data))) {
		return errors.New("another broadcast")
	}
	bounds := []int{10}
	for r := range g.Size() {
		bounds = append(bounds, 10+(r+1)*(r+1)*100)
	}
	brought := make([]float32, bounds[g.Size()])
	copy(brought[bounds[g.Rank()]:bounds[g.Rank()+1]], leaf(g.Rank(), len(brought)))
	if err := g.AllGather(ctx, brought, bounds); err != nil {
		return err
	}
	for r := range g.Size() {
		from, to := bounds[r], bounds[r+1]
		if !slices.Equal(brought[from:to], leaf(r, len(brought))[:to-from]) {
			return fmt.Errorf("another gather of rank %d", r)
		}
	}
	fmt.Println("same bits")
	return nil
}

// local are the sums of a group of goroutines.
func local(tree comm.Tree, size, n int) (first []float32, doubles []float64, rounded []float32) {
	groups := comm.Local(size)
	done := make(chan error)
	for _, g := range groups {
		go func() {
			parts := partsOf(tree, g.Rank(), size, n)
			w, r := wide(parts), roundedParts(tree, g.Rank(), size, n)
			err := errors.Join(g.AllReduce(context.Background(), tree, parts), g.AllReduce64(context.Background(), tree, w), g.AllReduceBF16(context.Background(), tree, r))
			if g.Rank() == 0 {
				first, doubles, rounded = parts[0], w[0], r[0]
			}
			done <- err
		}()
	}
	for range groups {
		<-done
	}
	return first, doubles, rounded
}

// mismatch: the last rank makes another call than the others.
func mismatch(ctx context.Context, g comm.Group) error {
	var err error
	if g.Rank() == g.Size()-1 {
		err = g.Broadcast(ctx, 0, make([]float32, 3))
	} else {
		err = g.Broadcast(ctx, 0, make([]float32, 4))
	}
	want := fmt.Sprintf("comm: rank %d calls Broadcast of 3 from 0, rank 0 Broadcast of 4 from 0: want the same call of all ranks", g.Size()-1)
	if err == nil || err.Error() != want {
		return fmt.Errorf("%v, want %s", err, want)
	}
	if again := g.Barrier(ctx); again == nil || again.Error() != want {
		return fmt.Errorf("the next call: %v", again)
	}
	fmt.Println("same error")
	return nil
}

// abort: a rank gives up while the others wait for it.
func abort(ctx context.Context, g comm.Group) error {
	const want = "comm: rank 1: photo.jpg is gone"
	if g.Rank() == 1 {
		g.Abort(errors.New("photo.jpg is gone"))
	}
	if err := g.Barrier(ctx); err == nil || err.Error() != want || errors.Is(err, comm.ErrTemporary) {
		return fmt.Errorf("%v, want %s", err, want)
	}
	fmt.Println("same error")
	return nil
}

// temporary: every rank knows that the reason of another may pass.
func temporary(ctx context.Context, g comm.Group) error {
	const want = "comm: rank 1: the server is gone: may succeed later"
	if g.Rank() == 1 {
		g.Abort(fmt.Errorf("the server is gone: %w", comm.ErrTemporary))
	}
	if err := g.Barrier(ctx); err == nil || err.Error() != want || !errors.Is(err, comm.ErrTemporary) {
		return fmt.Errorf("%v, want %s", err, want)
	}
	fmt.Println("same error")
	return nil
}

// aborts: two ranks give up at once, and the error of all is the lower one's.
func aborts(ctx context.Context, g comm.Group) error {
	const want = "comm: rank 1: photo.jpg is gone"
	if g.Rank() > 0 {
		g.Abort(errors.New([]string{1: "photo.jpg is gone", 2: "the disk is full"}[g.Rank()]))
	}
	for range 2 {
		if err := g.Barrier(ctx); err == nil || err.Error() != want {
			return fmt.Errorf("%v, want %s", err, want)
		}
	}
	fmt.Println("same error")
	return nil
}

// others stay away from all calls; only the end of the job ends them.
func others(rank int) {
	if rank > 0 {
		time.Sleep(time.Hour)
	}
}

// late: a rank's context ends while it waits for others that don't come.
func late(ctx context.Context, g comm.Group) error {
	others(g.Rank())
	mpi.Hurry(g, 200*time.Millisecond, time.Hour)
	ctx, cancel := context.WithTimeoutCause(ctx, 100*time.Millisecond, errors.New("interrupted"))
	defer cancel()
	return g.Barrier(ctx)
}

// alone: a rank gives up, and the others don't come to hear it.
func alone(_ context.Context, g comm.Group) error {
	others(g.Rank())
	mpi.Hurry(g, 200*time.Millisecond, time.Hour)
	g.Abort(errors.New("photo.jpg is gone"))
	return nil
}

// occupied: MPI's thread is in a call of the library's that doesn't return.
func occupied(_ context.Context, g comm.Group) error {
	others(g.Rank())
	mpi.Hurry(g, 200*time.Millisecond, 200*time.Millisecond)
	mpi.Occupy(g)
	g.Abort(errors.New("photo.jpg is gone"))
	return nil
}

// cancelled: a rank's context has ended before its call.
func cancelled(ctx context.Context, g comm.Group) error {
	if g.Rank() == 0 {
		var cancel context.CancelCauseFunc
		ctx, cancel = context.WithCancelCause(ctx)
		cancel(errors.New("interrupted"))
	}
	const want = "comm: rank 0: interrupted"
	if err := g.AllReduce(ctx, comm.Tree(g.Size()), [][]float32{make([]float32, 5)}); err == nil || err.Error() != want {
		return fmt.Errorf("%v, want %s", err, want)
	}
	fmt.Println("same error")
	return nil
}

// killed: a rank is killed; the launcher ends the others, which wait for it.
func killed(ctx context.Context, g comm.Group) error {
	if g.Rank() == 1 {
		syscall.Kill(os.Getpid(), syscall.SIGKILL)
	}
	return g.Barrier(ctx)
}

func TestSums(t *testing.T) {
	for _, ranks := range []int{1, 2, 3} {
		under(t, ranks, "sums", wantLines(ranks, "same bits"))
	}
}

func TestMismatch(t *testing.T)  { under(t, 3, "mismatch", wantLines(3, "same error")) }
func TestAbort(t *testing.T)     { under(t, 3, "abort", wantLines(3, "same error")) }
func TestTemporary(t *testing.T) { under(t, 3, "temporary", wantLines(3, "same error")) }
func TestAborts(t *testing.T)    { under(t, 3, "aborts", wantLines(3, "same error")) }
func TestCancelled(t *testing.T) { under(t, 2, "cancel", wantLines(2, "same error")) }

// A rank that the others don't come to ends the whole job, and says why.
func TestOthersDoNotCome(t *testing.T) {
	for scenario, why := range map[string]string{
		"late":     "mpi: rank 0: interrupted; the other ranks don't come",
		"alone":    "mpi: rank 0: comm: rank 0: photo.jpg is gone; the other ranks don't come",
		"occupied": "mpi: rank 0: comm: rank 0: photo.jpg is gone; the other ranks don't come",
	} {
		t.Run(scenario, func(t *testing.T) {
			under(t, 2, scenario, func(t *testing.T, out string, err error) {
				if err == nil || !strings.Contains(out, why) {
					t.Errorf("error %v, want one, and %q:\n%s", err, why, out)
				}
			})
		})
	}
}

// Under srun, ranks that the library takes for one each are told of srun's plugin.
func TestRanksApart(t *testing.T) {
	for _, by := range []struct {
		variables []string
		want      string
	}{
		{[]string{"SLURM_STEP_NUM_TASKS=2", "SLURM_PROCID=0"}, "--mpi=pmi2 for MPICH"},
		{[]string{"OMPI_COMM_WORLD_SIZE=2", "OMPI_COMM_WORLD_RANK=0"}, "name the file of the launcher's (VGG_MPI)"},
	} {
		c := exec.CommandContext(vggtest.UntilDeadline(t), os.Args[0])
		c.Env = append(os.Environ(), append(by.variables, scenarioVariable+"=sums", libraryVariable+"=libmpich.so.12")...)
		out, err := c.CombinedOutput()
		if strings.Contains(string(out), "no library of MPI") {
			vggtest.Skip(t, "MPICH")
		}
		if want := "the launcher started 2 ranks, the library knows 1: "; err == nil || !strings.Contains(string(out), want) || !strings.Contains(string(out), by.want) {
			t.Errorf("%v: error %v, want %q and %q:\n%s", by.variables, err, want, by.want, out)
		}
	}
}

func TestKilledRank(t *testing.T) {
	under(t, 3, "killed", func(t *testing.T, out string, err error) {
		if err == nil {
			t.Errorf("the launcher ended well:\n%s", out)
		}
	})
}
