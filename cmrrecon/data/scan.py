"""The contents of one file: k-space, read slice by slice, and what is known about it."""

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor

from cmrrecon.data.acquisition import Acquisition
from cmrrecon.data.checks import check_mask
from cmrrecon.data.coverage import extent_of
from cmrrecon.data.cut import needs_comparison, refuse_cut, refuse_cut_beside
from cmrrecon.data.dropouts import dropout_texts, filled
from cmrrecon.data.geometry import Geometry
from cmrrecon.data.mask import CartesianMask, MaskSource, SamplingMask, SpokeMask, once_if_alike
from cmrrecon.data.measured import Found, look
from cmrrecon.data.noise import Noise
from cmrrecon.data.series import Series
from cmrrecon.tools.arrays import as_tensor
from cmrrecon.tools.errors import InputError, UsageError

Shape = tuple[int, int, int, int, int]


@dataclass(frozen=True, eq=False)
class Scan:
    """K-space, its sampling mask and what is known about the acquisition, read slice by slice.

    Attributes
    ----------
    shape : (int, int, int, int, int)
        (frame, slice, coil, y, x); along a trajectory (frame, slice, coil, spoke, sample).
    read_slice : callable
        Takes the index of a slice, counted from 0, and returns its k-space as stored, a Tensor of
        shape (frame, coil, y, x), complex64.
    mask : SamplingMask or None
        Measured samples; None to find them in the k-space of each slice, see `measured`.
    acquisition : Acquisition
        How the scan was acquired.
    path : str
        The file, for messages; "" if there is none.
    mask_path : str
        The file of the mask, if it is a separate one.
    notes : tuple of str
        Assumptions made when the file was read, in sentences for the user.
    noise : Noise or None
        Noise of the coils; None if it was not measured.
    calibration : callable or None
        Takes the index of a slice and returns its separate reference lines, a Tensor of shape
        (coil, y', x'), complex64. None if there are none.
    geometry : Geometry or None
        Position and size in the patient; None if unknown.
    maps : callable or None
        Takes the index of a slice and returns its supplied coil sensitivity maps, a Tensor of shape
        (coil, y, x), complex64. None if there are none.
    maps_path : str
        The file of the coil sensitivity maps, if it is a separate one.
    full_by_rule : bool
        Whether the challenge that published the file calls it fully sampled, even if the edges of
        k-space are missing.
    """

    shape: Shape
    read_slice: Callable[[int], Tensor]
    mask: SamplingMask | None = None
    acquisition: Acquisition = field(default_factory=Acquisition)
    path: str = ""
    mask_path: str = ""
    notes: tuple[str, ...] = ()
    noise: Noise | None = None
    calibration: Callable[[int], Tensor] | None = None
    geometry: Geometry | None = None
    maps: Callable[[int], Tensor] | None = None
    maps_path: str = ""
    full_by_rule: bool = False

    @property
    def axes(self) -> tuple[str, str, str, str, str]:
        """Names of the axes of `shape`."""
        along = isinstance(self.mask, SpokeMask)
        return ("frame", "slice", "coil", *(("spoke", "sample") if along else ("y", "x")))

    @property
    def image_shape(self) -> tuple[int, int]:
        """Size (y, x) of the images."""
        y, x = self.shape[3:]
        return (y, x) if self.mask is None else self.mask.image_shape(y, x)

    @property
    def matrix(self) -> tuple[int, int] | None:
        """Size (y, x) of the images of k-space along a trajectory; None for Cartesian k-space."""
        return self.mask.trajectory.matrix if isinstance(self.mask, SpokeMask) else None

    @staticmethod
    def from_kspace(
        kspace: Any,
        mask: Any = None,
        acquisition: Acquisition | None = None,
    ) -> "Scan":
        """Make a scan from k-space in memory.

        Parameters
        ----------
        kspace : Tensor or array of shape (frame, slice, coil, y, x), complex
            K-space, zero where not measured.
        mask : SamplingMask, or Tensor or array of shape (frame|1, y, x|1), bool, or None
            Measured samples; None for all non-zero samples.
        acquisition : Acquisition or None
            What is known about the acquisition.

        Raises
        ------
        UsageError
            If the k-space is not an array (`array-type`), is empty (`array-empty`), does not have
            five axes (`kspace-axes`) or is real (`kspace-real`), or the mask does not fit
            (`mask-shape`).
        """
        kspace = as_tensor(kspace, "k-space", "(frame, slice, coil, y, x)")
        if kspace.ndim != 5:
            raise UsageError(
                "kspace-axes",
                f"The k-space has {kspace.ndim} axes, shape {tuple(kspace.shape)}",
                "Five axes (frame, slice, coil, y, x) are needed",
                "Add the missing axes of length 1, in that order",
            )
        if not kspace.is_complex():
            raise UsageError(
                "kspace-real",
                f"The k-space has type {kspace.dtype}",
                "K-space is complex",
                "Give complex numbers (frame, slice, coil, y, x)",
            )

        f, z, c, y, x = shape = kspace.shape
        checked_mask = None if mask is None else fitted(mask, shape)

        known = acquisition or Acquisition()
        return Scan(
            (f, z, c, y, x), lambda i: kspace[:, i].to(torch.complex64), checked_mask, known
        )

    def series(self, index: int) -> Series:
        """Read and check one slice, and find its mask.

        Parameters
        ----------
        index : int
            The slice, counted from 0.

        Raises
        ------
        UsageError
            If there is no such slice (`slice-missing`).
        InputError
            If the data contain NaN or infinity, a frame contains only zeros, samples are zero as in
            a half-copied file, or a mask or trajectory disagrees with the data.
        """
        if not 0 <= index < self.shape[1]:
            raise UsageError(
                "slice-missing",
                f"Slice {index} of {self.path or 'the scan'} was requested",
                f"It has {self.shape[1]} slices, numbered from 0",
                f"Request slices 0 to {self.shape[1] - 1}",
            )
        return self.checked(index, self.read_slice(index))

    def first_series(self) -> Series:
        """Read and check the first slice that has data.

        Raises
        ------
        InputError
            If all slices contain only zeros (`kspace-empty`), or as in `series`.
        """
        for index in range(self.shape[1]):
            kspace = self.read_slice(index)
            if bool((kspace != 0).any()):
                return self.checked(index, kspace)
        raise InputError(
            "kspace-empty",
            f"{self.path or 'The scan'} contains only zeros",
            "At least one slice must contain data",
            "Check the export of this file",
        )

    def checked(self, index: int, kspace: Tensor) -> Series:
        """Check k-space that `read_slice` returned for slice `index`; errors as in `series`."""
        where = f"Slice {index} of {self.path or 'the scan'}"
        found = look(kspace, where)
        refuse_cut(kspace, found.touched, where)
        if index > 0 and needs_comparison(kspace):
            # Copies stop at the end, so the first slice is the one to compare with.
            refuse_cut_beside(kspace, self.read_slice(0), where)
        mask, warnings = self._mask_of(found, where)
        if found.tiny:
            kspace = kspace * found.touched[:, None]
        if bool(found.dropped.any()):
            kspace = filled(
                kspace, mask.samples, found.dropped, alike=not isinstance(mask, SpokeMask)
            )
            warnings += tuple(dropout_texts(found.dropped, index))

        return Series(
            kspace,
            mask,
            acquisition=self.acquisition,
            noise=self.noise,
            calibration=None if self.calibration is None else self.calibration(index),
            maps=None if self.maps is None else self.maps(index),
            warnings=warnings,
        )

    def _mask_of(self, found: Found, where: str) -> tuple[SamplingMask, tuple[str, ...]]:
        """Find the mask of a slice, with warnings."""
        if self.mask is None:
            return SamplingMask.of(found.samples(), MaskSource.NON_ZERO), ()
        if isinstance(self.mask, SpokeMask):
            return self._spokes_of(self.mask, found, where), ()
        assert isinstance(self.mask, CartesianMask)

        empty = check_mask(self.mask, found.touched, where)
        mask: CartesianMask = self.mask
        texts = []
        if bool(empty.any()):
            mask = mask.trimmed(empty)
            texts.append(f"{int(empty.sum())} lines")

        _, columns = extent_of(found.touched)
        # Only a mask of the whole matrix claims that the whole readout was measured.
        if self.mask.complete and columns.stop - columns.start < self.shape[4]:
            mask = mask.narrowed(columns, self.shape[4])
            texts.append(f"{self.shape[4] - (columns.stop - columns.start)} columns")

        if not texts:
            return mask, ()
        return mask, (
            f"{where}: {' and '.join(texts)} that the mask says were measured hold only zeros; "
            "they count as not measured",
        )

    def _spokes_of(self, mask: SpokeMask, found: Found, where: str) -> SpokeMask:
        """Find the spokes of a slice; a spoke with any data counts as measured as a whole."""
        mask.trajectory.check(self.shape, where)
        touched = found.touched.any(-1, keepdim=True)

        if mask.source is MaskSource.NON_ZERO:
            return mask.chosen(once_if_alike(touched))
        check_mask(mask, touched, where)
        return mask


def fitted(mask: Any, kspace: tuple[int, ...]) -> SamplingMask:
    """Turn an array into a mask, and check that the mask fits k-space of the given shape.

    Parameters
    ----------
    mask : SamplingMask, or Tensor or array of shape (frame|1, y, x|1), bool
        Measured samples.
    kspace : tuple of int
        Shape (frame, slice, coil, y, x) of the k-space.

    Raises
    ------
    UsageError
        If the mask is not an array (`array-type`), or does not fit the k-space (`mask-shape`).
    """
    known = isinstance(mask, SamplingMask)
    samples = mask.samples if known else as_tensor(mask, "mask", "(frame or 1, y, x or 1)")

    frames, _, _, y, x = kspace
    shapes = {(f, y, width) for f in (1, frames) for width in (1, x)}

    if samples.shape not in shapes:
        raise UsageError(
            "mask-shape",
            f"The mask has shape {tuple(samples.shape)}, the k-space {tuple(kspace)}",
            f"A mask (frame 1 or {frames}, y {y}, x 1 or {x}) is needed",
            "Give the mask that belongs to this k-space",
        )

    return mask if known else SamplingMask.of(samples)
