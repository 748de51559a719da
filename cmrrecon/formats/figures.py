"""Provenance in figures that `cmrrecon compare` writes as `.svg` and `.pdf`.

The metadata are searched as text within a bounded part of the file. No XML or PDF parser runs, so
a hostile file cannot make one expand entities or follow references.
"""

import os
import re
from pathlib import Path
from xml.sax.saxutils import unescape

from cmrrecon.tools.files import input_error

# Bytes searched, at the start of an SVG and at the end of a PDF.
SEARCHED = 2**20
# Matplotlib writes the metadata of an SVG first and the information of a PDF last.
SVG_FIELD = re.compile(rb"<dc:description>([^<]*)</dc:description>")
PDF_FIELD = re.compile(rb"/Keywords \(((?:[^\\()]|\\.)*)\)", re.DOTALL)
PDF_ESCAPES = {b"\\n": b"\n", b"\\r": b"\r"}


def sniff(head: bytes) -> bool:
    """Return whether a file that begins with these bytes is PDF or SVG."""
    return head.startswith(b"%PDF-") or (head.startswith((b"<?xml", b"<svg")) and b"<svg" in head)


def text(path: Path) -> str | None:
    """Return the provenance stored in a figure, or None.

    Raises
    ------
    InputError
        If the file cannot be read.
    """
    try:
        with open(path, "rb") as file:
            is_pdf = file.read(5) == b"%PDF-"
            size = file.seek(0, os.SEEK_END)
            file.seek(max(0, size - SEARCHED) if is_pdf else 0)
            part = file.read(SEARCHED)
    except OSError as error:
        raise input_error(path, error) from error

    if is_pdf:
        # Text in a picture cannot follow the information at the end.
        found = [re.sub(rb"\\.", _unescaped, content) for content in PDF_FIELD.findall(part)][-1:]
    else:
        found = SVG_FIELD.findall(part)[:1]
    content = found[0].decode("utf-8", errors="replace").strip() if found else ""
    if not is_pdf:
        content = unescape(content, {"&quot;": '"', "&apos;": "'"})
    return content if content.startswith("{") else None


def _unescaped(match: re.Match[bytes]) -> bytes:
    """Return the character for an escape sequence of a PDF string."""
    return PDF_ESCAPES.get(match[0], match[0][1:])
