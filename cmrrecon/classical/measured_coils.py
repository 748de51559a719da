"""Map solutions from whitened or virtual coils back to the measured coils."""

import torch
from torch import Tensor

from cmrrecon.classical.coils import Coils
from cmrrecon.classical.whitening import Whitening, mixed
from cmrrecon.operators.cartesian import split_sets
from cmrrecon.operators.coils import rss, unit


def measured_images(x: Tensor, coils: Coils, whitening: Whitening | None) -> Tensor:
    """Compute images (frame, y, x) whose magnitude is the RSS over the measured coils.

    With one set of maps and no whitening, the images are returned unchanged. Otherwise, the
    measured coils see U x, with `U = W^-1 S` for whitened maps S. The magnitude is then `|U x|`,
    and the phase comes from the image of the first set, or of the second where the first is zero.

    Parameters
    ----------
    x : Tensor of shape (frame, n y, x), complex
        The images of n sets of maps, stacked along y.
    coils : Coils
        The maps used to reconstruct x.
    whitening : Whitening or None
        The whitening that was applied to the coils; None without whitening.

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

    first, second = split_sets(x, coils.sets).unbind(-3)
    # Work frame by frame, because the coil images of a whole series need too much memory.
    seen = [rss(parts[0] * a + parts[1] * b) for a, b in zip(first, second, strict=True)]
    return torch.stack(seen) * torch.sgn(torch.where(first == 0, second, first))


def coil_average(x: Tensor, coils: Coils) -> tuple[Tensor, Tensor]:
    """Compute what the measured coils see of the time average of images, without whitening.

    Parameters are those of `measured_images`.

    Returns
    -------
    seen : Tensor of shape (coil, y, x), complex
        The coil images.
    outside : Tensor of shape (y, x), bool
        The pixels where all maps are zero.
    """
    parts = _maps(coils, None)
    average = split_sets(x.mean(0), coils.sets).unbind(-3)
    seen = torch.zeros_like(parts[0])
    for maps, image in zip(parts, average, strict=True):
        seen = seen + maps * image
    return seen, torch.stack([rss(maps) for maps in parts]).amax(0) == 0


def measured_maps(coils: Coils, whitening: Whitening | None) -> Tensor:
    """Return the first set of maps (coil, y, x) of the measured coils, with unit RSS."""
    first = _maps(coils, whitening)[0]
    return first if whitening is None else unit(first)


def _maps(coils: Coils, whitening: Whitening | None) -> tuple[Tensor, ...]:
    maps = coils.measured if whitening is None else mixed(whitening.inverse, coils.measured)
    return split_sets(maps, coils.sets).unbind(1)
