#!/usr/bin/env bash
# On PyTorch's meta device, nn.init.normal_ imports the compiler (torch._dynamo, sympy and several
# hundred further modules), although there is nothing to fill. nn.init.uniform_ does not. Building a
# network without memory, to fill it with the tensors of a checkpoint, then takes a second longer in
# a program that never compiles anything.
#
# Versions: torch 2.13.0, numpy 2.4.6 (PyPI), Python 3.11, CPU.
# Method: in separate processes, build nn.Linear on the meta device, which fills its weight by
#   uniform_, and fill it again by nn.init.normal_; count imported modules and CPU time.
# Observation: only normal_ imports torch._dynamo and sympy, with 823 modules in about a second; the
#   layer itself imports one module and takes a millisecond.
# Conclusion: skip nn.init.normal_ while building on the meta device, for instance in a
#   TorchFunctionMode.
#
# Requirements: bash, python3 with venv. All files are written to a temporary folder.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
cd "$folder"

python3 -m venv env
env/bin/pip install --quiet torch==2.13.0 numpy==2.4.6

cat > build.py <<'PY'
import sys
import time

import torch
from torch import nn

before, start = len(sys.modules), time.process_time()
with torch.device("meta"):
    layer = nn.Linear(8, 8)
    if sys.argv[1] == "normal":
        nn.init.normal_(layer.weight)
used = time.process_time() - start
print(int("torch._dynamo" in sys.modules and "sympy" in sys.modules), len(sys.modules) - before, used)
PY

read -r plain_compiler plain_modules plain_seconds < <(env/bin/python build.py uniform)
read -r normal_compiler normal_modules normal_seconds < <(env/bin/python build.py normal)
echo "uniform_: $plain_modules modules imported, $plain_seconds CPU s"
echo "normal_: $normal_modules modules imported, $normal_seconds CPU s"

if [ "$plain_compiler" != 0 ] || [ "$normal_compiler" != 1 ]; then
    echo "the observation has changed" >&2
    exit 1
fi
