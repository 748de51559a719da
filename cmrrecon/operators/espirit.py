"""ESPIRiT: coil sensitivity maps from the operator that reproduces every patch of k-space.

At each pixel r the operator is a small positive semidefinite matrix M(r) over the coils, with
eigenvalues up to 1. Its leading eigenvectors are the maps. As a function of r it is a trigonometric
polynomial, whose coefficients come from the patches (`patches.lag_covariance`).
"""

from collections.abc import Iterator
from typing import NamedTuple

import torch
from torch import Tensor

from cmrrecon.operators.coils import virtual_coils
from cmrrecon.operators.patches import eigenvalue_bound, lag_covariance, lag_phases
from cmrrecon.tools.errors import InputError

KERNEL = 6
# Size of the matrices of the pixels processed together, so that they fit into the cache of a core.
TILE_BYTES = 2**21
# If trace(B^2) of a matrix B with unit trace is above PURE, the second eigenvalue is less than 0.06
# of the first. The largest column is then close to the leading eigenvector, and each multiplication
# by B reduces the error to 0.06 of its value, so three leave 1e-5.
PURE, MULTIPLICATIONS = 0.9, 3
# The body folds over if the second eigenvalue is at least FOLDED and the third is below FOLDED_REST
# in at least the fraction FOLDED_AREA of the support. This fraction is 0.021 in phantoms that fold
# over by a tenth, zero in simulated scans within the field of view, and 0.011 in a measured scan of
# a heart where the body touches the edge.
FOLDED_AREA, FOLDED, FOLDED_REST = 0.015, 0.95, 0.9
# Enough to separate eigenvalues that differ by 1e-5. If they are closer, any mixture of their
# eigenvectors is equally good.
MOST_SQUARINGS = 18


def espirit(
    calibration: Tensor,
    shape: tuple[int, int],
    *,
    kernel: int = KERNEL,
    threshold: float = 0.02,
    crop: float = 0.8,
    sets: int = 1,
) -> Tensor:
    """Estimate coil sensitivity maps as leading eigenvectors of the patch operator at each pixel.

    If the body is larger than the field of view, a pixel can show two positions of the body, which
    no single map describes. The operator then has a second eigenvalue near one, whose eigenvector
    is a second map.

    Parameters
    ----------
    calibration : Tensor of shape (coil, cy, cx), complex
        Fully sampled centre of k-space.
    shape : tuple of int
        Size (y, x) of the maps.
    kernel : int
        Patch size in samples.
    threshold : float
        Smallest singular value of the patches to keep, relative to the largest.
    crop : float
        Maps are zero where the eigenvalue is below this value. At an eigenvalue of 1, the maps
        explain the pixel completely. Cropping keeps the noise of the air out of SENSE images. The
        official baselines do not crop; their unused threshold is 0.9 for the square root.
    sets : {1, 2}
        2 adds a second set of maps if the second eigenvalue shows that the body folds over.

    Returns
    -------
    Tensor of shape (coil, y, x), complex64
        Maps with unit root-sum-of-squares in the support, zero outside. With a second set the shape
        is (coil, 2 y, x), the second set below the first.

    Raises
    ------
    InputError
        If there are fewer calibration lines than the height of the kernel
        (`calibration-too-small`), or if the calibration data are all zero (`calibration-empty`) or
        contain NaN or infinity (`kspace-not-finite`).

    References
    ----------
    Uecker et al., Magn Reson Med 2014;71:990.
    """
    require_calibration(calibration, kernel)
    operator = PatchOperator(calibration.to(torch.complex128), shape, kernel, threshold)
    first = _leading_set(operator, operator.bound >= 0.999 * crop, crop)
    if sets == 1 or len(calibration) == 1:
        return first.maps

    second = _folded_set(operator, first, crop)
    return first.maps if second is None else torch.cat([first.maps, second], 1)


class PatchOperator:
    """The matrices M(r) (coil, coil) of every pixel, computed on request.

    Parameters
    ----------
    calibration : Tensor of shape (coil, cy, cx), complex128
        Fully sampled centre of k-space.
    shape : tuple of int
        Number of pixels (y, x).
    kernel : int
        See `espirit`.
    threshold : float
        See `espirit`.

    Attributes
    ----------
    bound : Tensor of shape (y, x), float64
        Upper bound of the eigenvalues, see `patches.eigenvalue_bound`.
    reference : Tensor of shape (coil,), complex64
        The virtual coil to which the phase of the maps refers.
    """

    def __init__(
        self, calibration: Tensor, shape: tuple[int, int], kernel: int, threshold: float
    ) -> None:
        covariance = lag_covariance(calibration, kernel, threshold)
        self.bound = eigenvalue_bound(covariance, shape)
        self.reference = leading_coil(calibration).to(torch.complex64)

        self._covariance = covariance.to(torch.complex64)
        self._phase_y, self._phase_x = (
            lag_phases(kernel, n, covariance.device).to(torch.complex64) for n in shape
        )

    def tiles(self, chosen: Tensor) -> Iterator[tuple[slice, Tensor, Tensor]]:
        """Yield the matrices of the chosen pixels (y, x) bool, a few rows at a time.

        Yields
        ------
        rows : slice
            Rows of this tile.
        inside : Tensor of shape (row, x), bool
            The chosen pixels of these rows.
        matrices : Tensor of shape (n, coil, coil), complex64
            The matrices of the chosen pixels.
        """
        columns = chosen.any(0)
        along_x = torch.einsum(
            "nx,yxcd->yncd", self._phase_x[columns], self._covariance
        ).contiguous()

        rows_at_once = max(1, TILE_BYTES // max(1, along_x[0].nbytes))
        for start in range(0, len(chosen), rows_at_once):
            rows = slice(start, start + rows_at_once)
            if bool(chosen[rows].any()):
                matrices = torch.tensordot(self._phase_y[rows], along_x, 1)
                yield rows, chosen[rows], matrices[chosen[rows][:, columns]]


class _Set(NamedTuple):
    """Maps (coil, y, x) and their eigenvalues (y, x), zero where they were not computed."""

    maps: Tensor
    eigenvalues: Tensor


def _leading_set(operator: PatchOperator, chosen: Tensor, crop: float) -> _Set:
    """Compute the leading eigenvectors of the chosen pixels (y, x)."""
    found = _empty_set(operator, chosen)
    for rows, inside, matrices in operator.tiles(chosen):
        vectors, values = _eigenpairs(matrices)
        found.maps[:, rows][:, inside] = _phased(vectors, values >= crop, operator.reference).T
        found.eigenvalues[rows][inside] = values
    return found


def _folded_set(operator: PatchOperator, first: _Set, crop: float) -> Tensor | None:
    """Compute the second maps (coil, y, x); None if the body lies within the field of view.

    The known trace(M^4), minus the fourth powers of the larger eigenvalues, bounds the next one.
    """
    support = (first.maps != 0).any(0)
    fourth = operator.bound**4
    remainder = (fourth - first.eigenvalues**4).clamp(min=0) ** 0.25
    least = max(1.0, FOLDED_AREA * int(support.sum()))

    candidates = support & (remainder >= FOLDED)
    if int(candidates.sum()) < least:
        return None

    values = _second_set(operator, first, candidates, crop).eigenvalues

    rest = (fourth - first.eigenvalues**4 - values**4).clamp(min=0) ** 0.25
    if int((candidates & (values >= FOLDED) & (rest < FOLDED_REST)).sum()) < least:
        return None

    return _second_set(operator, first, support & (remainder >= crop), crop).maps


def _second_set(operator: PatchOperator, first: _Set, chosen: Tensor, crop: float) -> _Set:
    """Compute the second eigenvectors of the chosen pixels (y, x)."""
    found = _empty_set(operator, chosen)
    for rows, inside, matrices in operator.tiles(chosen):
        leading = first.maps[:, rows][:, inside].T
        values = first.eigenvalues[rows][inside]

        # The phase of the leading map is arbitrary, and cancels in the product.
        deflated = matrices - values[:, None, None] * leading[:, :, None] * leading[:, None].conj()
        vectors, values = _eigenpairs(deflated)

        found.maps[:, rows][:, inside] = _phased(vectors, values >= crop, operator.reference).T
        found.eigenvalues[rows][inside] = values

    return found


def _empty_set(operator: PatchOperator, pixels: Tensor) -> _Set:
    coils = len(operator.reference)
    maps = torch.zeros((coils, *pixels.shape), dtype=torch.complex64, device=pixels.device)
    return _Set(maps, maps[0].real.new_zeros(pixels.shape))


def _eigenpairs(matrices: Tensor) -> tuple[Tensor, Tensor]:
    """Compute eigenvalues (n,) and leading eigenvectors (n, coil) multiplied by them."""
    vectors = leading_eigenvectors(matrices)
    best = (matrices @ vectors[..., None])[..., 0]
    return best, _norm(best) / _norm(vectors).clamp(min=torch.finfo(torch.float32).tiny)


def _phased(vectors: Tensor, kept: Tensor, reference: Tensor) -> Tensor:
    """Scale vectors (n, coil) to unit length, real and positive in the virtual coil `reference`.

    Vectors that are not `kept` (n,) become zero.
    """
    norm = _norm(vectors)
    virtual = vectors @ reference.conj()
    factor = torch.where(virtual == 0, 1, torch.sgn(virtual).conj()) * kept
    return vectors * (factor / norm.clamp(min=torch.finfo(norm.dtype).tiny))[:, None]


def require_calibration(calibration: Tensor, kernel: int) -> None:
    """Refuse calibration data (coil, y, x) that are too small, not finite, or all zero."""
    lines = min(calibration.shape[1:])
    if lines < kernel:
        raise too_few_lines(lines, kernel)

    if not bool(torch.isfinite(torch.view_as_real(calibration)).all()):
        raise InputError(
            "kspace-not-finite",
            "The centre of k-space contains NaN or infinity",
            "Coil calibration needs finite samples",
            "Export the file again, or leave this slice out",
        )

    if not bool((calibration != 0).any()):
        raise InputError(
            "calibration-empty",
            "The centre of k-space contains only zeros",
            "Coil maps need the measured centre of k-space",
            "Check that k-space is centred in the file",
        )


def too_few_lines(lines: int, needed: int) -> InputError:
    """Make the error for a calibration region that is too small."""
    return InputError(
        "calibration-too-small",
        f"Only {lines} adjacent lines at the centre of k-space were measured",
        f"At least {needed} adjacent lines are needed to calibrate the coils",
        "Give a scan with more calibration lines, or use the method zero-filled, which needs none",
    )


def leading_eigenvectors(matrices: Tensor) -> Tensor:
    """Compute the leading eigenvectors (n, coil), of any length, of matrices (n, coil, coil).

    The matrices must be positive semidefinite. Repeated squaring leaves only the leading
    eigenvector of a matrix, and needs no starting vector. The squared Frobenius norm trace(B^2) of
    the power B shows how much of the other eigenvectors remains. The result is zero for a zero
    matrix.
    """
    vectors = torch.empty_like(matrices[..., 0])
    unfinished = torch.arange(len(matrices), device=matrices.device)
    power = matrices

    for squarings in range(1, MOST_SQUARINGS + 1):
        power = power @ power
        trace = (
            power.diagonal(dim1=-2, dim2=-1).real.sum(-1).clamp(min=torch.finfo(torch.float32).tiny)
        )
        # Multiplication by the reciprocal is eight times faster than complex division.
        power *= trace.reciprocal()[:, None, None]

        finished = _norm(power.flatten(1)) >= PURE**0.5
        if squarings == MOST_SQUARINGS or bool(finished.all()):
            vectors[unfinished] = _multiplied_column(power)
            break

        if bool(finished.any()):
            vectors[unfinished[finished]] = _multiplied_column(power[finished])
            unfinished, power = unfinished[~finished], power[~finished]

    return vectors


def _multiplied_column(matrices: Tensor) -> Tensor:
    """Return the column (n, coil) with the largest diagonal element of each matrix, refined.

    To refine the column, it is multiplied by the matrix `MULTIPLICATIONS` times.
    """
    largest = matrices.diagonal(dim1=-2, dim2=-1).real.argmax(-1)
    column = matrices[torch.arange(len(matrices), device=matrices.device), :, largest, None]

    for _ in range(MULTIPLICATIONS):
        column = matrices @ column

    return column[..., 0]


def _norm(vectors: Tensor) -> Tensor:
    """Compute the length (n,) of complex vectors (n, coil)."""
    length: Tensor = torch.view_as_real(vectors).square().sum((-2, -1)).sqrt()
    return length


def leading_coil(calibration: Tensor) -> Tensor:
    """Find the virtual coil (coil,) with the most energy, to which the phase of maps refers.

    A measured coil would not do, because its sensitivity is zero somewhere.
    """
    return virtual_coils([calibration], 1)[0].conj()
