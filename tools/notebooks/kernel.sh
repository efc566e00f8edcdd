#!/usr/bin/env bash
# Builds GoNB and registers it as a kernel of a virtual environment: bash kernel.sh VENV
set -euo pipefail
venv=$(realpath "$1")
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
cat > "$work/go.mod" <<'MOD'
module kernel

go 1.26

require (
	github.com/janpfeifer/gonb v0.11.3
	golang.org/x/tools v0.43.0
)
MOD
# go install MODULE@VERSION asks for the list of the module's versions; a requirement doesn't.
GOFLAGS="-mod=mod -trimpath" go -C "$work" build -o "$venv/bin/gonb" github.com/janpfeifer/gonb
GOFLAGS="-mod=mod -trimpath" go -C "$work" build -o "$venv/bin/goimports" golang.org/x/tools/cmd/goimports
mkdir -p "$venv/share/jupyter/kernels/gonb"
cat > "$venv/share/jupyter/kernels/gonb/kernel.json" <<JSON
{"argv": ["$venv/bin/gonb", "--kernel", "{connection_file}"], "display_name": "Go (gonb)", "language": "go", "env": {"PATH": "$venv/bin:$PATH"}}
JSON
