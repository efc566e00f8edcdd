#!/usr/bin/env bash
# Runs the Windows binary under Debian's wine64: bash tools/windows/smoke.sh VGG.EXE
# It trains for an epoch, evaluates and classifies, is refused where another run writes, stops at
# Ctrl-C with a checkpoint, and goes on from there.
set -euo pipefail
exe=$(realpath "$1")
here=$(realpath "$(dirname "${BASH_SOURCE[0]}")")
photo=$here/../../docs/boxes-raccoon.jpg
wine=$(command -v wine64 || echo /usr/lib/wine/wine64)
server=$(command -v wineserver || echo /usr/lib/wine/wineserver)
work=$(mktemp -d)
export WINEPREFIX=$work/prefix WINEDEBUG=-all WINEDLLOVERRIDES='mscoree=;mshtml=' DISPLAY=
finish() {
  "$server" --kill || true
  "$server" --wait || true
  rm -rf "$work"
}
trap finish EXIT
cd "$work"
vgg() { "$wine" "$exe" "$@" </dev/null; }
"$wine" wineboot --init </dev/null >/dev/null 2>&1
system=$WINEPREFIX/drive_c/windows/system32
if [ ! -e "$system/bcryptprimitives.dll" ]; then
  (cd "$here" && go run ./prng "$system/bcryptprimitives.dll")
fi
small=(--config A --width 0.0625 --set fc=32 --input 32 --scale-min 32 --scale-max 40 --test-scale 36)

echo '-- version'
vgg version
echo '-- train'
vgg train --epochs 1 "${small[@]}" --out run
echo '-- eval'
vgg eval run/best.safetensors sample | tail -n 1
echo '-- classify, by paths of both kinds'
mkdir photos
cp "$photo" 'photos/two words.jpg'
vgg classify 'run\best.safetensors' 'photos\two words.jpg' photos sample/val/sunflower/image_0041.jpg --top 1

echo '-- another run is refused'
"$wine" "$exe" train --epochs 100000 "${small[@]}" --out held </dev/null >held.txt 2>&1 &
run=$!
for _ in $(seq 600); do # a tenth of a second each
  if grep -q '^ *1/100000' held.txt; then break; fi
  sleep 0.1
done
grep '^ *1/100000' held.txt
if vgg train --resume --out held 2>refused.txt; then
  echo 'a second run in the same folder was not refused'
  exit 1
fi
grep 'another run is writing it' refused.txt

echo '-- Ctrl-C'
kill -INT "$run" # wine gives it to the program as the console does
code=0
wait "$run" || code=$?
tail -n 1 held.txt
[ "$code" = 130 ]
grep -q 'interrupted; the weights so far are in held' held.txt
vgg eval held/last.safetensors sample | tail -n 1
echo '-- resume'
epoch=$(grep -c '^ *[0-9]*/100000' held.txt)
vgg train --resume --out held --epochs $((epoch + 2)) | grep '^Continuing from held'
