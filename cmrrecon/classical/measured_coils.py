"""Map solutions from whitened or virtual coils back to the measured coils."""

import torch
from torch import Tensor

from cmrrecon.classical.coils import Coils
from cmrrecon.classical.whitening import Whitening, mixed
from cmrrecon.operators.cartesian import apart
from cmrrecon.operators.coils import rss, unit


def measured_images(x: Tensor, coils: Coils, whitening: Whitening | None) -> Tensor:
    """Images (frame, y, x) whose magnitude is the root-sum-of-squares over the measured coils.

    With one set of maps and no whitening, these are the images themselves. Otherwise the measured
    coils see U x, with `U = W^-1 S` for white maps S. The magnitude is then `|U x|`, with the phase
    of the first image.

    Parameters
    ----------
    x : Tensor of shape (frame, n y, x), complex
        The images of n sets of maps, stacked along y.
    coils : Coils
        The maps that x was solved with.
    whitening : Whitening or None
        How the coils were mixed before; None if they were not.

    Returns
    -------
    Tensor of shape (frame, y, x), complex
        The images.
    """
    if whitening is None and coils.sets == 1:
        return x

    parts = _maps(coils, whitening)
    if len(parts) == 1:
        return x * rss(parts[0])

    first, second = apart(x, coils.sets).unbind(-3)
    # Frame by frame, because coil images of a series need much memory.
    seen = [rss(parts[0] * a + parts[1] * b) for a, b in zip(first, second, strict=True)]
    return torch.stack(seen) * torch.sgn(torch.where(first == 0, second, first))


def measured_maps(coils: Coils, whitening: Whitening | None) -> Tensor:
    """The first set of maps (coil, y, x) of the measured coils, with unit RSS in their support."""
    first = _maps(coils, whitening)[0]
    return first if whitening is None else unit(first)


def _maps(coils: Coils, whitening: Whitening | None) -> tuple[Tensor, ...]:
    maps = coils.measured if whitening is None else mixed(whitening.inverse, coils.measured)
    return apart(maps, coils.sets).unbind(1)
