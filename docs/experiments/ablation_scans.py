"""The scans of ablation.py, each prepared once: coil maps, problems and starting solutions."""

import argparse
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from itertools import islice
from pathlib import Path

import torch
from out_of_the_box_cases import PATTERNS, TUNING_CENTRES, Case, semi_real, undersampled
from torch import Tensor

from cmrrecon import LineMask, SamplingMask, Series
from cmrrecon.classical.coils import Coils
from cmrrecon.classical.prepared import PreparedSeries
from cmrrecon.classical.problem import Problem
from cmrrecon.classical.refined_maps import refined
from cmrrecon.classical.still import started
from cmrrecon.networks.kt_unrolled import starts
from cmrrecon.tools.atomic import atomic
from cmrrecon.training.dataset import Place
from cmrrecon.training.recipe import Data
from cmrrecon.training.scenes import Scenes

REFINED, ESPIRIT = "refined", "ESPIRiT"
# The two starting solutions of a problem.
FIRST, SECOND = "first", "second"
# Groups of scans: scores are reported for all but the first.
TRAINING, RANDOM, LINES, SAMPLES = "training", "random scans", "line masks", "sample masks"


@dataclass(frozen=True)
class Kept:
    """What all variants need of a scan.

    Attributes
    ----------
    truth : Tensor of shape (frame, y, x')
        The reference, for random scans in the columns of the problem alone.
    problems : dict of Problem
        The problem with refined maps and the problem with ESPIRiT maps, with the solutions from
        which the network starts.
    group : str
        The group of the scan.
    """

    truth: Tensor
    problems: dict[str, Problem]
    group: str


class Store:
    """The scans of an experiment, each prepared at most once and kept in a folder."""

    def __init__(self, asked: argparse.Namespace, data: Data, seed: int) -> None:
        self.folder = asked.work / "kept"
        self.making: dict[str, Callable[[], Kept]] = {}

        for fixed, group, count in ((False, TRAINING, asked.scans), (True, RANDOM, asked.held)):
            scenes = Scenes(data, seed, fixed=fixed)
            for number in range(count):
                self.making[f"{group} {number}"] = lambda s=scenes, n=number, g=group: of_scene(
                    s, n, g
                )  # type: ignore[misc]

        if asked.data is not None:
            for case in islice(half_size(asked.tool, asked.data), asked.cases):
                self.making[f"{case[1]} {case[3]}"] = lambda c=case: of_case(c, asked.work)  # type: ignore[misc]

    def __getitem__(self, name: str) -> Kept:
        path = self.folder / f"{name}.pt"
        if not path.exists():
            with torch.no_grad(), atomic(path) as temporary:
                torch.save(self.making[name](), temporary)
        kept: Kept = torch.load(path, weights_only=False)
        return kept

    def names(self, training: bool) -> list[str]:
        """Return the names of the scans to train on, or of all others."""
        return [name for name in self.making if name.startswith(f"{TRAINING} ") == training]


def of_scene(scenes: Scenes, number: int, group: str) -> Kept:
    """Prepare a random scan like the `forward` of the network."""
    sample = scenes.sample(Place(number, 0, 0), 0)
    series = Series(sample.kspace, SamplingMask.of(sample.mask))
    assert sample.columns is not None
    return prepared_once(PreparedSeries(series, scale=1.0), sample.target, group, sample.columns)


def half_size(tool: Path, data: Path) -> Iterator[Case]:
    """List the tuning cases of out_of_the_box.py at half their resolution."""
    paths = sorted((data / "CMRxRecon2025-cine-pictures").glob("*.npz"))
    tuning = [path for path in paths if path.name.startswith(TUNING_CENTRES)]
    for number, path in enumerate(tuning):
        words = ("--pictures", str(path), "--shrink", "2")
        pattern = PATTERNS[number % len(PATTERNS)]
        yield "tuning", f"{path.stem} half", lambda w=words: semi_real(tool, data, *w), pattern  # type: ignore[misc]


def of_case(case: Case, work: Path) -> Kept:
    """Prepare a semi-real case, which is normalised already."""
    scan, truth = undersampled(case, work)
    series = PreparedSeries(scan.series(0), scale=1.0)
    group = LINES if isinstance(series.mask, LineMask) else SAMPLES
    return prepared_once(series, truth.abs(), group)


def prepared_once(
    series: PreparedSeries, truth: Tensor, group: str, columns: slice | None = None
) -> Kept:
    """Solve a series with both kinds of maps."""
    coils = series.coils().first
    coils = coils if columns is None else replace(coils, columns=columns)
    problems = {
        ESPIRIT: solved(series, coils),
        REFINED: solved(series, refined(series, coils)),
    }
    return Kept(truth, problems, group)


def solved(series: PreparedSeries, coils: Coils) -> Problem:
    """Build the problem of a series with the maps of the given coils, and solve it."""
    problem = started(series, coils)
    first, second = starts(problem)
    # The maps of the measured coils fill most of a file, and the network needs only A.
    combine = problem.combine[:0].clone()
    return replace(problem, combine=combine, solutions={FIRST: first, SECOND: second})
