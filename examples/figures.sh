#!/usr/bin/env bash
# Make figures of a trained network on a simulated cine scan: three patterns at R = 16, and the edge region of the EAR loss.
# Usage: examples/figures.sh CHECKPOINT [FOLDER]
set -eu
checkpoint=$1
out=${2:-figures}
scan=$(cmrrecon simulate --slice-count 1 --coils 8 --size 96x200 --out-dir "$out" --quiet)
compare() { # PATTERN NAME [OPTION...]
    local under
    under=$(cmrrecon undersample "$scan" --pattern "$1" -R 16 --acs 16 --out-dir "$out" --quiet)
    cmrrecon compare "$under" --checkpoint "$checkpoint" --truth "${scan%.mat}_truth.npz" -o "$out/$2.png" "${@:3}"
}
for pattern in kt-uniform kt-gaussian kt-radial; do
    compare $pattern $pattern --method zero-filled,temporal-tv
done
compare kt-gaussian edges --method zero-filled --edges
