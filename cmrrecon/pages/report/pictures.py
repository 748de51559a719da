"""Pictures of a report: thumbnails, movies as sheets of frames, error maps and profiles.

Movies and thumbnails are grey WebP pictures of quality 90: a quarter of the size of PNG, at a root
mean square deviation of about 2 of 255 grey values. Profiles are PNG.
"""

import io
import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image
from torch import Tensor

from cmrrecon.evaluation.figures import REFERENCE, error_factor, scaled_alike
from cmrrecon.pages.page import data_uri, png_uri

QUALITY = 90
WINDOW_PERCENTILE = 99.5
# Height of thumbnails in pixels.
THUMBNAIL = 96
# Frames in a movie. Longer series are cut.
MOST_FRAMES = 64
# Largest side of a WebP picture.
MOST_PIXELS = 16383
# Duration of a frame whose times are unknown, and the range of shown durations, in ms.
FRAME_MS = 80
SHORTEST_MS, LONGEST_MS = 20, 500
# Time in profiles runs along x, with this many pixels a frame.
PROFILE_STEP = 4
COLOURS = "inferno"


@dataclass(frozen=True)
class Movie:
    """A movie in one picture: the frames in rows of `columns`, from the top left.

    Attributes
    ----------
    uri : str
        The picture as a data URI.
    columns : int
        Number of frames in a row.
    """

    uri: str
    columns: int


@dataclass(frozen=True)
class Series:
    """The shown slice of a scan with all methods, in one window.

    Attributes
    ----------
    images : dict of str to Tensor of shape (frame, y, x)
        Magnitudes on one scale: 1 is white. The reference comes first, if there is one.
    has_reference : bool
        Whether the first series is the reference.
    """

    images: dict[str, Tensor]
    has_reference: bool

    @property
    def first(self) -> Tensor:
        """The reference, or else the first method."""
        return next(iter(self.images.values()))


def in_window(images: Mapping[str, Tensor], *, has_reference: bool) -> Series:
    """Scale series to the first by least squares, and divide all by the same white level.

    Parameters
    ----------
    images : mapping of str to Tensor of shape (frame, y, x)
        Magnitudes, the reference first if there is one.
    has_reference : bool
        Whether the first series is the reference.
    """
    scaled = scaled_alike({name: image.abs().double() for name, image in images.items()})
    first = next(iter(scaled.values()))
    white = float(np.percentile(first.numpy(), WINDOW_PERCENTILE)) or 1.0
    return Series({name: (image / white).float() for name, image in scaled.items()}, has_reference)


def thumbnail(image: Tensor, aspect: float) -> str:
    """Return a small picture of an image (y, x) in the window as a data URI."""
    y, x = image.shape
    size = (max(1, round(THUMBNAIL * x / (y * aspect))), THUMBNAIL)
    return _webp(Image.fromarray(grey(image)).resize(size, Image.Resampling.LANCZOS))


def movie(images: Tensor) -> Movie:
    """Return a movie of images (frame, y, x) in the window."""
    frames, y, x = images.shape
    columns = max(1, min(frames, MOST_PIXELS // x, round(math.sqrt(frames * y / x))))
    rows = math.ceil(frames / columns)
    sheet = np.zeros((rows * columns, y, x), np.uint8)
    sheet[:frames] = grey(images)
    placed = sheet.reshape(rows, columns, y, x).transpose(0, 2, 1, 3)
    return Movie(_webp(Image.fromarray(placed.reshape(rows * y, columns * x))), columns)


def errors(series: Series, frame: int) -> tuple[dict[str, Tensor], float]:
    """Return the error of every method, and the error that is shown brightest.

    Returns
    -------
    maps : dict of str to Tensor of shape (frame, y, x)
        |image - reference| divided by the brightest shown error; empty without a reference.
    top : float
        The brightest shown error as a fraction of white, the same for all methods.
    """
    if not series.has_reference:
        return {}, 1.0
    top = 1.0 / error_factor(series.images, frame, 1.0, None)
    found = {
        name: (image - series.first).abs() / top
        for name, image in series.images.items()
        if name != REFERENCE
    }
    return found, top


def profile(images: Tensor, column: int) -> str:
    """Return the line x = `column` over time as a data URI; y points down, time to the right."""
    pixels = grey(images[:, :, column].T)
    return png_uri(np.repeat(pixels, PROFILE_STEP, axis=1))


def moving_column(images: Tensor) -> int:
    """Return the column x with the largest change over time in the central half of the image."""
    x = images.shape[-1]
    if len(images) < 2:
        return x // 2
    change = images[:, :, x // 4 : x - x // 4].std(0).square().sum(0)
    return x // 4 + int(change.argmax())


def frame_duration(times: tuple[float, ...] | None, frames: int) -> int:
    """Return the time for which a frame of a movie is shown, in ms."""
    if times is None or len(times) != frames or frames < 2:
        return FRAME_MS
    steps = torch.tensor(times).diff()
    return round(min(LONGEST_MS, max(SHORTEST_MS, float(steps.median()))))


def colour_table() -> list[int]:
    """Return the colours of error maps: red, green and blue for each of 256 values."""
    return [int(value) for value in _colours()[:, :3].ravel()]


def colour_bar() -> str:
    """Return the colours of error maps from left to right as a data URI."""
    return png_uri(np.ascontiguousarray(_colours()[None, :, :3]))


def grey(images: Tensor) -> NDArray[np.uint8]:
    """Convert values from 0 to 1 to grey values from 0 to 255."""
    levels: NDArray[np.uint8] = (images.clamp(0, 1) * 255).round().to(torch.uint8).numpy()
    return np.ascontiguousarray(levels)


def _colours() -> Any:
    import matplotlib

    return matplotlib.colormaps[COLOURS](np.arange(256), bytes=True)


def _webp(picture: Image.Image) -> str:
    content = io.BytesIO()
    picture.save(content, "WEBP", quality=QUALITY)
    return data_uri(content.getvalue(), "image/webp")
