"""Pictures: `.png` (a montage) and `.gif` (a movie), with one pixel per image pixel.

Grey values run from 0 to the 99.5th percentile of all magnitudes in the file.
"""

import io
import math
import zlib
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image, PngImagePlugin
from torch import Tensor

from cmrrecon.formats.tensors import stack_magnitudes
from cmrrecon.tools.atomic import atomic
from cmrrecon.tools.errors import InputError
from cmrrecon.tools.provenance import to_json

FRAME_MILLISECONDS = 80
WINDOW_PERCENTILE = 99.5


def sniff(head: bytes) -> bool:
    """Return whether a file that begins with these bytes is PNG or GIF."""
    return head.startswith((b"\x89PNG\r\n\x1a\n", b"GIF8"))


def text(path: Path) -> str | None:
    """Return the provenance stored in a picture, or None.

    Raises
    ------
    InputError
        If the picture is damaged (`file-damaged`).
    """
    try:
        with Image.open(path) as picture:
            found = picture.info.get("provenance", picture.info.get("comment"))
    # Pillow raises these errors for damaged files.
    except (
        OSError,
        ValueError,
        SyntaxError,
        EOFError,
        IndexError,
        Image.DecompressionBombError,
    ) as error:
        raise InputError(
            "file-damaged",
            f"{path} is damaged",
            "A complete PNG or GIF picture is needed",
            "Make the picture again",
        ) from error

    if isinstance(found, bytes):
        found = found.decode("ascii", errors="replace")
    return found if found and found.startswith("{") else None


def check_chunks(path: Path) -> None:
    """Check lengths and checksums of a PNG picture; Pillow trusts those that it does not need.

    Raises
    ------
    ValueError
        If a part is longer than the file, or its checksum is wrong.
    """
    content = path.read_bytes()
    position = 8 if content.startswith(b"\x89PNG") else len(content)
    while position < len(content):
        end = position + 8 + int.from_bytes(content[position : position + 4], "big")
        if zlib.crc32(content[position + 4 : end]).to_bytes(4, "big") != content[end : end + 4]:
            raise ValueError("a part is damaged")
        position = end + 4


def write_png(
    path: Path, images: Sequence[Tensor], provenance: Mapping[str, Any] | None = None
) -> None:
    """Write a montage of images, with frames in columns and slices in rows.

    The frames of a single slice wrap into several rows, so that the picture is roughly square.

    Parameters
    ----------
    path : Path
        The output.
    images : sequence over slices of Tensor of shape (frame, y, x)
        Images, complex or real; magnitudes are shown.
    provenance : mapping or None
        JSON values to store in the picture.

    Raises
    ------
    OutputError
        If the file cannot be written.
    """
    grey = _grey(images)
    frames, slices, y, x = grey.shape
    information = PngImagePlugin.PngInfo()
    if provenance is not None:
        information.add_text("provenance", to_json(provenance))

    columns = frames if slices > 1 else max(1, round(math.sqrt(frames * y / x)))
    rows = math.ceil(frames / columns)
    grid = np.zeros((rows * columns, slices, y, x), np.uint8)
    grid[:frames] = grey
    grid = grid.reshape(rows, columns, slices, y, x).transpose(0, 2, 3, 1, 4)
    montage = Image.fromarray(grid.reshape(rows * slices * y, columns * x))

    with atomic(path) as temporary, open(temporary, "wb") as handle:
        montage.save(handle, "PNG", pnginfo=information)


def write_gif(
    path: Path, images: Sequence[Tensor], provenance: Mapping[str, Any] | None = None
) -> None:
    """Write an endlessly repeating movie over frames, with slices side by side.

    The parameters are the same as for `write_png`.

    Raises
    ------
    OutputError
        If the file cannot be written.
    """
    grey = _grey(images)
    slices, y, x = grey.shape[1:]
    movie = [Image.fromarray(frame.transpose(1, 0, 2).reshape(y, slices * x)) for frame in grey]
    comment = to_json(provenance).encode() if provenance is not None else b""

    content = io.BytesIO()
    movie[0].save(
        content,
        "GIF",
        save_all=True,
        append_images=movie[1:],
        duration=FRAME_MILLISECONDS,
        loop=0,
        comment=comment,
    )

    with atomic(path) as temporary:
        temporary.write_bytes(content.getbuffer())


def _grey(images: Sequence[Tensor]) -> NDArray[np.uint8]:
    """Convert magnitudes (frame, slice, y, x) to grey values from 0 to 255."""
    magnitude = stack_magnitudes(images)
    top = np.percentile(magnitude, WINDOW_PERCENTILE) or 1.0
    grey: NDArray[np.uint8] = (np.clip(magnitude / top, 0, 1) * 255).round().astype(np.uint8)
    return grey
