"""Files of a reader study: the key of its owner, and the answers that readers export.

Both carry a digest of their contents, so that a change by hand is noticed. The digest guards
against mistakes, not against somebody who computes it anew.
"""

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeGuard

from cmrrecon.evaluation.reader_design import Design, Shown
from cmrrecon.evaluation.reader_ratings import PREFERENCES, SCALE, Answer
from cmrrecon.tools.errors import InputError
from cmrrecon.tools.files import check_regular, input_error

SCHEMA = 1
KEY_KIND = "cmrrecon reader study key"
EXPORT_KIND = "cmrrecon reader study answers"
# Bytes of a file that is read; the largest studies stay far below.
LARGEST = 2**26


@dataclass(frozen=True)
class Study:
    """A study with its key: the only place that connects images with methods.

    Attributes
    ----------
    identifier : str
        Identifier of the study, also in the page and in every export.
    pairs : bool
        Whether pairs of methods were compared instead of rating single images.
    methods, criteria : tuple of str
        Names of the methods and of the criteria.
    scans : tuple of dict
        What is known of each scan, and the digests of its files.
    design : Design
        Images and presentations.
    stamp : dict
        Provenance.
    """

    identifier: str
    pairs: bool
    methods: tuple[str, ...]
    criteria: tuple[str, ...]
    scans: tuple[dict[str, Any], ...]
    design: Design
    stamp: dict[str, Any]

    @property
    def scale(self) -> tuple[int, ...]:
        """The possible values of an answer."""
        return PREFERENCES if self.pairs else SCALE

    def to_json(self) -> str:
        """Return the text of the key file."""
        content = {
            "schema": SCHEMA,
            "kind": KEY_KIND,
            "study": self.identifier,
            "pairs": self.pairs,
            "methods": self.methods,
            "criteria": self.criteria,
            "scans": self.scans,
            "images": self.design.images,
            "readers": self.design.orders,
            "provenance": self.stamp,
        }
        return json.dumps({**content, "digest": _digest(content)}, ensure_ascii=True) + "\n"


@dataclass(frozen=True)
class Export:
    """The exported answers of one reader.

    Attributes
    ----------
    reader : int
        Number of the reader, from 1.
    answers : tuple of Answer
        The answers, unblinded.
    missing : int
        Number of questions without an answer.
    """

    reader: int
    answers: tuple[Answer, ...]
    missing: int


def seed_text(seed: int, digests: Sequence[Mapping[str, str]]) -> str:
    """Return the seed of a design: the number, mixed with the digests of all files.

    From the number alone, somebody who knows the methods could compute the key.
    """
    return _digest([seed, [sorted(files.items()) for files in digests]])


def read_key(path: Path) -> Study:
    """Read the key of a study.

    Raises
    ------
    InputError
        If the file cannot be read, or is not a complete, unchanged key (`key-damaged`).
    """
    content = _object(path)
    digest = content.pop("digest", None)
    if content.get("kind") != KEY_KIND or digest != _digest(content):
        raise InputError(
            "key-damaged",
            f"{path} is not the key of a reader study, or was changed",
            "The key must be the file that cmrrecon readers make wrote",
            "Use the original file with --key",
        )

    orders = tuple(tuple(tuple(shown) for shown in order) for order in content["readers"])
    images = tuple((scan, method) for scan, method in content["images"])
    return Study(
        content["study"],
        content["pairs"],
        tuple(content["methods"]),
        tuple(content["criteria"]),
        tuple(content["scans"]),
        Design(images, orders),
        content["provenance"],
    )


def read_export(path: Path, study: Study) -> Export:
    """Read the answers of one reader and unblind them.

    Parameters
    ----------
    path : Path
        The exported file.
    study : Study
        The study with its key.

    Raises
    ------
    InputError
        If the file cannot be read as an export (`export-damaged`), belongs to another study
        (`export-mismatch`), was changed after the export (`export-edited`), or contains no answer
        (`ratings-missing`).
    """
    content = _object(path)
    if content.get("kind") != EXPORT_KIND:
        raise _damaged(path)
    if content.get("study") != study.identifier:
        raise InputError(
            "export-mismatch",
            f"{path} belongs to another study than the key",
            f"Its study must be {study.identifier}",
            "Use the key of this study, or leave the file out",
        )

    reader, rows = content.get("reader"), content.get("answers")
    if content.get("digest") != export_digest(study.identifier, reader, rows):
        raise InputError(
            "export-edited",
            f"{path} was changed after the export",
            "Answers must be analysed as the page exported them",
            "Ask the reader to export the answers again",
        )
    if not (_is_whole(reader) and 1 <= reader <= len(study.design.orders)):
        raise _damaged(path)

    order = study.design.orders[reader - 1]
    answers = _unblinded(path, rows, study, reader, order)
    if not answers:
        raise InputError(
            "ratings-missing",
            f"{path} contains no answer",
            "An export needs at least one rating",
            "Ask the reader to rate the images and to export again",
        )
    return Export(reader, tuple(answers), len(order) * len(study.criteria) - len(answers))


def export_digest(study: str, reader: Any, rows: Any) -> str:
    """Return the digest of an export, as the page computes it."""
    return _digest([study, reader, rows])


def _unblinded(
    path: Path, rows: Any, study: Study, reader: int, order: Sequence[Shown]
) -> list[Answer]:
    """Return the answers in an export with their scans and methods."""
    if not isinstance(rows, list):
        raise _damaged(path)
    answers = []
    seen = set()

    for row in rows:
        if not (isinstance(row, list) and len(row) == 3 and all(map(_is_whole, row))):
            raise _damaged(path)
        position, criterion, value = row
        known = 0 <= position < len(order) and 0 <= criterion < len(study.criteria)
        if not known or value not in study.scale or (position, criterion) in seen:
            raise _damaged(path)
        seen.add((position, criterion))

        shown = order[position]
        places = [study.design.images[image] for image in shown]
        methods = tuple(study.methods[method] for _, method in sorted(places))
        # The page counts a preference for the left image as 1.
        sign = -1 if study.pairs and places != sorted(places) else 1
        repeat = any(sorted(other) == sorted(shown) for other in order[:position])
        name = study.criteria[criterion]
        answers.append(Answer(reader, places[0][0] + 1, methods, name, sign * value, repeat))
    return answers


def _object(path: Path) -> dict[str, Any]:
    """Read a file that must contain a JSON object; other contents become an empty object."""
    check_regular(path)
    try:
        with open(path, "rb") as file:
            text = file.read(LARGEST + 1)
        content = json.loads(text) if len(text) <= LARGEST else None
    except OSError as error:
        raise input_error(path, error) from error
    except (ValueError, RecursionError):
        content = None
    return content if isinstance(content, dict) else {}


def _damaged(path: Path) -> InputError:
    return InputError(
        "export-damaged",
        f"{path} is not a complete export of a reading page",
        "An export is the JSON file that the page saved",
        "Ask the reader to export the answers again",
    )


def _is_whole(value: object) -> TypeGuard[int]:
    return isinstance(value, int) and not isinstance(value, bool)


def _digest(content: Mapping[str, Any] | Sequence[Any]) -> str:
    text = json.dumps(content, separators=(",", ":"), ensure_ascii=True)
    return hashlib.sha256(text.encode()).hexdigest()
