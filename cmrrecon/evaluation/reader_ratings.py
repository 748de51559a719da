"""Answers of readers in a reader study, unblinded, and their arrangement in tables."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from statistics import fmean

import numpy as np
from numpy.typing import NDArray

SCALE = (1, 2, 3, 4, 5)
SCALE_WORDS = ("very poor", "poor", "fair", "good", "excellent")
# Preference for the first method of a pair, counted from the second method: none is 0.
PREFERENCES = (-1, 0, 1)


@dataclass(frozen=True)
class Answer:
    """One answer of one reader.

    Attributes
    ----------
    reader : int
        Number of the reader, from 1.
    scan : int
        Number of the scan, from 1.
    methods : tuple of str
        The method that was rated, or the two methods that were compared.
    criterion : str
        What was judged.
    value : int
        A rating from 1 (very poor) to 5 (excellent). For two methods: 1 if the first was
        preferred, -1 if the second was, 0 without a preference.
    repeat : bool
        Whether the reader saw the same images a second time.
    """

    reader: int
    scan: int
    methods: tuple[str, ...]
    criterion: str
    value: int
    repeat: bool


def of_criterion(answers: Iterable[Answer], criterion: str, *, repeat: bool) -> list[Answer]:
    """Return the answers to one criterion, at the first or at the second reading."""
    return [a for a in answers if a.criterion == criterion and a.repeat == repeat]


def readers_of(answers: Iterable[Answer]) -> list[int]:
    """Return the numbers of the readers in ascending order."""
    return sorted({answer.reader for answer in answers})


def means_by_scan(
    answers: Sequence[Answer], methods: Sequence[str]
) -> tuple[list[int], NDArray[np.float64]]:
    """Average the ratings of each scan and method over the readers.

    Only readers who rated all methods of a scan count for it, so that no reader's habits favour a
    method.

    Parameters
    ----------
    answers : sequence of Answer
        First ratings by one criterion.
    methods : sequence of str
        The methods.

    Returns
    -------
    scans : list of int
        Scans that at least one reader rated for all methods.
    means : array of shape (scan, method)
        The means.
    """
    values = {(a.scan, a.reader, a.methods[0]): a.value for a in answers}
    scans = []
    rows = []

    for scan in sorted({answer.scan for answer in answers}):
        complete = [
            [values[scan, reader, method] for method in methods]
            for reader in readers_of(answers)
            if all((scan, reader, method) in values for method in methods)
        ]
        if complete:
            scans.append(scan)
            rows.append([fmean(column) for column in zip(*complete, strict=True)])
    return scans, np.array(rows, dtype=np.float64).reshape(len(rows), len(methods))
