"""SigPy's reconstructions, frame by frame on the CPU, with the coil maps and the normalisation of the other methods.

SigPy minimises 1/2 ||P F S x - y||^2 + regularisation. The step size of FISTA is given, not searched by SigPy from a random
start: with maps of unit root-sum-of-squares the encoding has norm one at most, and the same input gives the same image.
Ong and Lustig, ISMRM 2019;27:4819.
"""

from collections.abc import Callable
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from cmrrecon.data.scan import Series, require_cartesian
from cmrrecon.operators.sensitivity import FEWEST_LINES, calibration_data, estimate_maps, too_few_lines
from cmrrecon.tools.errors import NumericalError, UsageError

Array = npt.NDArray[Any]
ALTERNATIVE = "Use the method auto, sense or another of this program's own"
# Quickest of 0.02, 0.05 and 0.1 at normalised k-space.
ADMM_PENALTY = 0.02
# Chosen on simulated cine; SigPy's own are 16 and 10.
JSENSE_KERNEL = 12
JSENSE_ITERATIONS = 30


def sigpy_sense(series: Series, *, weight: float = 0.003, iterations: int = 20) -> Tensor:
    """SigPy's conjugate-gradient SENSE: images (frame, y, x) complex64.

    Parameters
    ----------
    series : normalised series
    weight : Tikhonov weight
    iterations : conjugate-gradient steps
    """
    return _sense_with(series, _maps(series), weight, iterations)


def sigpy_l1_wavelet(series: Series, *, weight: float = 0.002, iterations: int = 60) -> Tensor:
    """SigPy's compressed sensing with the l1-norm of Daubechies-4 wavelets, by FISTA: images (frame, y, x) complex64.

    Parameters
    ----------
    series : normalised series
    weight : of the l1-norm
    iterations : FISTA steps

    Lustig et al., Magn Reson Med 2007;58:1182.
    """
    from sigpy.mri.app import L1WaveletRecon

    maps = _numpy(_maps(series))

    def solve(kspace: Array, mask: Array) -> Array:
        app = L1WaveletRecon(kspace, maps, weight, weights=mask, alpha=1, max_iter=iterations, show_pbar=False)
        return np.asarray(app.run())

    return _frame_by_frame(series, solve)


def sigpy_tv(series: Series, *, weight: float = 0.002, iterations: int = 15) -> Tensor:
    """SigPy's compressed sensing with anisotropic spatial total variation, by ADMM: images (frame, y, x) complex64.

    SigPy's usual solver for it, primal-dual steps, is far from the minimum after 100 iterations.

    Parameters
    ----------
    series : normalised series
    weight : of the total variation
    iterations : ADMM steps, of five conjugate-gradient steps each

    Block et al., Magn Reson Med 2007;57:1086; Boyd et al., Found Trends Mach Learn 2011;3:1.
    """
    from sigpy.mri.app import TotalVariationRecon

    maps = _numpy(_maps(series))
    solver = {"solver": "ADMM", "rho": ADMM_PENALTY, "max_cg_iter": 5, "max_iter": iterations}

    def solve(kspace: Array, mask: Array) -> Array:
        return np.asarray(TotalVariationRecon(kspace, maps, weight, weights=mask, show_pbar=False, **solver).run())

    return _frame_by_frame(series, solve)


def sigpy_jsense(series: Series, *, weight: float = 0.003, iterations: int = 20) -> Tensor:
    """SENSE with the coil maps of SigPy's JSENSE (maps and image estimated together): images (frame, y, x) complex64.

    The maps come from the time average of the calibration block.

    Parameters
    ----------
    series : normalised series
    weight : Tikhonov weight of the images
    iterations : conjugate-gradient steps of the images

    Raises
    ------
    UsageError : a single coil
    InputError : too few calibration lines
    NumericalError : JSENSE found no finite maps

    Ying and Sheng, Magn Reson Med 2007;57:1196.
    """
    from sigpy.mri.app import JsenseRecon
    from sigpy.util import resize

    require_cartesian(series, "SigPy's JSENSE", ALTERNATIVE)
    _, coils, y, x = series.kspace.shape
    if coils == 1:
        raise UsageError("todo", "The series has one coil", "JSENSE estimates the maps of several coils", "Use the method sigpy-sense")
    block = calibration_data(series.kspace, series.mask)
    width = min(block.shape[1:])
    if width < FEWEST_LINES:
        raise too_few_lines(width, FEWEST_LINES)
    padded = resize(_numpy(block), (coils, y, x))
    with np.errstate(all="ignore"):
        kernel = min(JSENSE_KERNEL, width)
        app = JsenseRecon(padded, mps_ker_width=kernel, ksp_calib_width=width, max_iter=JSENSE_ITERATIONS, show_pbar=False)
        maps = app.run()
    if not np.isfinite(maps).all():
        raise NumericalError(
            "todo",
            "JSENSE gave coil maps that are not finite",
            "Every pixel must have a finite coil sensitivity",
            "Use the method sigpy-sense, whose maps come from ESPIRiT",
        )
    return _sense_with(series, torch.from_numpy(maps), weight, iterations)


def _maps(series: Series) -> Tensor:
    require_cartesian(series, "A method of SigPy", ALTERNATIVE)
    return estimate_maps(series.kspace, series.mask)


def _sense_with(series: Series, maps: Tensor, weight: float, iterations: int) -> Tensor:
    from sigpy.mri.app import SenseRecon

    arrays = _numpy(maps)

    def solve(kspace: Array, mask: Array) -> Array:
        return np.asarray(SenseRecon(kspace, arrays, lamda=weight, weights=mask, max_iter=iterations, show_pbar=False).run())

    return _frame_by_frame(series, solve)


def _frame_by_frame(series: Series, solve: Callable[[Array, Array], Array]) -> Tensor:
    """Give `solve` the k-space (coil, y, x) and mask (y, x|1) of each frame; its images (frame, y, x) on the series' device."""
    masks = _numpy(series.mask.float())
    images = [torch.from_numpy(solve(_numpy(k), masks[t % len(masks)])) for t, k in enumerate(series.kspace)]
    return torch.stack(images).to(series.kspace.device, torch.complex64)


def _numpy(tensor: Tensor) -> Array:
    return tensor.cpu().numpy()
