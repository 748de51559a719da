"""4-D flow data of CMRx4DFlow2026, read as slices perpendicular to the frequency encode.

The data are Cartesian k-space with two phase encodes. In `kdata_full.mat` and
`kdata_ktGaussian{R}.mat` (v7.3), h5py shows the axes (velocity, time, coil, SPE, PE, FE). The
frequency encode is always fully sampled, so an inverse transform along it yields independent
slices, each a (SPE, PE)-t problem. The axes of the scan are

- frame: all times of the first velocity encoding, then all times of the next, and so on;
- slice: the positions along FE;
- y: SPE, the slab encode; x: PE. Both are phase encodes, so the mask consists of samples.

These files may accompany the data:

- `usmask_ktGaussian{R}.mat`: the mask (velocity|1, time, 1, SPE, PE, 1);
- `coilmap.mat`: coil maps (coil, SPE, PE, FE);
- `params.csv`: a row of names and a row of values; items of a list are separated by semicolons. The
  reader uses VENC (interpreted as cm/s; the reference encoding, 0, is prepended if it is missing),
  field_strength, and resolution (mm, in the order of spatial_order).

MATLAB drops leading axes of length 1.
"""

import csv
import math
import re
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass, field, replace
from functools import cached_property
from pathlib import Path

import torch
from torch import Tensor

from cmrrecon.data import Acquisition, CartesianMask, Geometry, MaskSource, SamplingMask, Scan
from cmrrecon.formats import hdf5, hdf5_access
from cmrrecon.formats.arrays import Selection, StoredArray, check_size
from cmrrecon.formats.masks import mask_of
from cmrrecon.formats.names import parse_name
from cmrrecon.formats.variables import choose
from cmrrecon.operators.fourier import ifftc
from cmrrecon.tools.errors import InputError

KSPACE = re.compile(r"kdata_(?:full|kt\w+)")
SAMPLED_NAME = re.compile(r"kdata_(kt)([A-Z][a-z]+)(\d+)")
AXES = ("velocity", "time", "coil", "SPE", "PE", "FE")
MODALITY = "Flow4d"
# Bytes of neighbouring slices that are kept in memory, so the file is read only a few times.
BLOCK = 2**31
LONGEST_TABLE = 2**20  # bytes in params.csv


def sniff(path: Path, head: bytes) -> bool:
    """Return whether a file that begins with `head` has a variable named like 4-D flow data."""
    if not hdf5_access.sniff(head):
        return False
    with hdf5_access.opened(path) as file:
        return any(KSPACE.fullmatch(name) for name in file)


def read(path: Path) -> Scan:
    """Read a 4-D flow scan, with mask, coil maps and parameters from the same folder.

    Raises
    ------
    InputError
        If the file is damaged (`file-damaged`), has no complex k-space with known axes
        (`kspace-axes`, `kspace-real`), or if its mask file is not a mask (`mask-shape`,
        `mask-values`).
    """
    reader = FlowReader(_kspace(path))
    facts, geometry = _facts(path, reader.velocities)
    scan = Scan(
        reader.shape,
        reader,
        acquisition=facts,
        path=str(path),
        notes=(_note(path, reader),),
        geometry=geometry,
    )

    coil_maps = path.parent / "coilmap.mat"
    if coil_maps.is_file():
        scan = replace(scan, maps=MapReader(coil_maps, reader.shape), maps_path=str(coil_maps))
    return _with_mask(scan, path, reader)


@dataclass(eq=False)
class FlowReader:
    """Reads one slice perpendicular to the frequency encode as (frame, coil, SPE, PE) complex64.

    Computing a slice requires the whole file. Therefore, as many neighbouring slices as fit into
    `BLOCK` bytes are computed together and kept until a slice outside this block is requested.

    Attributes
    ----------
    stored : StoredArray
        K-space (velocity, time, coil, SPE, PE, FE); leading axes may be missing.
    """

    stored: StoredArray
    _block: dict[int, Tensor] = field(default_factory=dict, init=False, repr=False)

    @property
    def velocities(self) -> int:
        """Number of velocity encodings."""
        return self._full[0]

    @property
    def shape(self) -> tuple[int, int, int, int, int]:
        """Shape (frame, slice, coil, y, x) of the scan."""
        v, t, coils, spe, pe, fe = self._full
        return v * t, fe, coils, spe, pe

    @property
    def _full(self) -> tuple[int, ...]:
        """Shape (velocity, time, coil, SPE, PE, FE), with missing axes of length 1."""
        return (1,) * (len(AXES) - len(self.stored.shape)) + self.stored.shape

    def __call__(self, index: int) -> Tensor:
        """Return k-space of the slice at position `index` (0-based)."""
        frames, slices, coils, spe, pe = self.shape
        width = max(1, min(slices, BLOCK // (frames * coils * spe * pe * 8)))
        first = index - index % width

        if first not in self._block:
            self._block.clear()
            self._block[first] = self._slices(first, min(first + width, slices))
        return self._block[first][index - first].clone()

    def _slices(self, first: int, last: int) -> Tensor:
        """Compute the slices in range(first, last), (slice, frame, coil, SPE, PE)."""
        frames, _, *rest = self.shape
        block = torch.empty((last - first, frames, *rest), dtype=torch.complex64)
        for start, piece in self._pieces():
            block[:, start : start + len(piece)] = ifftc(piece, -1)[..., first:last].movedim(-1, 0)
        return block

    def _pieces(self) -> Iterator[tuple[int, Tensor]]:
        """Yield the first frame and k-space (frame, coil, SPE, PE, FE) of each piece of the file.

        A piece is one compressed block of the file, if that fits into `BLOCK` bytes.
        """
        v, t, *rest = self._full
        missing = len(AXES) - len(self.stored.shape)
        times = ((1,) * missing + (self.stored.chunks or self.stored.shape))[1]
        step = max(1, min(times, t, BLOCK // (math.prod(rest) * 8)))

        for velocity in range(v):
            for first in range(0, t, step):
                chosen: Selection = (
                    velocity,
                    slice(first, first + step),
                    *(slice(None),) * len(rest),
                )
                piece = torch.from_numpy(self.stored.read(chosen[missing:]))
                yield velocity * t + first, piece.reshape((-1, *rest))


@dataclass(eq=False)
class MapReader:
    """Coil maps (coil, SPE, PE) of a slice perpendicular to the frequency encode.

    Their root-sum-of-squares over the coils is 1, or 0 where all coils are zero in the file.

    Attributes
    ----------
    path : Path
        The file `coilmap.mat`.
    scan : tuple of int
        Shape of the scan, (frame, slice, coil, y, x).
    """

    path: Path
    scan: tuple[int, int, int, int, int]

    @cached_property
    def maps(self) -> Tensor:
        """All maps, (coil, SPE, PE, FE) complex64, read on first use."""
        _, fe, coils, spe, pe = self.scan
        stored = hdf5.variables(self.path).get("coilmap")
        if stored is None or not stored.is_complex or stored.shape[-4:] != (coils, spe, pe, fe):
            raise InputError(
                "maps-axes",
                f"{self.path} has no coil maps that fit the k-space in the same folder",
                f"`coilmap` must be complex, (coil, SPE, PE, FE) = {(coils, spe, pe, fe)}",
                "Use the coil maps of this scan, or remove the file so that maps are estimated",
            )

        maps = torch.from_numpy(stored.load(str(self.path))).reshape(coils, spe, pe, fe)
        size = torch.linalg.vector_norm(maps, dim=0)
        return torch.where(size > 0, maps / size, 0)

    def __call__(self, index: int) -> Tensor:
        """Return the maps of the slice at position `index` (0-based)."""
        return self.maps[..., index].contiguous()


def for_all_velocities(mask: CartesianMask, frames: int) -> CartesianMask:
    """Repeat the mask of one velocity encoding for all encodings; return other masks unchanged."""
    times = len(mask.samples)
    if times == 1 or frames % times:
        return mask
    return replace(mask, samples=mask.samples.repeat(frames // times, 1, 1))


def _kspace(path: Path) -> StoredArray:
    """Return the k-space in the file after checking its type, shape and size."""
    name, stored = next(
        (name, array) for name, array in hdf5.variables(path).items() if KSPACE.fullmatch(name)
    )

    if not stored.is_complex:
        raise InputError(
            "kspace-real",
            f"{path} contains real numbers of shape {stored.shape}",
            "K-space must be complex",
            "Use the k-space file",
        )

    if not 4 <= len(stored.shape) <= len(AXES):
        raise InputError(
            "kspace-axes",
            f"{path} has {len(stored.shape)} axes: its shape is {stored.shape}",
            f"4-D flow has the axes ({', '.join(AXES)})",
            f"Check the variable {name}",
        )

    frames, slices, coils, y, x = FlowReader(stored).shape
    check_size((frames, slices, coils, y, x), 0, str(path))
    check_size((frames, coils, y, x), 8, f"A slice of {path}")
    check_size((coils, y, x, slices), 8, f"A frame of {path}")
    return stored


def _with_mask(scan: Scan, path: Path, reader: FlowReader) -> Scan:
    """Return the scan with its mask.

    `kdata_full` is fully sampled. For other files, the mask comes from the mask file in the same
    folder; without one, non-zero samples count as measured.
    """
    frames, _, _, y, x = scan.shape
    if reader.stored.name == "kdata_full":
        every = torch.ones((1, y, x), dtype=torch.bool)
        return replace(scan, mask=SamplingMask.of(every, MaskSource.HEADER))

    mask_file = path.with_name(path.name.replace("kdata_", "usmask_", 1))
    if mask_file == path or not mask_file.is_file():
        note = (
            f"No mask file found for {path}: samples that are non-zero in any coil "
            "count as measured."
        )
        return replace(scan, notes=(*scan.notes, note))

    stored, _ = choose(hdf5.variables(mask_file), "mask", mask_file)
    mask = for_all_velocities(mask_of(stored, mask_file), frames)
    return replace(scan, mask=mask, mask_path=str(mask_file))


def _note(path: Path, reader: FlowReader) -> str:
    """Explain how the axes of the file map to the axes of the scan."""
    frames, slices, _, y, x = reader.shape
    sets, times = reader.velocities, frames // reader.velocities
    return (
        f"{path} is 4-D flow: its frames are {times} times for each of {sets} velocity encodings; "
        f"its {slices} slices are along the frequency encode; y is SPE ({y}), x is PE ({x})."
    )


def _facts(path: Path, velocities: int) -> tuple[Acquisition, Geometry | None]:
    """Return acquisition and geometry from file names and `params.csv`."""
    facts = replace(parse_name(path), base="flow4d", modality=MODALITY)
    if found := SAMPLED_NAME.fullmatch(path.stem):
        pattern = f"{found[1]}-{found[2].lower()}"
        facts = replace(facts, pattern=pattern, acceleration=float(found[3]))

    table = _table(path.parent / "params.csv")
    venc = _numbers(table.get("venc", ""))
    if venc and len(venc) == velocities - 1:
        venc = (0.0, *venc)
    strength = _numbers(table.get("field_strength", ""))
    facts = replace(
        facts,
        venc=venc if len(venc) == velocities else None,
        field_strength=strength[0] if len(strength) == 1 else None,
    )

    order = [word.strip().upper() for word in table.get("spatial_order", "").split(";")]
    size = dict(zip(order, _numbers(table.get("resolution", "")), strict=False))
    if set(size) != {"SPE", "PE", "FE"} or min(size.values()) <= 0:
        return facts, None
    return facts, Geometry(voxel_mm=(size["SPE"], size["PE"], size["FE"]))


def _table(path: Path) -> dict[str, str]:
    """Return the first row of values by lower-case name; empty if there is no readable table."""
    with suppress(OSError, csv.Error, ValueError):
        if path.stat().st_size <= LONGEST_TABLE:
            with open(path, newline="", encoding="utf-8-sig", errors="replace") as file:
                row = next(csv.DictReader(file), {})
            return {str(name).strip().lower(): str(value) for name, value in row.items()}
    return {}


def _numbers(text: str) -> tuple[float, ...]:
    """Parse a semicolon-separated list of numbers; empty if any is missing or not finite."""
    try:
        values = tuple(float(word) for word in text.strip(" []").split(";"))
    except ValueError:
        return ()
    return values if all(math.isfinite(value) for value in values) else ()
