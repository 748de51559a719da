#!/usr/bin/env bash
# Simulate a cine scan, undersample and reconstruct it in a pipe, and print the scores as JSON.
set -eu
out=${1:-example}
scan=$(cmrrecon simulate --slice-count 1 --frames 4 --coils 4 --size 96x128 --out-dir "$out" --quiet)
cmrrecon undersample "$scan" --pattern kt-gaussian -R 4 --seed 7 --quiet -o - |
    cmrrecon reconstruct - --method sense --quiet -o "$out/cine.h5" >&2
cmrrecon evaluate "$out/cine.h5" --truth "${scan%.mat}_truth.npz" --quiet --json
