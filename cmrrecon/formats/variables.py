"""Finds the variable with k-space, a mask or images, by the official names of every year."""

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Literal

from cmrrecon.formats.arrays import StoredArray
from cmrrecon.formats.complex_parts import pairs
from cmrrecon.tools.errors import InputError, UsageError

Kind = Literal["kspace", "mask", "image", "maps", "label"]

# In order of preference, for files with several of them.
NAMES: dict[Kind, tuple[str, ...]] = {
    "kspace": (
        "kspace",
        "kspace_full",
        "kus",
        r"kspace_sub\d+",
        "kspace_single_full",
        r"kspace_single_sub\d+",
        "Recon_ks",
        "kdata_full",
        r"kdata_kt\w+",
    ),
    "mask": ("mask", r"mask\d+", r"usmask\w*"),
    "image": ("img4ranking", "image"),
    "maps": ("maps", "coilmap", "sensitivities"),
    "label": ("label", "labels", "segmentation", "seg", "roi", "mask"),
}
WORDS: dict[Kind, str] = {
    "kspace": "k-space",
    "mask": "a sampling mask",
    "image": "images",
    "maps": "coil maps",
    "label": "a label map",
}
FLOW_4D = "segmask"


def choose(
    stored: Mapping[str, StoredArray], kind: Kind, path: Path
) -> tuple[StoredArray, tuple[str, ...]]:
    """Find the variable with the wanted kind of content.

    Parameters
    ----------
    stored : mapping of str to StoredArray
        The arrays of the file.
    kind : {"kspace", "mask", "image", "maps", "label"}
        The content wanted.
    path : Path
        The file, for messages.

    Returns
    -------
    array : StoredArray
        The variable.
    notes : tuple of str
        What had to be assumed.

    Raises
    ------
    InputError
        If it is not clear which variable is meant (`variable-missing`), or if the file contains
        another kind (`variable-kind`).
    """
    found = matching(stored, kind)
    if found:
        return stored[found[0]], _passed_over(found, path)

    _refuse_other_kinds(stored, kind, path)
    _refuse_unlike_parts(stored, path)
    if len(stored) == 1 and (kind != "image" or "" in stored):
        name, array = next(iter(stored.items()))
        note = (
            f"{path}: {listed([name])}, the only variable in the file, was read as {WORDS[kind]}."
        )
        return array, (note,) if name else ()

    raise InputError(
        "variable-missing",
        f"{path} contains no variable with a known name for {WORDS[kind]}"
        + (f" (only {listed(stored)})" if stored else " and no numeric array"),
        f"It must be named {' or '.join(filter(str.isidentifier, NAMES[kind]))}",
        "Rename the variable, or use another file",
    )


def _passed_over(found: list[str], path: Path) -> tuple[str, ...]:
    """Return a note if the file has several suitable variables, of which the first is read."""
    if len(found) == 1:
        return ()
    return (f"{path} also contains {listed(found[1:])}; {listed(found[:1])} was read.",)


def _refuse_other_kinds(stored: Mapping[str, StoredArray], kind: Kind, path: Path) -> None:
    """Refuse the scoring region of 4-D flow, and variables named like another kind of content."""
    if FLOW_4D in stored:
        raise InputError(
            "variable-kind",
            f"{path} contains the region in which 4-D flow of CMRx4DFlow2026 is scored",
            f"A file with {WORDS[kind]} is needed",
            f"Use the file with {WORDS[kind]}",
        )

    for other in NAMES:
        named = matching(stored, other)
        if named:
            raise InputError(
                "variable-kind",
                f"{path} contains {WORDS[other]} (variable {listed(named)})",
                f"A file with {WORDS[kind]} is needed",
                f"Use the file with {WORDS[kind]}",
            )


def _refuse_unlike_parts(stored: Mapping[str, StoredArray], path: Path) -> None:
    """Refuse real and imaginary parts that were not combined because their shapes differ."""
    for real, imaginary in pairs(stored).values():
        shapes = stored[real].shape, stored[imaginary].shape
        if shapes[0] != shapes[1]:
            raise InputError(
                "shape-mismatch",
                f"{path} contains {listed([real])} of shape {shapes[0]} and "
                f"{listed([imaginary])} of shape {shapes[1]}",
                "Real and imaginary parts of an array must have the same shape",
                "Export both parts of the same array",
            )


def refuse_dataset(dataset: str | None, path: Path) -> None:
    """Refuse to select a data set in a file without named data sets."""
    if dataset is not None:
        raise UsageError(
            "dataset-fixed",
            f"The data set {dataset!r} was requested from {path}",
            "Only ISMRMRD files contain named data sets",
            "Omit --dataset",
        )


def listed(names: object) -> str:
    """List at most four variable names for a message, all printable and short."""
    every = list(names) if isinstance(names, list | Mapping) else [names]
    short = [
        "".join(c if c.isalnum() or c in "_-#" else "?" for c in str(name))[:40]
        for name in every[:4]
    ]
    return ", ".join(short) + (", ..." if len(every) > 4 else "")


def matching(stored: Mapping[str, StoredArray], kind: Kind) -> list[str]:
    """List the official names of this kind that a file has, preferred ones first."""
    return [name for expression in NAMES[kind] for name in stored if re.fullmatch(expression, name)]
