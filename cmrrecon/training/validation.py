"""Validation: scores on scans that are not trained on, and pictures of a few fixed windows.

With several processes, each computes its share of the windows.
"""

from collections.abc import Callable
from functools import partial
from itertools import zip_longest
from pathlib import Path

import torch
from torch import Tensor, nn

from cmrrecon.evaluation.figures import comparison_figure
from cmrrecon.evaluation.protocols import score
from cmrrecon.tools.atomic import atomic
from cmrrecon.tools.prefetch import ahead
from cmrrecon.training.batch import collate
from cmrrecon.training.dataset import Place, Source, samples
from cmrrecon.training.distributed import ALONE, Group
from cmrrecon.training.labels import LESION_SCORES, lesion_scores

PROTOCOL = "fullfov"
SCORES = ("psnr", "ssim", "nmse")
MOST_PICTURES = 3


class Diverged(Exception):
    """Images of the validation are not finite."""


def validate(
    network: nn.Module,
    held: Source,
    device: torch.device,
    should_stop: Callable[[], bool],
    picture: Path | None = None,
    group: Group = ALONE,
) -> dict[str, float] | None:
    """Compute the mean scores over all windows of some scans, with the same masks every time.

    Scores inside the boxes of lesions are averaged over the windows that have boxes.

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

    Returns
    -------
    dict of float or None
        The scores by name; None if validation was stopped.

    Raises
    ------
    Diverged
        If an image is not finite, in any process.
    CmrreconError
        If another process of the run has ended (`process-lost`).
    """
    network.eval()
    diverged = False
    scores: list[dict[str, float]] = []
    shown: dict[Place, tuple[Tensor, Tensor, Tensor]] = {}

    chosen, stopped = held.middles()[:MOST_PICTURES], False
    own_places = held.places[group.rank :: group.size]

    with torch.inference_mode():
        for place, window in zip(
            own_places,
            ahead(partial(samples, held, 0), [[place] for place in own_places]),
            strict=True,
        ):
            stopped = stopped or should_stop()
            if stopped:
                break

            batch = collate(window, device)
            image = batch.given_to(network).image.cpu()
            diverged = not bool(image.isfinite().all())
            if diverged:
                break
            target = batch.target.cpu()
            whole = score(image[:, None], target[:, None], protocol=PROTOCOL)

            scores.append(
                {key: getattr(whole, key) for key in SCORES}
                | lesion_scores(image, target, window[0].lesion)
            )

            if place in chosen:
                shown[place] = (batch.zero_filled().cpu(), image, target)

    network.train()
    shares = group.gather((stopped, diverged, scores))
    if any(stopped for stopped, _, _ in shares):
        return None
    if any(diverged for _, diverged, _ in shares):
        raise Diverged

    if picture is not None and group.rank == 0:
        _draw(held, shown, picture)
    # Scores are added in the order of the windows, so that the means do not depend on the number of
    # processes.
    every = [
        one
        for turn in zip_longest(*(scores for _, _, scores in shares))
        for one in turn
        if one is not None
    ]

    found = {key: [one[key] for one in every if key in one] for key in (*SCORES, *LESION_SCORES)}
    return {key: sum(values) / len(values) for key, values in found.items() if values}


def _draw(held: Source, shown: dict[Place, tuple[Tensor, Tensor, Tensor]], path: Path) -> None:
    """Draw zero-filled image, reconstruction and error in one file per place: NAME-1.png, ..."""
    for number, (place, (zero_filled, image, target)) in enumerate(shown.items(), 1):
        figure = comparison_figure(
            {"zero-filled": zero_filled, held.domain(place): image}, target, frame=0
        )
        with atomic(path.with_stem(f"{path.stem}-{number}")) as temporary:
            figure.savefig(temporary, format="png")
