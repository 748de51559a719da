#!/usr/bin/env bash
# Octave loads complex numbers written by h5py as zeros, without any warning.
#
# Versions: GNU Octave 7.3.0 (Debian 12); h5py 3.16.0, numpy 2.4.6 (PyPI).
# Method: store the same complex numbers in an HDF5 file twice: once as h5py stores complex arrays by
#   default, in a compound with the fields r and i, and once in a compound with the fields real and
#   imag, as MATLAB does. Then load the file with Octave.
# Observation: load succeeds without a warning. The first variable is complex but all zero, the second
#   is correct.
# Conclusion: complex data for Octave need the fields real and imag, which h5py then shows as a
#   structured array instead of a complex one. No file works well with both.
#
# Requirements: octave-cli 7.3.0 (Debian's octave), python3 with venv. All other files are written to a
#   temporary folder.
set -euo pipefail
octave-cli --version | head -1 | grep -q "version 7.3.0" || { echo "needs octave-cli 7.3.0"; exit 1; }
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
cd "$folder"

python3 -m venv env
env/bin/pip install --quiet h5py==3.16.0 numpy==2.4.6
env/bin/python - <<'PY'
import h5py
import numpy as np

values = np.array([1 + 2j, 3 - 4j, -5 + 6j], np.complex64)
fields = values.view([("real", "<f4"), ("imag", "<f4")])
with h5py.File("complex.h5", "w") as file:
    file["by_default"] = values
    file["with_names"] = fields
PY
# Octave 7.3 always prints complaints to standard error when it exits.
if ! octave-cli --quiet 2> octave.log --eval '
  lastwarn("");
  load("complex.h5");
  if (! isempty(lastwarn())) error("changed: load warns now"); end
  expected = [1 + 2i; 3 - 4i; -5 + 6i];
  printf("by default: class %s, complex %d, largest magnitude %g\n", class(by_default), iscomplex(by_default), max(abs(by_default(:))));
  printf("fields real, imag: largest difference %g\n", max(abs(with_names(:) - expected)));
  if (any(by_default(:) != 0)) error("changed: h5py'"'"'s complex numbers are no longer loaded as zeros"); end
  if (max(abs(with_names(:) - expected)) > 0) error("changed: the fields real and imag are loaded differently"); end
'; then
  cat octave.log
  exit 1
fi
