"""The readouts of a Siemens twix file, listed by the optional package turbotwix (extra `twix`), and
their samples.

Of three packages turbotwix was taken. On two files of 1.6 and 1.0 MB (VE11) all gave the same
samples (pymapvbvd 0.7.0 with its regridding switched off). Reading took turbotwix 0.2.1 3 ms,
pymapvbvd 53 ms and twixtools 0.24 77 ms, importing 0.08, 0.46 and 0.76 s. All are MIT-licensed,
pure Python, and had releases in 2025 or 2026. turbotwix needs NumPy alone, the others SciPy and
matplotlib as well; it gives a table of readouts, which is what is needed here, but no geometry, no
noise and no correction of echo-planar lines, which are made here.

None of them guards against damage: twixtools ends in any exception, pymapvbvd fills up what was
left of a file, turbotwix reads beyond the end of a file that was cut and crashes the process. So
the directory is checked before it sees the file, and afterwards that the measurement ended as it
should; samples and protocol are read here. 1,200 damaged files gave errors or scans, nothing else.
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

BLOCK = 2**15  # headers read at once, each with 8 times its size of indices


@dataclass(frozen=True)
class Samples:
    """Reads the samples of chosen readouts.

    Attributes
    ----------
    path : the file
    offsets : where each readout begins, in bytes
    samples, coils : of each readout
    before_vd : whether the file is of software before VD
    """

    path: Path
    offsets: NDArray[np.int64]
    samples: NDArray[np.int64]
    coils: NDArray[np.int64]
    before_vd: bool

    @property
    def prefix(self) -> int:
        """Bytes of the header before a readout, which software before VD had before its coils
        only."""
        return 0 if self.before_vd else HEADERS[False]

    @property
    def end(self) -> int:
        """Where the last readout ends, in bytes."""
        size = int(self.coils[-1]) * (CHANNEL[self.before_vd] + 8 * int(self.samples[-1]))
        return int(self.offsets[-1]) + self.prefix + size

    def __call__(self, rows: Rows) -> NDArray[np.complex64]:
        """Rows of equal size -> (row, coil, sample), as stored."""
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
    """The file, opened by turbotwix."""
    try:
        turbotwix = importlib.import_module("turbotwix")
    except ImportError as error:
        raise UsageError(
            "package-missing",
            f"{path} is Siemens raw data, which need the extra twix",
            "It brings the package turbotwix, which is not installed",
            "Use pip install 'cmrrecon[twix]'",
        ) from error
    with _guarded(path):
        return turbotwix.open_twix(str(path))


def listed(file: Any, index: int, path: Path) -> tuple[NDArray[Any], NDArray[np.int64]]:
    """The headers of the readouts of a measurement, and where each begins, in bytes."""
    with _guarded(path):
        lines = file[index].lines
        blocks = [lines[n : n + BLOCK].headers() for n in range(0, max(1, len(lines)), BLOCK)]
        return np.concatenate(blocks), np.asarray(lines.offset, np.int64)


@contextmanager
def _guarded(path: Path) -> Iterator[None]:
    """Around calls of turbotwix: whatever it finds wrong in a file becomes an InputError, and it
    prints nothing."""
    own = importlib.import_module("turbotwix").TwixParseError
    try:
        with redirect_stderr(io.StringIO()):
            yield
    # Depending on which byte is wrong, nearly anything is raised.
    except (own, OSError, ValueError, IndexError, KeyError, OverflowError, TypeError) as error:
        raise damaged(path, "its readouts do not agree with themselves") from error
