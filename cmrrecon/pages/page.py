"""The shell of every page: one HTML document that needs no other file and no network.

Text is escaped where it becomes HTML: `element` escapes every string that is not `Html` already.
Styles and scripts are files in `static/` and are written into the page. A content security policy
in the page forbids every other script and every request.
"""

import base64
import functools
import hashlib
import html
import io
import json
from collections.abc import Mapping, Sequence
from importlib.resources import files
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

VOID = frozenset({"br", "hr", "img", "input", "meta", "link"})
# SVG elements without content are written in the short form as well.
SHORT = VOID | {"line", "rect", "circle", "path", "polyline", "polygon"}


class Html(str):
    """Text that is HTML already and must not be escaped again."""

    __slots__ = ()


def element(tag: str, *children: object, **attributes: object) -> Html:
    """Return one HTML or SVG element.

    Parameters
    ----------
    tag : str
        The name of the element.
    *children : object
        The content. `Html` is inserted unchanged, None is left out, everything else is escaped.
    **attributes : object
        Attributes. A trailing underscore is dropped (`class_`), other underscores become hyphens
        (`stroke_width`, `data_scan`). True gives an attribute without a value; None and False
        leave it out.

    Returns
    -------
    Html
        The element with its content.
    """
    written = "".join(_attribute(name, value) for name, value in attributes.items())
    if tag in SHORT and not children:
        return Html(f"<{tag}{written}>" if tag in VOID else f"<{tag}{written}/>")
    return Html(f"<{tag}{written}>{joined(children)}</{tag}>")


def joined(children: Sequence[object]) -> Html:
    """Return elements and texts one after the other, the texts escaped."""
    return Html("".join(_escaped(child) for child in children if child is not None))


def document(
    title: str,
    body: Sequence[object],
    *,
    styles: Sequence[str] = (),
    scripts: Sequence[str] = (),
    data: Mapping[str, Any] | None = None,
    note: str = "Research use, not for diagnosis.",
) -> str:
    """Return a complete page.

    Parameters
    ----------
    title : str
        Title of the document and its first heading.
    body : sequence of object
        Content of the page below the heading; see `element`.
    styles, scripts : sequence of str
        Names of files in `static/`. `page.css` always comes first.
    data : mapping of str to JSON value or None
        Values for the scripts. Each becomes `<script type="application/json" id="...">`, read with
        `JSON.parse(document.getElementById(id).textContent)`.
    note : str
        The sentence at the foot of the page.

    Returns
    -------
    str
        The HTML of the page.

    Raises
    ------
    ValueError
        If `data` contains NaN or infinity, which JSON cannot express.
    """
    css = "\n".join(static(name) for name in ("page.css", *styles))
    sources = [static(name) for name in scripts]
    islands = [_island(name, value) for name, value in (data or {}).items()]

    head = (
        Html('<meta charset="utf-8">'),
        element("meta", http_equiv="Content-Security-Policy", content=_policy(sources)),
        element("meta", name="viewport", content="width=device-width, initial-scale=1"),
        element("meta", name="referrer", content="no-referrer"),
        element("title", title),
        Html(f"<style>\n{css}</style>"),
    )
    content = (
        element("header", element("h1", title)),
        element("main", *body),
        element("footer", note),
        *islands,
        *(Html(f"<script>{source}</script>") for source in sources),
    )

    written = element("html", element("head", *head), element("body", *content), lang="en")
    return f"<!DOCTYPE html>\n{written}\n"


def png_uri(pixels: NDArray[np.uint8]) -> str:
    """Return a PNG data URI of an image of shape (y, x) or (y, x, 3), uint8."""
    content = io.BytesIO()
    Image.fromarray(pixels).save(content, "PNG", optimize=True)
    return data_uri(content.getvalue(), "image/png")


def data_uri(content: bytes, kind: str) -> str:
    """Return a data URI of bytes of a MIME type such as `image/png`."""
    return f"data:{kind};base64,{base64.b64encode(content).decode('ascii')}"


@functools.cache
def static(name: str) -> str:
    """Return the text of a file in `static/`.

    Raises
    ------
    ValueError
        If the file would end the element of the page that contains it.
    """
    text = (files("cmrrecon.pages") / "static" / name).read_text(encoding="utf-8")
    if "</script" in text.lower() or "</style" in text.lower():
        raise ValueError(f"{name} would end the element that contains it")
    return text


def _policy(sources: Sequence[str]) -> str:
    """Return a policy that allows these scripts, inline styles and embedded images, and no more."""
    digests = [hashlib.sha256(source.encode()).digest() for source in sources]
    allowed = [f"'sha256-{base64.b64encode(digest).decode('ascii')}'" for digest in digests]
    return "; ".join(
        (
            "default-src 'none'",
            "img-src data: blob:",
            "style-src 'unsafe-inline'",
            f"script-src {' '.join(allowed) or chr(39) + 'none' + chr(39)}",
            "base-uri 'none'",
            "form-action 'none'",
        )
    )


def _island(name: str, value: Any) -> Html:
    """Return a value as JSON that cannot end its element."""
    text = json.dumps(value, allow_nan=False, separators=(",", ":"), ensure_ascii=False)
    text = text.replace("<", "\\u003c").replace("\u2028", "\\u2028").replace("\u2029", "\\u2029")
    return element("script", Html(text), type="application/json", id=name)


def _escaped(child: object) -> str:
    return child if isinstance(child, Html) else html.escape(str(child))


def _attribute(name: str, value: object) -> str:
    """Return one attribute with a space before it, or "" if it is left out."""
    if value is None or value is False:
        return ""
    written = name.rstrip("_").replace("_", "-")
    return f" {written}" if value is True else f' {written}="{html.escape(str(value))}"'
