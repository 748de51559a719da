"""Writes HDF5 files safely even if the disk is full.

HDF5 cannot close a file after a failed write: it keeps unwritten data and crashes the process
later. HDF5 therefore writes through a layer that records errors, and they are raised once HDF5 is
done.
"""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from io import FileIO, RawIOBase
from pathlib import Path
from typing import Any

import h5py
import numpy as np

from cmrrecon.tools.provenance import to_json


class Hdf5Output:
    """A new HDF5 file. Write to `file` only inside `storing`, which raises write errors.

    Attributes
    ----------
    file : h5py.File
        The open file.
    """

    def __init__(self, file: Any, disk: "_Disk") -> None:
        self.file, self._disk = file, disk

    @contextmanager
    def storing(self) -> Iterator[None]:
        """Provide a context for h5py calls in which any failed write raises OSError."""
        try:
            yield
        except (RuntimeError, ValueError) as error:
            raise OSError(str(error)) from error
        self.file.flush()
        self._disk.check()

    def set_text(self, name: str, value: str) -> None:
        """Set a text attribute of the file, of fixed length (see `hdf5_access.text`)."""
        self.file.attrs[name] = np.bytes_(value.encode())

    def set_provenance(self, provenance: Mapping[str, Any] | None) -> None:
        """Store the provenance, if there is any, as an attribute of the file."""
        if provenance is not None:
            self.set_text("provenance", to_json(provenance))


@contextmanager
def created(path: Path, **options: Any) -> Iterator[Hdf5Output]:
    """Create an HDF5 file that is completely on disk when the context ends.

    Parameters
    ----------
    path : Path
        The new file.
    **options : Any
        Further arguments of `h5py.File`.

    Yields
    ------
    Hdf5Output
        The open file.

    Raises
    ------
    OSError
        If a write failed.
    """
    with FileIO(path, "w+") as raw:
        disk = _Disk(raw)
        with h5py.File(disk, "w", **options) as file:
            yield Hdf5Output(file, disk)
        disk.check()


class _Disk(RawIOBase):
    """The file object that h5py writes to; after the first error it writes nothing more."""

    def __init__(self, raw: FileIO) -> None:
        self.raw = raw
        self.error: OSError | None = None

    def check(self) -> None:
        if self.error is not None:
            raise self.error

    def write(self, data: Any) -> int:
        left = memoryview(data)
        try:
            while left and self.error is None:
                left = left[self.raw.write(left) :]
        except OSError as error:
            self.error = error
        return len(data)

    def truncate(self, size: int | None = None) -> int:
        try:
            if self.error is None:
                self.raw.truncate(size)
        except OSError as error:
            self.error = error
        return size or 0

    def readinto(self, buffer: Any) -> int:
        return self.raw.readinto(buffer) or 0

    def seek(self, offset: int, whence: int = 0) -> int:
        return self.raw.seek(offset, whence)
