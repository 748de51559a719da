"""NumPy files: `.npy` with one array, `.npz` with named arrays.

The names are `kspace`, `mask`, `trajectory`, `matrix`, `image`, `maps`, and the names listed in
`companions`. Axes have the usual order (frame, slice, coil, y, x). In `.npz`, `acquisition`,
`geometry` and `provenance` are JSON text; the provenance of a `.npy` file is stored next to it in
`<file>.json`.

NumPy and zipfile read the data; pickled objects are never loaded. The checks in this module refuse
some files that these two accept:

- `.npy`: extra bytes after the array, which remain if damage makes the shape smaller.
- `.npz`: an array that is smaller than its zip member. NumPy stops at the end of the array and
  never verifies the checksum at the end of the member.
- `.npz`: an array larger than `MAX_BYTES`, or larger than its compressed bytes can possibly expand
  to. NumPy allocates the memory that the header declares before it reads.
- `.npz`: an array that declares more than real data can need (`is_bomb`).
- `.npz`: members compressed with LZMA or bzip2. NumPy never writes these, and they can expand to
  more than 1032 times their compressed size.
"""

import zipfile
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cached_property
from math import prod
from pathlib import Path
from typing import IO, Any

import numpy as np
from numpy.lib import format as npy
from numpy.typing import NDArray
from torch import Tensor

from cmrrecon.data import Scan, SpokeMask
from cmrrecon.formats.arrays import Selection, StoredArray, check_size, single_precision
from cmrrecon.formats.bombs import is_bomb
from cmrrecon.formats.companions import companions_of
from cmrrecon.formats.geometry import geometry_to_json
from cmrrecon.formats.stored_facts import acquisition_to_json
from cmrrecon.formats.tensors import image_array, stack_images
from cmrrecon.tools.atomic import atomic, output_error
from cmrrecon.tools.errors import InputError
from cmrrecon.tools.provenance import to_json

DEFLATE_LIMIT = 1032  # the largest compression ratio of deflate
LONGEST_TEXT = 2**22  # characters


def sniff_npy(head: bytes) -> bool:
    """Return whether a file that begins with these bytes is .npy."""
    return head.startswith(npy.MAGIC_PREFIX)


def sniff_npz(head: bytes) -> bool:
    """Return whether a file that begins with these bytes is a zip archive."""
    return head.startswith(b"PK\x03\x04")


def npy_variables(path: Path) -> dict[str, StoredArray]:
    """Return the array in a .npy file, under an empty name.

    Raises
    ------
    InputError
        If the file is cut off or damaged (`file-damaged`), or contains objects (`file-objects`).
    """
    with _reading_errors(path), open(path, "rb") as handle:
        shape, dtype = _header(handle, path)
        expected = handle.tell() + prod(shape) * dtype.itemsize
        size = handle.seek(0, 2)

    if size != expected:
        raise _damaged(path, f"it has {size} bytes but should have {expected}")
    if dtype.kind not in "fiubc":
        return {}
    return {"": StoredArray("", shape, dtype.kind == "c", NpyReader(path))}


def npz_variables(path: Path) -> dict[str, StoredArray]:
    """Return the numeric arrays in a .npz file, reading only their headers.

    Raises
    ------
    InputError
        If the file is cut off or damaged (`file-damaged`), contains objects (`file-objects`), or
        declares an array of more than `MAX_BYTES` (`array-too-large`).
    """
    stored = {}
    with _reading_errors(path), zipfile.ZipFile(path) as archive:
        for member in archive.infolist():
            if "\0" in member.orig_filename:
                raise _damaged(path, "the name of an array contains a zero byte")
            if member.filename.endswith(".npy"):
                name = member.filename.removesuffix(".npy")
                shape, dtype = _member_header(archive, member, path)
                if dtype.kind in "fiubc":
                    stored[name] = StoredArray(
                        name, shape, dtype.kind == "c", NpzReader(path, member.filename)
                    )
    return stored


def npz_text(path: Path, name: str) -> str | None:
    """Return a text in a .npz file, or None."""
    with _reading_errors(path), zipfile.ZipFile(path) as archive:
        for member in archive.infolist():
            if member.filename == f"{name}.npy":
                shape, dtype = _member_header(archive, member, path)
                if dtype.kind == "U" and shape == () and dtype.itemsize <= 4 * LONGEST_TEXT:
                    with archive.open(member) as handle:
                        return str(npy.read_array(handle, allow_pickle=False))
    return None


def npy_text(path: Path, name: str) -> str | None:
    """Return the provenance next to a .npy file; None for other names or if there is none."""
    provenance_file = sidecar(path)
    return (
        provenance_file.read_text(encoding="utf-8", errors="replace")
        if name == "provenance" and provenance_file.is_file()
        else None
    )


def sidecar(path: Path) -> Path:
    """Return the path of the provenance of a .npy file: `image.npy` -> `image.npy.json`."""
    return path.with_name(path.name + ".json")


def write_scan(path: Path, scan: Scan, provenance: Mapping[str, Any] | None = None) -> None:
    """Write k-space (frame, slice, coil, y, x) as .npz with mask and facts, or alone as .npy.

    Raises
    ------
    OutputError
        If the file cannot be written.
    """
    if path.suffix.lower() == ".npz":
        arrays = {
            "kspace": np.stack(
                [scan.read_slice(index).cpu().numpy() for index in range(scan.shape[1])], axis=1
            )
        }

        if scan.mask is not None:
            arrays["mask"] = scan.mask.samples.cpu().numpy()
        if isinstance(scan.mask, SpokeMask):
            trajectory = scan.mask.trajectory
            arrays |= {
                "trajectory": trajectory.positions.cpu().numpy(),
                "matrix": np.array(trajectory.matrix),
            }

        arrays |= companions_of(scan)
        arrays["acquisition"] = np.array(acquisition_to_json(scan.acquisition))
        if scan.geometry is not None:
            arrays["geometry"] = np.array(geometry_to_json(scan.geometry))
        _write_npz(path, arrays, provenance)
    else:
        slices = (scan.read_slice(index).cpu().numpy() for index in range(scan.shape[1]))
        _write_npy(path, slices, scan.shape[1], provenance)


def write_truth(
    path: Path, image: Tensor, maps: Tensor, provenance: Mapping[str, Any] | None = None
) -> None:
    """Write the noise-free truth of a simulated scan as `.npz`.

    `image` is (frame, slice, y, x), `maps` (coil, y, x), both complex64.

    Raises
    ------
    OutputError
        If the file cannot be written.
    """
    _write_npz(path, {"image": image.cpu().numpy(), "maps": maps.cpu().numpy()}, provenance)


def write_images(
    path: Path, images: Sequence[Tensor], provenance: Mapping[str, Any] | None = None
) -> None:
    """Write images, a sequence over slices of (frame, y, x), as .npz (`image`) or .npy.

    Raises
    ------
    OutputError
        If the file cannot be written.
    """
    if path.suffix.lower() == ".npz":
        _write_npz(path, {"image": stack_images(images)}, provenance)
    else:
        _write_npy(
            path,
            (image_array(images[index]) for index in range(len(images))),
            len(images),
            provenance,
        )


@dataclass(frozen=True)
class NpyReader:
    """Reads a piece of a .npy file through a memory map."""

    path: Path

    def __call__(self, selection: Selection) -> NDArray[Any]:
        """Return the selected piece, in memory."""
        with _reading_errors(self.path):
            return single_precision(npy.open_memmap(self.path, mode="r")[selection])


@dataclass(frozen=True)
class NpzReader:
    """Reads a whole array of a .npz file on first use, then returns pieces of it."""

    path: Path
    member: str

    @cached_property
    def values(self) -> NDArray[Any]:
        """The whole array."""
        with (
            _reading_errors(self.path),
            zipfile.ZipFile(self.path) as archive,
            archive.open(self.member) as handle,
        ):
            return single_precision(npy.read_array(handle, allow_pickle=False))

    def __call__(self, selection: Selection) -> NDArray[Any]:
        """Return the selected piece, in memory."""
        return single_precision(self.values[selection])


def _header(handle: IO[bytes], path: Path) -> tuple[tuple[int, ...], np.dtype[Any]]:
    """Read the shape and type of an array, leaving the handle positioned before its numbers."""
    version = npy.read_magic(handle)
    if version not in ((1, 0), (2, 0)):
        raise _damaged(path, "it has an unknown version or contains records")
    shape, _, dtype = (
        npy.read_array_header_1_0 if version == (1, 0) else npy.read_array_header_2_0
    )(handle)
    if dtype.hasobject or min(shape, default=0) < 0:
        raise InputError(
            "file-objects",
            f"{path} contains Python objects, not numbers",
            "Reading objects can run code, so they are refused",
            "Save the arrays as numbers, with allow_pickle=False",
        )
    return shape, dtype


def _member_header(
    archive: zipfile.ZipFile, member: zipfile.ZipInfo, path: Path
) -> tuple[tuple[int, ...], np.dtype[Any]]:
    """Read the shape and type of an array in an archive; its member must have the right size."""
    if (
        member.compress_type not in (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED)
        or member.file_size > DEFLATE_LIMIT * member.compress_size + 1024
        or is_bomb(member.file_size, member.compress_size)
    ):
        raise _damaged(path, "its compression is unknown, or it declares more than it can contain")

    with archive.open(member) as handle:
        shape, dtype = _header(handle, path)
        if 0 not in shape and shape:
            check_size(shape, dtype.itemsize, f"{path}")
        if handle.tell() + prod(shape) * dtype.itemsize != member.file_size:
            raise _damaged(path, "the numbers of an array do not match its shape")
    return shape, dtype


@contextmanager
def _reading_errors(path: Path) -> Iterator[None]:
    """Provide a context in which errors of NumPy and zipfile become an InputError."""
    try:
        yield

    # zipfile and NumPy raise these errors for damaged files.
    except (
        OSError,
        ValueError,
        RuntimeError,
        KeyError,
        EOFError,
        SyntaxError,
        TypeError,
        zipfile.BadZipFile,
    ) as error:
        raise _damaged(path, "its structure or data are inconsistent") from error
    except Exception as error:
        # zlib.error and tokenize.TokenError derive directly from Exception.
        if type(error).__module__ not in ("zlib", "tokenize"):
            raise
        raise _damaged(path, "its structure or data are inconsistent") from error


def _damaged(path: Path, reason: str) -> InputError:
    return InputError(
        "file-damaged",
        f"{path} is damaged: {reason}",
        "A complete NumPy file (.npy or .npz) is needed",
        "Copy or save the file again",
    )


def _write_npz(
    path: Path, arrays: dict[str, NDArray[Any]], provenance: Mapping[str, Any] | None
) -> None:
    if provenance is not None:
        arrays = arrays | {"provenance": np.array(to_json(provenance))}
    with atomic(path) as temporary, open(temporary, "wb") as handle:
        np.savez(handle, **arrays)  # type: ignore[arg-type]


def _write_npy(
    path: Path, slices: Iterator[NDArray[Any]], count: int, provenance: Mapping[str, Any] | None
) -> None:
    """Write the arrays (frame, ...) of all slices as one (frame, slice, ...), one slice at a time.

    Memory maps are avoided, because they would kill the process when the disk is full.
    """
    with atomic(path) as temporary, open(temporary, "wb") as handle:
        start = 0
        for index, series in enumerate(slices):
            if index == 0:
                shape = (len(series), count, *series.shape[1:])
                npy.write_array_header_1_0(
                    handle,
                    {
                        "descr": npy.dtype_to_descr(series.dtype),
                        "fortran_order": False,
                        "shape": shape,
                    },
                )
                start = handle.tell()

            for frame, values in enumerate(series):
                handle.seek(start + (frame * count + index) * values.nbytes)
                handle.write(np.ascontiguousarray(values).data)

        provenance_file = sidecar(path)
        try:
            # A new array must never be next to an old provenance.
            provenance_file.unlink(missing_ok=True)
        except OSError as error:
            raise output_error(provenance_file, error) from error
    if provenance is not None:
        with atomic(sidecar(path)) as temporary:
            temporary.write_text(to_json(provenance) + "\n", encoding="ascii")
