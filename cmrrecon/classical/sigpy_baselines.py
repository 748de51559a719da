"""SigPy's reconstructions, frame by frame on the CPU, with this package's maps and normalisation.

SigPy minimises `1/2 ||P F S x - y||^2` plus a regularisation. By default, it searches for the step
size of FISTA from a random start. Here the step size is one, which is possible because maps with
unit root-sum-of-squares limit the norm of the encoding to one. The same input then always has the
same result. Source: Ong and Lustig, ISMRM 2019;27:4819.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Annotated, Any

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from cmrrecon.classical.coils import coil_maps, reference_block
from cmrrecon.data import CartesianMask, Series, require_cartesian
from cmrrecon.operators.sensitivity import FEWEST_LINES, calibration_data, too_few_lines
from cmrrecon.tools.configuration import AtLeast
from cmrrecon.tools.errors import NumericalError, UsageError

Array = npt.NDArray[Any]
ALTERNATIVE = "Use the method auto, sense or another one that is not from SigPy"
# The fastest of 0.02, 0.05 and 0.1 on normalised k-space.
ADMM_PENALTY = 0.02
# Chosen on simulated cine; SigPy's defaults are 16 and 10.
JSENSE_KERNEL = 12
JSENSE_ITERATIONS = 30


@dataclass(frozen=True)
class SenseOptions:
    """Options of `sigpy_sense` and `sigpy_jsense`.

    Attributes
    ----------
    weight : float
        Tikhonov weight.
    iterations : int
        Conjugate-gradient steps.
    """

    weight: Annotated[float, AtLeast(0)] = 0.003
    iterations: Annotated[int, AtLeast(1)] = 20


@dataclass(frozen=True)
class WaveletOptions:
    """Options of `sigpy_l1_wavelet`.

    Attributes
    ----------
    weight : float
        Weight of the l1-norm.
    iterations : int
        FISTA steps.
    """

    weight: Annotated[float, AtLeast(0)] = 0.002
    iterations: Annotated[int, AtLeast(1)] = 60


@dataclass(frozen=True)
class VariationOptions:
    """Options of `sigpy_tv`.

    Attributes
    ----------
    weight : float
        Weight of the total variation.
    iterations : int
        ADMM steps of five conjugate-gradient steps each.
    """

    weight: Annotated[float, AtLeast(0)] = 0.002
    iterations: Annotated[int, AtLeast(1)] = 15


def sigpy_sense(series: Series, options: SenseOptions | None = None) -> Tensor:
    """Reconstruct a normalised series by SigPy's CG-SENSE: images (frame, y, x) complex64."""
    return _sense_with(series, _maps(series), options or SenseOptions())


def sigpy_l1_wavelet(series: Series, options: WaveletOptions | None = None) -> Tensor:
    """Reconstruct by SigPy's FISTA with the l1-norm of Daubechies-4 wavelets.

    Parameters
    ----------
    series : Series
        Normalised series.
    options : WaveletOptions or None
        None for the defaults.

    Returns
    -------
    Tensor of shape (frame, y, x), complex64
        Images.

    References
    ----------
    Lustig et al., Magn Reson Med 2007;58:1182.
    """
    options = options or WaveletOptions()
    from sigpy.mri.app import L1WaveletRecon

    maps = _numpy(_maps(series))

    def solve(kspace: Array, mask: Array) -> Array:
        app = L1WaveletRecon(
            kspace,
            maps,
            options.weight,
            weights=mask,
            alpha=1,
            max_iter=options.iterations,
            show_pbar=False,
        )
        return np.asarray(app.run())

    return _frame_by_frame(series, solve)


def sigpy_tv(series: Series, options: VariationOptions | None = None) -> Tensor:
    """Reconstruct by SigPy's ADMM with anisotropic spatial total variation.

    SigPy's default solver for this problem, a primal-dual method, is still far from the minimum
    after 100 iterations.

    Parameters
    ----------
    series : Series
        Normalised series.
    options : VariationOptions or None
        None for the defaults.

    Returns
    -------
    Tensor of shape (frame, y, x), complex64
        Images.

    References
    ----------
    Block et al., Magn Reson Med 2007;57:1086; Boyd et al., Found Trends Mach Learn 2011;3:1.
    """
    options = options or VariationOptions()
    from sigpy.mri.app import TotalVariationRecon

    maps = _numpy(_maps(series))
    solver = {"solver": "ADMM", "rho": ADMM_PENALTY, "max_cg_iter": 5}

    def solve(kspace: Array, mask: Array) -> Array:
        return np.asarray(
            TotalVariationRecon(
                kspace,
                maps,
                options.weight,
                weights=mask,
                max_iter=options.iterations,
                show_pbar=False,
                **solver,
            ).run()
        )

    return _frame_by_frame(series, solve)


def sigpy_jsense(series: Series, options: SenseOptions | None = None) -> Tensor:
    """Reconstruct by SENSE with maps from SigPy's JSENSE, which estimates maps and image together.

    The maps come from separate reference lines, or otherwise from the time average of the
    calibration block.

    Parameters
    ----------
    series : Series
        Normalised series.
    options : SenseOptions or None
        None for the defaults.

    Returns
    -------
    Tensor of shape (frame, y, x), complex64
        Images.

    Raises
    ------
    UsageError
        If there is a single coil (`coils-too-few`).
    InputError
        If there are too few calibration lines (`calibration-too-small`).
    NumericalError
        If JSENSE finds no finite maps (`result-not-finite`).

    References
    ----------
    Ying and Sheng, Magn Reson Med 2007;57:1196.
    """
    from sigpy.mri.app import JsenseRecon
    from sigpy.util import resize

    mask = _cartesian(series, "SigPy's JSENSE")
    _, coils, y, x = series.kspace.shape
    if coils == 1:
        raise UsageError(
            "coils-too-few",
            "The series has only one coil",
            "JSENSE estimates the maps of several coils",
            "Use the method sigpy-sense",
        )

    block = (
        calibration_data(series.kspace, mask)
        if series.calibration is None
        else reference_block(series.calibration)
    )

    width = min(block.shape[1:])
    if width < FEWEST_LINES:
        raise too_few_lines(width, FEWEST_LINES)

    padded = resize(_numpy(block), (coils, y, x))

    with np.errstate(all="ignore"):
        kernel = min(JSENSE_KERNEL, width)
        app = JsenseRecon(
            padded,
            mps_ker_width=kernel,
            ksp_calib_width=width,
            max_iter=JSENSE_ITERATIONS,
            show_pbar=False,
        )
        maps = app.run()

    if not np.isfinite(maps).all():
        raise NumericalError(
            "result-not-finite",
            "JSENSE returned coil maps that are not finite",
            "Every pixel must have a finite coil sensitivity",
            "Use the method sigpy-sense, whose maps come from ESPIRiT",
        )

    return _sense_with(series, torch.from_numpy(maps), options or SenseOptions())


def _maps(series: Series) -> Tensor:
    _cartesian(series, "A method of SigPy")
    return coil_maps(series)


def _cartesian(series: Series, task: str) -> CartesianMask:
    require_cartesian(series.mask, "The series", task, ALTERNATIVE)
    assert isinstance(series.mask, CartesianMask)
    return series.mask


def _sense_with(series: Series, maps: Tensor, options: SenseOptions) -> Tensor:
    from sigpy.mri.app import SenseRecon

    arrays = _numpy(maps)

    def solve(kspace: Array, mask: Array) -> Array:
        return np.asarray(
            SenseRecon(
                kspace,
                arrays,
                lamda=options.weight,
                weights=mask,
                max_iter=options.iterations,
                show_pbar=False,
            ).run()
        )

    return _frame_by_frame(series, solve)


def _frame_by_frame(series: Series, solve: Callable[[Array, Array], Array]) -> Tensor:
    """Solve each frame from its k-space (coil, y, x) and mask (y, x or 1).

    The images (frame, y, x) are returned on the device of the series.
    """
    masks = _numpy(series.mask.image_data.float())
    images = [
        torch.from_numpy(solve(_numpy(k), masks[t % len(masks)]))
        for t, k in enumerate(series.kspace)
    ]
    return torch.stack(images).to(series.kspace.device, torch.complex64)


def _numpy(tensor: Tensor) -> Array:
    return tensor.cpu().numpy()
