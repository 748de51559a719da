"""Parses and generates the official file and folder names of CMRxRecon 2023, 2024 and 2025."""

import re
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from cmrrecon.data import Acquisition
from cmrrecon.tools.errors import UsageError

SUFFIXES = (
    *(".mat", ".h5", ".npz", ".npy", ".cfl", ".hdr", ".mrd", ".dat"),
    *(".png", ".gif", ".csv"),
)

# First word of the base name, in lower case -> modality folder. Only whole words match, because
# T1map is a prefix of T1mappost.
MODALITIES = {
    "cine": "Cine",
    "t1map": "Mapping",
    "t1mappost": "Mapping",
    "t2map": "Mapping",
    "t2smap": "Mapping",
    "aorta": "Aorta",
    "tagging": "Tagging",
    "flow2d": "Flow2d",
    "blackblood": "BlackBlood",
    "perfusion": "Perfusion",
    "t1rho": "T1rho",
    "lge": "LGE",
    "t1w": "T1w",
    "t2w": "T2w",
}
FOLDERS = frozenset(MODALITIES.values())
TIMELESS = ("BlackBlood", "T1w", "T2w")  # 4-D in MATLAB, without a frame axis
ONLY_2024 = ("Aorta", "Tagging")
ONLY_2025 = ("Perfusion", "T1rho", "LGE", "T1w", "T2w")

# After kus or mask: an official pattern (ktRadial), or one of cmrrecon's in the same style
# (Poisson), and the nominal R, if known.
SAMPLING = r"_(?P<pattern>(?:kt)?[A-Z][A-Za-z]*)(?P<acceleration>\d+(?:\.\d+)?)"
SUBJECT = r"(P\d{3,})"
STEM = re.compile(rf"(?P<base>.+?)(?:_(?P<kind>mask|kus)(?P<sampling>{SAMPLING})?|_ks|_truth)?")


def parse_name(path: str | Path, variable: str = "") -> Acquisition:
    """Return the facts about a scan that its file, folders and variable name.

    Parameters
    ----------
    path : str or Path
        The file, for example

        - 2023: `.../AccFactor08/P001/cine_sax.mat`
        - 2024: `.../UnderSample_Task2/P002/cine_lvot_kus_ktRadial20.mat`
        - 2025: `.../UnderSample_TaskR1/Center001/UIH_30T_umr780/P007/cine_lax_4ch_kus_Uniform8.mat`
    variable : str
        Name of the k-space in the file; empty if not known.

    Returns
    -------
    Acquisition
        The facts; unknown ones are None.
    """
    path = Path(path).absolute()
    folders = path.parts[:-1]
    found = STEM.fullmatch(_stem(path))
    base = found["base"] if found else "scan"
    modality = modality_of(base)

    pattern = acceleration = None
    factor = _first(r"AccFactor(\d+)", folders)
    if found and found["pattern"]:
        pattern, acceleration = _our_pattern(found["pattern"]), float(found["acceleration"])
    elif factor:
        pattern, acceleration = "uniform", float(factor)

    centre = _first(r"(Center\d+)", folders)
    folder = folders[folders.index("MultiCoil") + 1 :] if "MultiCoil" in folders else ()
    after = folders[folders.index(centre) + 1 :] if centre else ()

    return Acquisition(
        base=base,
        modality=next(filter(FOLDERS.__contains__, folder[:1]), modality),
        year=_year(folders, variable, modality),
        centre=centre,
        vendor=None if _first(SUBJECT, after[:1]) else next(iter(after), None),
        subject=_first(SUBJECT, folders[-1:]),
        pattern=pattern,
        acceleration=acceleration,
        split=_first(r"((?:Training|Validation|Test)Set)", folders),
        coil=(_first(r"(Multi|Single)Coil", folders) or "").lower() or None,
    )


def is_sampled_name(path: str | Path) -> bool:
    """Return whether a file is named like undersampled k-space or a mask.

    Such names are `<base>_kus...` and `<base>_mask...`.
    """
    found = STEM.fullmatch(_stem(Path(path)))
    return found is not None and found["kind"] is not None


def is_full_folder(path: str | Path) -> bool:
    """Return whether a file is in an official folder of fully sampled data."""
    return _first(r"(FullSample.*)", Path(path).absolute().parts[:-1]) is not None


def is_undersampled_folder(path: str | Path) -> bool:
    """Return whether a file is in an official folder of undersampled data."""
    folders = Path(path).absolute().parts[:-1]
    return _first(r"(UnderSample.*|AccFactor\d+)", folders) is not None


def modality_of(base: str) -> str | None:
    """Return the modality of a base name, such as Cine for `cine_lax_4ch`; None if unknown."""
    return MODALITIES.get(base.split("_")[0].lower())


def is_timeless(base: str) -> bool:
    """Return whether official files of this base name have no frame axis (blackblood, T1w, T2w)."""
    return modality_of(base) in TIMELESS


def kus_name(base: str, pattern: str | None, acceleration: float | None) -> str:
    """Return the file name of undersampled k-space, such as `cine_sax_kus_ktGaussian8.mat`.

    The name is `cine_sax_kus.mat` if the pattern, such as `kt-gaussian`, or the nominal R is not
    known.

    Raises
    ------
    UsageError
        If the pattern cannot be part of a file name (`unknown-pattern`).
    """
    return f"{base}_kus{_sampling(pattern, acceleration)}.mat"


def mask_name(base: str, pattern: str | None, acceleration: float | None) -> str:
    """Return the file name of the mask: `cine_sax_mask_ktGaussian8.mat` or `cine_sax_mask.mat`."""
    return f"{base}_mask{_sampling(pattern, acceleration)}.mat"


def mask_path_for(path: str | Path) -> Path | None:
    """Return the mask file of a k-space file by the official rules; None if there is none.

    2023: `<base>_mask` next to `<base>`. 2024 and 2025: `<base>_mask_<P><R>`, either next to
    `<base>_kus_<P><R>`, or in the folder tree whose path has `Mask_<Task>` (or `Mask_TaskAll`)
    instead of `UnderSample_<Task>`.
    """
    path = Path(path)
    stem = _stem(path)
    found = STEM.fullmatch(stem)
    if found and found["kind"] == "kus":
        name = f"{found['base']}_mask{found['sampling'] or ''}"
        folders = [path.parent, *_mask_folders(path.absolute().parent)]
    else:
        name, folders = f"{stem}_mask", [path.parent]

    names = dict.fromkeys((name, f"{stem}_mask"))
    own = ".cfl" if path.suffix.lower() == ".hdr" else path.suffix
    suffixes = dict.fromkeys((".mat", own))

    candidates = (
        folder / (name + suffix) for name in names for folder in folders for suffix in suffixes
    )
    return next((candidate for candidate in candidates if candidate.is_file()), None)


def info_path_for(path: str | Path, base: str) -> Path | None:
    """Return the table of settings next to a scan's file, `<base>_info.csv`, or None."""
    table = Path(path).with_name(f"{base}_info.csv")
    return table if path and table.is_file() else None


def is_info_name(path: str | Path) -> bool:
    """Return whether a file is named like a table of settings."""
    return Path(path).name.lower().endswith("_info.csv")


def suffix_of(path: Path) -> str:
    """Return the suffix of a file name in lower case; `.nii.gz` counts as one suffix."""
    name = path.name.lower()
    both = len(name) > len(".nii.gz") and name.endswith(".nii.gz")
    return ".nii.gz" if both else path.suffix.lower()


def _stem(path: Path) -> str:
    """Return the file name without a known suffix."""
    return path.stem if path.suffix.lower() in SUFFIXES else path.name


def _first(expression: str, folders: tuple[str, ...]) -> str | None:
    """Return the first group of a regular expression in the innermost folder that matches."""
    matches = (re.fullmatch(expression, folder) for folder in reversed(folders))
    return next((match[1] for match in matches if match), None)


def _year(folders: tuple[str, ...], variable: str, modality: str | None) -> int | None:
    """Return the year of the challenge, from the folders, the variable or the modality."""
    stated = _first(r".*CMRx(?:Recon|4DFlow)(20\d\d).*", folders)
    if stated:
        return int(stated)
    if _first(r"(AccFactor\d+)", folders) or variable.startswith(("kspace_sub", "kspace_single")):
        return 2023
    if (
        _first(r"(Center\d+|.*TaskAll|.*Task[RS]\d)", folders)
        # Any k-space may have this name, but with an official base name it is from 2025.
        or (variable == "kspace" and modality is not None)
        or modality in ONLY_2025
    ):
        return 2025
    if _first(r"(.*Task[12])", folders) or modality in ONLY_2024:
        return 2024
    return None


def _mask_folders(folder: Path) -> list[Path]:
    """List the mask folders that correspond to a folder of undersampled data."""
    for depth, part in enumerate(folder.parts):
        if part.startswith("UnderSample_"):
            before, after = folder.parts[:depth], folder.parts[depth + 1 :]
            return [
                Path(*before, name, *after)
                for name in (part.replace("UnderSample_", "Mask_", 1), "Mask_TaskAll")
            ]
    return []


def _our_pattern(official: str) -> str:
    """Convert an official pattern name to cmrrecon's: `ktGaussian` -> `kt-gaussian`."""
    return re.sub(r"(?<=[a-z])(?=[A-Z])", "-", official).lower()


def _sampling(pattern: str | None, acceleration: float | None) -> str:
    """Return the part of a file name that states pattern and nominal R, such as `_ktGaussian8`."""
    if pattern is None or acceleration is None:
        return ""
    if not re.fullmatch(r"[a-z]+(-[a-z]+)*", pattern):
        raise UsageError(
            "unknown-pattern",
            f"The pattern name {pattern!r} cannot be part of a file name",
            "Pattern names are lower-case words joined by hyphens, such as kt-gaussian",
            "Use a known pattern",
        )

    official = "".join(word if word == "kt" else word.capitalize() for word in pattern.split("-"))
    return f"_{official}{acceleration:g}"


def facts_of(known: Mapping[str, Any]) -> dict[str, Any]:
    """Add the facts implied by an official scanner name such as Siemens_30T_Vida.

    These are `manufacturer` ("Siemens"), `field` ("3.0T"), and `scanner` (centre and scanner name).
    Unknown facts are None.
    """
    vendor = known.get("vendor") or ""
    field = re.search(r"_(\d)(\d)T(_|$)", vendor)
    return {
        **known,
        "scanner": f"{known['centre']}/{vendor}" if known.get("centre") and vendor else None,
        "manufacturer": vendor.partition("_")[0] or None,
        "field": f"{field[1]}.{field[2]}T" if field else None,
    }


def fits(known: Mapping[str, Any], text: str, option: str) -> bool:
    """Return whether a fact such as vendor=Siemens is true of a scan.

    Parameters
    ----------
    known : mapping
        Facts of the scan.
    text : str
        `fact=value`, for example scanner=Center005/Siemens_30T_Vida.
    option : str
        Name of the option in messages.

    Raises
    ------
    UsageError
        If the text does not have this form, or if there is no such fact (`option-value`).
    """
    facts = facts_of(known)
    key, equals, value = text.partition("=")
    if not equals or key not in facts:
        names = ", ".join(sorted(key for key, value in facts.items() if isinstance(value, str)))
        raise UsageError(
            "option-value",
            f"{option} was given {text!r}",
            f"The form is fact=value, where fact is one of {names}",
            "Write, for example, vendor=Siemens",
        )
    return value == str(facts[key]) or (key == "vendor" and value == facts["manufacturer"])


def values_of(known: Iterable[Mapping[str, Any]], texts: Iterable[str]) -> str:
    """List for a message which values the scans have for facts given as fact=value."""
    every = [facts_of(one) for one in known]
    keys = dict.fromkeys(text.partition("=")[0] for text in texts)
    return "; ".join(
        f"{key} is {', '.join(sorted({str(facts.get(key)) for facts in every})) or 'of no scan'}"
        for key in keys
    )
