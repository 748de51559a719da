"""Find the measured samples from the k-space itself.

A sample was measured if any coil has data there. Three cases need care:

- *Tiny values* that filters and conversions leave in unmeasured lines are far smaller than all
  data, with nothing in between. Even the weakest noise has no such gap to the data.
- *Isolated zeros* in an otherwise filled line are data, common among integer samples. Long gaps,
  and gaps in the same columns of many lines, were not measured.
- *A coil that drops out* of a frame does not affect which samples of that frame count as measured.
"""

from dataclasses import dataclass

import torch
from torch import Tensor

from cmrrecon.tools.errors import InputError

# Tiny values are at most this fraction of the maximum, and smaller by the factor GAP than the next
# larger value. At least the fraction LEAST_DATA of all values must be larger; otherwise a single
# bright sample would make noise count as tiny values.
TINY = 1e-7
GAP = 100.0
LEAST_DATA = 0.01
# Limits for isolated zeros: their fraction of a line, the length of a run of zeros, and the
# fraction of the filled lines that are zero in the same column.
HOLES = 0.1
LONGEST_RUN = 8
COLUMN_HOLES = 0.5
# In integer data, the smallest value divided by the largest is below QUANTUM. Values up to
# NEXT_TO_ZERO times the smallest are next to zero on the integer grid.
QUANTUM = 1 / 64
NEXT_TO_ZERO = 1.5

# Rounding error that single-precision transforms leave in place of zeros, relative to the largest
# value of k-space.
ROUNDING = 1e-6


@dataclass(frozen=True, eq=False)
class Found:
    """What k-space reveals about its own sampling.

    Attributes
    ----------
    touched : Tensor of shape (frame, y, x), bool
        Where any coil has data.
    amplitude : Tensor of shape (frame, y, x)
        Largest absolute real or imaginary part of any coil.
    dropped : Tensor of shape (frame, coil), bool
        Coils that have no data, or only tiny values, in a frame, but have data in other frames.
    tiny : bool
        Whether samples outside `touched` hold tiny values instead of zeros.
    """

    touched: Tensor
    amplitude: Tensor
    dropped: Tensor
    tiny: bool

    def samples(self) -> Tensor:
        """Return the measured samples (frame, y, x): `touched` with isolated zeros filled in."""
        return with_isolated_zeros(self.touched, self.amplitude)


def look(kspace: Tensor, where: str) -> Found:
    """Find where k-space has data.

    Parameters
    ----------
    kspace : Tensor of shape (frame, coil, y, x), complex
        K-space of one slice.
    where : str
        Name of its source, for messages.

    Raises
    ------
    InputError
        If a value is NaN or infinite (`kspace-not-finite`), or a frame contains only zeros
        (`kspace-empty`).
    """
    amplitude, coils = _amplitudes(kspace, where)
    floor = floor_of(amplitude)

    touched = amplitude > floor
    in_coil = coils > max(floor, TINY * float(coils.max()))

    empty = (~touched.flatten(1).any(1)).nonzero().flatten().tolist()
    if empty:
        raise InputError(
            "kspace-empty",
            f"{where} has only zeros in frame {empty[0]}",
            "Every frame must contain measured samples",
            "Check the export, or leave this slice out",
        )

    return Found(touched, amplitude, in_coil.any(0) & ~in_coil, floor > 0)


def _amplitudes(kspace: Tensor, where: str) -> tuple[Tensor, Tensor]:
    """Find the largest real or imaginary part by sample (frame, y, x) and coil (frame, coil)."""
    frames, coils, y, x = kspace.shape
    samples = torch.empty((frames, y, x), dtype=kspace.real.dtype, device=kspace.device)
    in_coil = torch.empty((frames, coils), dtype=kspace.real.dtype, device=kspace.device)

    for t, frame in enumerate(kspace):
        parts = torch.view_as_real(frame.resolve_conj()).abs()
        in_coil[t] = parts.flatten(1).amax(1)
        largest = parts.amax(0)
        torch.maximum(largest[..., 0], largest[..., 1], out=samples[t])
        # The maximum of a tensor with NaN is NaN.
        if not bool(torch.isfinite(in_coil[t]).all()):
            raise not_finite(f"{where}, frame {t},")

    return samples, in_coil


def not_finite(where: str) -> InputError:
    """Make the error for NaN and infinity."""
    return InputError(
        "kspace-not-finite",
        f"{where} contains NaN or infinity",
        "All k-space samples must be finite numbers",
        "Export the file again, or leave this slice out",
    )


def floor_of(amplitude: Tensor) -> float:
    """Find the amplitude up to which values count as tiny; 0 if there are none.

    Parameters
    ----------
    amplitude : Tensor of shape (frame, y, x)
        Non-negative amplitudes.
    """
    ceiling = TINY * float(amplitude.max())
    views = (amplitude.amax(2), amplitude.amax(1), amplitude)
    return max(_floor(values.flatten(), ceiling) for values in views)


def _floor(values: Tensor, ceiling: float) -> float:
    """Find the largest value below the ceiling with a gap above it; 0 if there is none."""
    low = values[(values > 0) & (values < ceiling)]
    if not len(low) or int((values >= ceiling).sum()) < LEAST_DATA * len(values):
        return 0.0

    ordered = torch.cat([low.sort().values, values[values >= ceiling].min()[None]]).double()
    gaps = (ordered[1:] >= GAP * ordered[:-1]).nonzero().flatten()
    return float(ordered[gaps[-1]]) if len(gaps) else 0.0


def with_isolated_zeros(touched: Tensor, amplitude: Tensor) -> Tensor:
    """Fill in the isolated zeros of whole lines.

    Parameters
    ----------
    touched : Tensor of shape (frame, y, x), bool
        Where any coil has data.
    amplitude : Tensor of shape (frame, y, x)
        Largest absolute real or imaginary part of any coil.

    Returns
    -------
    Tensor of shape (frame, y, x), bool
        Measured samples.
    """
    columns = touched.any(0).any(0).nonzero().flatten()
    extent = slice(int(columns[0]), int(columns[-1]) + 1)
    inside = touched[..., extent]
    lines = inside.any(-1)

    if bool((inside == lines[..., None]).all()):
        return touched

    holes = ~inside[lines]
    if not _are_isolated(holes) and not _are_whole_numbers(holes, amplitude[touched]):
        return touched

    whole = torch.zeros_like(touched)
    whole[..., extent] = lines[..., None]
    return whole


def _are_isolated(holes: Tensor) -> bool:
    """Return whether holes (line, x) are few in every line, short, and in different columns."""
    lines, width = holes.shape
    if int(holes.sum(1).max()) > max(1, int(HOLES * width)):
        return False
    in_column = holes.sum(0)
    if bool((in_column > max(2, COLUMN_HOLES * lines)).any()):
        return False

    if width <= LONGEST_RUN:
        return True
    counted = torch.nn.functional.pad(holes.cumsum(1), (1, 0))
    run = LONGEST_RUN + 1
    return not bool((counted[:, run:] - counted[:, :-run] == run).any())


def _are_whole_numbers(holes: Tensor, values: Tensor) -> bool:
    """Return whether zeros are as rare as the values (sample,) next to zero, as in integer data."""
    smallest = values.min()
    if bool(smallest > QUANTUM * values.max()):
        return False
    return int(holes.sum()) <= int((values < NEXT_TO_ZERO * smallest).sum())


def reached(kspace: Tensor) -> Tensor:
    """Mark the lines and columns (y, x|1) of k-space (frame, coil, y, x) without its empty edges.

    Rounding errors, such as those that augmentation leaves in unmeasured samples, do not count as
    data.
    """
    amplitude = kspace.abs().flatten(0, 1).amax(0)
    samples = amplitude > ROUNDING * amplitude.max()
    columns = samples.any(0)
    return samples.any(1, keepdim=True) & (columns[:1] if bool(columns.all()) else columns)
