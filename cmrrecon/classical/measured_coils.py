"""From the coils that a problem was solved with back to those that measured."""

import torch
from torch import Tensor

from cmrrecon.classical.coils import Coils
from cmrrecon.classical.whitening import Whitening, mixed
from cmrrecon.operators.cartesian import apart
from cmrrecon.operators.coils import rss, unit


def measured_images(x: Tensor, coils: Coils, whitening: Whitening | None) -> Tensor:
    """Images (frame, y, x) whose magnitude is the root-sum-of-squares of what the measured coils
    see.

    With one set of maps and no whitening these are the images themselves. Else the coils see U x,
    with U = W^-1 S of white maps S: |U x| with the phase of the first image.

    Parameters
    ----------
    x : Tensor (frame, n y, x), the images of n sets of maps, one below the other
    coils : the maps x was found with
    whitening : what mixed the coils before; None if nothing did
    """
    if whitening is None and coils.sets == 1:
        return x

    parts = _maps(coils, whitening)
    if len(parts) == 1:
        return x * rss(parts[0])

    first, second = apart(x, coils.sets).unbind(-3)
    # Frame by frame: coil images of a series would take much memory.
    seen = [rss(parts[0] * a + parts[1] * b) for a, b in zip(first, second, strict=True)]
    return torch.stack(seen) * torch.sgn(torch.where(first == 0, second, first))


def measured_maps(coils: Coils, whitening: Whitening | None) -> Tensor:
    """The first set of maps (coil, y, x) of the measured coils, with unit root-sum-of-squares in
    their support."""
    first = _maps(coils, whitening)[0]
    return first if whitening is None else unit(first)


def _maps(coils: Coils, whitening: Whitening | None) -> tuple[Tensor, ...]:
    maps = coils.measured if whitening is None else mixed(whitening.inverse, coils.measured)
    return apart(maps, coils.sets).unbind(1)
