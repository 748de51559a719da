"""Match results to the cases of a CMRxRecon validation set, and check what will be submitted."""

import hashlib
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from cmrrecon import formats
from cmrrecon.data import Acquisition, View
from cmrrecon.evaluation.ranking import ranking_crop
from cmrrecon.evaluation.references import acquisition_of, slices_of
from cmrrecon.evaluation.runs import weights_of
from cmrrecon.formats.submission import (
    matlab_bytes,
    member_name,
    ranking_array,
    stored_array,
    task_of,
)
from cmrrecon.tools.errors import InputError

Shape = tuple[int, int, int, int]

# Facts by which a result is matched to a case.
MATCHED = ("subject", "centre", "vendor", "pattern", "acceleration", "coil")
# Tasks in which all files must come from one model.
ONE_MODEL = {2024: ("Task2",), 2025: ("TaskR1", "TaskR2", "TaskS1", "TaskS2")}


@dataclass(frozen=True)
class Case:
    """One file that the challenge expects.

    Attributes
    ----------
    member : str
        Path inside the zip.
    path : Path
        The undersampled k-space.
    facts : Acquisition
        Facts about the scan.
    task : str or None
        Task of the challenge.
    shape : (int, int, int, int)
        (frame, slice, y, x) of the whole images.
    """

    member: str
    path: Path
    facts: Acquisition
    task: str | None
    shape: Shape


@dataclass(frozen=True)
class Source:
    """The result that was found for a case.

    Attributes
    ----------
    path : Path
        The file with the images.
    facts : Acquisition
        Facts about its scan.
    task : str or None
        Task of the challenge, if the path names it.
    stamp : mapping
        Provenance; empty if there is none.
    """

    path: Path
    facts: Acquisition
    task: str | None
    stamp: Mapping[str, Any]


def open_case(path: Path, year: int, task: str | None) -> Case:
    """Read from the header of undersampled k-space what the challenge expects for it.

    Parameters
    ----------
    path : Path
        The k-space.
    year : int
        2023, 2024 or 2025.
    task : str or None
        Task of the challenge. None: the one that the path names.

    Raises
    ------
    InputError
        If the file cannot be read, or its place in the package is not known (`submission-place`).
    """
    scan = formats.read(path)
    frames, slices = scan.shape[:2]
    size = View().size(scan.geometry, scan.image_shape)
    known = task or task_of(path, year)
    member = member_name(scan.acquisition, year, known)
    return Case(member, path, scan.acquisition, known, (frames, slices, *size))


def open_source(path: Path, year: int) -> Source:
    """Identify the scan of a result from its provenance or else its path.

    Raises
    ------
    InputError
        If the file cannot be read.
    """
    stamp = formats.read_provenance(path) or {}
    return Source(path, acquisition_of(path, stamp), task_of(path, year), stamp)


def case_for(source: Source, cases: Iterable[Case]) -> Case | None:
    """Return the case that a result belongs to; None if there is none.

    Raises
    ------
    InputError
        If several cases fit (`submission-place`).
    """
    fitting = [case for case in cases if _fits(source, case)]
    if len(fitting) > 1:
        raise InputError(
            "submission-place",
            f"{source.path} fits {len(fitting)} files of the validation set",
            "A result must belong to exactly one of them, by subject, centre, vendor, pattern, "
            "acceleration and task",
            "Keep the folders of the validation set, as reconstruct --out-dir does",
        )
    return fitting[0] if fitting else None


def _fits(source: Source, case: Case) -> bool:
    """Return whether all facts that are known of both agree."""
    if source.facts.base != case.facts.base:
        return False
    pairs = [(getattr(source.facts, name), getattr(case.facts, name)) for name in MATCHED]
    pairs.append((source.task, case.task))
    return all(one is None or other is None or one == other for one, other in pairs)


def ranked(images: Tensor, case: Case, *, year: int, crop: bool, name: str) -> Tensor:
    """Check the images of a case, and crop them as the challenge of that year does.

    Parameters
    ----------
    images : Tensor of shape (frame, slice, y, x)
        Complex or real; whole, or already cropped.
    case : Case
        What the challenge expects.
    year : int
        2023, 2024 or 2025.
    crop : bool
        Whether to crop, as in the validation phase.
    name : str
        Name of the images in messages.

    Returns
    -------
    Tensor of shape (frame', slice', y', x'), float32
        Magnitudes.

    Raises
    ------
    InputError
        If the images have another shape (`shape-mismatch`), contain NaN or infinity
        (`images-not-finite`), or are zero everywhere (`images-flat`).
    """
    base = case.facts.base
    whole, shape = case.shape, tuple(images.shape)
    outline = torch.empty(whole, device="meta")
    wanted = tuple(ranking_crop(outline, base=base, year=year).shape) if crop else whole
    if shape not in (whole, wanted):
        raise InputError(
            "shape-mismatch",
            f"{name} has images of shape {shape} (frame, slice, y, x)",
            f"The scan has {whole}, and its crop {wanted}" if crop else f"The scan has {whole}",
            "Reconstruct all slices and frames of this scan",
        )

    cut = ranking_crop(images, base=base, year=year) if shape != wanted else images
    magnitude = cut.abs().float()
    if not bool(magnitude.isfinite().all()):
        raise InputError(
            "images-not-finite",
            f"{name} contains NaN or infinity",
            "All pixels that the challenge scores must be finite",
            "Reconstruct the scan again",
        )
    if not bool(magnitude.any()):
        raise InputError(
            "images-flat",
            f"{name} is zero everywhere that the challenge scores",
            "A submission needs images",
            "Reconstruct the scan again",
        )
    return magnitude


def packed(source: Source, case: Case, *, year: int, crop: bool) -> tuple[bytes, dict[str, Any]]:
    """Return the MATLAB file of a case, read back and compared, and its entry in the manifest.

    Raises
    ------
    InputError
        If the images cannot be read, or do not pass the checks of `ranked`.
    """
    images = formats.read_images(source.path)
    numbers = slices_of(source.stamp, images.shape[1])
    if numbers != list(range(len(numbers))):
        raise InputError(
            "slice-missing",
            f"{source.path} has only the slices {', '.join(map(str, numbers))}",
            "The challenge selects from all slices of the scan",
            "Reconstruct the whole scan",
        )

    magnitude = ranked(images, case, year=year, crop=crop, name=str(source.path))
    array = ranking_array(magnitude.numpy(), case.facts.base)
    content = matlab_bytes(array)
    _check_stored(content, array, case.member)

    entry = {
        "member": case.member,
        "sha256": hashlib.sha256(content).hexdigest(),
        "bytes": len(content),
        "shape": list(array.shape),
        "dtype": str(array.dtype),
        "task": case.task,
        "method": source.stamp.get("config", {}).get("method"),
        "weights": weights_of(source.stamp)["weights"],
    }
    return content, entry


def _check_stored(content: bytes, array: NDArray[np.float32], member: str) -> None:
    """Check that the file contains the array as the scorer reads it."""
    found = stored_array(content)
    if found.dtype != array.dtype or not np.array_equal(found, array):
        raise InputError(
            "submission-damaged",
            f"{member} was not stored as it should be",
            f"It must contain {array.shape} numbers of type {array.dtype}",
            "Report this as a bug",
        )


def mixed_models(entries: Iterable[Mapping[str, Any]], year: int) -> list[str]:
    """Return the tasks that allow one model but have results of several."""
    models: dict[str, set[tuple[Any, Any]]] = defaultdict(set)
    for entry in entries:
        if entry["task"] in ONE_MODEL.get(year, ()):
            models[entry["task"]].add((entry["method"], entry["weights"]))
    return sorted(task for task, found in models.items() if len(found) > 1)


def repeated(pairs: Sequence[tuple[Source, Case]]) -> dict[str, list[Path]]:
    """Return the cases with several results, by member."""
    found: dict[str, list[Path]] = defaultdict(list)
    for source, case in pairs:
        found[case.member].append(source.path)
    return {member: paths for member, paths in found.items() if len(paths) > 1}
