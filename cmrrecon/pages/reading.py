"""The reading page of a reader study: blinded images, questions, and answers to export.

The page contains no name of a method, file or folder, only images under random numbers. Images of
the same scan have the same size, also in bytes, because the size of a PNG shows how noisy it is.
"""

import hashlib
import io
import json
import math
from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from cmrrecon.evaluation.reader_design import Design
from cmrrecon.evaluation.reader_files import EXPORT_KIND, SCHEMA
from cmrrecon.evaluation.reader_images import GreyScan
from cmrrecon.evaluation.reader_ratings import SCALE, SCALE_WORDS
from cmrrecon.pages.page import data_uri, document, element

TITLE = "Reading of cardiac MR images"
IDENTIFIER_DIGITS = 16


def page_data(
    design: Design, scans: Sequence[GreyScan], criteria: Sequence[str], *, pairs: bool
) -> dict[str, Any]:
    """Return everything that the scripts of the page need, with the identifier of the study.

    Parameters
    ----------
    design : Design
        Images and presentations.
    scans : sequence of GreyScan
        The images of each scan, with the methods in the order of the design.
    criteria : sequence of str
        What readers judge.
    pairs : bool
        Whether pairs of images are compared.

    Returns
    -------
    dict
        JSON values. `study` is the identifier, a digest of all other values.
    """
    pictures = [_pictures(scan) for scan in scans]
    data: dict[str, Any] = {
        "schema": SCHEMA,
        "kind": EXPORT_KIND,
        "pairs": pairs,
        "criteria": list(criteria),
        "images": [pictures[scan][method] for scan, method in design.images],
        "orders": design.orders,
    }
    digest = hashlib.sha256(json.dumps(data).encode()).hexdigest()
    return {"study": digest[:IDENTIFIER_DIGITS], **data}


def reading_page(data: dict[str, Any]) -> str:
    """Return the HTML of the reading page with the data of `page_data`."""
    readers = range(1, len(data["orders"]) + 1)
    options = [element("option", f"Reader {number}", value=number) for number in readers]
    start = element(
        "section",
        element("p", "Study ", element("code", data["study"]), f", {_length(data)}."),
        element("p", _task(pairs=data["pairs"])),
        element("p", f"The methods are hidden{_twice(data)}. Please work alone."),
        element(
            "p",
            "Answers stay in this browser. You can stop at any time and continue later. At the "
            "end, export your answers and send the file to the owner of the study.",
        ),
        element("p", element("label", "I am ", element("select", *options, id="reader"))),
        element("p", element("button", "Begin", id="begin", type="button", class_="main")),
        id="start",
    )

    body = (
        start,
        element("section", *_reading(data), id="reading", hidden=True),
        element("section", *_end(), id="end", hidden=True),
        element("p", id="message", class_="warning", role="status", hidden=True),
    )
    return document(
        TITLE, body, styles=["reading.css"], scripts=["sha256.js", "reading.js"],
        data={"study": data},
    )  # fmt: skip


def _reading(data: dict[str, Any]) -> list[object]:
    """Return the content of the section with images and questions."""
    sides = ("Left", "Right") if data["pairs"] else ("Image",)
    figures = [
        element(
            "figure",
            element("canvas", role="img", aria_label=side, data_side=index),
            element("figcaption", side) if data["pairs"] else None,
        )
        for index, side in enumerate(sides)
    ]

    controls = element(
        "div",
        element("button", "Pause", id="play", type="button"),
        element("label", "Frame ", element("input", id="frame", type="range", min=1, value=1)),
        element("output", id="shown"),
        id="movie",
    )
    steps = element(
        "div",
        element("button", "Previous", id="previous", type="button"),
        element("button", "Next", id="next", type="button", class_="main"),
        element("button", "Finish or change reader", id="stop", type="button"),
        class_="steps",
    )
    return [
        element("p", element("progress", id="progress", aria_label="Progress"), " ",
                element("span", id="place")),
        element("div", *figures, class_="stage"),
        controls,
        element("form", *_questions(data), id="questions"),
        steps,
        element("p", _keys(pairs=data["pairs"]), class_="quiet"),
    ]  # fmt: skip


def _questions(data: dict[str, Any]) -> list[object]:
    """Return a group of buttons for each criterion."""
    scale = [(value, f"{value} {word}") for value, word in zip(SCALE, SCALE_WORDS, strict=True)]
    if data["pairs"]:
        scale = [(1, "Left is better"), (0, "No preference"), (-1, "Right is better")]

    return [
        element(
            "fieldset",
            element("legend", criterion),
            *(
                element(
                    "label",
                    element("input", type="radio", name=f"criterion{number}", value=value),
                    f" {words}",
                )
                for value, words in scale
            ),
            data_criterion=number,
        )
        for number, criterion in enumerate(data["criteria"])
    ]


def _end() -> list[object]:
    """Return the content of the section at the end."""
    return [
        element("p", id="left"),
        element(
            "p",
            element("button", "Export answers", id="export", type="button", class_="main"),
            " ",
            element("button", "Continue reading", id="resume", type="button"),
            " ",
            element("button", "Change reader", id="change", type="button"),
        ),
    ]


def _task(*, pairs: bool) -> str:
    """Describe what the reader does."""
    if pairs:
        return "Two images of the same scan are shown. Choose the better one for each criterion."
    words = ", ".join(f"{value} {word}" for value, word in zip(SCALE, SCALE_WORDS, strict=True))
    return f"One image is shown at a time. Rate it by each criterion: {words}."


def _keys(*, pairs: bool) -> str:
    """Describe the keys."""
    answer = "Left and right arrow, 0 no preference" if pairs else "1 to 5 rate"
    return (
        f"Keys: {answer}; up and down arrow choose the criterion; Enter next; Backspace previous; "
        "P play or pause; comma and full stop one frame back or forward."
    )


def _twice(data: dict[str, Any]) -> str:
    """Return a warning that images come twice, if any do."""
    shown = [tuple(sorted(numbers)) for numbers in data["orders"][0]]
    return ", and some images come twice" if len(set(shown)) < len(shown) else ""


def _length(data: dict[str, Any]) -> str:
    """Describe how many presentations a reader sees."""
    count = len(data["orders"][0])
    return f"{count} {'pairs of images' if data['pairs'] else 'images'} for each reader"


def _pictures(scan: GreyScan) -> list[dict[str, Any]]:
    """Return the images of a scan by all methods, as PNG files of equal size."""
    files = [_png(frames) for frames in scan.images.values()]
    largest = max(map(len, files))

    found = []
    for content, frames in zip(files, scan.images.values(), strict=True):
        count, y, x = frames.shape
        found.append(
            {
                # Browsers ignore bytes after the end of a PNG.
                "png": data_uri(content.ljust(largest, b"\0"), "image/png"),
                "frames": count,
                "columns": _columns(count),
                "size": [y, x],
                "aspect": round(scan.aspect, 4),
                "ms": round(scan.frame_ms, 2),
            }
        )
    return found


def _columns(frames: int) -> int:
    return math.ceil(math.sqrt(frames))


def _png(frames: NDArray[np.uint8]) -> bytes:
    """Return a PNG with all frames in a grid, row by row."""
    count, y, x = frames.shape
    columns = _columns(count)
    rows = math.ceil(count / columns)
    grid = np.zeros((rows * columns, y, x), np.uint8)
    grid[:count] = frames
    grid = grid.reshape(rows, columns, y, x).swapaxes(1, 2).reshape(rows * y, columns * x)

    content = io.BytesIO()
    Image.fromarray(grid).save(content, "PNG")
    return content.getvalue()
