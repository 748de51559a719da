"""Arrays of users as tensors, and divisors that are never zero."""

from typing import Any

import numpy as np
import torch
from torch import Tensor

from cmrrecon.tools.errors import UsageError


def as_tensor(array: Any, what: str, axes: str) -> Tensor:
    """Convert a NumPy array or a tensor to a tensor, which may share its memory.

    Parameters
    ----------
    array : numpy.ndarray or Tensor
        An array of any shape and any numeric type.
    what : str
        What the array is, for the message, such as "k-space".
    axes : str
        Its axes, for the message, such as "(frame, slice, coil, y, x)".

    Returns
    -------
    Tensor
        The tensor, with the same shape. Long doubles become double precision.

    Raises
    ------
    UsageError
        If the input is not an array of numbers (`array-type`), or if it is empty (`array-empty`).
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
            "Convert it or give the path of a file; a result of `simulate` has its scan in `.scan`",
        )

    if not found.numel():
        raise UsageError(
            "array-empty",
            f"The {what} has shape {tuple(found.shape)}",
            "Every axis must be at least 1 long",
            "Check how it was sliced",
        )

    return found


def divisor(size: Tensor) -> Tensor:
    """Return sizes, which are not negative, as divisors: one where they are zero."""
    return torch.where(size > 0, size, 1)


def _tensor(array: Any) -> Tensor | None:
    """Return the array as a tensor, or None if it is not an array of numbers in memory."""
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
