#!/bin/sh
# Training by ranks on several nodes, one process a node, with Slurm and MPI:
#
#     sbatch --nodes 8 deploy/slurm-mpi.sh DATA RUN [FLAG…]
#
# The program is built with `-tags mpi` and loads the machine's MPI library. DATA and RUN are on
# a file system that all nodes share. The bits depend on the groups, not on the nodes: keep
# VGG_GROUPS (64) when the number of nodes changes, which must divide it. A minute before its time
# ends the job stops with a checkpoint. Submit the same line again, and it goes on.
#SBATCH --job-name=vgg-train
#SBATCH --nodes=4
#SBATCH --ntasks-per-node=1
#SBATCH --cpus-per-task=16
#SBATCH --mem=0
#SBATCH --exclusive
#SBATCH --time=24:00:00
#SBATCH --requeue
#SBATCH --open-mode=append
#SBATCH --signal=TERM@60
set -eu
data=$1 run=$2
shift 2
exec srun --mpi="${MPI:-pmix}" --cpus-per-task="$SLURM_CPUS_PER_TASK" --kill-on-bad-exit=1 \
	"${VGG:-vgg}" train --data "$data" --resume --out "$run" --set groups="${VGG_GROUPS:-64}" --threads "$SLURM_CPUS_PER_TASK" "$@"
