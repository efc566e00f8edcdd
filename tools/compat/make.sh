#!/usr/bin/env bash
# Makes one small file of each kind that vgg writes, and records vgg's output for them:
#
#   bash tools/compat/make.sh VGG DIR
#
# VGG is a built binary, DIR a new folder such as testdata/compat/v1. TestCompat of cmd/vgg
# opens the files. A released version's files are never made again.
set -euo pipefail

vgg=$(realpath "$1")
out=$(realpath -m "$2")
root=$(realpath "$(dirname "${BASH_SOURCE[0]}")/../..")
if [ -e "$out" ]; then echo "$out: there already" >&2; exit 1; fi

# An index has the absolute paths of its weights and pictures, so the work is done in a
# folder that is the same everywhere.
work=/tmp/vgg-compat
rm -rf "$work"
mkdir "$work"
cd "$work"
export VGG_CPU=go # the same bits on every amd64 machine
(cd "$root" && go run ./tools/compat/pictures "$work/data")
# The cache of statistics depends on the dates of the files. The test sets the same dates.
find data -exec touch -d 2026-01-01T00:00:00Z {} +

cat >recipe.yaml <<'RECIPE'
config: 4 M 4 M 8 M FC8 FC
width: 1
fc: 8
input: 16
init: he
standardise: true
learning_rate: 0.001
batch: 4
groups: 1
epochs: 12
dropout: 0
flip: false
colour_shift: 0.01
scale_min: 16
scale_max: 20
test_scale: 18
seed: 1
RECIPE

{
  "$vgg" stats data
  # A checkpoint after every iteration, of which the 20th is kept: a run that was killed in
  # its seventh epoch. last.safetensors holds the weights that it must end with.
  "$vgg" train --data data --recipe recipe.yaml --checkpoint-every 1ns --keep 100 --out run
  "$vgg" localize train --learning-rate 0.01 --epochs 30 --set schedule.name=cosine --init-from run/best.safetensors --data data --recipe recipe.yaml --checkpoint-every 1ns --keep 100 --out boxes
  for dir in run boxes; do
    mv $dir/checkpoints/checkpoint-0000000020.safetensors $dir/kept
    rm $dir/checkpoints/* $dir/curve.png
    mv $dir/kept $dir/checkpoints/checkpoint-0000000020.safetensors
  done
  cp run/best.safetensors net.safetensors
  cp boxes/best.safetensors boxes.safetensors

  "$vgg" convert net.safetensors headless.safetensors --headless
  "$vgg" convert net.safetensors half.safetensors --dtype f16
  for name in net.onnx net.pth net.npz net.weights.h5; do "$vgg" convert net.safetensors $name; done

  "$vgg" eval net.safetensors --data data --protocol dense --flip --out eval.jsonl
  for part in 1 2; do
    "$vgg" eval net.safetensors --data data --protocol dense --flip --shard $part/2 --out eval-$part.jsonl
  done
  "$vgg" localize eval boxes.safetensors --classifier net.safetensors --data data --protocol dense --out localize.jsonl

  for name in f.npy f.jsonl f.safetensors; do "$vgg" features net.safetensors data --out $name; done
  "$vgg" transfer train f.npy --out svm.safetensors --c 1
  "$vgg" index net.safetensors data/train --out index.npy
  "$vgg" shard data --out shards
} >&2

# The output for each.
mkdir want
"$vgg" classify net.safetensors data/val/*/*.png --json >want/classify.json
"$vgg" eval net.safetensors --data data --protocol dense --flip --out eval.jsonl --json >want/eval.json
"$vgg" localize boxes.safetensors data/val/*/*.png --classifier net.safetensors --json >want/localize.json
"$vgg" localize eval boxes.safetensors --classifier net.safetensors --data data --protocol dense --out localize.jsonl --json >want/localize-eval.json
"$vgg" transfer predict svm.safetensors data/val/*/*.png --json >want/predict.json
"$vgg" transfer eval f.npy --svm svm.safetensors --json >want/transfer-eval.json
"$vgg" similar index.npy data/val/red/0.png --top 12 --json >want/similar.json
"$vgg" stats data --json >want/stats.json

rm boxes/best.safetensors run/best.safetensors
mkdir -p "$(dirname "$out")"
cp -r "$work" "$out"
rm -r "$work"
du -sb "$out" >&2
