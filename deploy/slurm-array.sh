#!/bin/sh
# A Slurm array that evaluates weights on a set, a part of the images in every task:
#
#     sbatch deploy/slurm-array.sh WEIGHTS DATA OUT
#
# Each task writes OUT/I.jsonl; a task that is run again goes on where it stopped. When all have
# ended,
#
#     vgg eval --merge OUT/*.jsonl
#
# prints what one run prints, to the bit. VGG names another program than the one in the path.
#SBATCH --job-name=vgg-eval
#SBATCH --array=1-8
#SBATCH --cpus-per-task=4
#SBATCH --mem=8G
#SBATCH --time=04:00:00
#SBATCH --requeue
#SBATCH --signal=TERM@60
set -eu
weights=$1 data=$2 out=$3
mkdir -p "$out"
part=$((SLURM_ARRAY_TASK_ID - SLURM_ARRAY_TASK_MIN + 1))
exec srun --cpus-per-task="$SLURM_CPUS_PER_TASK" "${VGG:-vgg}" eval "$weights" --data "$data" \
	--shard "$part/$SLURM_ARRAY_TASK_COUNT" --out "$out/$part.jsonl" --threads "$SLURM_CPUS_PER_TASK"
