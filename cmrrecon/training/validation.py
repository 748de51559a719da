"""Validation: scores on scans that are not trained on, and pictures of a few fixed windows.

With several processes, each computes its share of the windows.
"""

from collections.abc import Callable, Sequence
from functools import partial
from itertools import chain, zip_longest
from pathlib import Path

import torch
from torch import Tensor, nn

from cmrrecon.evaluation.figures import comparison_figure
from cmrrecon.evaluation.protocols import score
from cmrrecon.networks.catalog import name_of
from cmrrecon.tools.atomic import atomic
from cmrrecon.tools.errors import CmrreconError, InputError, NumericalError, UsageError
from cmrrecon.tools.prefetch import ahead
from cmrrecon.training.batch import Batch, Sample, collate
from cmrrecon.training.dataset import Place, Source, samples
from cmrrecon.training.distributed import ALONE, Group
from cmrrecon.training.labels import LESION_SCORES, lesion_scores

PROTOCOL = "fullfov"
SCORES = ("psnr", "ssim", "nmse")
MOST_PICTURES = 3
# The number of training windows that are tried before a network counts as diverged.
MOST_TRIED = 3
# Errors that may be due to a single scan.
OF_A_SCAN = (InputError, UsageError, NumericalError)


class Diverged(Exception):
    """The network no longer makes images that can be scored."""


def is_sound(network: nn.Module, seen: Source, epoch: int, device: torch.device) -> bool:
    """Return whether the network makes finite images.

    This is needed where no scan is for validation, and where the average of the weights is
    validated. A single training window with a finite image is enough, because a scan may be
    damaged.
    """
    spread = seen.places[:: max(1, len(seen.places) // MOST_TRIED)]
    network.eval()
    with torch.inference_mode():
        sound = any(
            bool(collate(window, device).given_to(network).image.isfinite().all())
            for window in (samples(seen, epoch, [place]) for place in spread[:MOST_TRIED])
        )
    network.train()
    return sound


def validate(
    network: nn.Module,
    held: Source,
    device: torch.device,
    should_stop: Callable[[], bool],
    picture: Path | None = None,
    group: Group = ALONE,
    on_left_out: Callable[[str, Sequence[str]], object] = lambda scan, reasons: None,
) -> dict[str, float] | None:
    """Compute the mean scores over all windows of some scans, with the same masks every time.

    Scores inside the boxes of lesions are averaged over the windows that have boxes. Windows that
    cannot be read or scored are left out.

    Parameters
    ----------
    network : nn.Module
        The network.
    held : Source
        The windows.
    device : torch.device
        Device of the network.
    should_stop : callable
        Called for every window; if it returns True in any process, validation ends.
    picture : Path or None
        The PNG file for pictures of a few of `held.middles()`; their numbers are added to its name.
    group : Group
        Processes that share the windows.
    on_left_out : callable
        Receives each scan with windows that cannot be scored, and the reason for each of them.

    Returns
    -------
    dict of float or None
        The scores by name, none if no window can be scored; None if validation was stopped.

    Raises
    ------
    Diverged
        If an image is not finite or flat although its reference can be scored, in any process.
    CmrreconError
        If another process of the run has ended (`process-lost`).
    """
    network.eval()
    diverged = False
    scores: list[dict[str, float]] = []
    left_out: list[tuple[str, str]] = []
    shown: dict[Place, tuple[Tensor, Tensor, Tensor]] = {}

    chosen, stopped = held.middles()[:MOST_PICTURES], False
    own_places = held.places[group.rank :: group.size]

    with torch.inference_mode():
        for place, window in zip(own_places, ahead(partial(_read, held), own_places), strict=True):
            stopped = stopped or should_stop()
            if stopped:
                break

            try:
                batch = collate([_readable(window)], device)
                image = batch.given_to(network).image.cpu()
                scores.append(_scored(image, batch))
            except OF_A_SCAN as error:
                scores.append({})
                left_out.append((held.scan(place), str(error)))
                continue
            except Diverged:
                diverged = True
                break

            if place in chosen:
                shown[place] = (batch.zero_filled().cpu(), image, batch.target.cpu())

    network.train()
    shares = group.gather((stopped, diverged, scores, left_out))
    if any(stopped for stopped, *_ in shares):
        return None
    if any(diverged for _, diverged, *_ in shares):
        raise Diverged

    if picture is not None and group.rank == 0:
        _draw(held, shown, name_of(network), picture)

    reasons: dict[str, list[str]] = {}
    for scan, reason in chain.from_iterable(left_out for *_, left_out in shares):
        reasons.setdefault(scan, []).append(reason)
    for scan, found in sorted(reasons.items()):
        on_left_out(scan, found)

    return _means([scores for _, _, scores, _ in shares])


def _read(held: Source, place: Place) -> Sample | CmrreconError:
    """Return the window at a place, or the error that its scan raises."""
    try:
        return held.sample(place, 0)
    except OF_A_SCAN as error:
        return error


def _readable(window: Sample | CmrreconError) -> Sample:
    """Return a window that could be read; raise the error of another one."""
    if isinstance(window, CmrreconError):
        raise window
    return window


def _scored(image: Tensor, batch: Batch) -> dict[str, float]:
    """Return the scores of a window.

    Raises
    ------
    CmrreconError
        If its reference or its k-space allows no scores.
    Diverged
        If they do, but the image allows none.
    """
    target = batch.target.cpu()
    try:
        whole = score(image[:, None], target[:, None], protocol=PROTOCOL)
    except InputError as error:
        # Raises the error of the reference, if it is at fault.
        score(target[:, None], target[:, None], protocol=PROTOCOL)
        if not bool(batch.kspace.isfinite().all()):
            raise
        raise Diverged from error

    return {key: getattr(whole, key) for key in SCORES} | lesion_scores(
        image, target, batch.lesion[0].cpu()
    )


def _means(shares: Sequence[Sequence[dict[str, float]]]) -> dict[str, float]:
    """Return the means of the scores; each process computed the windows of its share.

    Scores are added in the order of the windows, so that the means do not depend on the number of
    processes.
    """
    every = [one for turn in zip_longest(*shares) for one in turn if one is not None]
    found = {key: [one[key] for one in every if key in one] for key in (*SCORES, *LESION_SCORES)}
    return {key: sum(values) / len(values) for key, values in found.items() if values}


def _draw(
    held: Source, shown: dict[Place, tuple[Tensor, Tensor, Tensor]], network: str, path: Path
) -> None:
    """Draw zero-filled image, reconstruction and error in one file per place: NAME-1.png, ..."""
    for number, (place, (zero_filled, image, target)) in enumerate(shown.items(), 1):
        figure = comparison_figure(
            {"zero-filled": zero_filled, network: image},
            target,
            frame=0,
            heading=held.domain(place),
        )
        with atomic(path.with_stem(f"{path.stem}-{number}")) as temporary:
            figure.savefig(temporary, format="png")
