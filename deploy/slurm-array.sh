#!/bin/sh
# A Slurm array that evaluates weights on a set, a part of the images in every task:
#
#     sbatch deploy/slurm-array.sh WEIGHTS DATA OUT
#
# OUT is the result file, as out/d.jsonl. Each task writes its part beside it (out/d.2-of-8.jsonl), and
# the last to end merges them and prints what one run prints, to the bit. A task that is run again
# goes on where it stopped. VGG names another program than the one in the path.
#SBATCH --job-name=vgg-eval
#SBATCH --array=1-8
#SBATCH --cpus-per-task=4
#SBATCH --mem=8G
#SBATCH --time=04:00:00
#SBATCH --requeue
#SBATCH --signal=TERM@60
set -eu
weights=$1 data=$2 out=$3
mkdir -p "$(dirname "$out")"
exec srun --cpus-per-task="$SLURM_CPUS_PER_TASK" "${VGG:-vgg}" eval "$weights" --data "$data" \
	--shard auto --out "$out" --threads "$SLURM_CPUS_PER_TASK"
