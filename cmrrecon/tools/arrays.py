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
    UsageError : `array-type`, for anything else, and for arrays of what are not numbers
    """
    if isinstance(array, Tensor):
        return array
    if isinstance(array, np.ndarray) and array.dtype.kind in "biufc":
        native = np.array(array, dtype=array.dtype.newbyteorder("="), order="C", copy=None)
        return torch.from_numpy(native if native.flags.writeable else native.copy())
    kind = f"an array of {array.dtype}" if isinstance(array, np.ndarray) else type(array).__name__
    raise UsageError(
        "array-type",
        f"The {what} is {kind}",
        f"A NumPy array or a torch tensor {axes} of numbers is needed",
        "Convert it, or give the path of a file",
    )
