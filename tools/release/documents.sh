#!/usr/bin/env bash
# Writes what packages have and the repository doesn't: bash documents.sh DIR makes the licences
# of what is linked, completions and manual pages there. VGG names the program, which is built
# if there is none.
set -euo pipefail
out=$1
vgg=${VGG:-}
if [ -z "$vgg" ]; then
  vgg=$(mktemp)
  trap 'rm -f "$vgg"' EXIT
  go build -o "$vgg" ./cmd/vgg
fi
mkdir -p "$out/completions"
go run ./tools/licences -out "$out/THIRD_PARTY_LICENSES"
"$vgg" completion bash >"$out/completions/vgg.bash"
"$vgg" completion zsh >"$out/completions/_vgg"
"$vgg" completion fish >"$out/completions/vgg.fish"
"$vgg" completion powershell >"$out/completions/vgg.ps1"
rm -rf "$out/man"
SOURCE_DATE_EPOCH=$(git log -1 --format=%ct) "$vgg" man "$out/man"
gzip --best --no-name "$out"/man/man*/*
