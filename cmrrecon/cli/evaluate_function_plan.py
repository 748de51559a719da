"""Options of `cmrrecon evaluate --segmentation` and `--model`."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

from cmrrecon.tools.errors import InputError, OutputError, UsageError, suggestion

if TYPE_CHECKING:
    from torch import Tensor

    from cmrrecon.evaluation.segmenter import Segmenter

FIGURES = (".png", ".pdf", ".svg")
# Labels that the model found in a reference, by its path and its slices.
Kept = dict[tuple[Path, tuple[int, ...]], "Tensor"]


@dataclass(frozen=True, kw_only=True)
class FunctionPlan:
    """The options for cardiac function.

    Attributes
    ----------
    folder : Path or None
        Folder of label maps; None if a model makes them.
    candidates : sequence of Path
        Files in that folder.
    segmenter : Segmenter or None
        The model.
    numbers : mapping of str to int
        The label of each structure.
    figure : Path or None
        File for the Bland-Altman figure.
    kept : dict
        Labels of references that were segmented already.
    """

    folder: Path | None
    candidates: Sequence[Path]
    segmenter: "Segmenter | None"
    numbers: Mapping[str, int]
    figure: Path | None
    kept: "Kept" = field(default_factory=dict)


def plan_function(
    folder: Path | None,
    model: Path | None,
    labels: str | None,
    figure: Path | None,
    *,
    overwrite: bool,
) -> FunctionPlan | None:
    """Return the plan for the options of cardiac function; None without them.

    Raises
    ------
    UsageError
        If options conflict (`options-conflict`, `option-needs`) or are not understood
        (`option-value`).
    InputError
        If the folder does not exist (`file-missing`), or the model cannot be used.
    OutputError
        If the figure exists (`output-exists`).
    """
    if folder is None and model is None:
        if labels is not None or figure is not None:
            raise UsageError(
                "option-needs",
                "--labels or --bland-altman was given without label maps",
                "They only affect cardiac function",
                "Add --segmentation DIR or --model FILE",
            )
        return None
    if folder is not None and model is not None:
        raise UsageError(
            "options-conflict",
            "Both --segmentation and --model were given",
            "Label maps are either read or made",
            "Leave one of them out",
        )
    if folder is not None and not folder.is_dir():
        raise InputError(
            "file-missing",
            f"{folder} is not a folder",
            "--segmentation needs a folder of label maps",
            "Check the path",
        )

    _check_figure(figure, overwrite=overwrite)
    return FunctionPlan(
        folder=folder,
        candidates=() if folder is None else _label_maps(folder),
        segmenter=None if model is None else _segmenter(model),
        numbers=_numbers(labels),
        figure=figure,
    )


def _label_maps(folder: Path) -> list[Path]:
    """List the files in a folder that may be label maps."""
    from cmrrecon.formats.label_maps import SUFFIXES

    return sorted(
        path
        for path in folder.rglob("*")
        if path.name.lower().endswith(SUFFIXES) and path.is_file()
    )


def _segmenter(model: Path) -> "Segmenter":
    from cmrrecon.evaluation.segmenter import Segmenter

    return Segmenter(model)


def _numbers(text: str | None) -> dict[str, int]:
    """Parse --labels, such as lv=3,myocardium=2,rv=1."""
    from cmrrecon.evaluation.function import DEFAULT_LABELS

    if text is None:
        return dict(DEFAULT_LABELS)

    found: dict[str, int] = {}
    for part in text.split(","):
        name, _, value = (word.strip() for word in part.partition("="))
        if name not in DEFAULT_LABELS or not value.isdecimal() or int(value) == 0:
            raise UsageError(
                "option-value",
                f"--labels was given {text!r}",
                f"Each part is NAME=NUMBER, where NAME is one of {', '.join(DEFAULT_LABELS)} and "
                "NUMBER is at least 1",
                suggestion(name, DEFAULT_LABELS, "Write, for example, lv=3,myocardium=2,rv=1"),
            )
        found[name] = int(value)

    numbers = DEFAULT_LABELS | found
    if len(set(numbers.values())) < len(numbers):
        raise UsageError(
            "option-value",
            f"--labels was given {text!r}, which gives two structures the same label",
            "Labels that are not named keep their default, lv=1, myocardium=2, rv=3",
            "Give all three, for example lv=3,myocardium=2,rv=1",
        )
    return numbers


def _check_figure(figure: Path | None, *, overwrite: bool) -> None:
    """Refuse a figure in an unknown format, or one that exists."""
    if figure is None:
        return

    if figure.suffix.lower() not in FIGURES:
        raise UsageError(
            "option-value",
            f"--bland-altman was given {figure.name!r}",
            f"The figure can be written as {', '.join(FIGURES)}",
            "Use one of these suffixes",
        )
    if figure.exists() and not overwrite:
        raise OutputError(
            "output-exists",
            f"{figure} exists",
            "Outputs are replaced only on request",
            "Add --overwrite, or choose another output",
        )
