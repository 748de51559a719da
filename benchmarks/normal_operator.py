"""Compare the Cartesian normal operator with SigPy's Sense.H * Sense in one process, in turn.

Usage: python benchmarks/normal_operator.py CASE_FOLDER [RUNS]

The mask of the case changes along the readout. The output is a JSON record of medians: wall time
with two threads and CPU time with one.
"""

import json
import statistics
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import cases
import numpy as np
import torch
from sigpy.mri.linop import Sense

from cmrrecon import SamplingMask
from cmrrecon.operators.cartesian import encoding, y_fastest

THREADS = 2


def seconds(function: Callable[[], Any], clock: Callable[[], float], threads: int) -> float:
    torch.set_num_threads(threads)
    start = clock()
    function()
    return clock() - start


def main() -> None:
    folder, runs = Path(sys.argv[1]), int(sys.argv[2]) if len(sys.argv) > 2 else 7
    case = cases.load(folder)
    maps = np.fromfile(folder / "maps.cfl", np.complex64).reshape(case.shape[1:])
    mask, image = np.load(folder / "mask.npy"), np.load(folder / "truth.npy")
    # As in our methods, only columns with non-zero coil maps are computed; elsewhere the result is
    # 0.
    seen = np.flatnonzero(np.abs(maps).max((0, 1)))
    columns = slice(int(seen[0]), int(seen[-1]) + 1)
    A = encoding(torch.from_numpy(maps), SamplingMask.of(torch.from_numpy(mask)), columns)
    masks = np.broadcast_to(mask, (case.shape[0], *maps.shape[1:])).astype(np.float32)
    frames = [Sense(maps, weights=m) for m in masks]
    normals = [S.H * S for S in frames]
    x = y_fastest(torch.from_numpy(image)[..., columns])

    def ours() -> Any:
        return A.N(x)

    def sigpys() -> Any:
        return np.stack([normal(frame) for normal, frame in zip(normals, image, strict=True)])

    difference = float(
        np.linalg.norm(ours().numpy() - sigpys()[..., columns]) / np.linalg.norm(sigpys())
    )
    rows = [
        [seconds(f, clock, n) for f in (ours, sigpys) for clock, n in CLOCKS] for _ in range(runs)
    ]
    wall, cpu, sigpy_wall, sigpy_cpu = (
        statistics.median(column) for column in zip(*rows, strict=True)
    )
    print(
        json.dumps(
            {
                "wall": wall,
                "cpu": cpu,
                "sigpy_wall": sigpy_wall,
                "sigpy_cpu": sigpy_cpu,
                "difference": difference,
            }
        )
    )


CLOCKS = ((time.perf_counter, THREADS), (time.process_time, 1))

if __name__ == "__main__":
    main()
