#!/bin/sh
# Protocols at full width, for docs/results.md: D's ImageNet convolutions are fine-tuned on a set
# with train and val, first a new head on frozen convolutions, then all layers, and the network is
# tested by every protocol of the paper (protocols-d.yaml), each against the central crop by
# McNemar's test. Each view of a picture is computed once, for all protocols that it is part of.
#
#     protocols-d.sh VGG D.h5 imagenette224 WORK [EPOCHS [PICTURES]]
#
# EPOCHS of fine-tuning all layers (3; 0 leaves it out). PICTURES of each class of val, the first by
# name, to test on (all). What was done before is not done again. Writes WORK/protocols-head.md and
# WORK/protocols-all.md.
set -eu
vgg=$1 weights=$2 data=$3 work=$4 epochs=${5:-3} pictures=${6:-}
plan=$(dirname "$0")/protocols-d.yaml
mkdir -p "$work"
done_() { test -f "$work/$1.done"; }
test_on() {
	mkdir -p "$work/nets-$1"
	cp "$work/$1/best.safetensors" "$work/nets-$1/fine-tuned.safetensors"
	"$vgg" reproduce "$plan" "$work/nets-$1" --data "$set" --results "$work/results-$1${pictures:+-$pictures}" --overwrite --markdown "$work/protocols-$1.md"
}
set=$data
if [ -n "$pictures" ]; then
	set=$work/val-$pictures
	for class in "$data"/val/*/; do
		name=$(basename "$class")
		mkdir -p "$set/$name"
		find "$class" -type f | LC_ALL=C sort | head -n "$pictures" | while read -r file; do
			test -e "$set/$name/$(basename "$file")" || cp "$file" "$set/$name/"
		done
	done
fi
if ! done_ head; then
	"$vgg" train --data "$data" --init-from "$weights" --out "$work/head" --resume
	touch "$work/head.done"
fi
test_on head
if [ "$epochs" != 0 ]; then
	if ! done_ all; then
		"$vgg" train --data "$data" --init-from "$work/head/best.safetensors" --recipe fine-tune --epochs "$epochs" \
			--learning-rate 1e-3 --set 'schedule.name=cosine' --set 'layer_rates=[conv*=0.1]' --out "$work/all" --resume
		touch "$work/all.done"
	fi
	test_on all
fi
