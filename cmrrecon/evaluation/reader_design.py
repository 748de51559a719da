"""Design of a reader study: which images every reader sees, in which order and on which side.

The order differs between readers. Everything is drawn from a seed, so that the same call makes the
same study.
"""

import random
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import combinations

# One presentation: the numbers of the images that are shown together, from left to right.
Shown = tuple[int, ...]


@dataclass(frozen=True)
class Design:
    """Images and presentations of a study, without anything that names a method.

    Attributes
    ----------
    images : tuple of (int, int)
        For each number of an image, its scan and its method, both counted from 0. The numbers are
        in random order.
    orders : tuple over readers of tuple of Shown
        The presentations in the order of reading. A second presentation of the same images is a
        repeat.
    """

    images: tuple[tuple[int, int], ...]
    orders: tuple[tuple[Shown, ...], ...]


def design(
    scans: int, methods: int, *, pairs: bool, repeats: int, readers: int, seed: str
) -> Design:
    """Draw the design of a study.

    Repeated presentations come in the second part of the reading, after all first presentations
    of the repeated scans. A scan follows itself only if nothing else is left. In pairs each method
    is on the left for half of the scans, and a repeat has the sides exchanged.

    Parameters
    ----------
    scans, methods, readers : int
        Numbers of scans, methods and readers.
    pairs : bool
        Whether all pairs of methods are shown instead of single images.
    repeats : int
        Number of scans of which everything is shown twice, at most `scans`.
    seed : str
        Seed of all random choices.

    Returns
    -------
    Design
        The design.
    """
    draw = random.Random(f"{seed} images")
    images = [(scan, method) for scan in range(scans) for method in range(methods)]
    draw.shuffle(images)
    repeated = frozenset(draw.sample(range(scans), repeats))

    number = {image: i for i, image in enumerate(images)}
    orders = []
    for reader in range(readers):
        draw = random.Random(f"{seed} reader {reader}")
        once = (
            _pairs(scans, methods, draw)
            if pairs
            else [(scan, (method,)) for scan in range(scans) for method in range(methods)]
        )
        order = _order(once, repeated, draw)
        orders.append(tuple(tuple(number[scan, m] for m in shown) for scan, shown in order))
    return Design(tuple(images), tuple(orders))


def default_repeats(scans: int) -> int:
    """Return the number of scans shown twice unless it is set: a fifth, rounded up."""
    return -(-scans // 5)


def _pairs(scans: int, methods: int, draw: random.Random) -> list[tuple[int, Shown]]:
    """Return all pairs of methods of each scan, each method on the left half of the time."""
    found: list[tuple[int, Shown]] = []
    for first, second in combinations(range(methods), 2):
        sides = [index % 2 == 0 for index in range(scans)]
        draw.shuffle(sides)
        found += [
            (scan, (first, second) if straight else (second, first))
            for scan, straight in enumerate(sides)
        ]
    return found


def _order(
    once: Sequence[tuple[int, Shown]], repeated: frozenset[int], draw: random.Random
) -> list[tuple[int, Shown]]:
    """Order the presentations, and add the second ones of repeated scans."""
    again = [(scan, shown[::-1]) for scan, shown in once if scan in repeated]
    single = [entry for entry in once if entry[0] not in repeated]
    draw.shuffle(single)

    half = len(single) // 2
    parts = [
        [entry for entry in once if entry[0] in repeated] + single[:half],
        again + single[half:],
    ]

    order: list[tuple[int, Shown]] = []
    for part in parts:
        draw.shuffle(part)
        while part:
            order.append(part.pop(_next(part, order[-1][0] if order else None)))
    return order


def _next(part: Sequence[tuple[int, Shown]], last: int | None) -> int:
    """Return the place of the next presentation, of another scan than the last one if possible."""
    scan, count = Counter(scan for scan, _ in part).most_common(1)[0]
    # A scan with half of the rest would follow itself later if it did not come now.
    urgent = 2 * count >= len(part) and scan != last
    fits = [
        place
        for place, (other, _) in enumerate(part)
        if (other == scan if urgent else other != last)
    ]
    return fits[0] if fits else 0
