"""`reconstruct`: a scan in, a `Result` out. The command gives the same `Task` to the same `run`."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch

from cmrrecon.methods.base import Method
from cmrrecon.methods.registry import DEFAULT_METHOD, find_method, from_checkpoint
from cmrrecon.reconstruction.inputs import as_scan
from cmrrecon.reconstruction.listener import Listener
from cmrrecon.reconstruction.result import Result
from cmrrecon.reconstruction.slices import run
from cmrrecon.reconstruction.task import Task
from cmrrecon.tools.errors import UsageError


def reconstruct(
    scan: Any,
    method: str | Method | None = None,
    *,
    checkpoint: str | Path | None = None,
    mask: Any = None,
    axes: str | None = None,
    dataset: str | None = None,
    maps: str | Path | None = None,
    slices: Sequence[int] | None = None,
    device: str | torch.device = "auto",
    adapt: int = 0,
    uncertainty: int = 0,
    whiten: bool | None = None,
    keep_oversampling: bool = False,
    recon_matrix: bool = False,
    listener: Listener | None = None,
    **options: Any,
) -> Result:
    """Reconstruct a scan, slice by slice.

    Parameters
    ----------
    scan : path of a k-space file, `Scan`, what `simulate` gives, or NumPy array or tensor
        (frame, slice, coil, y, x), complex, zero where not measured; the centre of k-space near
        (y // 2, x // 2), or else clear from its energy
    method : a name (see `cmrrecon reconstruct --list-methods`), or a `Method`; None: `auto`
    checkpoint : file with the weights of a network, which then is the method
    mask : an array of zeros and ones: (y), (frame, y) or (frame or 1, y, x or 1); for a path also
        that of a mask file. None: the file's own, or what is non-zero in any coil
    axes : names of the stored axes, for unusual files, such as "x,y,coil"
    dataset : name of the data set, in files of raw data that hold several
    maps : file of coil maps, in place of the file's own or estimated ones
    slices : the slices wanted, from 0; None: all
    device : `auto`, `cpu`, `cuda` or `cuda:N`, or a torch.device
    adapt : train the network on the scan itself first, for at most so many steps
    uncertainty : also reconstruct so many random parts of the samples (0, or 2 and more), for the
        standard deviation of the images
    whiten : whether coils are mixed so that their noise is alike, see `classical.whitening`; None:
        in `auto` and this program's iterative methods with a noise scan, and without one where the
        noise is clearly unequal or correlated
    keep_oversampling : give the whole encoded images of raw data, not their field of view alone
    recon_matrix : interpolate the images to the matrix of the scanner's, where the file says it
    listener : told of the progress
    **options : of the method, such as `weight` or `iterations`; what is left out or None is
        automatic. `cmrrecon reconstruct --list-methods` shows the options of each

    Returns
    -------
    Result

    Raises
    ------
    UsageError : `unknown-method`, `unknown-option`, `option-value`, `options-conflict`,
        `recon-matrix-missing`, `kspace-axes`, `kspace-real`,
        `mask-shape`, `slice-missing`, `device-missing`, and what the method refuses
    InputError : `file-missing` and others: the file cannot be read as k-space
    NumericalError, MemoryShortage : see `Method.reconstruct`

    Examples
    --------
    >>> result = reconstruct("cine_sax_kus_ktGaussian8.mat")        # doctest: +SKIP
    >>> result.images.shape, result.decision.method                # doctest: +SKIP
    >>> result.save("cine.h5")                                      # doctest: +SKIP
    """
    task = Task.of(
        as_scan(scan, mask, axes, dataset=dataset, maps=maps),
        find(method, checkpoint),
        options,
        slices=slices,
        device=device,
        adapt=adapt,
        uncertainty=uncertainty,
        keep_oversampling=keep_oversampling,
        recon_matrix=recon_matrix,
        axes=axes,
        dataset=dataset,
        folder=None if checkpoint is None else Path(checkpoint).absolute().parent.name,
        whiten=whiten,
    )
    return run(task, listener=listener)


def find(method: str | Method | None, checkpoint: str | Path | None = None) -> Method:
    """The method of a name or a checkpoint; the default for neither.

    Raises
    ------
    UsageError : `options-conflict` for both, `unknown-method`, `weights-missing`
    """
    if method is not None and checkpoint is not None:
        raise UsageError(
            "options-conflict",
            "Both a method and a checkpoint were given",
            "A checkpoint is a method of its own",
            "Leave one of them out",
        )

    if checkpoint is not None:
        return from_checkpoint(Path(checkpoint))
    if isinstance(method, Method):
        return method
    return find_method(DEFAULT_METHOD if method is None else str(method))
