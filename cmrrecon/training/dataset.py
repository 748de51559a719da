"""What training sees: windows of adjacent frames of a store, with a mask drawn anew at every access.

Nothing here depends on what was drawn before: the mask, the augmentation and the order of an epoch follow from the seed, the epoch and
the place, so that a run that was stopped anywhere goes on as if it had not been.
"""

import hashlib
import json
import random
from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from cmrrecon import formats
from cmrrecon.errors import InputError, UsageError
from cmrrecon.physics.coils import rss
from cmrrecon.physics.fourier import fft2c, ifft2c
from cmrrecon.sampling.make import make_mask
from cmrrecon.scan import Scan, window
from cmrrecon.training.recipe import Data, Sampling
from cmrrecon.training.store import FINGERPRINT

# Slices kept in memory: neighbouring frames of an epoch that is not shuffled come from the same.
SLICES_KEPT = 4


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
    limit : the largest pixel of the target's scan slice: the data range of the SSIM
    domain, name : where it comes from
    """

    kspace: Tensor
    mask: Tensor
    acs: int
    target: Tensor
    target_kspace: Tensor
    limit: float
    domain: str
    name: str


@dataclass(frozen=True)
class Place:
    """Where a sample lies: the scan, the slice and the frame."""

    scan: int
    index: int
    frame: int


class Windows:
    """All windows of some scans of a store.

    Parameters
    ----------
    store : folder made by `preprocess`
    entries : of the scans, see `read_entries`
    width : frames of a window
    sampling, data : of the recipe
    seed : of everything that is drawn
    fixed : whether masks are those of validation: always the same for a place, and no augmentation
    """

    def __init__(
        self,
        store: Path,
        entries: Sequence[Mapping[str, Any]],
        width: int,
        sampling: Sampling,
        data: Data,
        seed: int,
        *,
        fixed: bool = False,
    ) -> None:
        self.store, self.entries, self.width, self.sampling, self.data = store, list(entries), width, sampling, data
        self.seed, self.fixed = seed, fixed
        self.places = [
            Place(number, index, frame)
            for number, entry in enumerate(self.entries)
            for index in range(entry["shape"][1])
            if index not in entry["empty_slices"]
            for frame in range(entry["shape"][0])
        ]
        self._slice = lru_cache(SLICES_KEPT)(self._read)

    def __len__(self) -> int:
        return len(self.places)

    def domain(self, place: Place) -> str:
        """The domain of a place, by the facts that the recipe names."""
        return domain_of(self.entries[place.scan], self.data.domain)

    def shape(self, place: Place) -> tuple[int, ...]:
        """(coil, y, x): what must agree in a batch."""
        return tuple(self.entries[place.scan]["shape"][2:])

    def sample(self, place: Place, epoch: int) -> Sample:
        """The window at a place, as this epoch sees it."""
        entry = self.entries[place.scan]
        name = f"{entry['path']}:{place.index}:{place.frame}"
        draw = random.Random(digest(self.seed, "validation" if self.fixed else epoch, name))
        full, limit = self._slice(place.scan, place.index)
        frames, _, y, x = full.shape
        rows = window(place.frame, frames, self.width)
        kspace = full[rows] / entry["scale"]
        if not self.fixed:
            kspace = augment(kspace, self.data, draw)
        mask = self._mask(draw, epoch, frames, y, x)
        mask = mask[rows] if len(mask) > 1 else mask
        middle = kspace[self.width // 2]
        target = rss(ifft2c(middle))
        return Sample(
            kspace * mask[:, None], mask, self.sampling.acs, target, middle, max(limit / entry["scale"], float(target.amax())),
            domain_of(entry, self.data.domain), name,
        )  # fmt: skip

    def _mask(self, draw: random.Random, epoch: int, frames: int, y: int, x: int) -> Tensor:
        accelerations = accelerations_of(self.sampling, epoch)
        pattern, acceleration = draw.choice(self.sampling.patterns), draw.choice(accelerations)
        return make_mask(
            pattern, frames=frames, y=y, x=x, acceleration=acceleration, acs=min(self.sampling.acs, y, x), seed=draw.getrandbits(31)
        )

    def _read(self, number: int, index: int) -> tuple[Tensor, float]:
        """K-space (frame, coil, y, x) of a slice, and the largest pixel of its images."""
        kspace = self._scan(number).read_slice(index)
        return kspace, float(torch.stack([rss(ifft2c(frame)).amax() for frame in kspace]).amax())

    def _scan(self, number: int) -> Scan:
        return formats.read(self.store / self.entries[number]["path"])


def read_entries(store: Path) -> list[dict[str, Any]]:
    """The fully sampled scans of a store, see `store.add_scan`; paths relative to it.

    Raises
    ------
    InputError : the folder is no store, or none of its scans is fully sampled
    """
    path = store / FINGERPRINT
    if not path.is_file():
        raise InputError(
            f"{store} holds no {FINGERPRINT}", "Training reads a store", "Make one with `cmrrecon preprocess DATA --out-dir STORE`"
        )
    entries = []
    for name in json.loads(path.read_text())["files"]:
        entry = json.loads((store / name).with_suffix(".json").read_text())
        if entry["fully_sampled"]:
            entries.append({**entry, "path": name})
    if not entries:
        raise InputError(f"No scan of {store} is fully sampled", "Training needs references", "Add fully sampled scans to the store")
    return entries


def domain_of(entry: Mapping[str, Any], facts: Sequence[str]) -> str:
    """The facts of a scan that name its domain, joined; "unknown" for what the store does not know."""
    for fact in facts:
        if fact not in entry:
            raise UsageError(f"Scans have no fact {fact!r}", f"They have: {', '.join(sorted(entry))}", "Change data.domain")
    return "/".join(str(entry[fact] or "unknown") for fact in facts)


def split(entries: Sequence[Mapping[str, Any]], share: float, seed: int) -> tuple[list[Mapping[str, Any]], list[Mapping[str, Any]]]:
    """Scans to train on and to validate with: about this share of the subjects of every domain, the same whatever else is in the store."""
    train: list[Mapping[str, Any]] = []
    validation: list[Mapping[str, Any]] = []
    for entry in entries:
        subject = (entry["centre"], entry["vendor"], entry["subject"] or entry["path"])
        drawn = random.Random(digest(seed, "split", *subject)).random()
        (validation if drawn < share else train).append(entry)
    if share > 0 and not validation and len(train) > 1:
        # Chance left none of few subjects: take the last one.
        validation.append(train.pop())
    return train, validation


def accelerations_of(sampling: Sampling, epoch: int) -> tuple[float, ...]:
    """What the curriculum draws from in an epoch."""
    begun = [period for period in sampling.curriculum if period.epoch <= epoch]
    return max(begun, key=lambda period: period.epoch).accelerations if begun else sampling.accelerations


def batches(windows: Windows, epoch: int, size: int) -> list[list[Place]]:
    """The batches of an epoch, in order: windows of one matrix and number of coils, rare modalities as often as the recipe says."""
    draw = random.Random(digest(windows.seed, "order", epoch))
    balance = windows.data.balance
    places = [place for place in windows.places for _ in range(balance.get(str(windows.entries[place.scan]["base"]), 1))]
    draw.shuffle(places)
    if windows.data.in_turn:
        places = in_turn(places, [windows.domain(place) for place in places])
    open_batches: dict[tuple[int, ...], list[Place]] = defaultdict(list)
    finished = []
    for place in places:
        batch = open_batches[windows.shape(place)]
        batch.append(place)
        if len(batch) == size:
            finished.append(open_batches.pop(windows.shape(place)))
    return [*finished, *open_batches.values()]


def in_turn(places: Sequence[Place], domains: Sequence[str]) -> list[Place]:
    """One of each domain after the other; domains with fewer begin again, so that the longest is seen once."""
    by_domain: dict[str, list[Place]] = defaultdict(list)
    for place, domain in zip(places, domains, strict=True):
        by_domain[domain].append(place)
    longest = max(map(len, by_domain.values()))
    return [queue[turn % len(queue)] for turn in range(longest) for _, queue in sorted(by_domain.items())]


def augment(kspace: Tensor, data: Data, draw: random.Random) -> Tensor:
    """Flips, gamma and noise by the recipe, on fully sampled k-space (frame, coil, y, x) of normal scale."""
    flips = [axis for axis in (-2, -1) if draw.random() < data.flip]
    exponent = (1 + data.gamma) ** draw.uniform(-1, 1)
    sigma, seed = draw.uniform(0, data.noise), draw.getrandbits(31)
    if flips or data.gamma:
        images = ifft2c(kspace).flip(flips)
        if data.gamma:
            # The same factor in all coils, so that the coil maps stay what they are.
            images = images * rss(images)[:, None].clamp(min=1e-6) ** (exponent - 1)
        kspace = fft2c(images)
    if data.noise:
        generator = torch.Generator().manual_seed(seed)
        kspace = kspace + sigma * torch.randn(kspace.shape, dtype=kspace.dtype, generator=generator)
    return kspace


def digest(*parts: object) -> int:
    """A seed from anything that can be printed."""
    return int.from_bytes(hashlib.sha256(repr(parts).encode()).digest()[:8], "big")
