"""Compare radial encoding with SigPy: forward, adjoint and normal operator with coil maps.

Usage: python benchmarks/noncartesian.py [RUNS]

The problem has 64 golden-angle spokes of 448 samples, a matrix of 224 x 224 and 10 coils, in single
precision with one thread. The engines take turns in this process. Times are medians of CPU time;
errors are relative to double precision. SigPy's normal operator applies its forward operator and
then its adjoint; ours is a convolution (Toeplitz embedding), whose kernel is computed once per
frame.
"""

import statistics
import sys
import time
from collections.abc import Callable
from typing import Any

import numpy as np
import sigpy
import torch
from sigpy.mri.linop import Sense

from cmrrecon.operators.noncartesian import NonCartesianEncoding
from cmrrecon.simulation import coil_maps
from cmrrecon.simulation.phantoms import cine
from cmrrecon.simulation.radial import golden_angle

N, SPOKES, SAMPLES, COILS = 224, 64, 448, 10


def cpu_ms(function: Callable[[], Any]) -> float:
    start = time.process_time()
    function()
    return 1e3 * (time.process_time() - start)


def main() -> None:
    runs = int(sys.argv[1]) if len(sys.argv) > 1 else 15
    torch.set_num_threads(1)
    maps, image = (
        coil_maps(COILS, N, 2 * N, 0)[..., N // 2 : -N // 2],
        cine(1, 1, N, 2 * N, 0).image[:, 0, :, N // 2 : -N // 2],
    )
    trajectory, everywhere = (
        golden_angle(1, SPOKES, SAMPLES, N),
        torch.ones((1, SPOKES, 1), dtype=torch.bool),
    )
    A = NonCartesianEncoding(maps, trajectory, everywhere)
    exact = NonCartesianEncoding(maps.to(torch.complex128), trajectory, everywhere)
    S = Sense(maps.numpy(), coord=trajectory[0].numpy())
    kspace, x = A(image), image[0].numpy()
    k = kspace[0].numpy()
    double = (image.to(torch.complex128), kspace.to(torch.complex128))
    cases: list[tuple[str, Callable[[], Any], Callable[[], Any], Any]] = [
        ("forward", lambda: A(image), lambda: S(x), exact(double[0])),
        ("adjoint", lambda: A.H(kspace), lambda: S.H(k), exact.H(double[1])),
        ("normal", lambda: A.N(image), lambda: S.H(S(x)), exact.H(exact(double[0]))),
    ]
    kernel = cpu_ms(lambda: NonCartesianEncoding(maps, trajectory, everywhere)._kernel(0))
    print(
        f"{SPOKES} spokes x {SAMPLES} samples, {N} x {N}, {COILS} coils; "
        f"SigPy {sigpy.__version__}; CPU ms, medians of {runs}"
    )
    print(f"{'operator':10} {'ours':>7} {'SigPy':>7} {'ratio':>6}  error ours, SigPy")
    for name, ours, theirs, truth in cases:
        results = [
            torch.as_tensor(np.asarray(function())).reshape(truth.shape)
            for function in (ours, theirs)
        ]
        errors = [float((result - truth).norm() / truth.norm()) for result in results]
        times = [(cpu_ms(ours), cpu_ms(theirs)) for _ in range(runs)]
        mine, other = (statistics.median(column) for column in zip(*times, strict=True))
        print(
            f"{name:10} {mine:7.1f} {other:7.1f} {other / mine:6.1f}  "
            f"{errors[0]:.1e}, {errors[1]:.1e}"
        )
    print(f"kernel of the normal operator, once: {kernel:.1f} ms")


if __name__ == "__main__":
    main()
