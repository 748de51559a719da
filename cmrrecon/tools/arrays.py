"""Arrays of users as tensors."""

from typing import Any

import numpy as np
import torch
from torch import Tensor

from cmrrecon.tools.errors import UsageError


def as_tensor(array: Any, what: str, axes: str) -> Tensor:
    """A NumPy array or tensor as a tensor, which may share its memory.

    Parameters
    ----------
    what, axes : for the message, as in "k-space" and "(frame, slice, coil, y, x)"

    Raises
    ------
    UsageError : `array-type` for anything else and for arrays of what are not numbers, `array-empty`
    """
    found = _tensor(array)
    if found is None:
        kind = type(array).__name__ + (
            f" of {array.dtype}" if isinstance(array, np.ndarray) else ""
        )
        raise UsageError(
            "array-type",
            f"The {what} is of type {kind}",
            f"A NumPy array or a torch tensor {axes} of numbers is needed",
            "Convert it, or give the path of a file; what `simulate` gives holds a scan as `.scan`",
        )

    if not found.numel():
        raise UsageError(
            "array-empty",
            f"The {what} has shape {tuple(found.shape)}",
            "Every axis must be at least 1 long",
            "Check what was cut out of it",
        )

    return found


def _tensor(array: Any) -> Tensor | None:
    """The tensor of an array; None if it holds no numbers in memory."""
    if isinstance(array, Tensor):
        dense = array.layout == torch.strided and array.device.type != "meta"
        return array.detach().resolve_conj() if dense else None
    if not isinstance(array, np.ndarray) or array.dtype.kind not in "biufc":
        return None

    # torch has no long double.
    dtype = {"c": np.complex128, "f": np.float64}.get(array.dtype.kind, array.dtype)
    dtype = min(np.dtype(dtype), array.dtype.newbyteorder("="), key=lambda kind: kind.itemsize)
    native = np.array(array, dtype=dtype, order="C", copy=None)

    return torch.from_numpy(native if native.flags.writeable else native.copy())
