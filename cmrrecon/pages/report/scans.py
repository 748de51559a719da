"""Finds out which reconstructions show the same scan, and names scans and methods.

Two reconstructions show the same scan if they were made from the same files, by the digests in
their provenance, and of the same slices. A file without provenance joins the scan with the same
official name if there is exactly one.
"""

import json
from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from cmrrecon import formats
from cmrrecon.data import Acquisition
from cmrrecon.evaluation.references import acquisition_of, disagreement
from cmrrecon.evaluation.runs import distinguish_runs, weights_of
from cmrrecon.pages.report.names import label_of, safe_facts
from cmrrecon.tools.errors import CmrreconError, InputError

UNNAMED = "unnamed"


@dataclass(frozen=True)
class Made:
    """One reconstruction.

    Attributes
    ----------
    path : Path
        The file.
    facts : Acquisition
        Facts about its scan.
    stamp : mapping or None
        Its provenance.
    """

    path: Path
    facts: Acquisition
    stamp: Mapping[str, Any] | None

    @property
    def method(self) -> str:
        """The method in the provenance."""
        return str((self.stamp or {}).get("config", {}).get("method") or UNNAMED)


@dataclass(frozen=True)
class Case:
    """One scan with all its reconstructions.

    Attributes
    ----------
    number : str
        Number of the scan in the report, such as `007`.
    label : str
        Official facts, such as `P003 cine_sax, kt-gaussian R 8`.
    facts : dict
        The facts that may be shown, see `safe_facts`.
    members : dict of str to Made
        The reconstructions by label of the method.
    is_twin : bool
        Whether another scan has exactly the same facts, so that a reference may be the other's.
    """

    number: str
    label: str
    facts: dict[str, Any]
    members: dict[str, Made]
    is_twin: bool = False


@dataclass(frozen=True)
class Problem:
    """Something that is missing from the report.

    Attributes
    ----------
    where : str
        The scan and method.
    error : CmrreconError
        What is missing and why, without names of the user.
    failed : bool
        Whether an input failed; otherwise the problem is only a warning.
    """

    where: str
    error: CmrreconError
    failed: bool = True


@dataclass
class Found:
    """The scans of a folder.

    Attributes
    ----------
    cases : list of Case
        The scans, in natural order of their paths.
    methods : list of str
        Labels of all methods.
    failures : list of (Path, CmrreconError)
        Files that cannot be read, and second files of one method for the same scan.
    """

    cases: list[Case] = field(default_factory=list)
    methods: list[str] = field(default_factory=list)
    failures: list[tuple[Path, CmrreconError]] = field(default_factory=list)


def find_cases(paths: Sequence[Path]) -> Found:
    """Group reconstructions into scans.

    Parameters
    ----------
    paths : sequence of Path
        The image files, in natural order.

    Returns
    -------
    Found
        The scans. Files that cannot be read are listed as failures, and so are all but the first
        of several files with the same scan, method and settings (`reconstruction-duplicate`).
    """
    found = Found()
    made = []
    for path in paths:
        try:
            stamp = formats.read_provenance(path)
            made.append(Made(path, acquisition_of(path, stamp), stamp))
        except CmrreconError as error:
            found.failures.append((path, error))

    groups = _groups(made)
    labels = _labels(made, groups)
    twins = _twins(groups)

    digits = max(3, len(str(len(groups))))
    for number, group in enumerate(groups, 1):
        members: dict[str, Made] = {}
        for one in group:
            label = labels[one.path]
            if label in members:
                found.failures.append((one.path, _duplicate(label)))
            else:
                members[label] = one
        facts = safe_facts(group[0].facts)
        name = f"{number:0{digits}}"
        found.cases.append(Case(name, label_of(facts), facts, members, (number - 1) in twins))

    found.methods = sorted({label for case in found.cases for label in case.members})
    return found


def missing_methods(found: Found) -> list[Problem]:
    """List the scans that some methods lack (`method-missing`)."""
    problems = []
    for case in found.cases:
        missing = [method for method in found.methods if method not in case.members]
        if missing:
            error = InputError(
                "method-missing",
                f"The scan was not reconstructed with {', '.join(missing)}",
                "Means over different scans cannot be compared",
                "Compare the means over the scans that every method has",
            )
            problems.append(Problem(f"scan {case.number}", error, failed=False))
    return problems


def grouped(problems: Sequence[Problem]) -> list[list[Problem]]:
    """Put problems with the same code and sentences together."""
    groups: dict[tuple[str, str], list[Problem]] = defaultdict(list)
    for one in problems:
        groups[one.error.code, str(one.error)].append(one)
    return list(groups.values())


def places(problems: Sequence[Problem]) -> str:
    """List where some problems are."""
    return "; ".join(one.where for one in problems)


def _groups(made: Sequence[Made]) -> list[list[Made]]:
    """Put reconstructions of the same scan together, in the order of the first files."""
    groups: dict[Any, list[Made]] = {}
    for one in made:
        key = _key(one)
        if key is not None:
            groups.setdefault(key, []).append(one)

    known = list(groups.values())
    for one in (one for one in made if _key(one) is None):
        fitting = [group for group in known if _same_name(group[0].facts, one.facts)]
        subject = one.facts.subject is not None
        if subject and len(fitting) == 1:
            fitting[0].append(one)
        else:
            # Without an official name, two files may show two patients.
            groups.setdefault((one.facts if subject else one.path), []).append(one)

    place = {one.path: index for index, one in enumerate(made)}
    return sorted(groups.values(), key=lambda group: min(place[one.path] for one in group))


def _key(one: Made) -> tuple[Any, ...] | None:
    """Return the digests of the files that were reconstructed, and the slices; None if unknown."""
    entries = (one.stamp or {}).get("inputs")
    digests = [entry.get("sha256") for entry in entries or () if isinstance(entry, dict)]
    if not digests or None in digests:
        return None
    slices = (one.stamp or {}).get("config", {}).get("slices")
    # Sampling masks are inputs too; their order may differ between methods.
    return (*sorted(map(str, digests)), json.dumps(slices))


def _same_name(one: Acquisition, other: Acquisition) -> bool:
    """Return whether two scans agree in all facts that both state."""
    pairs = ((one.pattern, other.pattern), (one.acceleration, other.acceleration))
    known_alike = all(a == b for a, b in pairs if a is not None and b is not None)
    return one.base == other.base and known_alike and not disagreement(one, other)


def _twins(groups: Sequence[Sequence[Made]]) -> set[int]:
    """Return the positions of groups whose facts are those of another group."""
    places = defaultdict(list)
    for index, group in enumerate(groups):
        one = group[0]
        slices = (one.stamp or {}).get("config", {}).get("slices")
        places[one.facts, json.dumps(slices)].append(index)
    return {index for several in places.values() if len(several) > 1 for index in several}


def _labels(made: Sequence[Made], groups: Sequence[Sequence[Made]]) -> dict[Path, str]:
    """Name the method of every file; settings are added where a scan would have a name twice."""
    records = [{"method": one.method, **weights_of(one.stamp)} for one in made]
    named = distinguish_runs(records)
    labels = {one.path: str(record["method"]) for one, record in zip(made, named, strict=True)}

    clashing = set()
    for group in groups:
        names = [labels[one.path] for one in group]
        clashing |= {name for name in names if names.count(name) > 1}

    for name in clashing:
        members = [one for one in made if labels[one.path] == name]
        for one, addition in zip(members, _additions(members, name), strict=True):
            labels[one.path] = f"{name} ({addition})" if addition else name
    return labels


def _additions(members: Sequence[Made], name: str) -> list[str]:
    """Return what distinguishes files of one method: their settings, or the folder's number."""
    if name == UNNAMED:
        folders = [_first_folder(one.path, members) for one in members]
        order = list(dict.fromkeys(folders))
        return [str(order.index(folder) + 1) for folder in folders]

    settings = []
    for one in members:
        config = (one.stamp or {}).get("config", {})
        options = config.get("options")
        flat = {key: value for key, value in config.items() if key not in ("options", "slices")}
        flat |= options if isinstance(options, dict) else {}
        settings.append(flat)
    keys = sorted({key for one in settings for key in one})
    differing = [key for key in keys if len({json.dumps(one.get(key)) for one in settings}) > 1]
    return [", ".join(f"{key} {one.get(key)}" for key in differing) for one in settings]


def _first_folder(path: Path, members: Sequence[Made]) -> str:
    """Return the first folder in which the paths of the members differ."""
    parts = [one.path.parts for one in members]
    depth = next(
        (i for i in range(min(map(len, parts))) if len({part[i] for part in parts}) > 1), 0
    )
    return path.parts[depth]


def _duplicate(label: str) -> InputError:
    return InputError(
        "reconstruction-duplicate",
        f"There is another file with the same scan, slices and settings of {label}",
        "Each scan can have one reconstruction by each method and its settings",
        "Remove one of the two files",
    )
