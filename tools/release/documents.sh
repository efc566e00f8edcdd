#!/usr/bin/env bash
# Writes the documents that packages have and the repository doesn't: bash documents.sh DIR.
set -euo pipefail
mkdir -p "$1"
go run ./tools/licences -out "$1/THIRD_PARTY_LICENSES"
