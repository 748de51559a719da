"""Selects the part of the images that the CMRxRecon challenges score."""

from torch import Tensor

from cmrrecon.operators.fourier import centred
from cmrrecon.sampling.plan import round_half_up
from cmrrecon.tools.errors import UsageError

YEARS = (2023, 2024, 2025)
MAPPING_2024 = ("T1map", "T2map")
MAPPING_2025 = ("T1map", "T2map", "T2smap", "T1mappost", "T1rho")
FRAMES_SCORED = 3
AXES = "(frame, slice, y, x)"


def ranking_slices(count: int) -> slice:
    """Return the scored slices: the middle two, or all if there are fewer than three."""
    middle = round_half_up(count / 2)
    return slice(0, count) if count < 3 else slice(middle - 2, middle)


def ranking_crop(images: Tensor, *, base: str, year: int) -> Tensor:
    """Crop a reconstruction as one year's challenge does (`run4Ranking`).

    Slices: the middle two, or all if there are fewer than three. Pixels: the central half of y and
    third of x. Frames: the first three; mapping series keep all frames (in 2023, everything except
    cine does). Where the official functions fail, the crop follows their intention: in 2023 a
    single slice is kept, and in 2024 a series with fewer than three frames keeps all of them.

    Parameters
    ----------
    images : Tensor of shape (frame, slice, y, x)
        Images; one frame if there is no time axis.
    base : str
        Base name of the file, such as `cine_sax`.
    year : int
        2023, 2024 or 2025.

    Returns
    -------
    Tensor of shape (frame', slice', y', x')
        A view of the images.

    Raises
    ------
    UsageError
        If the year is unknown (`unknown-protocol`), or the images do not have four axes
        (`images-axes`).

    References
    ----------
    CmrxRecon/CMRxRecon and CMRxRecon2024, CMRxReconDemo/run4Ranking.m; CMRxRecon2025,
    CMRxReconDemo/run4Ranking_2025.m.
    """
    if year not in YEARS:
        raise UsageError(
            "unknown-protocol",
            f"There is no ranking rule for {year}",
            f"The years are {', '.join(map(str, YEARS))}",
            "Use one of them",
        )
    if images.ndim != 4:
        raise UsageError(
            "images-axes",
            f"The images have shape {tuple(images.shape)}",
            f"The axes must be {AXES}",
            "Add the missing axes of length 1, in that order",
        )

    _, slices, ny, nx = images.shape
    if year == 2023:
        all_frames = base not in ("cine_lax", "cine_sax")
    else:
        all_frames = any(name in base for name in (MAPPING_2024 if year == 2024 else MAPPING_2025))
    if not all_frames:
        images = images[:FRAMES_SCORED]

    images = images[:, ranking_slices(slices)]
    y, x = central_box(ny, nx)
    return images[..., y, x]


def central_box(ny: int, nx: int) -> tuple[slice, slice]:
    """Return the central half of y and third of x."""
    return centred(ny, round_half_up(ny / 2)), centred(nx, round_half_up(nx / 3))
