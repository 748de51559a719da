#!/bin/sh
# Reconstruct the test set in /input and write the images to /output, without network and as an
# ordinary user. Other folders can be given for a rehearsal: entry.sh INPUT OUTPUT
#
# The year and the method are CMRRECON_YEAR and CMRRECON_METHOD (see the Dockerfile). The exit code
# is 1 if some cases failed; the images of all others are there.
set -eu
input="${1:-/input}"
output="${2:-/output}"

work="$(mktemp -d)"
trap 'rm -rf "$work"' EXIT
export MPLCONFIGDIR="$work/matplotlib"

cmrrecon submit "$input" --no-crop --output "$output" --results "$work/results"
