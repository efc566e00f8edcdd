package main

import (
	"encoding/json"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"reflect"
	"strings"
	"testing"
	"time"

	"github.com/verydeep/vgg/internal/vggtest"
	"github.com/verydeep/vgg/internal/vggtest/tiny"
)

// slurmConf is the configuration of a cluster of one node, which is this machine. The node is
// larger than the machine, so that the scripts' requests fit.
const slurmConf = `ClusterName=one
SlurmctldHost=%[1]s(127.0.0.1)
SlurmUser=root
SlurmdUser=root
AuthType=auth/none
CredType=cred/none
SlurmctldPort=%[3]d
SlurmdPort=%[4]d
StateSaveLocation=%[2]s/state
SlurmdSpoolDir=%[2]s/spool
SlurmctldPidFile=%[2]s/slurmctld.pid
SlurmdPidFile=%[2]s/slurmd.pid
ProctrackType=proctrack/pgid
TaskPlugin=task/none
SelectType=select/cons_tres
SelectTypeParameters=CR_Core
ReturnToService=2
MpiDefault=none
SlurmdParameters=config_overrides
NodeName=%[1]s NodeAddr=127.0.0.1 CPUs=16 RealMemory=64000 State=UNKNOWN
PartitionName=all Nodes=%[1]s Default=YES MaxTime=INFINITE State=UP
`

// startSlurm starts a cluster of one node, and sets SLURM_CONF.
func startSlurm(t *testing.T) {
	t.Helper()
	if os.Getuid() != 0 {
		vggtest.Skip(t, "the right to start slurmd")
	}
	for _, program := range []string{"slurmctld", "slurmd", "sbatch", "srun"} {
		if _, err := exec.LookPath(program); err != nil {
			vggtest.Skip(t, "Slurm (slurmctld, slurmd, slurm-client)")
		}
	}
	dir := t.TempDir()
	host, err := os.Hostname()
	if err != nil {
		t.Fatal(err)
	}
	host, _, _ = strings.Cut(host, ".")
	var ports [2]int
	for i := range ports {
		l, err := net.Listen("tcp", "127.0.0.1:0")
		if err != nil {
			t.Fatal(err)
		}
		defer l.Close()
		ports[i] = l.Addr().(*net.TCPAddr).Port
		l.Close()
	}
	conf := filepath.Join(dir, "slurm.conf")
	vggtest.WriteFiles(t, dir, map[string][]byte{"slurm.conf": fmt.Appendf(nil, slurmConf, host, dir, ports[0], ports[1]), "state/x": nil, "spool/x": nil})
	t.Setenv("SLURM_CONF", conf)
	for _, args := range [][]string{{"slurmctld", "-D", "-c"}, {"slurmd", "-D", "-N", host}} {
		cmd := exec.Command(args[0], args[1:]...)
		if err := cmd.Start(); err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() {
			cmd.Process.Signal(os.Interrupt)
			cmd.Wait()
		})
	}
	for range 120 {
		out, err := exec.CommandContext(t.Context(), "sinfo", "--noheader", "--format=%T").Output()
		if err == nil && strings.TrimSpace(string(out)) == "idle" {
			return
		}
		time.Sleep(500 * time.Millisecond)
	}
	t.Fatal("the node isn't idle after a minute")
}

// TestSlurm: Slurm takes the scripts of deploy, and the array's parts merge to what one run says.
func TestSlurm(t *testing.T) {
	startSlurm(t)
	run := func(environment []string, name string, args ...string) string {
		t.Helper()
		cmd := exec.CommandContext(t.Context(), name, args...)
		cmd.Env = append(os.Environ(), environment...)
		out, err := cmd.CombinedOutput()
		if err != nil {
			t.Fatalf("%s %q: %v: %s", name, args, err, out)
		}
		return string(out)
	}
	const deploy = "../../deploy/"
	run(nil, "sbatch", "--test-only", deploy+"slurm-array.sh", "weights", "data", "out.jsonl")
	run(nil, "sbatch", "--test-only", "--nodes=1", deploy+"slurm-mpi.sh", "data", "run")

	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	dir := t.TempDir()
	model := tiny.Colours(3)
	weights := filepath.Join(dir, "net.safetensors")
	if err := model.Save(t.Context(), weights); err != nil {
		t.Fatal(err)
	}
	files := map[string][]byte{}
	for i := range 11 {
		files[fmt.Sprintf("set/%s/%02d.png", model.Classes[i%2], i)] = vggtest.PNG(40, 44, vggtest.Noise(uint64(i)))
	}
	files["vgg"] = fmt.Appendf(nil, "#!/bin/sh\n%s=1 VGG_CPU=go exec '%s' \"$@\"\n", asProgram, self)
	vggtest.WriteFiles(t, dir, files)
	vgg, set, whole := filepath.Join(dir, "vgg"), filepath.Join(dir, "set"), filepath.Join(dir, "out", "d.jsonl")
	if err := os.Chmod(vgg, 0o755); err != nil {
		t.Fatal(err)
	}
	log := filepath.Join(dir, "log-%a")
	run([]string{"VGG=" + vgg}, "sbatch", "--wait", "--array=4-8:2", "--mem=1G", "--cpus-per-task=1", "--output="+log, deploy+"slurm-array.sh", weights, set, whole)
	result := func(args ...string) map[string]any {
		t.Helper()
		cmd := exec.CommandContext(t.Context(), vgg, args...)
		out, err := cmd.Output()
		if err != nil {
			t.Fatalf("%q: %v", args, err)
		}
		var v map[string]any
		if err := json.Unmarshal(out, &v); err != nil {
			t.Fatalf("%v: %s", err, out)
		}
		return v
	}
	merged, one := result("eval", "--json", "--merge", whole), result("eval", weights, "--data", set, "--json", "--threads=1")
	for _, measured := range []string{"images_per_second", "memory_bytes", "peak_rss_bytes", "seconds"} {
		delete(one, measured)
	}
	if one["images"] != 11.0 || !reflect.DeepEqual(merged, one) {
		t.Errorf("merged\n%v\none run\n%v", merged, one)
	}
}
