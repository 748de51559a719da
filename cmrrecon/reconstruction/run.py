"""A scan in, images out: slice after slice, on the chosen device."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import torch

from cmrrecon.data.scan import Scan, Series
from cmrrecon.methods.auto import Choice
from cmrrecon.methods.network import NetworkMethod
from cmrrecon.methods.registry import Method
from cmrrecon.reconstruction.resume import Parts
from cmrrecon.reconstruction.trust import data_residual, uncertainty
from cmrrecon.tools.prefetch import ahead, behind


def reconstruct_slices(
    scan: Scan,
    method: Method | NetworkMethod,
    options: Mapping[str, Any],
    parts: Parts,
    device: torch.device,
    on_slice: Callable[[], None],
    on_choice: Callable[[int, Choice], None],
    spread: Parts | None = None,
    replicates: int = 0,
) -> None:
    """Reconstruct every slice that `parts` misses and store it there, with its `data_residual`.

    What a method has to choose is chosen on the middle one of all the slices of `parts`, and holds for all. Only one series is in
    memory at a time. `on_choice` is called with that slice and the choice, `on_slice` after each slice. A run that goes on
    keeps the choice.

    Parameters
    ----------
    spread, replicates : where the `uncertainty` of each slice goes, and from how many replicates it comes
    """
    missing = parts.missing()
    choice = None
    if isinstance(method, Method) and method.candidates:
        middle = middle_of(parts.slices)
        kept = parts.note()
        choice = Choice.from_dict(kept) if kept else method.choose(scan.series(middle).to(device), options)
        parts.keep_note(choice.as_dict())
        on_choice(middle, choice)

    def keep(index: int, result: tuple[torch.Tensor, float | None, torch.Tensor | None]) -> None:
        images, residual, deviation = result
        if spread is not None and deviation is not None:
            spread.save(index, deviation)
        parts.save(index, images, {"data_residual": residual})
        on_slice()

    def work(series: Series) -> tuple[torch.Tensor, float | None, torch.Tensor | None]:
        solved = method.solved(series, options, choice)
        deviation = None if spread is None else uncertainty(series, lambda part: method(part, options, choice), replicates)
        return solved.images, data_residual(series, solved.images, solved.coils), deviation

    if device.type == "cuda":
        # A GPU works while threads read and write; on a CPU that would take cores and memory from the work.
        with behind(keep) as write:
            for index, series in zip(missing, ahead(loader(scan, device), missing), strict=True):
                write(index, work(series))
        return
    for index in missing:
        keep(index, work(scan.series(index).to(device)))


def middle_of(slices: Sequence[int]) -> int:
    """The slice on which is decided what holds for all."""
    return slices[len(slices) // 2]


def loader(scan: Scan, device: torch.device) -> Callable[[int], Series]:
    """Reads a slice to a GPU on a stream of its own, so that the copy does not wait for the work on another slice."""
    stream = torch.cuda.Stream(device)  # type: ignore[no-untyped-call]

    def load(index: int) -> Series:
        with torch.cuda.stream(stream):
            series = scan.series(index).to(device)
            for tensor in (series.kspace, series.mask):
                tensor.record_stream(torch.cuda.default_stream(device))
            stream.synchronize()
        return series

    return load
