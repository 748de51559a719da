"""Complex arrays that a file stores as two real arrays.

The following pairs of variables are recognised, in any case: `NAME_real` and `NAME_imag`, `NAME_re`
and `NAME_im`, `NAME_r` and `NAME_i`, `NAMEreal` and `NAMEimag`, or just `real` and `imag` (`re` and
`im`). So is a MATLAB struct `NAME` with the fields `real` and `imag` (`re` and `im`), which readers
return as `NAME.real` and `NAME.imag`. Both parts must have the same shape. The pair becomes a
variable `NAME`.
"""

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from cmrrecon.formats.arrays import Selection, StoredArray

REAL = re.compile(
    r"(?P<name>.*?)(?:(?P<full>[._]?real)|(?P<short>[._]re|^re)|(?P<letter>_r))", re.I
)
IMAGINARY = {"full": "imag", "short": "im", "letter": "i"}
ALONE = "real_imag"  # name of a pair that shares no name


@dataclass(frozen=True)
class PairReader:
    """Reads a piece of two real arrays as one complex64 array."""

    real: StoredArray
    imaginary: StoredArray

    def __call__(self, selection: Selection) -> NDArray[Any]:
        """Return the selected piece, in memory."""
        real = self.real.read(selection)
        values = np.empty(real.shape, np.complex64)
        with np.errstate(over="ignore"):
            values.real, values.imag = real, self.imaginary.read(selection)
        return values


def joined(stored: Mapping[str, StoredArray]) -> dict[str, StoredArray]:
    """Return the arrays of a file with real and imaginary parts combined."""
    result = dict(stored)
    for name, (real, imaginary) in pairs(stored).items():
        parts = stored[real], stored[imaginary]
        compatible = parts[0].shape == parts[1].shape and not any(part.is_complex for part in parts)
        if not compatible or name in stored:
            continue

        del result[real], result[imaginary]
        first = parts[0]
        result[name] = StoredArray(
            name, first.shape, True, PairReader(*parts), first.chunks, first.reversed_view
        )
    return result


def pairs(names: Iterable[str]) -> dict[str, tuple[str, str]]:
    """Find the names of real and imaginary parts that belong together, by the name they share."""
    known = {name.lower(): name for name in names}
    found = {}
    for name in known.values():
        match = REAL.fullmatch(name)
        if match is None or match.lastgroup is None:
            continue

        mark = match[match.lastgroup]
        separator = mark[: len(mark) - len(mark.lstrip("._"))]
        partner = known.get(f"{match['name']}{separator}{IMAGINARY[match.lastgroup]}".lower())
        if partner is not None:
            found[match["name"] or ALONE] = (name, partner)
    return found
