//go:build mpi && linux

package train

import (
	"bytes"
	"fmt"
	"os"
	"os/exec"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/verydeep/vgg/comm/mpi"
	"github.com/verydeep/vgg/internal/vggtest"
)

// rankVariable makes a test one of the ranks that another has started.
const rankVariable = "VGG_TEST_MPI_RANK"

// TestStepsOverMPI takes ten steps on two and on three processes of each MPI library, and compares
// them with PyTorch's.
func TestStepsOverMPI(t *testing.T) {
	if os.Getenv(rankVariable) != "" {
		g, err := mpi.Open(mpi.Options{})
		if err != nil {
			t.Fatal(err)
		}
		for _, form := range oracleForms {
			for _, exchange := range []ExchangeForm{Sums, Factored} {
				for ranks := 1; ranks*g.Size() <= 4; ranks++ { // a group of an image at least
					oracleSteps(t, form, exchange, ranks, g)
				}
			}
		}
		if err := mpi.Close(g); err != nil {
			t.Fatal(err)
		}
		if !t.Failed() {
			fmt.Println("as PyTorch")
		}
		return
	}
	for _, l := range []struct {
		name, program string
		arguments     []string
	}{
		{"Open MPI", "mpiexec.openmpi", []string{"--oversubscribe", "--allow-run-as-root", "--mca", "btl_vader_single_copy_mechanism", "none"}},
		{"MPICH", "mpiexec.mpich", nil},
	} {
		for _, n := range []int{2, 3} {
			t.Run(fmt.Sprintf("%s, %d processes", l.name, n), func(t *testing.T) {
				if _, err := exec.LookPath(l.program); err != nil {
					vggtest.Skip(t, l.program)
				}
				c := exec.CommandContext(vggtest.UntilDeadline(t), l.program, append(slices.Clone(l.arguments), "-n", fmt.Sprint(n), os.Args[0], "-test.run=^TestStepsOverMPI$")...)
				c.Env = append(os.Environ(), rankVariable+"=1")
				var out bytes.Buffer
				c.Stdout, c.Stderr, c.WaitDelay = &out, &out, 10*time.Second
				if err := c.Run(); err != nil || strings.Count(out.String(), "as PyTorch\n") != n {
					t.Errorf("%v:\n%s", err, &out)
				}
			})
		}
	}
}
