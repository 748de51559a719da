"""Find the images of the same scan by each method, for a reader study.

Labels name a file by its number and by official names alone, because paths may contain the names
of patients.
"""

import re
from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from cmrrecon import formats
from cmrrecon.data import Acquisition
from cmrrecon.evaluation.references import acquisition_of, disagreement
from cmrrecon.evaluation.runs import distinguish_runs, weights_of
from cmrrecon.formats.names import modality_of
from cmrrecon.tools.errors import CmrreconError, InputError

SUBJECT = re.compile(r"P\d{3,}")


@dataclass(frozen=True)
class ImageFile:
    """An image file with what is known of its origin.

    Attributes
    ----------
    path : Path
        The file.
    folder : Path
        Its folder below the searched folder.
    method : str
        Name of the method.
    label : str
        Name of the file in messages.
    facts : Acquisition
        Facts about the scan.
    source : str or None
        Digest of the k-space file, from the provenance.
    """

    path: Path
    folder: Path
    method: str
    label: str
    facts: Acquisition
    source: str | None


def open_file(path: Path, folder: Path, method: str, label: str) -> ImageFile:
    """Read what is known of an image file.

    Raises
    ------
    InputError
        If the provenance cannot be read.
    """
    stamp = formats.read_provenance(path) or {}
    facts = acquisition_of(path, stamp)
    inputs = stamp.get("inputs")
    first = inputs[0] if isinstance(inputs, list) and inputs else {}
    source = first.get("sha256") if isinstance(first, dict) else None
    official = ", ".join(str(value) for value in official_facts(facts).values())
    return ImageFile(
        path, folder, method, f"{label} ({official})" if official else label, facts, source
    )


def without_path(error: InputError, path: Path, label: str) -> InputError:
    """Return an error that names the label of a file instead of its path."""
    found, expected, remedy = (
        text.replace(str(path), label).replace(path.name, label)
        for text in (error.found, error.expected, error.remedy)
    )
    return type(error)(error.code, found, expected, remedy)


def official_facts(facts: Acquisition) -> dict[str, Any]:
    """Return the known facts about a scan that cannot contain the name of a patient."""
    found = {
        "base": facts.base if modality_of(facts.base) else None,
        "centre": facts.centre,
        "subject": facts.subject if SUBJECT.fullmatch(facts.subject or "") else None,
        "pattern": facts.pattern,
        "acceleration": facts.acceleration,
    }
    return {name: value for name, value in found.items() if value is not None}


def method_names(stamps: Sequence[Mapping[str, Any] | None]) -> list[str | None]:
    """Return the names of the methods in provenances; None where there is none.

    Networks with several files of weights are distinguished, see `runs.distinguish_runs`.
    """
    records = [
        {"method": (stamp or {}).get("config", {}).get("method"), **weights_of(stamp)}
        for stamp in stamps
    ]
    return [record["method"] for record in distinguish_runs(records)]


def matched(
    files: Sequence[ImageFile], methods: Sequence[str]
) -> tuple[list[dict[str, ImageFile]], list[CmrreconError]]:
    """Find the scans of which every method has one image file.

    Facts agree if they are equal or not known. Files with the same facts, and files without a known
    subject, belong together only if they are in the same folder below their searched folder.

    Parameters
    ----------
    files : sequence of ImageFile
        Files of all methods.
    methods : sequence of str
        Names of the methods.

    Returns
    -------
    scans : list of dict of str to ImageFile
        Complete scans, each with its file by method, in the order of `methods`.
    problems : list of CmrreconError
        One for each other scan: it lacks a method (`method-missing`), or a method has several files
        of it (`scan-repeated`).
    """
    by_method: dict[str, list[ImageFile]] = defaultdict(list)
    for file in files:
        by_method[file.method].append(file)

    # A reference has no sampling pattern and fits several scans, so it cannot come first.
    lead = max(methods, key=lambda name: sum(f.facts.pattern is not None for f in by_method[name]))
    scans: list[dict[str, ImageFile]] = []
    problems: list[CmrreconError] = []
    used: set[Path] = set()

    for file in by_method[lead]:
        rivals = [one for one in by_method[lead] if one is not file and _same_facts(file, one)]
        found: dict[str, list[ImageFile]] = {lead: [file]}
        for method in (name for name in methods if name != lead):
            fits = [one for one in by_method[method] if _same_scan(file, one)]
            here = [one for one in fits if one.folder == file.folder]
            found[method] = here if rivals or len(fits) > 1 else fits
        used |= {one.path for fits in found.values() for one in fits}

        several = any(one.folder == file.folder for one in rivals)
        problem = _problem(file, found, repeated=several)
        if problem is None:
            scans.append({method: found[method][0] for method in methods})
        else:
            problems.append(problem)

    problems += [
        _missing(one, [lead]) for one in files if one.method != lead and one.path not in used
    ]
    return scans, problems


def _problem(
    file: ImageFile, found: Mapping[str, Sequence[ImageFile]], *, repeated: bool
) -> InputError | None:
    """Return why the files found for a scan cannot be used, or None."""
    if repeated or any(len(fits) > 1 for fits in found.values()):
        return InputError(
            "scan-repeated",
            f"{file.label} and another file cannot be distinguished",
            "Each method must have one file of each scan, named after its subject or in a folder "
            "of its own",
            "Use the same folder structure for all methods, and one file of each scan",
        )
    missing = [method for method, fits in found.items() if not fits]
    return _missing(file, missing) if missing else None


def _missing(file: ImageFile, methods: Sequence[str]) -> InputError:
    return InputError(
        "method-missing",
        f"No images by {' and '.join(methods)} were found for {file.label}",
        "Readers must see the images of all methods of a scan",
        "Reconstruct the scan with every method; the study is made without it",
    )


def _same_facts(first: ImageFile, second: ImageFile) -> bool:
    """Return whether nothing known distinguishes the scans of two files."""
    a, b = first.facts, second.facts
    sampling = ((a.pattern, b.pattern), (a.acceleration, b.acceleration), (a.seed, b.seed))
    agree = all(x is None or y is None or x == y for x, y in sampling)
    return agree and a.base == b.base and not disagreement(a, b)


def _same_scan(first: ImageFile, second: ImageFile) -> bool:
    """Return whether two files may be of the same scan."""
    same_folder = first.folder == second.folder
    anonymous = first.facts.subject is None or second.facts.subject is None
    sources = {first.source, second.source}
    differ = None not in sources and len(sources) == 2
    return _same_facts(first, second) and (same_folder or not (anonymous or differ))
