"""What one file holds (`Scan`) and one slice of it over time (`Series`)."""

import math
from collections.abc import Callable
from dataclasses import dataclass, field, replace

import torch
from torch import Tensor

from cmrrecon.operators.coils import rss
from cmrrecon.operators.fourier import ifft2c
from cmrrecon.operators.noncartesian import average_images
from cmrrecon.tools.errors import InputError, NumericalError, UsageError

# Partial Fourier of 6/8 leaves a quarter of the lines of a fully sampled file empty; a wrong mask claims more empty lines.
EMPTY_LINES_ALLOWED = 0.25
# The ends of spokes are rounded, and some scanners count them from the edges of the samples.
TRAJECTORY_EXCESS = 1.01


@dataclass(frozen=True)
class Acquisition:
    """What is known of how a scan was made; None where it is not known.

    base is the official base name (`cine_sax`, `T1map`), domain fields come from folder names, and
    pattern, acceleration (nominal R), acs (lines) and seed describe the sampling; coil is `multi` or `single` and split `TrainingSet`,
    `ValidationSet` or `TestSet` in the official folders.
    """

    base: str = "scan"
    modality: str | None = None
    year: int | None = None
    centre: str | None = None
    vendor: str | None = None
    subject: str | None = None
    pattern: str | None = None
    acceleration: float | None = None
    acs: int | None = None
    seed: int | None = None
    coil: str | None = None
    split: str | None = None


@dataclass(frozen=True)
class Series:
    """One slice over time (or over mapping weights), in memory.

    Attributes
    ----------
    kspace : Tensor (frame, coil, y, x) complex64, zero where not measured
    mask : Tensor (frame|1, y, x|1) bool, True where measured
    acquisition : Acquisition
    trajectory, matrix : None for Cartesian k-space, else see `Scan`: y are spokes, x their samples
    """

    kspace: Tensor
    mask: Tensor
    acquisition: Acquisition = field(default_factory=Acquisition)
    trajectory: Tensor | None = None
    matrix: tuple[int, int] | None = None

    def to(self, device: torch.device | str) -> "Series":
        """The same series on another device."""
        trajectory = None if self.trajectory is None else self.trajectory.to(device)
        return replace(self, kspace=self.kspace.to(device), mask=self.mask.to(device), trajectory=trajectory)

    @property
    def complete(self) -> bool:
        """Whether every sample of a Cartesian grid was measured."""
        return self.trajectory is None and bool(self.mask.all())

    def scale(self) -> float:
        """The one normalisation rule: 99th percentile of the RSS image of the time-averaged k-space.

        Dividing k-space by it brings the bright tissue of any file to about 1, so that regularisation
        weights mean the same everywhere. The time average uses each position's measured frames only; samples along a
        trajectory are density-compensated and gridded.

        Raises
        ------
        NumericalError : there is no signal, or its scale does not fit in single precision
        UsageError : the k-space is not Cartesian, and finufft is not installed
        """
        if self.trajectory is not None and self.matrix is not None:
            coils = average_images(self.kspace, self.trajectory, self.mask, self.matrix)
        else:
            coils = ifft2c(time_average(self.kspace, self.mask))
        magnitude = rss(coils).flatten()
        rank = max(1, round(0.99 * magnitude.numel()))
        scale = float(magnitude.kthvalue(rank).values)
        if not (math.isfinite(scale) and scale > 0 and math.isfinite(1 / scale)):
            raise NumericalError(
                "todo",
                "The brightness of the zero-filled image is zero or not finite",
                "K-space must hold signal of a scale that single precision can hold",
                "Check the export of the file",
            )
        return scale

    def scaled(self, factor: float) -> "Series":
        """The series with its k-space multiplied by `factor`."""
        return replace(self, kspace=self.kspace * factor)


@dataclass(frozen=True)
class Scan:
    """What one file holds: k-space, sampling mask, and what is known of the acquisition. Slices are read when asked for.

    Attributes
    ----------
    shape : (frame, slice, coil, y, x), or (frame, slice, coil, spoke, sample) if there is a trajectory
    read_slice : slice index (0-based) -> k-space Tensor (frame, coil, y, x) complex64, as stored
    mask : Tensor (frame|1, y, x|1) bool, or None: what is non-zero in all coils, found slice by slice
    acquisition : Acquisition
    path : the file, for messages ("" if there is none)
    mask_path : the file that the mask was read from, if it is another one
    notes : what the reader had to assume, in sentences for the user
    trajectory : None for Cartesian k-space; else Tensor (frame|1, spoke, sample, 2) float32, the position (y, x) of every sample in
        cycles per field of view, between -n/2 and n/2 for a matrix of n pixels. Spokes stand where y stands, samples where x stands,
        in k-space and mask alike; a mask is (frame|1, spoke, 1)
    matrix : (y, x) of the images, with a trajectory only
    """

    shape: tuple[int, int, int, int, int]
    read_slice: Callable[[int], Tensor]
    mask: Tensor | None = None
    acquisition: Acquisition = field(default_factory=Acquisition)
    path: str = ""
    mask_path: str = ""
    notes: tuple[str, ...] = ()
    trajectory: Tensor | None = None
    matrix: tuple[int, int] | None = None

    @property
    def axes(self) -> tuple[str, str, str, str, str]:
        """What the axes of `shape` are called."""
        return ("frame", "slice", "coil", *(("y", "x") if self.trajectory is None else ("spoke", "sample")))

    @staticmethod
    def from_kspace(kspace: Tensor, mask: Tensor | None = None, acquisition: Acquisition | None = None) -> "Scan":
        """A scan from a k-space tensor (frame, slice, coil, y, x) complex64 in memory, and optionally its mask."""
        if kspace.ndim != 5 or not kspace.is_complex():
            raise UsageError(
                "todo",
                f"The k-space has shape {tuple(kspace.shape)} and type {kspace.dtype}",
                "A complex tensor (frame, slice, coil, y, x) is needed",
                "Add the missing axes of length 1, in that order",
            )
        f, z, c, y, x = kspace.shape
        return Scan((f, z, c, y, x), lambda i: kspace[:, i].to(torch.complex64), mask, acquisition or Acquisition())

    def series(self, index: int) -> Series:
        """Slice `index` (0-based), read, checked and with its mask.

        Raises
        ------
        UsageError : there is no such slice
        InputError : NaN or infinity, an all-zero frame, or a mask or trajectory that disagrees with the data
        """
        if not 0 <= index < self.shape[1]:
            raise UsageError(
                "todo",
                f"Slice {index} of {self.path or 'the scan'} was asked for",
                f"It has {self.shape[1]} slices, numbered from 0",
                f"Ask for slices 0 to {self.shape[1] - 1}",
            )
        return self.checked(index, self.read_slice(index))

    def checked(self, index: int, kspace: Tensor) -> Series:
        """The series of slice `index` from its k-space (frame, coil, y, x) as `read_slice` gave it; errors as in `series`."""
        where = f"Slice {index} of {self.path or 'the scan'}"
        measured, touched = check_kspace(kspace, where)
        if self.trajectory is not None:
            check_trajectory(self.trajectory, self.matrix, self.shape, where)
            # A spoke was measured as a whole, whatever its samples are.
            measured, touched = measured.any(-1, keepdim=True), touched.any(-1, keepdim=True)
        if self.mask is None:
            mask = simplify_mask(measured)
        else:
            mask = self.mask
            check_mask(mask, touched, where)
        return Series(kspace, mask, self.acquisition, self.trajectory, self.matrix)


def check_kspace(kspace: Tensor, where: str) -> tuple[Tensor, Tensor]:
    """Refuse NaN, infinity and all-zero frames of (frame, coil, y, x); returns where data are non-zero in all and in any coils.

    Both are (frame, y, x) bool. A coil that is zero in the whole series (switched off, or removed by compression) is not counted.
    """
    frames, _, y, x = kspace.shape
    measured = torch.empty((frames, y, x), dtype=torch.bool, device=kspace.device)
    touched = torch.empty_like(measured)
    live = torch.stack([(k != 0).flatten(1).any(1) for k in kspace]).any(0)
    for t, frame in enumerate(kspace):
        require_finite(frame, f"{where}, frame {t},")
        if not (frame != 0).any():
            raise InputError(
                "todo",
                f"{where} holds only zeros in frame {t}",
                "Every frame must hold measured samples",
                "Check the export, or leave this slice out",
            )
        present = frame[live] != 0
        measured[t], touched[t] = present.all(0), present.any(0)
    return measured, touched


def require_finite(kspace: Tensor, where: str) -> None:
    """Refuse NaN and infinity in complex k-space of any shape."""
    if not torch.isfinite(torch.view_as_real(kspace)).all():
        raise InputError(
            "todo",
            f"{where} holds NaN or infinity",
            "All k-space samples must be finite numbers",
            "Export the file again, or leave this slice out",
        )


def check_mask(mask: Tensor, measured: Tensor, where: str) -> None:
    """Refuse a mask (frame|1, y, x|1) that disagrees with where any coil holds data (frame, y, x)."""
    fits = mask.ndim == 3 and all(m in (1, n) for m, n in zip(mask.shape, measured.shape, strict=True))
    if not fits or mask.shape[1] != measured.shape[1]:
        raise InputError(
            "todo",
            f"{where}: the mask has shape {tuple(mask.shape)}, the data {tuple(measured.shape)} (frame, y, x)",
            "A mask must have the data's y, and its frame and x or length 1 there",
            "Give the mask that belongs to this file",
        )
    outside = int((measured & ~mask).sum())
    if outside:
        raise InputError(
            "todo",
            f"{where}: {outside} samples hold data where the mask says nothing was measured",
            "The mask must cover all measured samples",
            "Give the mask that belongs to this file, or remove it to take the non-zero samples",
        )
    claimed = mask.any(-1).expand(measured.shape[:2])
    empty = int((claimed & ~measured.any(-1)).sum())
    if empty > EMPTY_LINES_ALLOWED * int(claimed.sum()):
        raise InputError(
            "todo",
            f"{where}: {empty} of {int(claimed.sum())} lines that the mask says were measured hold only zeros",
            "Measured lines must hold data",
            "Give the mask that belongs to this file, or remove it to take the non-zero samples",
        )


def check_trajectory(trajectory: Tensor, matrix: tuple[int, int] | None, shape: tuple[int, ...], where: str) -> None:
    """Refuse a trajectory (frame|1, spoke, sample, 2) that does not fit k-space of this shape and images of this matrix."""
    frames, spokes, samples = shape[0], shape[-2], shape[-1]
    if trajectory.shape[1:] != (spokes, samples, 2) or trajectory.shape[0] not in (1, frames) or matrix is None or min(matrix) < 1:
        raise InputError(
            "todo",
            f"{where}: the trajectory has shape {tuple(trajectory.shape)}, the matrix is {matrix}",
            f"A trajectory (frame 1 or {frames}, spoke {spokes}, sample {samples}, 2) and a matrix (y, x) are needed",
            "Store the positions of all samples, and the size of the images",
        )
    # Written so that NaN is refused too.
    reach = trajectory.abs().amax((0, 1, 2)) / torch.tensor(matrix, device=trajectory.device)
    if not bool((reach <= TRAJECTORY_EXCESS / 2).all()) or (min(matrix) > 2 and bool((trajectory.abs() <= 0.5).all())):
        raise InputError(
            "todo",
            f"{where}: the trajectory reaches {', '.join(f'{float(r):.4g}' for r in reach)} of the matrix {matrix} (y, x)",
            "Positions are in cycles per field of view: between -n/2 and n/2 for n pixels, about half of the matrix",
            "Multiply positions between -0.5 and 0.5 by the matrix, or correct the matrix",
        )


def require_cartesian(scan: Scan | Series, task: str, remedy: str = "Reconstruct the file as it is") -> None:
    """Refuse k-space along a trajectory for a task, named as in "A pattern", that only Cartesian k-space can do."""
    if scan.trajectory is not None:
        raise UsageError(
            "todo",
            f"{getattr(scan, 'path', '') or 'The scan'} holds samples along a trajectory",
            f"{task} needs Cartesian k-space",
            remedy,
        )


def simplify_mask(mask: Tensor) -> Tensor:
    """(frame, y, x) bool to (frame|1, y, x|1): axes along which the mask does not change become 1 long."""
    if bool((mask == mask[:1]).all()):
        mask = mask[:1]
    if bool((mask == mask[..., :1]).all()):
        mask = mask[..., :1]
    return mask.clone()


def fully_sampled(scan: Scan, series: Series) -> bool:
    """Whether a series of a scan counts as fully sampled: by the file's mask, else if at most the edges (partial Fourier) are empty.

    Samples along a trajectory never do, however many they are: their inverse Fourier transform is no reference.
    """
    return scan.trajectory is None and bool(series.mask.float().mean() >= (1 if scan.mask is not None else 1 - EMPTY_LINES_ALLOWED))


def effective_acceleration(mask: Tensor, matrix: tuple[int, int] | None = None) -> float:
    """All samples over measured samples, calibration lines included. Mask (frame|1, y, x|1).

    With the matrix of a scan along a trajectory: the spokes that full sampling takes, pi/2 n for n pixels, over measured spokes.
    """
    full = mask.numel() if matrix is None else len(mask) * math.ceil(math.pi / 2 * max(matrix))
    return full / max(1, int(mask.sum()))


def window(frame: int, frames: int, width: int = 5) -> list[int]:
    """The `width` adjacent frames around a frame of a series of `frames`, as PromptMR takes them; `width` is odd.

    Time is a circle: frame 0 of 12 has [10, 11, 0, 1, 2], of 4 [2, 3, 0, 1, 2]. Where half the series is less than half the window, the
    outermost neighbours fill up: frame 0 of 3 has [2, 2, 0, 1, 1], of 2 [1, 1, 0, 1, 1], of 1 [0, 0, 0, 0, 0].
    """
    half = width // 2
    reach = min(half, frames // 2)
    near = [(frame + step) % frames for step in range(-reach, reach + 1)]
    return near[:1] * (half - reach) + near + near[-1:] * (half - reach)


def time_average(kspace: Tensor, mask: Tensor) -> Tensor:
    """Mean over the measured frames of each position: (frame, coil, y, x) to (coil, y, x); zero where never measured."""
    total = torch.zeros_like(kspace[0])
    counts = torch.zeros_like(mask[0], dtype=kspace.real.dtype)
    for t, frame in enumerate(kspace):
        measured = mask[t % len(mask)]
        counts += measured
        total += frame * measured
    return total / counts.clamp(min=1)
