"""BART's cfl files: a text header in `NAME.hdr` and the data in `NAME.cfl`.

The data are little-endian complex64 numbers with the first dimension fastest. BART numbers its
dimensions. The dimensions in this table are used; all others must have length 1:

====  ========  ========================================================================
dim   BART      here
====  ========  ========================================================================
0     READ      x
1     PHS1      y
2     PHS2      length 1; 3-D k-space is not supported
3     COIL      coil; 1 in images and masks
4     MAPS      length 1; select one of several sets of coil maps with `bart slice 4 0`
5     TE        frames of a scan without TIME, such as the weightings of a mapping series
10    TIME      frame
11    TIME2     frames of a scan without TIME and TE
13    SLICE     slice
====  ========  ========================================================================

K-space is therefore `[x, y, 1, coil, 1, 1, 1, 1, 1, 1, frame, 1, 1, slice]`; images have 1 coil;
masks have 1 coil and 1 or x samples. BART's `fft -u` is the centred, orthonormal transform used
here, so the values do not change.

A cfl file does not say what it contains. The caller decides (k-space for `read`, a mask for
`--mask`). Otherwise, a file with more than one coil is k-space, a file of zeros and ones is a mask,
and any other file contains images.

After BART's own lines, the header has sections `# Acquisition`, `# Geometry` and `# Provenance`,
each followed by one line of JSON, which BART ignores.
"""

import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from math import prod
from pathlib import Path
from typing import IO, Any, Literal

import numpy as np
from numpy.typing import NDArray
from torch import Tensor

from cmrrecon.data import Scan
from cmrrecon.formats.arrays import Selection, StoredArray
from cmrrecon.formats.geometry import geometry_to_json
from cmrrecon.formats.stored_facts import acquisition_to_json
from cmrrecon.formats.tensors import image_array
from cmrrecon.tools.atomic import atomic
from cmrrecon.tools.errors import InputError
from cmrrecon.tools.files import first_bytes
from cmrrecon.tools.provenance import to_json

SUFFIXES = (".cfl", ".hdr")
DIMS = 16
X, Y, COIL, TE, TIME, TIME2, SLICE = 0, 1, 3, 5, 10, 11, 13
FRAMES = (TIME, TE, TIME2)  # dimensions that may count frames, in order of preference
LONGEST = 2**22  # bytes in a header
ITEM = 8  # bytes per number
PIECE = 2**17  # numbers examined at a time


def sniff(path: Path) -> bool:
    """Return whether the suffix is BART's; the data have no signature to check."""
    return path.suffix.lower() in SUFFIXES


def variables(path: Path, wanted: str | None = None) -> dict[str, StoredArray]:
    """Return the single array of a BART file, named after its content.

    If `wanted` is given, only the header is read.

    Parameters
    ----------
    path : Path
        Either file of the pair.
    wanted : str or None
        `kspace`, `image`, `mask` or `maps`; None decides by the rule in the module docstring.

    Returns
    -------
    dict of str to StoredArray
        One entry.

    Raises
    ------
    InputError
        If a file is missing (`file-missing`), the header or the size is wrong (`cfl-header`,
        `cfl-size`), or the dimensions do not fit the content (`cfl-dims`).
    """
    dims = _dims(path)
    content = wanted or _kind(path, dims)
    shape, axes = _axes(dims, content, path)
    reader = CflReader(_data(path), shape, axes, real=content == "mask")
    order = tuple(shape[axis] for axis in axes)
    return {content: StoredArray(content, order, not reader.real, reader, lean=True)}


def text(path: Path, name: str) -> str | None:
    """Return the JSON text of a section such as `# Provenance` in the header, or None."""
    found = re.search(rf"^# {name.capitalize()}\n(.*)$", _header(path), re.MULTILINE)
    return found[1] if found else None


@dataclass(frozen=True)
class CflReader:
    """Reads a piece of the data through a memory map.

    The map is opened for every piece, so that worker processes can share the reader.

    Attributes
    ----------
    path : Path
        The `.cfl` file.
    shape : tuple of int
        Shape in the file, slowest axis first.
    axes : tuple of int
        Axes of `shape` in the order of the result.
    real : bool
        Whether magnitudes are returned instead of complex64 numbers.
    """

    path: Path
    shape: tuple[int, ...]
    axes: tuple[int, ...]
    real: bool = False

    def __call__(self, selection: Selection) -> NDArray[Any]:
        """Return the selected piece, in memory."""
        try:
            stored = np.memmap(self.path, "<c8", "r", shape=self.shape)
        except (OSError, ValueError) as error:
            raise _wrong_size(self.path, self.shape) from error
        piece = stored.transpose(self.axes)[selection]
        return np.abs(piece) if self.real else np.array(piece, np.complex64)


def write_scan(path: Path, scan: Scan, provenance: Mapping[str, Any] | None = None) -> None:
    """Write k-space slice by slice; the mask goes into a separate file (`write_mask`).

    Raises
    ------
    OutputError
        If a file cannot be written.
    """
    frames, slices, coils, y, x = scan.shape
    texts = {"acquisition": acquisition_to_json(scan.acquisition)}
    if scan.geometry is not None:
        texts["geometry"] = geometry_to_json(scan.geometry)

    with _created(path, texts, provenance) as output:
        output.dims |= {X: x, Y: y, COIL: coils, TIME: frames, SLICE: slices}
        output.write(scan.read_slice(index).cpu().numpy() for index in range(slices))


def write_images(
    path: Path, images: Sequence[Tensor], provenance: Mapping[str, Any] | None = None
) -> None:
    """Write images, a sequence over slices of (frame, y, x); real images get zero imaginary parts.

    Raises
    ------
    OutputError
        If a file cannot be written.
    """
    with _created(path, {}, provenance) as output:
        for index in range(len(images)):
            image = image_array(images[index])
            frames, y, x = image.shape
            output.dims |= {X: x, Y: y, TIME: frames, SLICE: len(images)}
            output.write([image])


def write_mask(
    path: Path, mask: Tensor, x: int, provenance: Mapping[str, Any] | None = None
) -> None:
    """Write a mask (frame|1, y, x|1) as zeros and ones; masks of whole lines have length 1 along x.

    Raises
    ------
    OutputError
        If a file cannot be written.
    """
    frames, y, samples = mask.shape
    with _created(path, {}, provenance) as output:
        output.dims |= {X: samples, Y: y, TIME: frames}
        output.write([mask.cpu().numpy()])


def write_maps(
    path: Path, maps: Sequence[Tensor], provenance: Mapping[str, Any] | None = None
) -> None:
    """Write coil maps, a sequence over slices of (coil, y, x) complex64.

    Raises
    ------
    OutputError
        If a file cannot be written.
    """
    with _created(path, {}, provenance) as output:
        for index in range(len(maps)):
            coils, y, x = maps[index].shape
            output.dims |= {X: x, Y: y, COIL: coils, SLICE: len(maps)}
            output.write([maps[index].cpu().resolve_conj().numpy()])


class _Output:
    """The open `.cfl` file and the dimensions that its header will declare."""

    def __init__(self, file: IO[bytes]) -> None:
        self.file = file
        self.dims: dict[int, int] = {}

    def write(self, arrays: Iterable[NDArray[Any]]) -> None:
        for array in arrays:
            self.file.write(np.ascontiguousarray(array, "<c8").tobytes())


@contextmanager
def _created(
    path: Path, texts: Mapping[str, str], provenance: Mapping[str, Any] | None
) -> Iterator["_Output"]:
    """Create a pair of files.

    The header gets its final name last, so that there is never a header without its data.
    """
    known = dict(texts) | ({} if provenance is None else {"provenance": to_json(provenance)})
    with atomic(path.with_suffix(".hdr")) as header, atomic(_data(path)) as data:
        with open(data, "wb") as file:
            output = _Output(file)
            yield output

        dims = " ".join(str(output.dims.get(dim, 1)) for dim in range(DIMS))
        lines = [f"# Dimensions\n{dims} "]
        lines += [f"# {name.capitalize()}\n{content}" for name, content in known.items()]
        header.write_text("\n".join(lines) + "\n", encoding="utf-8")


def _data(path: Path) -> Path:
    return path if path.suffix.lower() == ".cfl" else path.with_suffix(".cfl")


def _header(path: Path) -> str:
    """Return the text of the header."""
    header = path if path.suffix.lower() == ".hdr" else path.with_suffix(".hdr")
    for part in (header, _data(path)):
        if not part.is_file():
            raise InputError(
                "file-missing",
                f"{part} does not exist",
                "BART data are a pair of files, NAME.hdr and NAME.cfl",
                "Copy both files",
            )
    return first_bytes(header, LONGEST).decode("utf-8", errors="replace").replace("\r\n", "\n")


def _dims(path: Path) -> tuple[int, ...]:
    """Return the dimensions in the header, checked against the size of the data."""
    found = re.search(r"^# Dimensions\n(.*)$", _header(path), re.MULTILINE)
    words = found[1].split() if found else []
    numbers = all(re.fullmatch(r"[1-9]\d{0,17}", word, re.ASCII) for word in words)
    if not 1 <= len(words) <= DIMS or not numbers:
        raise InputError(
            "cfl-header",
            f"The header of {path} declares no usable dimensions",
            f"The line after '# Dimensions' must contain 1 to {DIMS} positive whole numbers",
            "Write the file again, for example with BART",
        )

    dims = tuple(int(word) for word in words) + (1,) * (DIMS - len(words))
    if _data(path).stat().st_size != prod(dims) * ITEM:
        raise _wrong_size(_data(path), dims)
    return dims


def _wrong_size(data: Path, dims: tuple[int, ...]) -> InputError:
    size = data.stat().st_size if data.is_file() else 0
    return InputError(
        "cfl-size",
        f"{data} has {size} bytes",
        f"Its header declares {prod(dims)} complex numbers of {ITEM} bytes each",
        "Copy or write both files again",
    )


def _kind(path: Path, dims: tuple[int, ...]) -> Literal["kspace", "image", "mask"]:
    """Return what a file contains, by the rule in the module docstring."""
    if dims[COIL] > 1:
        return "kspace"

    data = np.memmap(_data(path), "<c8", "r")
    pieces = (data[first : first + PIECE] for first in range(0, len(data), PIECE))
    return "mask" if all(bool(((p == 0) | (p == 1)).all()) for p in pieces) else "image"


def _axes(
    dims: tuple[int, ...], content: str, path: Path
) -> tuple[tuple[int, ...], tuple[int, ...]]:
    """Return the shape in the file without unused axes, and where each of our axes is in it."""
    frames = next((dim for dim in FRAMES if dims[dim] > 1), TIME)
    ours = {
        "kspace": (frames, SLICE, COIL, Y, X),
        "image": (frames, SLICE, Y, X),
        "mask": (frames, Y, X),
        "maps": (SLICE, COIL, Y, X),
    }[content]
    other = [dim for dim in range(DIMS) if dims[dim] > 1 and dim not in ours]

    if other:
        raise InputError(
            "cfl-dims",
            f"{path} has length {dims[other[0]]} along BART's dimension {other[0]}",
            f"For {content}, only dimensions {', '.join(map(str, sorted(ours)))} are used",
            "Select one entry with bart slice, or combine them first",
        )

    stored = sorted(ours, reverse=True)
    return tuple(dims[dim] for dim in stored), tuple(stored.index(dim) for dim in ours)
