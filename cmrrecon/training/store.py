"""The training store: scans read once, checked, and written where any window of frames is one quick read.

A store is a folder of own `.h5` scans (k-space, mask and, if fully sampled, the RSS reference) in the tree of
their sources. Beside each lies its entry as JSON, written last; `fingerprint.json` sums up the entries.
"""

import json
from collections import Counter
from collections.abc import Sequence
from dataclasses import asdict, replace
from functools import lru_cache
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from cmrrecon import formats, provenance
from cmrrecon.errors import InputError, OutputError
from cmrrecon.formats.atomic import atomic
from cmrrecon.physics.coils import compress, rss_images
from cmrrecon.scan import EMPTY_LINES_ALLOWED, Scan, effective_acceleration, require_cartesian

FINGERPRINT = "fingerprint.json"


def add_scan(
    source: Path,
    target: Path,
    coils: int | None = None,
    axes: str | None = None,
    *,
    overwrite: bool = False,
    command: Sequence[str] = ("add_scan",),
) -> dict[str, Any]:
    """Read, check and store one file, each slice read once; returns its entry of the fingerprint.

    A file that was stored earlier by the same recipe is not read again. Slices without any signal are kept,
    listed as `empty_slices` and left out of the statistics. With `coils` every slice is compressed to that many virtual coils.

    Raises
    ------
    InputError : the file cannot be read, holds only zeros, or a slice holds NaN, infinity or single all-zero frames
    OutputError : the target was made by another recipe and is not to be overwritten
    """
    scan = formats.read(source, axes=axes)
    require_cartesian(scan, "A training store")
    used: list[str | Path] = [source, *([scan.mask_path] if scan.mask_path else [])]
    stamp = provenance.make(command, config={"coils": coils, "axes": axes}, inputs=used)
    recipe = provenance.recipe_hash(stamp)
    note = target.with_suffix(".json")
    if target.exists() and not overwrite:
        known: dict[str, Any] = json.loads(note.read_text()) if note.exists() else {}
        if known.get("recipe") == recipe:
            return {**known, "status": "skipped"}
        # Without its entry beside it a file of this recipe was interrupted, and is made again.
        if known or provenance.recipe_hash(formats.read_provenance(target) or {}) != recipe:
            raise OutputError(
                f"{target} exists and was made from another input or with other settings",
                "Outputs are replaced only on request",
                "Add --overwrite, or make another store",
            )
    # The slice that the mask is found in comes first again.
    scan = _with_mask(replace(scan, read_slice=lru_cache(maxsize=1)(scan.read_slice)))
    assert scan.mask is not None
    frames, slices, stored, y, x = scan.shape
    virtual = min(coils or stored, stored)
    complete = scan.acquisition.pattern is None and bool(scan.mask.float().mean() >= 1 - EMPTY_LINES_ALLOWED)
    empty: list[int] = []
    scales: list[float] = []
    references: list[Tensor] = []

    def prepared(index: int) -> Tensor:
        kspace = scan.read_slice(index)
        if not (kspace != 0).any():
            empty.append(index)
            if len(empty) == slices:
                raise InputError(f"{source} holds only zeros", "At least one slice must hold data", "Check the export of this file")
            references.append(torch.zeros(frames, y, x))
            return kspace[:, :virtual]
        series = scan.checked(index, kspace)
        scales.append(series.scale())
        if complete:
            references.append(rss_images(kspace))
        return kspace if virtual == stored else compress(kspace, virtual)[0]

    packed = replace(scan, shape=(frames, slices, virtual, y, x), read_slice=prepared)
    formats.write_scan(target, packed, stamp, images=references if complete else None)
    entry = {
        **asdict(scan.acquisition),
        "path": str(target),
        "recipe": recipe,
        "shape": list(packed.shape),
        "fully_sampled": complete,
        "effective_acceleration": round(effective_acceleration(scan.mask), 3),
        "empty_slices": empty,
        "scale": sorted(scales)[len(scales) // 2],
    }
    with atomic(note) as temporary:
        temporary.write_text(json.dumps(entry) + "\n")
    return {**entry, "status": "done"}


def _with_mask(scan: Scan) -> Scan:
    """The scan with its mask known: the file's, or that of the first slice with data."""
    if scan.mask is not None:
        return scan
    for index in range(scan.shape[1]):
        kspace = scan.read_slice(index)
        if (kspace != 0).any():
            return replace(scan, mask=scan.checked(index, kspace).mask)
    raise InputError(f"{scan.path} holds only zeros", "At least one slice must hold data", "Check the export of this file")


def fingerprint(entries: Sequence[dict[str, Any]]) -> dict[str, Any]:
    """What a store holds: counts by modality, centre, vendor, pattern and shape, and the spread of intensities."""

    def count(values: Sequence[Any]) -> dict[str, int]:
        return dict(sorted(Counter(str(value) for value in values if value is not None).items()))

    facts = ("modality", "base", "centre", "vendor", "year", "pattern", "acceleration")
    shapes = [entry["shape"] for entry in entries]
    scales = sorted(entry["scale"] for entry in entries)
    return {
        "scans": len(entries),
        "slices": sum(shape[1] for shape in shapes),
        "empty_slices": sum(len(entry["empty_slices"]) for entry in entries),
        "fully_sampled": sum(entry["fully_sampled"] for entry in entries),
        **{fact: count([entry[fact] for entry in entries]) for fact in facts},
        "frames": count([shape[0] for shape in shapes]),
        "coils": count([shape[2] for shape in shapes]),
        "matrix_y_x": count([f"{shape[3]}x{shape[4]}" for shape in shapes]),
        "scale": {"min": scales[0], "median": scales[len(scales) // 2], "max": scales[-1]} if scales else None,
        "files": [entry["path"] for entry in entries],
    }


def write_fingerprint(store: Path) -> Path:
    """Sum up every entry of a store in its `fingerprint.json`; paths in it are relative to the store."""
    entries = []
    for note in sorted(store.rglob("*.json")):
        if note.name != FINGERPRINT and note.with_suffix(".h5").exists():
            entry = json.loads(note.read_text())
            entries.append({**entry, "path": str(note.with_suffix(".h5").relative_to(store))})
    path = store / FINGERPRINT
    with atomic(path) as temporary:
        temporary.write_text(json.dumps(fingerprint(entries), indent=1) + "\n")
    return path
