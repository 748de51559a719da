"""Which variable of a file is k-space, mask or images: the names of every year, and what is told when it is none of them."""

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Literal

from cmrrecon.formats.arrays import StoredArray
from cmrrecon.formats.complex_parts import pairs
from cmrrecon.tools.errors import InputError, UsageError

Kind = Literal["kspace", "mask", "image", "maps", "label"]

# In order of preference where a file holds several.
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
    """The variable that holds `kind`, and what had to be assumed.

    Raises
    ------
    InputError : there is none, it is of another kind, or several could be meant
    """
    found = matching(stored, kind)
    if found:
        return stored[found[0]], _passed_over(found, path)
    _refuse_other_kinds(stored, kind, path)
    _refuse_unlike_parts(stored, path)
    if len(stored) == 1 and (kind != "image" or "" in stored):
        name, array = next(iter(stored.items()))
        taken = (
            f"{path}: variable {say([name])} was taken as {WORDS[kind]}, the only one in the file."
        )
        return array, (taken,) if name else ()
    raise InputError(
        "variable-missing",
        f"{path} holds no variable known as {WORDS[kind]}"
        + (f" (it holds {say(stored)})" if stored else " and no numeric array"),
        f"One named {' or '.join(re.sub(r'.d.', '##', name) for name in NAMES[kind])} is needed",
        "Rename the variable, or give another file",
    )


def _passed_over(found: list[str], path: Path) -> tuple[str, ...]:
    """What is told where the first of several variables is taken."""
    if len(found) == 1:
        return ()
    return (f"{path} also holds {say(found[1:])}; {say(found[:1])} was taken.",)


def _refuse_other_kinds(stored: Mapping[str, StoredArray], kind: Kind, path: Path) -> None:
    """Refuse the region of 4-D flow, and variables with the name of another kind."""
    if FLOW_4D in stored:
        raise InputError(
            "variable-kind",
            f"{path} holds the region that 4-D flow of CMRx4DFlow2026 is scored in",
            f"A file with {WORDS[kind]} is needed",
            f"Give the file that holds {WORDS[kind]}",
        )
    for other in NAMES:
        named = matching(stored, other)
        if named:
            raise InputError(
                "variable-kind",
                f"{path} holds {WORDS[other]} (variable {say(named)})",
                f"A file with {WORDS[kind]} is needed",
                f"Give the file that holds {WORDS[kind]}",
            )


def _refuse_unlike_parts(stored: Mapping[str, StoredArray], path: Path) -> None:
    """Refuse real and imaginary parts that were not combined because their shapes differ."""
    for real, imaginary in pairs(stored).values():
        shapes = stored[real].shape, stored[imaginary].shape
        if shapes[0] != shapes[1]:
            raise InputError(
                "shape-mismatch",
                f"{path} holds {say([real])} of shape {shapes[0]} and {say([imaginary])} of shape "
                f"{shapes[1]}",
                "Real and imaginary parts of one array have the same shape",
                "Export both parts of the same array",
            )


def refuse_dataset(dataset: str | None, path: Path) -> None:
    """Refuse the name of a data set for a file that has none."""
    if dataset is not None:
        raise UsageError(
            "dataset-fixed",
            f"The data set {dataset!r} was named for {path}",
            "Only ISMRMRD files hold data sets with names",
            "Leave out --dataset",
        )


def say(names: object) -> str:
    """Names of variables for a message: at most four, printable and short whatever the file holds."""
    listed = list(names) if isinstance(names, list | Mapping) else [names]
    short = [
        "".join(c if c.isalnum() or c in "_-#" else "?" for c in str(name))[:40]
        for name in listed[:4]
    ]
    return ", ".join(short) + (", ..." if len(listed) > 4 else "")


def matching(stored: Mapping[str, StoredArray], kind: Kind) -> list[str]:
    """The names in a file that are official names of this kind, the preferred ones first."""
    return [name for expression in NAMES[kind] for name in stored if re.fullmatch(expression, name)]
