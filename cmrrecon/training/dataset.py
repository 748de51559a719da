"""Training data: windows of adjacent frames, with a new mask at every access.

Nothing here depends on earlier draws. The seed, the epoch and the place determine the mask, the
augmentation and the order of an epoch, so a run can be stopped anywhere and continued with the same
result.
"""

import math
import random
from collections import Counter, defaultdict
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import lru_cache
from pathlib import Path
from typing import Protocol

from torch import Tensor

from cmrrecon import formats
from cmrrecon.data import window
from cmrrecon.data.coverage import COMPLETE
from cmrrecon.data.measured import reached
from cmrrecon.networks.labelled import Labels
from cmrrecon.operators.coils import rss
from cmrrecon.operators.fourier import ifft2c
from cmrrecon.sampling.make import make_mask
from cmrrecon.tools.errors import InputError
from cmrrecon.tools.provenance import recipe_hash
from cmrrecon.training.augment import augment, noisy
from cmrrecon.training.batch import Sample
from cmrrecon.training.entries import Entry, digest, domain_of
from cmrrecon.training.labels import inside_boxes, presence
from cmrrecon.training.recipe import Data, Sampling
from cmrrecon.training.strips import columns_of, strip, trained_shape

# Memory for slices, and the number of slices kept in any case, since the next batch is prepared
# while the present one is in use.
KEPT_BYTES, LEAST_KEPT = 2**30, 4
COMPLEX_BYTES = 8


@dataclass(frozen=True)
class Place:
    """The place of a sample: scan, slice, frame, and how often this epoch has already used it."""

    scan: int
    index: int
    frame: int
    turn: int = 0


class Source(Protocol):
    """Source of samples: `Windows` of stored scans, or `scenes.Scenes` of random ones."""

    data: Data
    seed: int
    places: list[Place]

    def __len__(self) -> int:
        """Return the number of places."""

    def times(self, place: Place) -> int:
        """Return how often a place is used in an epoch."""

    def domain(self, place: Place) -> str:
        """Return the domain of a place."""

    def scan(self, place: Place) -> str:
        """Return the name of the scan of a place."""

    def shape(self, place: Place, epoch: int) -> tuple[int, ...]:
        """Return the shape in an epoch, which must be the same for all samples of a batch."""

    def middles(self) -> list[Place]:
        """Return example places for pictures."""

    def sample(self, place: Place, epoch: int) -> Sample:
        """Return the sample at a place in an epoch."""


class Windows:
    """All windows of some scans of a store.

    Parameters
    ----------
    store : Path
        A folder created by `preprocess`.
    entries : sequence of Entry
        The entries of the scans; see `read_entries`.
    width : int
        The number of frames in a window. 0 means all frames, for networks that process whole
        series.
    sampling, data : Sampling, Data
        The sections of the recipe.
    seed : int
        Determines all random choices.
    fixed : bool
        Whether the windows are for validation: each place always has the same mask, scans are
        whole, and nothing is augmented.
    rows : callable or None
        Maps a frame and the number of frames to the frames of its window; None uses `data.window`.
    """

    def __init__(
        self,
        store: Path,
        entries: Sequence[Entry],
        width: int,
        sampling: Sampling,
        data: Data,
        seed: int,
        *,
        fixed: bool = False,
        rows: Callable[[int, int], list[int]] | None = None,
    ) -> None:
        self.store, self.entries, self.width, self.sampling, self.data = (
            store,
            list(entries),
            width,
            sampling,
            data,
        )
        self.seed, self.fixed = seed, fixed
        self.rows = rows or (lambda frame, frames: window(frame, frames, width))

        self.places = [
            Place(number, index, frame)
            for number, entry in enumerate(self.entries)
            for index in range(entry["shape"][1])
            if index not in entry["empty_slices"]
            for frame in range(entry["shape"][0] if width else 1)
        ]

        largest = (
            max(
                (math.prod(entry["shape"]) // entry["shape"][1] for entry in self.entries),
                default=1,
            )
            * COMPLEX_BYTES
        )
        self._slice = lru_cache(max(LEAST_KEPT, KEPT_BYTES // largest))(self._read)

    def __len__(self) -> int:
        return len(self.places)

    def times(self, place: Place) -> int:
        """Return how often a place is used in an epoch; the recipe's `balance` sets it."""
        return self.data.balance.get(str(self.entries[place.scan]["base"]), 1)

    def domain(self, place: Place) -> str:
        """Return the domain of a place, built from the properties named in the recipe."""
        return domain_of(self.entries[place.scan], self.data.domain)

    def scan(self, place: Place) -> str:
        """Return the path of the scan of a place, relative to the store."""
        return str(self.entries[place.scan]["path"])

    def shape(self, place: Place, epoch: int) -> tuple[int, ...]:
        """Return the shape (coil, y, x), which must be the same for all samples of a batch."""
        columns = 0 if self.fixed else columns_of(self.data, epoch)
        return trained_shape(self.entries[place.scan], columns)

    def middles(self) -> list[Place]:
        """Return the middle frame of the middle slice of the first scan of each domain."""
        first: dict[str, Place] = {}
        for number, entry in enumerate(self.entries):
            place = Place(
                number, entry["shape"][1] // 2, entry["shape"][0] // 2 if self.width else 0
            )
            if place in self.places:
                first.setdefault(self.domain(place), place)
        return list(first.values())

    def sample(self, place: Place, epoch: int) -> Sample:
        """Return the window at a place in an epoch."""
        entry = self.entries[place.scan]
        name = f"{entry['path']}:{place.index}:{place.frame}"
        draw = random.Random(
            digest(self.seed, "validation" if self.fixed else epoch, name, place.turn)
        )

        full = self._slice(place.scan, place.index)
        frames, (_, y, x) = len(full), self.shape(place, epoch)
        rows = self.rows(place.frame, frames) if self.width else list(range(frames))
        kspace, limit = full[rows] / entry["scale"], max(entry["limits"]) / entry["scale"]

        lesion = inside_boxes(entry, place.index, self.data.classes)
        if not self.fixed:
            kspace, lesion, limit = augment(kspace, lesion, limit, self.data, draw)
        if x < kspace.shape[-1]:
            kspace, lesion = strip(kspace, lesion, x, draw)

        mask, pattern, acceleration = self._mask(draw, epoch, frames, y, x)
        mask = mask[rows] if len(mask) > 1 else mask
        if entry.get("coverage", COMPLETE) != COMPLETE:
            mask = mask & reached(kspace)

        complete = kspace[self.width // 2] if self.width else kspace
        target = rss(ifft2c(complete))

        if not self.fixed:
            kspace = noisy(kspace, self.data, draw)

        return Sample(
            kspace * mask[:, None],
            mask,
            self.sampling.acs,
            target,
            complete,
            max(limit, float(target.amax())),
            domain_of(entry, self.data.domain),
            name,
            presence(entry, place.index, self.data.classes),
            lesion,
            None if self.width else slice(None),
            Labels(pattern, acceleration, entry.get("modality")),
        )

    def _mask(
        self, draw: random.Random, epoch: int, frames: int, y: int, x: int
    ) -> tuple[Tensor, str, float]:
        """Draw a mask (frame|1, y, x|1), and return it with its pattern and R.

        During training, patterns that do not depend on the seed start at a random frame.
        """
        accelerations = (
            self.sampling.accelerations if self.fixed else accelerations_of(self.sampling, epoch)
        )
        pattern, acceleration = draw.choice(self.sampling.patterns), draw.choice(accelerations)
        mask = make_mask(
            pattern,
            frames=frames,
            y=y,
            x=x,
            acceleration=acceleration,
            acs=min(self.sampling.acs, y, x),
            seed=draw.getrandbits(31),
        )

        if not self.fixed:
            mask = mask.roll(draw.randrange(frames), 0)
        return mask, pattern, acceleration

    def _read(self, number: int, index: int) -> Tensor:
        """Return the k-space (frame, coil, y, x) of a slice."""
        entry = self.entries[number]
        path = self.store / entry["path"]
        scan = formats.read(path)

        stored = recipe_hash(formats.read_provenance(path) or {}) if "recipe" in entry else None
        if list(scan.shape) != entry["shape"] or stored != entry.get("recipe"):
            raise InputError(
                "store-damaged",
                f"{path} is not the scan that the .json file beside it describes",
                "Both are written together by preprocess",
                "Run `cmrrecon preprocess` with --overwrite again",
            )
        return scan.read_slice(index)


def accelerations_of(sampling: Sampling, epoch: int) -> tuple[float, ...]:
    """Return the accelerations that the curriculum allows in an epoch."""
    begun = [period for period in sampling.curriculum if period.epoch <= epoch]
    return (
        max(begun, key=lambda period: period.epoch).accelerations
        if begun
        else sampling.accelerations
    )


def batches(
    windows: Source, epoch: int, size: Callable[[tuple[int, ...]], int], count: int = 0
) -> list[list[Place]]:
    """Return the batches of an epoch in order; all samples of a batch have the same shape.

    Parameters
    ----------
    windows : Source
        The source of the windows.
    epoch : int
        The epoch.
    size : callable
        Maps a shape (coil, y, x) to the number of windows in a batch.
    count : int
        The number of windows to use. If there are more, the rest is left out; if there are fewer,
        they are repeated. 0 uses each window once.
    """
    draw = random.Random(digest(windows.seed, "order", epoch))

    places = [place for place in windows.places for _ in range(windows.times(place))]
    draw.shuffle(places)
    if windows.data.in_turn:
        places = in_turn(places, [windows.domain(place) for place in places])
    if count:
        places = [places[number % len(places)] for number in range(count)]

    seen: Counter[Place] = Counter()
    for number, place in enumerate(places):
        places[number] = replace(place, turn=seen[place])
        seen[place] += 1

    open_batches: dict[tuple[int, ...], list[Place]] = defaultdict(list)
    finished = []
    for place in places:
        shape = windows.shape(place, epoch)
        open_batches[shape].append(place)
        if len(open_batches[shape]) == size(shape):
            finished.append(open_batches.pop(shape))
    return [*finished, *open_batches.values()]


def in_turn(places: Sequence[Place], domains: Sequence[str]) -> list[Place]:
    """Return the places in an order in which the domains take turns.

    Domains with fewer places start over until every place of the largest domain has been used once.
    """
    by_domain: dict[str, list[Place]] = defaultdict(list)
    for place, domain in zip(places, domains, strict=True):
        by_domain[domain].append(place)
    longest = max(map(len, by_domain.values()))
    return [
        queue[turn % len(queue)]
        for turn in range(longest)
        for _, queue in sorted(by_domain.items())
    ]


def samples(windows: Source, epoch: int, places: Sequence[Place]) -> list[Sample]:
    """Yield the samples at some places."""
    return [windows.sample(place, epoch) for place in places]
