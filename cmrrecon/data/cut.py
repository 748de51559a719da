"""Notice files whose copy stopped early and left zeros in place of samples.

File systems fill the missing end of a half-copied file with zeros, so uncompressed formats look
complete. Three patterns are impossible in honest data:

- In a frame of a coil, all samples from one on are zero, but those before and those of other coils
  are not, and hardly any other value is zero.
- The same in the real or the imaginary part alone, which MAT 5 stores one after the other.
- The real or the imaginary part of a frame of a coil is zero, but not in other frames or coils.

Scans of one frame are compared with their first slice: a later slice that lacks coils and its last
samples, or a part of all numbers, was cut off too.

Undersampling, cropping, partial echoes and zero filling are the same for all coils: only samples
that any coil measured count here. Integer data have zeros at both ends of k-space and in between. A
coil that is zero in a whole frame is a dropout, see `data.dropouts`.
"""

import torch
from torch import Tensor

from cmrrecon.tools.errors import InputError

# Shortest run of zeros at an end, in lines; the opposite run is at most this fraction of it.
LINES, OPPOSITE = 2, 0.25
# Largest fraction of zeros among the other values. Floating-point samples are never zero by chance.
OTHERS = 1e-3


def refuse_cut(kspace: Tensor, touched: Tensor, where: str) -> None:
    """Refuse k-space that ends with zeros in place of samples.

    Parameters
    ----------
    kspace : Tensor of shape (frame, coil, y, x), complex
        K-space of one slice.
    touched : Tensor of shape (frame, y, x), bool
        Where any coil has data.
    where : str
        Name of its source, for the message.

    Raises
    ------
    InputError
        If zeros replace samples in a way that no scanner produces (`kspace-cut-off`).
    """
    x = kspace.shape[-1]
    samples = touched.flatten(1).sum(1)
    # Numbers of values other than zero, (frame, coil, part).
    filled = torch.stack([_filled(frame) for frame in kspace])

    suspects = (filled < samples[:, None, None]) & (filled > 0)
    for t, c, part in suspects.nonzero().tolist():
        if int(samples[t] - filled[t, c, part]) < LINES * x:
            continue
        values = torch.view_as_real(kspace[t, c].resolve_conj())[..., part][touched[t]]
        if _is_cut(values != 0, LINES * x):
            raise _cut_off(f"{where}, frame {t}, coil {c},")

    for part in range(2):
        lone = (filled[..., part] == 0) & (filled[..., 1 - part] > LINES * x)
        if bool(lone.any()) and bool((filled[..., part] > 0).any()):
            t, c = lone.nonzero()[0].tolist()
            raise _cut_off(f"{where}, frame {t}, coil {c},")

    t = _shortened_frame(filled.sum(-1) > 0, touched)
    if t is not None:
        raise _cut_off(f"{where}, frame {t},")


def needs_comparison(kspace: Tensor) -> bool:
    """Return whether a slice lacks a part of all numbers, or all samples of some coil."""
    filled = torch.stack([_filled(frame) for frame in kspace]).sum(0)
    return bool((filled == 0).any())


def refuse_cut_beside(kspace: Tensor, first: Tensor, where: str) -> None:
    """Refuse k-space that ends with zeros where the first slice of the scan has samples.

    Parameters
    ----------
    kspace : Tensor of shape (frame, coil, y, x), complex
        K-space of a later slice.
    first : Tensor of shape (frame, coil, y, x), complex
        K-space of the first slice.
    where : str
        Name of the later slice, for the message.

    Raises
    ------
    InputError
        If the slice lacks a part of its numbers that the first one has, or both the last coils and
        the last samples (`kspace-cut-off`).
    """
    here, there = (torch.stack([_filled(frame) for frame in k]).sum(0) for k in (kspace, first))
    lost = (here == 0) & (there > 0)

    in_part = here.sum(0)
    if bool((in_part == 0).any() & (in_part > 0).any() & (there.sum(0) > 0).all()):
        raise _cut_off(where)

    if bool(lost.all(1).any()):
        known, present = ((k != 0).any(1).flatten() for k in (first, kspace))
        last = int(present.nonzero()[-1])
        missing = known & ~present
        shortest = LINES * kspace.shape[-1]
        if int(missing.sum()) >= shortest and not bool(missing[:last].any()):
            raise _cut_off(where)


def _shortened_frame(alive: Tensor, touched: Tensor) -> int | None:
    """Find a frame that lacks its last coils, and its last lines in the others.

    `alive` (frame, coil) marks coils with data, `touched` (frame, y, x) samples with data. Patterns
    that vary with time end at different lines, but not far apart.
    """
    ends = touched.any(-1).int()
    # Lines after the last one with data.
    gaps = ends.flip(1).argmax(1)
    least = max(LINES, ends.shape[1] // 16)
    incomplete: list[int] = (~alive.all(1)).nonzero().flatten().tolist()
    for t in incomplete:
        others = torch.cat([gaps[:t], gaps[t + 1 :]])
        count = int(alive[t].sum())
        last_coils = bool(alive[t, :count].all()) and bool(alive[:, count:].any())
        if last_coils and len(others) and int(gaps[t]) >= 2 * int(others.max()) + least:
            return t
    return None


def _filled(frame: Tensor) -> Tensor:
    """Count the values of a frame (coil, y, x) other than zero, (coil, part)."""
    return torch.view_as_real(frame.resolve_conj()).count_nonzero(dim=(1, 2))


def _is_cut(filled: Tensor, shortest: int) -> bool:
    """Return whether values (sample,) are zero at one end and hardly anywhere else."""
    places = filled.nonzero().flatten()
    first, last = int(places[0]), int(places[-1])
    ends = sorted((first, len(filled) - 1 - last))
    if ends[1] < shortest or ends[0] > OPPOSITE * ends[1]:
        return False
    inside = last - first + 1
    return inside - len(places) <= OTHERS * inside


def _cut_off(where: str) -> InputError:
    return InputError(
        "kspace-cut-off",
        f"{where} has zeros in place of samples that other coils, frames or the other part have",
        "A complete file has no such zeros; a copy that stopped early does",
        "Copy or export the file again",
    )
