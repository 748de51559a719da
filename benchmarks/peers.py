"""Reconstruct a case with SigPy and BART; the parameters are listed here.

All methods get normalised k-space and the coil maps of the case, so that only solvers are compared.
BART and SigPy define their weights for 1/2 ||A x - y||^2 + weight * R(x), as cmrrecon does.
"""

from typing import Any

Options = dict[str, float]

# BART's parameters were chosen by `python benchmarks/reconstruction.py TOOL --tune` for the best
# mean PSNR over the tuning cases. SigPy's methods take minutes per run, so their parameters were
# set by hand, guided by BART's.
PEERS: dict[str, Options] = {
    "sigpy:sense": {"weight": 0.00707, "iterations": 20},
    "sigpy:l1-wavelet": {"weight": 0.005, "iterations": 60},
    "sigpy:tv": {"weight": 0.003, "iterations": 15, "penalty": 0.02},
    "sigpy:temporal-tv": {"weight": 0.005, "iterations": 30},
    "bart:sense": {"weight": 0.00707, "iterations": 20},
    "bart:l1-wavelet": {"weight": 0.00177, "iterations": 60},
    "bart:tv": {"weight": 0.00849, "iterations": 20, "penalty": 0.1},
    "bart:temporal-tv": {"weight": 0.005, "iterations": 20, "penalty": 0.1},
    "bart:llr": {"weight": 0.0025, "iterations": 80},
}
# Settings other than the weight that tuning tries, fastest first. The penalty is a parameter of
# ADMM; BART's default is 0.5.
CHOICES: dict[str, list[Options]] = {
    "sigpy:sense": [{"iterations": 10}, {"iterations": 20}, {"iterations": 30}],
    "sigpy:l1-wavelet": [{"iterations": 30}, {"iterations": 60}],
    "sigpy:tv": [
        {"iterations": n, "penalty": penalty} for n in (15, 30) for penalty in (0.02, 0.1)
    ],
    "sigpy:temporal-tv": [{"iterations": 30}, {"iterations": 60}],
    "bart:sense": [{"iterations": 10}, {"iterations": 20}, {"iterations": 30}],
    "bart:l1-wavelet": [{"iterations": 30}, {"iterations": 60}],
    "bart:tv": [{"iterations": 20}, {"iterations": 20, "penalty": 0.1}, {"iterations": 40}],
    "bart:temporal-tv": [
        {"iterations": 20},
        {"iterations": 20, "penalty": 0.1},
        {"iterations": 40},
    ],
    "bart:llr": [{"iterations": 20}, {"iterations": 40}, {"iterations": 80}],
}
# Settings of the oracle other than the weight. LLR with 80 iterations, which tuning prefers, is no
# better on these cases.
ORACLE_CHOICE: dict[str, Options] = {
    "bart:l1-wavelet": {"iterations": 60},
    "bart:temporal-tv": {"iterations": 40},
    "bart:llr": {"iterations": 40},
}
# The best weight on each reported case itself, for each score, found by `python
# benchmarks/reconstruction.py TOOL --oracle`.
ORACLE: dict[str, dict[str, dict[str, float]]] = {
    "P003/kt-gaussian-8": {
        "bart:l1-wavelet": {"psnr": 0.00177, "ssim": 0.00707},
        "bart:temporal-tv": {"psnr": 0.005, "ssim": 0.005},
        "bart:llr": {"psnr": 0.00177, "ssim": 0.00354},
    },
    "P003/kt-gaussian-16": {
        "bart:l1-wavelet": {"psnr": 0.00177, "ssim": 0.00707},
        "bart:temporal-tv": {"psnr": 0.00707, "ssim": 0.005},
        "bart:llr": {"psnr": 0.00177, "ssim": 0.0025},
    },
    "P003/kt-gaussian-24": {
        "bart:l1-wavelet": {"psnr": 0.00177, "ssim": 0.01},
        "bart:temporal-tv": {"psnr": 0.00707, "ssim": 0.00354},
        "bart:llr": {"psnr": 0.0025, "ssim": 0.00354},
    },
}
BLOCK = 8
# Bit masks of BART dimensions: x and y, and frames.
SPACE, TIME = 3, 1024


def bart_words(method: str, options: Options) -> list[str]:
    """Return the options of `bart pics` for a method."""
    weight = f"{options['weight']:g}"
    chosen = {
        "sense": ["-l2", "-r", weight],
        "l1-wavelet": ["-l1", "-r", weight],
        "tv": ["-R", f"T:{SPACE}:0:{weight}"],
        "temporal-tv": ["-R", f"T:{TIME}:0:{weight}"],
        "llr": ["-R", f"L:{SPACE}:{SPACE}:{weight}", "-b", str(BLOCK)],
    }[method]
    penalty = ["-u", f"{options['penalty']:g}"] if "penalty" in options else []
    return ["-S", "-w", "1", "-i", str(int(options["iterations"])), *chosen, *penalty]


def sigpy_images(method: str, kspace: Any, mask: Any, maps: Any, options: Options) -> Any:
    """Return images (frame, y, x) of k-space (frame, coil, y, x), all as NumPy arrays."""
    import numpy as np

    if method == "temporal-tv":
        return temporal_tv(kspace, mask, maps, options)
    masks = np.broadcast_to(mask, (len(kspace), *mask.shape[1:]))
    return np.stack(
        [
            single_frame(method, k, m.astype(np.float32), maps, options)
            for k, m in zip(kspace, masks, strict=True)
        ]
    )


def single_frame(method: str, kspace: Any, mask: Any, maps: Any, options: Options) -> Any:
    from sigpy.mri import app

    weight, shared = (
        options["weight"],
        {"weights": mask, "max_iter": int(options["iterations"]), "show_pbar": False},
    )
    if method == "sense":
        return app.SenseRecon(kspace, maps, lamda=weight, **shared).run()
    if method == "l1-wavelet":
        # The step size is 1 because the maps have unit RSS; SigPy would estimate it from a random
        # start.
        return app.L1WaveletRecon(kspace, maps, weight, alpha=1, **shared).run()
    # SigPy's usual primal-dual solver for total variation is still far from the minimum after 100
    # iterations.
    rho = options["penalty"]
    return app.TotalVariationRecon(
        kspace, maps, weight, solver="ADMM", rho=rho, max_cg_iter=5, **shared
    ).run()


def temporal_tv(kspace: Any, mask: Any, maps: Any, options: Options) -> Any:
    """Solve temporal total variation with SigPy's linear operators.

    The primal-dual solver starts from the time average.
    """
    import numpy as np
    import sigpy as sp
    from sigpy.app import LinearLeastSquares

    frames, _, y, x = kspace.shape
    expand = sp.linop.Reshape((frames, 1, y, x), (frames, y, x))
    coils = sp.linop.Multiply(expand.oshape, maps)
    fourier = sp.linop.FFT(coils.oshape, axes=(-2, -1))
    sample = sp.linop.Multiply(fourier.oshape, mask[:, None].astype(np.float32))
    encoding = sample * fourier * coils * expand
    counts = np.broadcast_to(mask, (frames, *mask.shape[1:])).sum(0).clip(1)
    average = (maps.conj() * sp.ifft(kspace.sum(0) / counts, axes=(-2, -1))).sum(0)
    difference = sp.linop.FiniteDifference((frames, y, x), axes=[0])
    return LinearLeastSquares(
        encoding,
        kspace,
        x=np.repeat(average[None], frames, 0).astype(np.complex64),
        proxg=sp.prox.L1Reg(difference.oshape, options["weight"]),
        G=difference,
        solver="PrimalDualHybridGradient",
        max_iter=int(options["iterations"]),
        show_pbar=False,
    ).run()
