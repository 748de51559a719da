#!/usr/bin/env bash
# AdamW(fused=True) on a CPU pairs the values of a parameter and its gradient by their place in
# memory. If their strides differ, it updates the wrong elements without an error. On CUDA, the same
# mismatch is refused (pytorch issue 106951). It happens with channels-last convolutions whose
# gradients are contiguous, such as those that DistributedDataParallel or a gradient exchange of
# one's own gives to a network in several processes: training still runs, but differs from training
# in one process.
#
# Versions: torch 2.13.0, numpy 2.4.6 (PyPI), Python 3.11, CPU.
# Method: one step of AdamW, fused and not, from the same weight and gradient (4, 3, 2, 2), with each
#   of them contiguous or channels-last.
# Observation: equal steps if both have the same layout; otherwise steps differ by up to twice the
#   learning rate, which means the opposite direction.
# Conclusion: leave out fused=True on CPUs, or copy every gradient to the layout of its parameter.
#
# Requirements: bash, python3 with venv. All files are written to a temporary folder.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
cd "$folder"

python3 -m venv env
env/bin/pip install --quiet torch==2.13.0 numpy==2.4.6

cat > steps.py <<'PY'
import sys

import torch

RATE = 1e-3
torch.manual_seed(0)
weight, gradient = torch.randn(2, 4, 3, 2, 2)
PLAIN, LAST = torch.contiguous_format, torch.channels_last


def stepped(fused, of_weight, of_gradient):
    parameter = torch.nn.Parameter(weight.clone(memory_format=of_weight))
    parameter.grad = gradient.clone(memory_format=of_gradient)
    torch.optim.AdamW([parameter], lr=RATE, weight_decay=0.0, fused=fused).step()
    return parameter.detach()


wrong = []
for of_weight, of_gradient in ((PLAIN, PLAIN), (LAST, LAST), (LAST, PLAIN), (PLAIN, LAST)):
    plain, fused = (stepped(choice, of_weight, of_gradient) for choice in (False, True))
    difference = float((plain - fused).abs().max()) / RATE
    print(f"weight {of_weight}, gradient {of_gradient}: {difference:.2f} learning rates apart")
    wrong.append(difference > 1)
sys.exit(wrong != [False, False, True, True])
PY

if ! env/bin/python steps.py; then
    echo "the observation has changed" >&2
    exit 1
fi
