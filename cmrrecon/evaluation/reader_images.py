"""Grey images of one scan by all methods, shown alike, for a reader study."""

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from cmrrecon.evaluation.reader_scans import ImageFile, without_path
from cmrrecon.evaluation.reconstructions import Reconstruction, open_reconstruction
from cmrrecon.formats.geometry import geometry_of
from cmrrecon.formats.pictures import FRAME_MILLISECONDS, WINDOW_PERCENTILE
from cmrrecon.tools.errors import InputError


@dataclass(frozen=True)
class GreyScan:
    """Images of one slice of a scan by all methods.

    Attributes
    ----------
    images : dict of str to array of shape (frame, y, x), uint8
        Grey values by method. All methods share one window.
    aspect : float
        Height of a pixel (y) divided by its width (x).
    frame_ms : float
        Duration of a frame of the movie in ms.
    slice_ : int
        Number of the slice.
    """

    images: dict[str, NDArray[np.uint8]]
    aspect: float
    frame_ms: float
    slice_: int


def grey_scan(files: Mapping[str, ImageFile], slice_: int | None) -> GreyScan:
    """Read the images of a scan by all methods, and convert them to grey values.

    Each method is scaled to the first by least squares over the whole series, because the scale of
    images has no meaning and would give a method away. Grey values run from 0 to the 99.5th
    percentile of the images of all methods.

    Parameters
    ----------
    files : mapping of str to ImageFile
        The file of each method.
    slice_ : int or None
        Number of the slice; None for the middle one of those that all methods have.

    Raises
    ------
    InputError
        If a file cannot be read, or lacks the slice (`slice-missing`), or the images differ in
        size (`shape-mismatch`), contain NaN or infinity (`images-not-finite`) or are zero
        everywhere (`images-flat`).
    """
    opened = {method: _open(file) for method, file in files.items()}
    slice_ = _slice(files, {method: made for method, (made, _) in opened.items()}, slice_)
    series = {}
    geometry = None

    for method, (made, stamp) in opened.items():
        position = (made.slices or ()).index(slice_)
        series[method] = made.images[:, position].abs().numpy().astype(np.float64)
        _check(series[method], files[method])
        geometry = geometry or geometry_of((stamp or {}).get("geometry"))

    shapes = {values.shape for values in series.values()}
    if len(shapes) > 1:
        label = next(iter(files.values())).label
        found = ", ".join(f"{method}: {values.shape}" for method, values in series.items())
        raise InputError(
            "shape-mismatch",
            f"The images of {label} differ in size ({found})",
            "All methods must show the same frames and the same field of view",
            "Reconstruct the scan with the same view; the study is made without it",
        )

    grey = _grey(series)
    voxel = None if geometry is None else geometry.voxel_mm
    times = None if geometry is None else geometry.frame_times_ms
    aspect = 1.0 if voxel is None else voxel[0] / voxel[1]
    return GreyScan(grey, aspect, _frame_ms(times), slice_)


def _open(file: ImageFile) -> tuple[Reconstruction, dict[str, object] | None]:
    """Read the images in a file; errors name its label instead of its path."""
    try:
        return open_reconstruction(file.path, file.label)
    except InputError as error:
        raise without_path(error, file.path, file.label) from error


def _slice(
    files: Mapping[str, ImageFile], made: Mapping[str, Reconstruction], wanted: int | None
) -> int:
    """Return the number of the slice to show."""
    common = sorted(set.intersection(*(set(one.slices or ()) for one in made.values())))
    if wanted is None and common:
        return common[len(common) // 2]
    if wanted in common:
        assert wanted is not None
        return wanted

    label = next(iter(files.values())).label
    raise InputError(
        "slice-missing",
        f"Some images of {label} lack the slice"
        + (f" {wanted}" if wanted is not None else " of the others"),
        "All methods must have the slice that is shown",
        "Choose another slice with --slices, or reconstruct the whole scan",
    )


def _check(values: NDArray[np.float64], file: ImageFile) -> None:
    """Refuse images without usable values."""
    if not np.isfinite(values).all():
        raise InputError(
            "images-not-finite",
            f"{file.label} contains NaN or infinity",
            "All pixel values must be finite",
            "Make the images again; the study is made without this scan",
        )
    if not values.any():
        raise InputError(
            "images-flat",
            f"{file.label} is zero everywhere",
            "Readers need images with contrast",
            "Make the images again; the study is made without this scan",
        )


def _grey(series: Mapping[str, NDArray[np.float64]]) -> dict[str, NDArray[np.uint8]]:
    """Scale the images of all methods alike and convert them to grey values."""
    first = next(iter(series.values()))
    scaled = {
        method: values * (np.vdot(first, values) / np.vdot(values, values))
        for method, values in series.items()
    }
    top = np.percentile(np.stack(list(scaled.values())), WINDOW_PERCENTILE) or 1.0
    return {
        method: (np.clip(values / top, 0, 1) * 255).round().astype(np.uint8)
        for method, values in scaled.items()
    }


def _frame_ms(times: tuple[float, ...] | None) -> float:
    """Return the duration of a frame: the median distance of the frame times if they ascend."""
    steps = np.diff(times) if times is not None and len(times) > 1 else np.zeros(0)
    usable = len(steps) > 0 and bool((steps > 0).all())
    # Faster or slower than this is not a movie: times of a mapping series are no durations.
    return float(np.clip(np.median(steps), 20, 200)) if usable else float(FRAME_MILLISECONDS)
