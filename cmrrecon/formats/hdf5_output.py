"""Writing HDF5 files on disks that may be full.

HDF5 cannot close a file that it failed to write: it keeps the remains and crashes the process later. So it writes
through a layer that swallows errors, and we raise them ourselves once HDF5 is out of the way.
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
    """A new HDF5 file. Do all that writes to `file` inside `storing`, which raises what went wrong.

    Attributes
    ----------
    file : the h5py file
    """

    def __init__(self, file: Any, disk: "_Disk") -> None:
        self.file, self._disk = file, disk

    @contextmanager
    def storing(self) -> Iterator[None]:
        """Around h5py calls: a failed write, in whatever way it shows, raises OSError."""
        try:
            yield
        except (RuntimeError, ValueError) as error:
            raise OSError(str(error)) from error
        self.file.flush()
        self._disk.check()

    def set_text(self, name: str, value: str) -> None:
        """A text attribute of the file, of fixed length (see `hdf5_access.text`)."""
        self.file.attrs[name] = np.bytes_(value.encode())

    def set_provenance(self, provenance: Mapping[str, Any] | None) -> None:
        """The provenance as an attribute of the file, if there is one."""
        if provenance is not None:
            self.set_text("provenance", to_json(provenance))


@contextmanager
def created(path: Path, **options: Any) -> Iterator[Hdf5Output]:
    """A new HDF5 file at `path`, complete on the disk at the end of the block.

    Raises
    ------
    OSError : a write failed
    """
    with FileIO(path, "w+") as raw:
        disk = _Disk(raw)
        with h5py.File(disk, "w", **options) as file:
            yield Hdf5Output(file, disk)
        disk.check()


class _Disk(RawIOBase):
    """The file object h5py writes to; the first error is kept, and what comes after it is not written."""

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
