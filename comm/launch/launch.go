// Package launch tells whether a launcher (mpirun, mpiexec, srun) started this process as one of
// several ranks. It needs no MPI, so a program that was built without it can refuse to run N
// times beside itself.
package launch

import (
	"fmt"
	"os"
	"strconv"
)

// Place is a process among those that a launcher started together.
type Place struct {
	By         string // the launcher, for a message
	Rank, Size int    // 0 … Size−1 of Size processes
}

func (p Place) String() string {
	return fmt.Sprintf("rank %d of %d that %s started", p.Rank, p.Size, p.By)
}

// Off is the value of VGG_MPI with which launchers are not heeded: every process is on its own.
const Off = "off"

// Srun is [Place.By] of Slurm's launcher.
const Srun = "srun"

// variables are those that launchers set. The order matters where one starts another: srun
// starts the daemons of mpirun, which start the ranks.
var variables = []struct{ by, size, rank string }{
	{"mpirun of Open MPI", "OMPI_COMM_WORLD_SIZE", "OMPI_COMM_WORLD_RANK"},
	{"mpiexec", "PMI_SIZE", "PMI_RANK"},
	// SLURM_NTASKS is also set in a batch script, which runs once; a task alone has its number
	// among those of its step.
	{Srun, "SLURM_STEP_NUM_TASKS", "SLURM_PROCID"},
}

// Found returns this process's place, if a launcher started it.
func Found() (Place, bool) { return Find(os.Getenv) }

// Find is [Found] by an environment.
func Find(getenv func(string) string) (Place, bool) {
	if getenv("VGG_MPI") == Off {
		return Place{}, false
	}
	for _, v := range variables {
		size, err := strconv.Atoi(getenv(v.size))
		if err != nil || size < 1 {
			continue
		}
		rank, err := strconv.Atoi(getenv(v.rank))
		if err != nil || rank < 0 || rank >= size {
			continue
		}
		return Place{v.by, rank, size}, true
	}
	return Place{}, false
}
