"""What training sees: windows of adjacent frames of a store, with a mask drawn anew at every access.

Nothing here depends on what was drawn before: the mask, the augmentation and the order of an epoch follow from the seed, the epoch and
the place, so that a run that was stopped anywhere goes on as if it had not been.
"""

import math
import random
from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace
from functools import lru_cache
from pathlib import Path
from typing import Protocol

import torch
from torch import Tensor, nn

from cmrrecon import formats
from cmrrecon.data import window
from cmrrecon.data.coverage import COMPLETE
from cmrrecon.data.measured import reached
from cmrrecon.networks.base import Output
from cmrrecon.operators.coils import rss
from cmrrecon.operators.fourier import ifft2c
from cmrrecon.sampling.make import make_mask
from cmrrecon.training.augment import augment, noisy
from cmrrecon.training.entries import Entry, digest, domain_of
from cmrrecon.training.labels import painted, presence
from cmrrecon.training.recipe import Data, Sampling

# Slices are kept in memory up to so many bytes; a few of them in any case, as the next batch is made ready while this one is worked on.
KEPT_BYTES, LEAST_KEPT = 2**30, 4
COMPLEX_BYTES = 8


@dataclass(frozen=True)
class Sample:
    """One window, its k-space divided by the scan's scale.

    Attributes
    ----------
    kspace : Tensor (frame, coil, y, x), zero where not measured
    mask : Tensor (frame|1, y, x|1), bool
    acs : calibration lines
    target : Tensor (y, x): RSS of the fully sampled middle frame
    target_kspace : Tensor (coil, y, x) of the middle frame
    limit : the largest pixel of the target's scan: the data range of the SSIM
    domain, name : where it comes from
    classes : Tensor (class,), of the recipe's kinds of lesions 1 for those present and 0 for others; NaN in a slice without labels
    lesion : Tensor (y, x), bool, inside the boxes of lesions
    columns : of a whole series, the columns of x that `target` has; else None

    Networks for whole series see all frames: `kspace` has them all, and `target` is (frame, y, x').
    """

    kspace: Tensor
    mask: Tensor
    acs: int
    target: Tensor
    target_kspace: Tensor
    limit: float
    domain: str
    name: str
    classes: Tensor
    lesion: Tensor
    columns: slice | None = None


@dataclass(frozen=True)
class Batch:
    """Samples of one matrix, stacked along a first axis, on the device of the network; attributes as in `Sample`.

    Of several domains the first is told. A whole series is a batch of its own, `target` and `limit` have its frames along the first axis.
    """

    kspace: Tensor
    mask: Tensor
    acs: int
    target: Tensor
    target_kspace: Tensor
    limit: Tensor
    domain: str
    classes: Tensor
    lesion: Tensor
    columns: slice | None = None

    def zero_filled(self) -> Tensor:
        """RSS (batch, y, x) of the middle frame as it was measured; of a whole series of all its frames."""
        if self.columns is None:
            return rss(ifft2c(self.kspace[:, self.kspace.shape[1] // 2]))
        return rss(ifft2c(self.kspace[0]))[..., self.columns]

    def given_to(self, network: nn.Module) -> Output:
        """What a network makes of it."""
        columns = {} if self.columns is None else {"columns": self.columns}
        output: Output = network(self.kspace, self.mask, self.acs, **columns)
        return output


@dataclass(frozen=True)
class Place:
    """Where a sample lies: the scan, the slice and the frame; and how often it was there before in this epoch."""

    scan: int
    index: int
    frame: int
    turn: int = 0


class Source(Protocol):
    """What samples are drawn from: `Windows` of scans that are there, or `scenes.Scenes` that are made."""

    data: Data
    seed: int
    places: list[Place]

    def __len__(self) -> int:
        """How many places there are."""

    def times(self, place: Place) -> int:
        """How often a place is seen in an epoch."""

    def domain(self, place: Place) -> str:
        """The domain of a place."""

    def shape(self, place: Place) -> tuple[int, ...]:
        """What must agree in a batch."""

    def middles(self) -> list[Place]:
        """Examples for pictures."""

    def sample(self, place: Place, epoch: int) -> Sample:
        """What is at a place in an epoch."""


class Windows:
    """All windows of some scans of a store.

    Parameters
    ----------
    store : folder made by `preprocess`
    entries : of the scans, see `read_entries`
    width : frames of a window; 0: all, for networks of whole series
    sampling, data : of the recipe
    seed : of everything that is drawn
    fixed : whether masks are those of validation: always the same for a place, and no augmentation
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
    ) -> None:
        self.store, self.entries, self.width, self.sampling, self.data = (
            store,
            list(entries),
            width,
            sampling,
            data,
        )

        self.seed, self.fixed = seed, fixed
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
        """How often a place is seen in an epoch: rare modalities as often as the recipe says."""
        return self.data.balance.get(str(self.entries[place.scan]["base"]), 1)

    def domain(self, place: Place) -> str:
        """The domain of a place, by the facts that the recipe names."""
        return domain_of(self.entries[place.scan], self.data.domain)

    def shape(self, place: Place) -> tuple[int, ...]:
        """(coil, y, x): what must agree in a batch."""
        return tuple(self.entries[place.scan]["shape"][2:])

    def middles(self) -> list[Place]:
        """Examples for pictures: the middle frame of the middle slice of the first scan of each domain."""
        first: dict[str, Place] = {}
        for number, entry in enumerate(self.entries):
            place = Place(
                number, entry["shape"][1] // 2, entry["shape"][0] // 2 if self.width else 0
            )
            if place in self.places:
                first.setdefault(self.domain(place), place)
        return list(first.values())

    def sample(self, place: Place, epoch: int) -> Sample:
        """The window at a place, as this epoch sees it."""
        entry = self.entries[place.scan]
        name = f"{entry['path']}:{place.index}:{place.frame}"
        draw = random.Random(
            digest(self.seed, "validation" if self.fixed else epoch, name, place.turn)
        )

        full = self._slice(place.scan, place.index)
        frames, _, y, x = full.shape
        rows = window(place.frame, frames, self.width) if self.width else list(range(frames))
        kspace, limit = full[rows] / entry["scale"], max(entry["limits"]) / entry["scale"]

        lesion = painted(entry, place.index, self.data.classes)
        if not self.fixed:
            kspace, lesion, limit = augment(kspace, lesion, limit, self.data, draw)

        mask = self._mask(draw, epoch, frames, y, x)
        mask = mask[rows] if len(mask) > 1 else mask
        if entry.get("coverage", COMPLETE) != COMPLETE:
            mask = mask & reached(kspace)

        middle = kspace[self.width // 2]
        target = rss(ifft2c(middle if self.width else kspace))

        if not self.fixed:
            kspace = noisy(kspace, self.data, draw)

        return Sample(
            kspace * mask[:, None], mask, self.sampling.acs, target, middle, max(limit, float(target.amax())),
            domain_of(entry, self.data.domain), name, presence(entry, place.index, self.data.classes), lesion,
            None if self.width else slice(None),
        )  # fmt: skip

    def _mask(self, draw: random.Random, epoch: int, frames: int, y: int, x: int) -> Tensor:
        """A mask (frame|1, y, x|1); patterns that are the same for every seed begin at another frame of theirs each time in training."""
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
        return mask if self.fixed else mask.roll(draw.randrange(frames), 0)

    def _read(self, number: int, index: int) -> Tensor:
        """K-space (frame, coil, y, x) of a slice."""
        return formats.read(self.store / self.entries[number]["path"]).read_slice(index)


def accelerations_of(sampling: Sampling, epoch: int) -> tuple[float, ...]:
    """What the curriculum draws from in an epoch."""
    begun = [period for period in sampling.curriculum if period.epoch <= epoch]
    return (
        max(begun, key=lambda period: period.epoch).accelerations
        if begun
        else sampling.accelerations
    )


def batches(
    windows: Source, epoch: int, size: Callable[[tuple[int, ...]], int], count: int = 0
) -> list[list[Place]]:
    """The batches of an epoch, in order: windows of one matrix and number of coils, rare modalities as often as the recipe says.

    Parameters
    ----------
    size : (coil, y, x) -> how many windows make a batch
    count : of windows, the first of them, or all of them again and again; 0: all once
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
        batch = open_batches[windows.shape(place)]
        batch.append(place)
        if len(batch) == size(windows.shape(place)):
            finished.append(open_batches.pop(windows.shape(place)))
    return [*finished, *open_batches.values()]


def in_turn(places: Sequence[Place], domains: Sequence[str]) -> list[Place]:
    """One of each domain after the other; domains with fewer begin again, so that the longest is seen once."""
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
    """The windows at some places."""
    return [windows.sample(place, epoch) for place in places]


def collate(found: Sequence[Sample], device: torch.device) -> Batch:
    """A batch of samples; masks of several kinds become the most general of them."""
    frames, width = max(len(s.mask) for s in found), max(s.mask.shape[-1] for s in found)

    def stacked(parts: Iterable[Tensor]) -> Tensor:
        return torch.stack(list(parts)).to(device)

    targets = [s.target if s.target.ndim == 3 else s.target[None] for s in found]
    return Batch(
        kspace=stacked(s.kspace for s in found),
        mask=stacked(s.mask.expand(frames, -1, width) for s in found),
        acs=found[0].acs,
        target=torch.cat(targets).to(device),
        target_kspace=stacked(s.target_kspace for s in found),
        limit=torch.tensor(
            [s.limit for s, target in zip(found, targets, strict=True) for _ in target],
            device=device,
        ),
        domain=found[0].domain,
        classes=stacked(s.classes for s in found),
        lesion=stacked(s.lesion for s in found),
        columns=found[0].columns,
    )
