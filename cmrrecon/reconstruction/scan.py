"""`reconstruct`: a scan in, a `Result` out.

The command line passes the same `Task` to the same `run`.
"""

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
    scan : path, Scan, Simulated or array
        Path of a k-space file, a `Scan`, the result of `simulate`, or a complex array (NumPy or
        torch) of shape (frame, slice, coil, y, x), zero where not measured. The centre of k-space
        must be near (y // 2, x // 2), or clear from the energy.
    method : str, Method or None
        Name of a method (`cmrrecon reconstruct --list-methods` lists them), or a `Method`; None for
        `auto`.
    checkpoint : path or None
        File with the weights of a network to use as the method.
    mask : array, SamplingMask, path or None
        Zeros and ones of shape (y), (frame, y) or (frame or 1, y, x or 1). The path of a mask file
        is accepted only with the path of a k-space file. None uses the mask of the file, or the
        samples that are non-zero in any coil.
    axes : str or None
        Names of the stored axes, for unusual files, such as "x,y,coil".
    dataset : str or None
        Name of the data set, for raw data files with several data sets.
    maps : path or None
        File of coil maps, to replace maps in the k-space file or estimated maps.
    slices : sequence of int or None
        Slices to reconstruct, counted from 0; None for all.
    device : str or torch.device
        `auto`, `cpu`, `cuda`, `cuda:N`, or a torch.device.
    adapt : int
        Largest number of steps for which the network is first trained on the scan itself; 0 for
        none.
    uncertainty : int
        Number of random subsets of the samples to reconstruct for the standard deviation of the
        images: 0 for none, or at least 2.
    whiten : bool or None
        Whether to mix the coils so that their noise is white, see `classical.whitening`. If None,
        `auto` and the iterative methods whiten if there is a noise scan, or if the noise is clearly
        unequal or correlated.
    keep_oversampling : bool
        Whether to return the whole encoded images of raw data instead of the field of view.
    recon_matrix : bool
        Whether to interpolate the images to the scanner's reconstruction matrix. The file must
        state it.
    listener : Listener or None
        Receives progress events.
    **options : Any
        Options of the method, such as `weight` or `iterations`. Options that are None or left out
        are automatic. `cmrrecon reconstruct --list-methods` shows the options of each method.

    Returns
    -------
    Result
        Images with their decision, residuals, warnings and provenance, on the CPU.

    Raises
    ------
    UsageError
        If an argument does not fit: `unknown-method`, `unknown-option`, `option-value`,
        `options-conflict`, `recon-matrix-missing`, `kspace-axes`, `kspace-real`, `mask-shape`,
        `slice-missing`, `device-missing`, `not-adaptable`, or an error of the method.
    InputError
        If the file cannot be read as k-space (`file-missing` and others).
    NumericalError
        If the images contain NaN or infinity (`result-not-finite`), or the data contain no usable
        signal (`kspace-no-signal`, `maps-empty`).
    MemoryShortage
        If memory runs out (`memory-shortage`).

    Examples
    --------
    >>> import cmrrecon
    >>> full = cmrrecon.simulate(frames=4, slices=1, coils=3, y=32, x=64).scan
    >>> scan = cmrrecon.undersample(full, "uniform", 2)
    >>> result = cmrrecon.reconstruct(scan, "sense", iterations=10, device="cpu")
    >>> result.images.shape, result.images.dtype
    (torch.Size([4, 1, 32, 64]), torch.complex64)
    >>> result.decision.method, result.decision.iterations
    ('sense', 10)

    Files are reconstructed in the same way.

    >>> result = cmrrecon.reconstruct("cine_sax_kus_ktGaussian8.mat")  # doctest: +SKIP
    >>> result.save("cine.h5")  # doctest: +SKIP
    """
    source = as_scan(scan, mask, axes, dataset=dataset, maps=maps)
    folder = None if checkpoint is None else Path(checkpoint).absolute().parent.name

    task = Task.of(
        source,
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
        folder=folder,
        whiten=whiten,
    )
    return run(task, listener=listener)


def find(method: str | Method | None, checkpoint: str | Path | None = None) -> Method:
    """Find the method for a name or a checkpoint; the default method for neither.

    Raises
    ------
    UsageError
        If both are given (`options-conflict`), the name is unknown (`unknown-method`), or no
        weights are installed (`weights-missing`).
    """
    if method is not None and checkpoint is not None:
        raise UsageError(
            "options-conflict",
            "Both a method and a checkpoint were given",
            "A checkpoint is itself a method",
            "Leave one of them out",
        )

    if checkpoint is not None:
        return from_checkpoint(Path(checkpoint))
    if isinstance(method, Method):
        return method
    return find_method(DEFAULT_METHOD if method is None else str(method))
