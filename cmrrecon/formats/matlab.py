"""Writes MATLAB v7.3 files in the official layouts of CMRxRecon, slice by slice.

HDF5 stores the axes of a MATLAB array in reverse: (nx, ny, nc, nz, nt) in MATLAB is (frame, slice,
coil, y, x) here. `hdf5_access` reads such files.
"""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np
from torch import Tensor

from cmrrecon import __version__
from cmrrecon.data import Scan
from cmrrecon.formats.arrays import COMPLEX_SINGLE
from cmrrecon.formats.geometry import geometry_to_json
from cmrrecon.formats.hdf5_output import Hdf5Output, created
from cmrrecon.formats.names import is_timeless
from cmrrecon.tools.atomic import atomic

USER_BLOCK = 512  # bytes of MATLAB's header before the HDF5 signature


def write_scan(
    path: Path, scan: Scan, provenance: Mapping[str, Any] | None = None, variable: str | None = None
) -> None:
    """Write k-space in complex single precision, (nx, ny, nc, nz, nt) in MATLAB.

    Scans of blackblood, T1w and T2w have no axis nt. The mask goes into a separate file
    (`write_mask`). The geometry becomes an attribute of the file.

    Parameters
    ----------
    path : Path
        The output.
    scan : Scan
        The scan, read slice by slice.
    provenance : mapping or None
        JSON values to store in the file.
    variable : str or None
        Name of the k-space variable; None for the official name, see `default_variable`.

    Raises
    ------
    OutputError
        If the file cannot be written.
    """
    frames, slices = scan.shape[:2]
    with_frames = frames > 1 or not is_timeless(scan.acquisition.base)
    shape = scan.shape if with_frames else scan.shape[1:]
    chunks = (1,) * (len(shape) - 2) + shape[-2:]

    with _created(path, provenance) as output:
        with output.storing():
            name = variable or default_variable(scan)
            dataset = output.file.create_dataset(
                name, shape, COMPLEX_SINGLE, chunks=chunks, compression="gzip", compression_opts=3
            )
            dataset.attrs["MATLAB_class"] = np.bytes_("single")
            if scan.geometry is not None:
                output.set_text("geometry", geometry_to_json(scan.geometry))

        for index in range(slices):
            series = np.ascontiguousarray(scan.read_slice(index).cpu().numpy()).view(COMPLEX_SINGLE)
            with output.storing():
                if with_frames:
                    dataset[:, index] = series
                else:
                    dataset[index] = series[0]


def default_variable(scan: Scan) -> str:
    """Return `kus` for undersampled k-space, else `kspace` (2025) or `kspace_full`."""
    undersampled = (
        scan.acquisition.pattern is not None if scan.mask is None else not scan.mask.complete
    )
    if undersampled:
        return "kus"
    return "kspace" if scan.acquisition.year == 2025 else "kspace_full"


def write_mask(
    path: Path, mask: Tensor, x: int, provenance: Mapping[str, Any] | None = None
) -> None:
    """Write a mask (frame|1, y, x|1) as zeros and ones in double precision.

    The array is (nx, ny) or (nx, ny, nt) in MATLAB; masks of whole lines are repeated along x.

    Raises
    ------
    OutputError
        If the file cannot be written.
    """
    full = mask.expand(*mask.shape[:2], x).cpu().numpy().astype("<f8")
    values = full[0] if len(full) == 1 else full
    with _created(path, provenance) as output, output.storing():
        dataset = output.file.create_dataset(
            "mask", data=values, chunks=values.shape, compression="gzip", compression_opts=3
        )
        dataset.attrs["MATLAB_class"] = np.bytes_("double")


@contextmanager
def _created(path: Path, provenance: Mapping[str, Any] | None) -> Iterator[Hdf5Output]:
    """Create an HDF5 file with MATLAB's header."""
    with atomic(path) as temporary:
        with created(temporary, userblock_size=USER_BLOCK) as output:
            with output.storing():
                output.set_provenance(provenance)
            yield output

        created_on = datetime.now(UTC).strftime("%a %b %d %H:%M:%S %Y")
        header = (
            f"MATLAB 7.3 MAT-file, Platform: cmrrecon {__version__}, Created on: {created_on} "
            "HDF5 schema 1.00 ."
        )
        with open(temporary, "r+b") as handle:
            # 116 bytes of text, 8 bytes of subsystem offset, version 0x0200, byte order.
            handle.write(header.encode().ljust(116) + bytes(8) + b"\x00\x02IM")
