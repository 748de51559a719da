"""The whole analysis of a reader study, with the protocol that every table and figure names."""

from collections.abc import Sequence
from typing import Any

from cmrrecon.evaluation.reader_agreement import DRAWS, agreement
from cmrrecon.evaluation.reader_files import Export, Study
from cmrrecon.evaluation.reader_ratings import Answer
from cmrrecon.evaluation.reader_study import preferences, rating_tests, summaries


def analysis(study: Study, exports: Sequence[Export]) -> dict[str, Any]:
    """Analyse the answers of all readers.

    Parameters
    ----------
    study : Study
        The study with its key.
    exports : sequence of Export
        One export of each reader.

    Returns
    -------
    dict
        JSON values: `study`, `protocol` (a sentence), the numbers of `readers`, `scans`, `repeats`
        and `missing` answers, `methods`, `criteria`, `pairs`, and the rows `summaries` and
        `tests` (ratings) or `preferences`, and `agreement`.
    """
    answers = [answer for export in exports for answer in export.answers]
    scans = {answer.scan for answer in answers if not answer.repeat}
    repeats = {answer.scan for answer in answers if answer.repeat}
    found: dict[str, Any] = {
        "study": study.identifier,
        "readers": sorted(export.reader for export in exports),
        "scans": len(scans),
        "repeats": len(repeats),
        "missing": sum(export.missing for export in exports),
        "methods": list(study.methods),
        "criteria": list(study.criteria),
        "pairs": study.pairs,
    }

    results: dict[str, Any] = {"agreement": agreement(answers, study.criteria, study.scale)}
    if study.pairs:
        results["preferences"] = preferences(answers, study.methods, study.criteria)
        tests = results["preferences"]
    else:
        results["summaries"] = summaries(answers, study.methods, study.criteria)
        results["tests"] = tests = rating_tests(answers, study.methods, study.criteria)
    return found | {"protocol": _protocol(study, found, tests)} | results


def answer_rows(answers: Sequence[Answer]) -> list[dict[str, Any]]:
    """Return the unblinded answers as rows of a table; `second` is empty for ratings."""
    return [
        {
            "reader": answer.reader,
            "scan": answer.scan,
            "method": answer.methods[0],
            "second": answer.methods[1] if len(answer.methods) > 1 else "",
            "criterion": answer.criterion,
            "value": answer.value,
            "repeat": int(answer.repeat),
        }
        for answer in answers
    ]


def _protocol(study: Study, found: dict[str, Any], tests: Sequence[dict[str, Any]]) -> str:
    """Describe how the numbers were obtained."""
    counts = [
        _count(len(found["readers"]), "reader"),
        _count(found["scans"], "scan"),
        _count(len(study.methods), "method"),
        f"{_count(found['repeats'], 'scan')} read twice",
    ]

    sizes = {
        kind: sum(row["test"] == kind and row["p"] is not None for row in tests)
        for kind in ("friedman", "wilcoxon", "sign")
    }
    names = {
        "friedman": "Friedman",
        "wilcoxon": "Wilcoxon signed-rank",
        "sign": "sign",
    }
    corrected = [f"{_count(n, names[kind] + ' test')}" for kind, n in sizes.items() if n]

    unit = (
        "preference of a scan: majority of readers, shares with 95 % intervals of Wilson"
        if study.pairs
        else "tests over scans, of means over readers"
    )
    return (
        f"{', '.join(counts)}; {unit}; Holm correction over {' and over '.join(corrected)}; "
        f"kappa with quadratic weights, 95 % intervals from {DRAWS} bootstrap draws of scans"
    )


def _count(number: int, noun: str) -> str:
    return f"{number} {noun}{'' if number == 1 else 's'}"
