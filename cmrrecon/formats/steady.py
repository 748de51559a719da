"""Reads slices only as long as the files of a scan stay the same."""

from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path

from torch import Tensor

from cmrrecon.data import Scan
from cmrrecon.tools.errors import CmrreconError
from cmrrecon.tools.unchanged import Unchanged


@dataclass(frozen=True)
class SteadyReader:
    """Reads slices of k-space (frame, coil, y, x), and refuses files that changed meanwhile.

    Attributes
    ----------
    inner : callable
        Reader of the slices.
    files : Unchanged
        The files of the scan as they were when it was opened.
    """

    inner: Callable[[int], Tensor]
    files: Unchanged

    def __call__(self, index: int) -> Tensor:
        """Return k-space of slice `index` (0-based).

        Raises
        ------
        InputError
            If a file changed since the scan was opened (`input-changed`, `file-missing`).
        """
        try:
            kspace = self.inner(index)
        except CmrreconError:
            # The change explains the damage better than the reader can.
            self.files.check()
            raise
        self.files.check()
        return kspace


def files_of(path: Path) -> list[Path]:
    """Return the files that hold a scan: both files of a BART pair, otherwise the file itself."""
    if path.suffix.lower() not in (".cfl", ".hdr"):
        return [path]
    pair = (path.with_suffix(".hdr"), path, path.with_suffix(".cfl"))
    return [part for part in dict.fromkeys(pair) if part.exists()]


def steady(scan: Scan, main: Unchanged) -> Scan:
    """Make a scan refuse slices once its k-space, mask or maps file has changed.

    Parameters
    ----------
    scan : Scan
        The scan as it was read.
    main : Unchanged
        The files of its k-space, noted before they were opened.
    """
    others = Unchanged.of([path for path in (scan.mask_path, scan.maps_path) if path])
    files = Unchanged(main.states + others.states)
    return replace(scan, read_slice=SteadyReader(scan.read_slice, files))
