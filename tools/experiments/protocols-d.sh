#!/bin/sh
# Protocols at full width, for docs/results.md: D's ImageNet convolutions are fine-tuned on a set
# with train and val, first a new head on frozen convolutions, then all layers, and the network is
# tested by every protocol of the paper, each against the central crop by McNemar's test.
#
#     protocols-d.sh VGG D.h5 imagenette224 WORK [EPOCHS]
#
# EPOCHS of fine-tuning all layers (3). What was done before is not done again.
set -eu
vgg=$1 weights=$2 data=$3 work=$4 epochs=${5:-3}
mkdir -p "$work"
done_() { test -f "$work/$1.done"; }
if ! done_ head; then
	"$vgg" train --data "$data" --init-from "$weights" --out "$work/head" --resume
	touch "$work/head.done"
fi
if ! done_ all; then
	"$vgg" train --data "$data" --init-from "$work/head/best.safetensors" --recipe fine-tune --epochs "$epochs" \
		--learning-rate 1e-3 --set 'schedule.name=cosine' --set 'layer_rates=[conv*=0.1]' --out "$work/all" --resume
	touch "$work/all.done"
fi
{
	echo '| network | protocol | Q | top-1 error | against the central crop at 256, p |'
	echo '|---|---|---|--:|--:|'
	for net in head all; do
		while read -r name scales protocol flags; do
			out=$work/$net-$name.jsonl
			# shellcheck disable=SC2086 # flags are several words, or none
			"$vgg" eval "$work/$net/best.safetensors" --data "$data" --scales "$scales" --protocol "$protocol" $flags --out "$out" >"$out.txt"
			error=$("$vgg" eval "$work/$net/best.safetensors" --data "$data" --scales "$scales" --protocol "$protocol" $flags --out "$out" --json | grep -o '"top1_error":[0-9.e-]*' | head -n 1 | cut -d : -f 2)
			p=$("$vgg" compare "$work/$net-centre.jsonl" "$out" --json | sed 's/.*"top1":{[^}]*"p":\([0-9.e-]*\).*/\1/')
			echo "| $net | $protocol $flags | $scales | $(awk "BEGIN { printf \"%.2f %%\", 100 * $error }") | $p |"
		done <<-ROWS
			centre 256 centre
			dense 256 dense
			dense-flip 256 dense --flip
			multi 256 multi-crop
			both 256 multi-crop-dense
			dense-3 224,256,320 dense --flip
			multi-3 224,256,320 multi-crop
			both-3 224,256,320 multi-crop-dense
		ROWS
	done
} | tee "$work/protocols.md"
