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
vgg train --epochs 1 "${small[@]}" --out run | tail -n 6
echo '-- eval'
vgg eval run/best.safetensors sample | tail -n 1
echo '-- classify, by paths of both kinds'
mkdir photos
cp "$photo" 'photos/two words.jpg'
vgg classify 'run\best.safetensors' 'photos\two words.jpg' photos sample/val/sunflower/image_0041.jpg --top 1

# wait-for PATTERN FILE waits until a line matches, a minute at most.
wait-for() {
  for _ in $(seq 600); do # a tenth of a second each
    if grep --quiet "$1" "$2"; then return; fi
    sleep 0.1
  done
  cat "$2"
  echo "no line $1 after a minute"
  return 1
}
# interrupt ends the program in the background by Ctrl-C, and checks that it saved its work.
interrupt() {
  kill -INT "$1" # wine gives it to the program as the console does
  local code=0
  wait "$1" || code=$?
  tail -n 1 "$2"
  [ "$code" = 130 ]
  grep --quiet 'interrupted; the weights so far are in held' "$2"
}

echo '-- another run is refused'
"$wine" "$exe" train --epochs 100000 "${small[@]}" --out held </dev/null >held.txt 2>&1 &
run=$!
wait-for '^ *1/100000' held.txt
if vgg train --resume --out held >refused.txt 2>&1; then
  echo 'a second run in the same folder was not refused'
  exit 1
fi
grep 'another run is writing it' refused.txt
echo '-- Ctrl-C'
interrupt $run held.txt
vgg eval held/last.safetensors sample | tail -n 1
echo '-- resume'
"$wine" "$exe" train --resume --out held </dev/null >again.txt 2>&1 &
run=$!
wait-for '/100000 ' again.txt
grep '^Continuing from held' again.txt
interrupt $run again.txt
