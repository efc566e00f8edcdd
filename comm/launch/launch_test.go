package launch

import "testing"

func TestFind(t *testing.T) {
	for name, c := range map[string]struct {
		env  map[string]string
		want Place
		ok   bool
	}{
		"nothing":              {nil, Place{}, false},
		"Open MPI":             {map[string]string{"OMPI_COMM_WORLD_SIZE": "4", "OMPI_COMM_WORLD_RANK": "3", "PMI_SIZE": "2", "PMI_RANK": "0"}, Place{"mpirun of Open MPI", 3, 4}, true},
		"MPICH":                {map[string]string{"PMI_SIZE": "2", "PMI_RANK": "0"}, Place{"mpiexec", 0, 2}, true},
		"a task of srun":       {map[string]string{"SLURM_NTASKS": "8", "SLURM_STEP_NUM_TASKS": "3", "SLURM_PROCID": "2"}, Place{"srun", 2, 3}, true},
		"a batch script":       {map[string]string{"SLURM_NTASKS": "8", "SLURM_PROCID": "0"}, Place{}, false},
		"mpirun within srun":   {map[string]string{"SLURM_STEP_NUM_TASKS": "2", "SLURM_PROCID": "1", "OMPI_COMM_WORLD_SIZE": "16", "OMPI_COMM_WORLD_RANK": "9"}, Place{"mpirun of Open MPI", 9, 16}, true},
		"a rank past the size": {map[string]string{"PMI_SIZE": "2", "PMI_RANK": "2"}, Place{}, false},
		"no numbers":           {map[string]string{"PMI_SIZE": "two", "PMI_RANK": "0"}, Place{}, false},
		"switched off":         {map[string]string{"PMI_SIZE": "2", "PMI_RANK": "0", "VGG_MPI": "off"}, Place{}, false},
	} {
		got, ok := Find(func(name string) string { return c.env[name] })
		if got != c.want || ok != c.ok {
			t.Errorf("%s: %+v, %v, want %+v, %v", name, got, ok, c.want, c.ok)
		}
	}
}
