"""Scans in detail: synchronised movies, error maps, profiles, and two methods side by side."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from cmrrecon.pages.page import Html, element, joined
from cmrrecon.pages.report.gallery import score_text
from cmrrecon.pages.report.pictures import (
    MOST_FRAMES,
    Movie,
    colour_bar,
    errors,
    frame_duration,
    movie,
    moving_column,
    profile,
)
from cmrrecon.pages.report.scoring import Opened, aspect_of, times_of
from cmrrecon.pages.report.summary import Read

KEYS = "Keys: space plays or pauses, ← and → step, Home and End jump."


@dataclass(frozen=True)
class Detail:
    """One scan in detail.

    Attributes
    ----------
    html : Html
        Its section of the page.
    movies : dict of str to any
        What the script needs, as JSON values.
    """

    html: Html
    movies: dict[str, Any]

    @property
    def size(self) -> int:
        """Number of characters that the detail adds to the page, nearly."""
        pictures = [view[key] or "" for view in self.movies["views"] for key in ("image", "error")]
        return len(self.html) + sum(map(len, pictures))


def detail(read: Read, opened: Opened, rule: str | None) -> Detail | None:
    """Return a scan in detail; None if it has no images.

    Parameters
    ----------
    read : Read
        The scan.
    opened : Opened
        Its images.
    rule : str or None
        The scoring rule; None without scores.
    """
    series = opened.series()
    if series is None:
        return None

    images = {name: image[:MOST_FRAMES] for name, image in series.images.items()}
    frames, y, x = series.first[:MOST_FRAMES].shape
    frame = frames // 2
    maps, top = errors(series, frame)
    sheets = {name: movie(image) for name, image in images.items()}
    error_sheets = {name: movie(image[:MOST_FRAMES]) for name, image in maps.items()}
    column = moving_column(images[next(iter(images))])
    profiles = {name: profile(image, column) for name, image in images.items() if frames > 1}

    aspect, times = aspect_of(read.case), times_of(read.case)
    duration = frame_duration(times, len(series.first))
    movies = {
        "scan": read.case.number,
        "frames": frames,
        "y": y,
        "x": x,
        "frame": frame,
        "ms": duration,
        "views": [_view(name, sheet, error_sheets.get(name)) for name, sheet in sheets.items()],
    }

    text = _facts(opened, series.has_reference, len(series.first), column, rule, duration, times)
    body = (
        element("h3", f"Scan {read.case.number}: {read.case.label}"),
        element("p", text, class_="quiet"),
        _viewer(read, movies, profiles, top if maps else None, x / (y * aspect)),
    )
    section = element("section", *body, class_="case", id=f"scan-{read.case.number}")
    return Detail(section, movies)


def _view(name: str, sheet: Movie, error: Movie | None) -> dict[str, Any]:
    uri = None if error is None else error.uri
    return {"name": name, "columns": sheet.columns, "image": sheet.uri, "error": uri}


def _facts(
    opened: Opened,
    has_reference: bool,
    frames: int,
    column: int,
    rule: str | None,
    duration: int,
    times: object,
) -> str:
    """Describe what is shown: slice, window, scale, profile and speed."""
    number, count = opened.slices[opened.worst], len(opened.slices)
    first = "the reference" if has_reference else "the first method"
    why = "the only one"
    if count > 1:
        why = f"of {count}, the one with the lowest SSIM" if rule else f"of {count}, the middle one"

    parts = [
        f"Slice {number}, {why}.",
        f"One window for all methods: black is 0, white is the 99.5th percentile of {first} in "
        "this slice over all frames; every method is scaled to it by one least-squares factor.",
    ]
    if has_reference:
        parts.append(f"Reference: {opened.reference_is}.")
    if frames > MOST_FRAMES:
        parts.append(f"The movies show the first {MOST_FRAMES} of {frames} frames.")
    if frames > 1:
        parts.append(f"The y–t profiles show the line x = {column} over time, from left to right.")
        known = ", because the times of the frames are unknown" if times is None else ""
        parts.append(f"Movies show a frame for {duration} ms{known}.")
    return " ".join(parts)


def _viewer(
    read: Read,
    movies: Mapping[str, Any],
    profiles: Mapping[str, str],
    top: float | None,
    ratio: float,
) -> Html:
    """Return the movies of a scan with their controls."""
    number, last = read.case.number, movies["frames"] - 1
    controls = [
        element("button", "Play", type="button", class_="play"),
        element(
            "label",
            "Frame ",
            element("input", type="range", class_="frame", min=0, max=last, value=movies["frame"]),
        ),
        element("output", "", class_="at"),
        element("span", KEYS, class_="quiet"),
    ]

    style = f"aspect-ratio: {ratio:.4f}"
    columns = [
        _column(read, index, view, profiles, style, has_errors=top is not None)
        for index, view in enumerate(movies["views"])
    ]
    return element(
        "div",
        element("div", *controls, class_="controls screen") if last else None,
        element("div", *columns, class_="views"),
        None if top is None else _bar(top),
        _wipe(movies["views"], style) if len(movies["views"]) > 1 else None,
        class_="viewer",
        role="group",
        tabindex=0,
        aria_label=f"Movies of scan {number}",
    )


def _column(
    read: Read,
    index: int,
    view: Mapping[str, Any],
    profiles: Mapping[str, str],
    style: str,
    *,
    has_errors: bool,
) -> Html:
    """Return movie, error map and profile of one method."""
    name, number = view["name"], read.case.number
    record = read.records.get(name)
    caption = joined([element("b", name), Html("<br>"), score_text(record) if record else ""])
    labels = {"image": f"{name}, scan {number}", "error": f"error of {name}, scan {number}"}
    canvases = {
        kind: element(
            "canvas", class_=kind, data_view=index, role="img", aria_label=label, style=style
        )
        for kind, label in labels.items()
    }

    error = canvases["error"] if view["error"] is not None else None
    if error is None and has_errors:
        error = element("div", class_="empty", style=style)
    line = profiles.get(name)
    return element(
        "figure",
        element("figcaption", caption),
        canvases["image"],
        error,
        None
        if line is None
        else element("img", class_="profile", src=line, alt=f"y–t profile of {name}"),
    )


def _bar(top: float) -> Html:
    """Return the colour bar of the error maps, in per cent of white."""
    ticks = [element("span", f"{100 * top * share:g} %") for share in (0, 0.5, 1)]
    return element(
        "div",
        element("span", "|error| in per cent of white"),
        element("img", src=colour_bar(), alt="colours from no error (black) to the largest"),
        element("div", *ticks, class_="ticks"),
        class_="bar",
    )


def _wipe(views: list[dict[str, Any]], style: str) -> Html:
    """Return two methods in one picture with a divider between them."""
    chosen = {"left": len(views) - 1, "right": 0}
    selects = [
        element(
            "label",
            f"{side.capitalize()} ",
            element(
                "select",
                *(
                    element("option", view["name"], value=i, selected=i == chosen[side])
                    for i, view in enumerate(views)
                ),
                class_=side,
            ),
        )
        for side in chosen
    ]

    divider = element("input", type="range", class_="divider", min=0, max=100, value=50)
    return element(
        "div",
        element("div", *selects, element("label", "Divider ", divider), class_="controls screen"),
        element(
            "div",
            element("canvas", class_="right", role="img", aria_label="right method", style=style),
            element("canvas", class_="left", role="img", aria_label="left method", style=style),
            element("span", class_="edge"),
            class_="stack",
            style=style,
        ),
        class_="wipe screen",
    )
