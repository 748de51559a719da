"""`fit`: fits T1, T2 or T2* to the images of a mapping series."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy.typing as npt
from torch import Tensor

from cmrrecon.evaluation.fit_task import THRESHOLD, FitTask
from cmrrecon.evaluation.parametric_map import ParametricMap
from cmrrecon.evaluation.segments import Insertion

Array = npt.NDArray[Any]


def fit(
    images: Any,
    times: Tensor | Array | Sequence[float] | str | Path | None = None,
    *,
    model: str | None = None,
    noise_floor: bool | None = None,
    threshold: float = THRESHOLD,
    labels: Tensor | Array | str | Path | None = None,
    insertions: Sequence[Insertion] | None = None,
    levels: Sequence[str] | None = None,
    base: str | None = None,
    slices: Sequence[int] | None = None,
) -> ParametricMap:
    """Fit T1, T2 or T2* to each pixel of a mapping series, as `cmrrecon fit` does for a file.

    Magnitudes are fitted by least squares; complex images are converted. For inversion recovery,
    the sign of the earliest weightings is restored by the best fit.

    Parameters
    ----------
    images : Tensor or NumPy array, path, or result of a reconstruction or simulation
        Images (frame, slice, y, x), one frame for each weighting; or an image file; or an object
        with `images` and `provenance`; or one with `image` and `times`.
    times : Tensor, NumPy array, sequence or path, optional
        Inversion, saturation, preparation or echo times in ms, (frame,) or (frame, slice); or a
        `.csv` table with them; or a folder to search for the table of the scan. None: `<base>.csv`
        beside the image file. After an inversion, a final time of 0 excludes the last weighting.
    model : str, optional
        `molli`, `inversion`, `saturation`, `t2`, `t2-line` or `t2star`. None: `molli` for `T1map`
        and `T1mappost`, `t2` for `T2map`, `t2star` for `T2smap`.
    noise_floor : bool, optional
        Whether `t2` and `t2star` have a constant noise floor. None: with five different times or
        more.
    threshold : float
        Pixels below this fraction of the series' 99th percentile in all weightings are air and not
        fitted. 0 fits all pixels.
    labels : Tensor, NumPy array or path, optional
        Label map of the heart: 1 left ventricle, 2 myocardium, 3 right ventricle.
    insertions : sequence of (float, float, float, float), optional
        Anterior and inferior insertion (y, x, y, x) of the right ventricle in pixels, for all
        slices or for each; None: found in `labels`.
    levels : sequence of str, optional
        `basal`, `mid`, `apical` or `-` for each slice; None: in thirds, the first at the base.
    base : str, optional
        Base name of the scan, such as `T1map`. None: as stated by the images.
    slices : sequence of int, optional
        Slice numbers of the images within the scan, for times and labels of the whole scan. None:
        as stated by the images, or all.

    Returns
    -------
    ParametricMap
        Relaxation time, standard deviation and residual of each pixel, and the mean in the 16 AHA
        segments if there is a label map.

    Raises
    ------
    InputError
        If a file does not exist (`file-missing`) or contains no reconstruction (`variable-kind`);
        the times are unknown (`times-missing`, `times-ambiguous`), no table (`times-table`), do not
        fit the images (`times-shape`), are not usable numbers (`times-values`) or too few
        (`times-too-few`); the images do not have four axes (`images-axes`) or have no finite pixel
        (`images-not-finite`); or the labels do not fit (`labels-values`, `labels-empty`,
        `shape-mismatch`, `insertions-missing`).
    UsageError
        If the model is unknown (`unknown-model`) or neither given nor known from the base name
        (`option-needs`), or another option is not valid (`option-value`, `options-conflict`,
        `option-needs`, `box-outside`).
    NumericalError
        If no pixel can be fitted (`fit-failed`).

    See Also
    --------
    cmrrecon.relaxometry.models : The models and their formulas.

    Examples
    --------
    >>> import torch
    >>> times = torch.tensor([0.0, 25, 35, 45, 55])
    >>> images = torch.exp(-times / 46)[:, None, None, None].expand(-1, 1, 8, 8)
    >>> fit(images, times, model="t2").values.mean().round()
    tensor(46.)
    """
    task = FitTask.of(
        images,
        times,
        model=model,
        noise_floor=noise_floor,
        threshold=threshold,
        labels=labels,
        insertions=insertions,
        levels=levels,
        base=base,
        slices=slices,
    )
    return task.run()
