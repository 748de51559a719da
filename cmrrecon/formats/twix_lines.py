"""Reads the readouts of Siemens twix files with the optional package turbotwix (extra `twix`).

turbotwix was chosen from three packages. On two files of 1.6 and 1.0 MB (VE11), all three returned
the same samples (pymapvbvd 0.7.0 with its regridding switched off). Reading took 3 ms with
turbotwix 0.2.1, 53 ms with pymapvbvd and 77 ms with twixtools 0.24; importing took 0.08, 0.46 and
0.76 s. All are MIT-licensed, pure Python, and had releases in 2025 or 2026. turbotwix only needs
NumPy; the others also need SciPy and matplotlib. It supplies the table of readouts, but not
geometry, noise and the correction of echo-planar lines, which cmrrecon implements itself.

None of them guards against damage: twixtools raises arbitrary exceptions, pymapvbvd pads truncated
files, and turbotwix reads beyond the end of a truncated file and crashes the process. Therefore,
the directory is checked before turbotwix opens the file, and the end of the measurement afterwards.
Samples and protocol are read without turbotwix. In a test with 1,200 damaged files, each led to an
error or a scan.
"""

import importlib
import io
from collections.abc import Iterator
from contextlib import contextmanager, redirect_stderr
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from cmrrecon.formats.readouts import Rows
from cmrrecon.formats.twix_directory import CHANNEL, HEADERS, damaged
from cmrrecon.tools.errors import UsageError

BLOCK = 2**15  # headers read at a time; the indices of a header take 8 times its size


@dataclass(frozen=True)
class Samples:
    """Reads the samples of selected readouts.

    Attributes
    ----------
    path : Path
        The file.
    offsets : ndarray of shape (row,), int64
        Offsets of the readouts in bytes.
    samples, coils : ndarray of shape (row,), int64
        Numbers of samples and coils of the readouts.
    before_vd : bool
        Whether the file is of software before VD.
    """

    path: Path
    offsets: NDArray[np.int64]
    samples: NDArray[np.int64]
    coils: NDArray[np.int64]
    before_vd: bool

    @property
    def prefix(self) -> int:
        """Bytes of a readout's header before its coils; 0 before VD, where only coils have one."""
        return 0 if self.before_vd else HEADERS[False]

    @property
    def end(self) -> int:
        """Offset of the first byte after the last readout."""
        size = int(self.coils[-1]) * (CHANNEL[self.before_vd] + 8 * int(self.samples[-1]))
        return int(self.offsets[-1]) + self.prefix + size

    def __call__(self, rows: Rows) -> NDArray[np.complex64]:
        """Load rows of equal size as (row, coil, sample), unchanged."""
        count, coils = int(self.samples[rows[0]]), int(self.coils[rows[0]])
        between = CHANNEL[self.before_vd]
        size = between + 8 * count
        found = np.empty((len(rows), coils, count), np.complex64)

        with open(self.path, "rb") as handle:
            for place, offset in zip(found, self.offsets[rows] + self.prefix, strict=True):
                handle.seek(offset)
                raw = handle.read(coils * size)
                if len(raw) != coils * size:
                    raise damaged(self.path, "the file ends within a readout")
                block = np.frombuffer(raw, np.uint8).reshape(coils, size)[:, between:]
                place[:] = np.ascontiguousarray(block).view("<c8")
        return found


def opened(path: Path) -> Any:
    """Open a file with turbotwix."""
    try:
        turbotwix = importlib.import_module("turbotwix")
    except ImportError as error:
        raise UsageError(
            "package-missing",
            f"{path} is a Siemens raw data file, which needs the package turbotwix",
            "The extra twix, which contains turbotwix, must be installed",
            "Run pip install 'cmrrecon[twix]'",
        ) from error
    with _turbotwix_errors(path):
        return turbotwix.open_twix(str(path))


def listed(file: Any, index: int, path: Path) -> tuple[NDArray[Any], NDArray[np.int64]]:
    """List the headers of a measurement's readouts, and their offsets in bytes."""
    with _turbotwix_errors(path):
        lines = file[index].lines
        blocks = [lines[n : n + BLOCK].headers() for n in range(0, max(1, len(lines)), BLOCK)]
        return np.concatenate(blocks), np.asarray(lines.offset, np.int64)


@contextmanager
def _turbotwix_errors(path: Path) -> Iterator[None]:
    """Provide a context in which turbotwix prints nothing and its errors become an InputError."""
    own = importlib.import_module("turbotwix").TwixParseError
    try:
        with redirect_stderr(io.StringIO()):
            yield
    # The type of the exception depends on which byte is wrong.
    except (own, OSError, ValueError, IndexError, KeyError, OverflowError, TypeError) as error:
        raise damaged(path, "its readouts are inconsistent") from error
