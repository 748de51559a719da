"""The training store: scans that were checked once and are stored for fast reading of each slice.

A store is a folder of `.h5` scans (k-space, mask and, if fully sampled, the RSS reference) with the
same folder tree as their sources. Each scan has an entry next to it as JSON, which is written last.
`fingerprint.json` summarises the entries.

Labels are stored only in the entries: new labels change an entry, but no k-space is written again.
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

from cmrrecon import formats
from cmrrecon.classical.faults import faults_of_scan
from cmrrecon.classical.prepared import normalisation
from cmrrecon.data import CartesianMask, SamplingMask, Scan, Series, require_cartesian
from cmrrecon.data.references import as_reference
from cmrrecon.formats.labels import LabelRow
from cmrrecon.operators.coils import compress, rss_images
from cmrrecon.tools import provenance
from cmrrecon.tools.atomic import atomic
from cmrrecon.tools.errors import InputError, OutputError
from cmrrecon.training.entry_files import entry_in
from cmrrecon.training.seals import DIGEST, sealed

FINGERPRINT = "fingerprint.json"
# Limit for a store to which other processes add scans all the time.
MOST_LISTINGS = 100


def add_scan(
    source: Path,
    target: Path,
    coils: int | None = None,
    axes: str | None = None,
    *,
    dataset: str | None = None,
    allow_partial: bool = False,
    labels: Sequence[LabelRow] | None = None,
    overwrite: bool = False,
    command: Sequence[str] = ("add_scan",),
) -> dict[str, Any]:
    """Read, check and store one file, and return its entry for the fingerprint.

    A file that was already stored with the same recipe is not read again; otherwise each slice is
    read once. Slices without signal are kept, listed as `empty_slices` and left out of the
    statistics. Scans with gaps in k-space are kept without references. The same applies to scans
    without the edges of k-space (partial Fourier, low resolution, asymmetric echo), unless
    `allow_partial` is set or their challenge calls them fully sampled.

    Parameters
    ----------
    source, target : Path
        The file to read, and the `.h5` file to write.
    coils : int or None
        The number of virtual coils to which every slice is compressed; None keeps the coils.
    axes : str or None
        The names of the array's axes, for formats that do not store them.
    dataset : str or None
        The name of a dataset in a file of raw data.
    allow_partial : bool
        Whether k-space without its edges may serve as a reference.
    labels : sequence of LabelRow or None
        The labels of this file; empty for a scan without labels, None to keep the labels of its
        entry.
    overwrite : bool
        Whether to replace a file created with another recipe.
    command : sequence of str
        The command, for provenance.

    Raises
    ------
    InputError
        If the file cannot be read or contains only zeros, if a slice contains NaN, infinity or an
        all-zero frame, or if a label is outside the scan (`slice-missing`, `box-outside`).
    OutputError
        If the target was created with another recipe and must not be replaced (`output-exists`).
    """
    scan = formats.read(source, axes=axes, dataset=dataset)
    require_cartesian(scan.mask, scan.path or "The scan", "A training store")
    config: dict[str, Any] = {"coils": coils, "axes": axes}
    config |= {"allow_partial": True} if allow_partial else {}
    config |= {"dataset": dataset} if dataset else {}
    used: list[str | Path] = [source, *([scan.mask_path] if scan.mask_path else [])]

    stamp = provenance.make(command, config=config, inputs=used)
    recipe = provenance.recipe_hash(stamp)

    note = target.with_suffix(".json")
    # With `overwrite`, a damaged entry is made again.
    known = entry_in(note, lenient=overwrite) if note.exists() else {}
    kept = [LabelRow(str(source), **row) for row in known.get("labels") or ()]
    checked = _checked(kept if labels is None else labels, scan.shape)

    if target.exists() and not overwrite:
        if known.get("recipe") == recipe:
            if checked == known.get("labels"):
                if DIGEST not in known:
                    _note(note, known, "skipped")
                return {**known, "status": "skipped"}
            return _note(note, {**known, "labels": checked}, "relabelled")
        # A file without an entry was not finished and is written again.
        if known or provenance.recipe_hash(formats.read_provenance(target) or {}) != recipe:
            raise _exists(target)

    survey = Survey(scan, coils, allow_partial=allow_partial)
    formats.write_scan(
        target, survey.packed, stamp, images=survey.references if survey.complete else None
    )
    return _note(
        note, {**survey.entry(), "path": str(target), "recipe": recipe, "labels": checked}, "done"
    )


def _exists(target: Path) -> OutputError:
    """Return the error for a stored file of another recipe."""
    return OutputError(
        "output-exists",
        f"{target} exists and was created from another input or with other settings",
        "Outputs are replaced only on request",
        "Add --overwrite, or choose another folder for the store",
    )


class Survey:
    """Collects what training needs to know about a scan while its slices are read.

    Parameters
    ----------
    scan : Scan
        The scan, with or without a mask.
    coils : int or None
        The number of virtual coils to which every slice is compressed; None keeps the coils.
    allow_partial : bool
        Whether k-space without its edges may serve as a reference; see `data.references`.

    Attributes
    ----------
    packed : Scan
        The scan with its mask and these coils. Reading its slices once, in order, collects what
        `entry` returns.
    complete : bool
        Whether the scan can serve as a reference.
    coverage : str
        How much of the matrix was measured, in words.
    remarks : list of str
        Remarks for the user.
    references : list of Tensor of shape (frame, y, x)
        The RSS images of the slices read so far, for complete scans only.
    """

    def __init__(
        self, scan: Scan, coils: int | None = None, *, allow_partial: bool = False
    ) -> None:
        # The slice used to find the mask is also the first one that is read in order.
        self.scan = replace(scan, read_slice=lru_cache(maxsize=1)(scan.read_slice))
        mask = self.scan.first_series().mask
        # Spokes were refused earlier.
        assert isinstance(mask, CartesianMask)
        self.mask = mask
        self.by_rule, self.allow_partial = scan.full_by_rule, allow_partial

        frames, slices, stored, y, x = scan.shape
        virtual = min(coils or stored, stored)
        self.packed = replace(
            self.scan,
            mask=self.mask,
            shape=(frames, slices, virtual, y, x),
            read_slice=self._slice,
        )

        if virtual < stored:
            # Each slice has its own virtual coils.
            self.packed = replace(self.packed, noise=None, calibration=None, maps=None)

        self.coverage = self.mask.coverage.label
        self.remarks: list[str] = []
        # Files that declare themselves undersampled need no remark.
        self.complete = scan.acquisition.pattern is None and self._is_reference()
        self.references: list[Tensor] = []
        self._empty: list[int] = []
        self._scales: list[float] = []
        self._warnings: list[str] = []

    def _is_reference(self) -> bool:
        """Return whether the scan can serve as a reference; if not, a remark gives the reason."""
        try:
            self._add_remark(self._remark(self.mask, self.scan.path or "The scan"))
        except InputError as error:
            self._add_remark(f"{error.found}; it cannot serve as a reference for training")
            return False
        return True

    def _remark(self, mask: SamplingMask, where: str) -> str | None:
        return as_reference(mask, where, by_rule=self.by_rule, allow_partial=self.allow_partial)

    def _add_remark(self, text: str | None) -> None:
        if text is not None and text not in self.remarks:
            self.remarks.append(text)

    def _checked(self, index: int, kspace: Tensor) -> Series:
        """Return the series of a slice, without samples outside the mask of the scan."""
        series = self.scan.checked(index, kspace)
        for warning in series.warnings:
            self._add_remark(warning)

        if self.complete:
            self._add_remark(self._remark(series.mask, self.scan.path or "The scan"))

        if torch.equal(series.mask.samples, self.mask.samples):
            return series
        return series.kept(series.mask.samples & self.mask.samples)

    def _slice(self, index: int) -> Tensor:
        """Return the k-space (frame, coil, y, x) of a slice, and add the slice to the survey."""
        kspace = self.scan.read_slice(index)
        frames, slices, stored, y, x = self.scan.shape
        virtual = self.packed.shape[2]

        if not (kspace != 0).any():
            self._empty.append(index)
            self.references.append(torch.zeros(frames, y, x))
            return kspace[:, :virtual]

        series = self._checked(index, kspace)
        self._scales.append(normalisation(series))

        if index == slices // 2:
            self._warnings = [fault.words for fault in faults_of_scan(self.scan, series, index)]
        if self.complete:
            self.references.append(rss_images(series.kspace))
        return series.kspace if virtual == stored else compress(series.kspace, virtual)[0]

    def entry(self) -> dict[str, Any]:
        """Return the entry of the scan in a store, once all slices have been read.

        Its `limits` are the largest pixels of the slices' references.
        """
        return {
            **asdict(self.scan.acquisition),
            "shape": list(self.packed.shape),
            "fully_sampled": self.complete,
            "coverage": self.coverage,
            "remarks": self.remarks,
            "effective_acceleration": round(self.mask.effective_acceleration(), 3),
            "empty_slices": self._empty,
            "warnings": self._warnings,
            "scale": sorted(self._scales)[len(self._scales) // 2],
            "limits": [float(reference.amax()) for reference in self.references]
            if self.complete
            else None,
        }


def _note(note: Path, entry: dict[str, Any], status: str) -> dict[str, Any]:
    with atomic(note) as temporary:
        temporary.write_text(json.dumps(sealed(entry)) + "\n")
    return {**entry, "status": status}


def _checked(labels: Sequence[LabelRow], shape: Sequence[int]) -> list[dict[str, Any]] | None:
    """Return labels as stored in an entry (slice, label and box), or None if there are none."""
    _, slices, _, y, x = shape

    for row in labels:
        if row.slice is not None and row.slice >= slices:
            raise InputError(
                "slice-missing",
                f"A label of {row.file} is for slice {row.slice}",
                f"The scan has slices 0 to {slices - 1}",
                "Correct the table of labels",
            )
        if row.box is not None and (row.box[1] > y or row.box[3] > x):
            raise InputError(
                "box-outside",
                f"A label of {row.file} has the box y {row.box[0]} to {row.box[1]}, "
                f"x {row.box[2]} to {row.box[3]}",
                f"The matrix is {y} x {x} (y, x)",
                "Correct the table of labels",
            )
    return [
        {"slice": row.slice, "label": row.label, "box": row.box and list(row.box)} for row in labels
    ] or None


def fingerprint(entries: Sequence[dict[str, Any]]) -> dict[str, Any]:
    """Summarise a store: counts by modality, centre and other properties, and intensities."""

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
        "labelled": sum(bool(entry.get("labels")) for entry in entries),
        "labels": count([row["label"] for entry in entries for row in entry.get("labels") or ()]),
        **{fact: count([entry[fact] for entry in entries]) for fact in facts},
        "frames": count([shape[0] for shape in shapes]),
        "coils": count([shape[2] for shape in shapes]),
        "matrix_y_x": count([f"{shape[3]}x{shape[4]}" for shape in shapes]),
        "scale": {"min": scales[0], "median": scales[len(scales) // 2], "max": scales[-1]}
        if scales
        else None,
        "files": [entry["path"] for entry in entries],
    }


def write_fingerprint(store: Path) -> Path:
    """Write the `fingerprint.json` of a store; paths in it are relative to the store."""
    path = store / FINGERPRINT
    entries = _entries_of(store)

    # A shard that ends at the same time may list fewer scans and write later. Therefore each shard
    # lists again after it has written, and the last one to write has listed everything.
    for _ in range(MOST_LISTINGS):
        with atomic(path) as temporary:
            temporary.write_text(json.dumps(sealed(fingerprint(entries)), indent=1) + "\n")

        written, entries = entries, _entries_of(store)
        if entries == written:
            break
    return path


def _entries_of(store: Path) -> list[dict[str, Any]]:
    """Return the entries of all finished scans in a store, in the order of their paths."""
    notes = [path for path in sorted(store.rglob("*.json")) if path.name != FINGERPRINT]
    return [
        {**entry_in(note), "path": str(note.with_suffix(".h5").relative_to(store))}
        for note in notes
        if note.with_suffix(".h5").exists()
    ]
