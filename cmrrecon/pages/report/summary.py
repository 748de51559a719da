"""What a report knows about each scan once it has been read, and which scans are the worst."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from cmrrecon.pages.report.pictures import thumbnail
from cmrrecon.pages.report.scans import Case
from cmrrecon.pages.report.scoring import Opened, aspect_of

# Scans shown with movies, besides those that the user names.
WORST = 10


@dataclass(frozen=True)
class Read:
    """A scan without its images.

    Attributes
    ----------
    case : Case
        The scan.
    records : dict of str to dict
        The record of each method.
    thumbnails : dict of str to str
        A picture of each method, as a data URI; the reference comes first, if there is one.
    remarks : list of str
        Remarks about the reference.
    """

    case: Case
    records: dict[str, dict[str, Any]]
    thumbnails: dict[str, str]
    remarks: list[str]

    @classmethod
    def of(cls, case: Case, opened: Opened) -> "Read":
        """Keep what the overview shows."""
        series = opened.series()
        aspect = aspect_of(case)
        thumbnails = {
            name: thumbnail(image[len(image) // 2], aspect)
            for name, image in (series.images if series else {}).items()
        }
        return cls(case, opened.records, thumbnails, opened.remarks)


@dataclass(frozen=True)
class Order:
    """The order of scans, the worst first.

    Attributes
    ----------
    scans : list of Read
        The scans.
    text : str
        What the order is based on.
    """

    scans: list[Read]
    text: str


def scored(scans: Sequence[Read]) -> list[dict[str, Any]]:
    """Return the records that have scores."""
    return [
        record
        for read in scans
        for record in read.records.values()
        if record.get("psnr") is not None
    ]


def common(scans: Sequence[Read], methods: Sequence[str]) -> list[Read]:
    """Return the scans that have scores of every method."""
    return [
        read
        for read in scans
        if all(read.records.get(method, {}).get("psnr") is not None for method in methods)
    ]


def worst_first(scans: Sequence[Read]) -> Order:
    """Order the scans by the SSIM of the best method, or without scores by their residuals.

    The best method is the one with the highest mean SSIM among those with the most scored scans. A
    scan that it lacks counts with the highest SSIM of the others.
    """
    by_method: dict[str, list[float]] = {}
    for record in scored(scans):
        by_method.setdefault(record["method"], []).append(float(record["ssim"]))

    if not by_method:
        known = any(r["residual"] is not None for read in scans for r in read.records.values())
        text = "largest deviation of the data residual from 1 first"
        if not known:
            text = "order of the files, because neither scores nor residuals are known"
        return Order(sorted(scans, key=lambda read: -_misfit(read.records)), text)

    most = max(map(len, by_method.values()))
    complete = {name: values for name, values in by_method.items() if len(values) == most}
    best = max(complete, key=lambda name: math.fsum(complete[name]) / most)

    def similarity(read: Read) -> float:
        values = {
            name: float(record["ssim"])
            for name, record in read.records.items()
            if record.get("ssim") is not None
        }
        return values.get(best, max(values.values(), default=-1.0))

    text = f"lowest SSIM of {best} first, the method with the highest mean SSIM"
    if len(complete) < len(by_method):
        text += " of those with the most scans"
    return Order(sorted(scans, key=similarity), text)


def _misfit(records: Mapping[str, Mapping[str, Any]]) -> float:
    """Return the largest deviation of a residual from 1, as a logarithm."""
    known = [float(r["residual"]) for r in records.values() if r["residual"] is not None]
    return max((abs(math.log(max(value, 1e-9))) for value in known), default=0.0)
