"""ISMRMRD raw data, as written by the vendors' converters: HDF5 files of single readouts.

A group, usually `dataset`, consists of the header `xml` and the table of readouts `data` (columns
`head`, trajectory `traj`, samples `data`). A file may have several groups, for example a noise scan
before the images.

References
----------
Inati et al., Magn Reson Med 2017;77:411.
"""

from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import h5py
import numpy as np
from numpy.typing import NDArray

from cmrrecon.data import Scan
from cmrrecon.formats.hdf5_access import opened
from cmrrecon.formats.hdf5_access import sniff as is_hdf5
from cmrrecon.formats.hdf5_heap import Heap, stored_rows
from cmrrecon.formats.ismrmrd_header import read_header
from cmrrecon.formats.ismrmrd_table import read_table
from cmrrecon.formats.names import parse_name
from cmrrecon.formats.readouts import Raw, Rows, Table
from cmrrecon.formats.readouts_scan import assemble
from cmrrecon.tools.errors import UsageError, suggestion


@dataclass(frozen=True, eq=False)
class Stored:
    """Loads samples and trajectories of a file's readouts.

    Attributes
    ----------
    path : Path
        The file.
    base : int
        Offset in bytes at which the HDF5 part of the file begins.
    table : dict of str to ndarray
        The shared columns, see `readouts.Raw`.
    references : dict of str to ndarray
        References to the `traj` and `data` of each readout.
    itemsize : dict of str to int
        Bytes per item of `traj` and of `data`.
    """

    path: Path
    base: int
    table: Table
    references: Table
    itemsize: dict[str, int]

    def samples(self, rows: Rows) -> NDArray[np.complex64]:
        """Load samples (row, coil, sample) of readouts of equal size."""
        coils, samples = (int(self.table[name][rows[0]]) for name in ("coils", "samples"))
        return self._pieces("data", "<c8", rows, (coils, samples))

    def positions(self, rows: Rows) -> NDArray[np.float32]:
        """Load trajectories (row, sample, axis) of readouts of equal size."""
        samples, axes = (int(self.table[name][rows[0]]) for name in ("samples", "axes"))
        return self._pieces("traj", "<f4", rows, (samples, axes))

    def _pieces(self, name: str, dtype: str, rows: Rows, shape: tuple[int, int]) -> NDArray[Any]:
        """Return the pieces of these rows as one array; damage becomes an InputError."""
        with opened(self.path), open(self.path, "rb") as handle:
            heap = Heap(handle, self.base)
            pieces = heap.read_all(self.references[name][rows], self.itemsize[name])
            return np.frombuffer(pieces, dtype).reshape(len(rows), *shape)


def sniff(path: Path, head: bytes) -> bool:
    """Return whether a file that begins with `head` has ISMRMRD groups and no other arrays."""
    if not is_hdf5(head):
        return False
    with opened(path) as file:
        return bool(_groups(file)) and not any(
            file.get(name, getclass=True) is h5py.Dataset for name in file
        )


def read(path: Path, dataset: str | None = None) -> Scan:
    """Read the image data of one group, along its trajectory or on the Cartesian grid.

    Cartesian data keep the readout oversampling. See `formats.readouts_scan.assemble` for which
    counter becomes the frames. Noise readouts may be in another group. Patient data in the header
    are ignored.

    Parameters
    ----------
    path : Path
        The file.
    dataset : str or None
        Name of the group; None for the first group with image data.

    Returns
    -------
    Scan
        The scan.

    Raises
    ------
    InputError
        If the file is damaged, or if its data are not two-dimensional or do not fit its header.
    UsageError
        If there is no such group (`dataset-unknown`).
    """
    names = _names(path)
    if dataset is not None and dataset not in names:
        raise UsageError(
            "dataset-unknown",
            f"{path} has no data set {dataset!r}",
            f"Its data sets are {', '.join(names)}",
            suggestion(dataset, names, "Name one of these with --dataset"),
        )

    groups = {name: _raw(path, name) for name in names}
    with_images = [name for name, raw in groups.items() if raw.table["image"].any()]
    chosen = dataset or (with_images or names)[0]
    others = [name for name in with_images if name != chosen]

    raw = groups[chosen]
    if others and dataset is None:
        note = f"{path}: the data set {chosen} was read; select {', '.join(others)} with --dataset."
        raw = replace(raw, notes=(note,))

    with_noise = [each for each in (raw, *groups.values()) if each.table["noise"].any()]
    return assemble(raw, with_noise[0] if with_noise else None)


def _names(path: Path) -> list[str]:
    with opened(path) as file:
        return _groups(file)


def _groups(file: Any) -> list[str]:
    """List the names of the groups that have a table of readouts and a header."""
    return [str(name) for name in file if _is_group(file, name)]


def _is_group(file: Any, name: str) -> bool:
    places = (name, f"{name}/data", f"{name}/xml")
    if not all(isinstance(file.get(place, getlink=True), h5py.HardLink) for place in places):
        return False

    data, xml = (file[place] for place in places[1:])
    tables = isinstance(data, h5py.Dataset) and isinstance(xml, h5py.Dataset)
    return tables and {"head", "traj", "data"} <= set(data.dtype.names or ())


def _raw(path: Path, name: str) -> Raw:
    """Return the readouts of a group."""
    with opened(path) as file, open(path, "rb") as handle:
        group, base = file[name], file.userblock_size
        document = Heap(handle, base).read(stored_rows(group["xml"], handle)[0], 1)
        table, references, itemsize = read_table(group, handle)

    header = read_header(document, path)
    if header.against_gradients:
        table |= {axis: -table[axis] for axis in ("along_x", "along_y")}

    stored = Stored(path, base, table, references, itemsize)
    known = replace(
        parse_name(path), field_strength=header.field_strength, sequence=header.sequence
    )

    return Raw(
        path,
        table,
        header.encodings,
        load=stored.samples,
        positions=stored.positions,
        acquisition=known,
        noise_bandwidth=header.noise_bandwidth,
    )
