"""Draw the gallery of random scenes in the documentation.

Usage: random_scenes.py FILE.png [SEED]
"""

import math
import sys

import torch
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from PIL import Image
from torch import Tensor

from cmrrecon.simulation.random_scenes import random_scene

ROWS, COLUMNS = 3, 6
SIDE, FRAMES = 112, 24
COLOURS = 256
# Frames of the profile are drawn two pixels wide, after a white gap.
GAP, WIDTH = 3, 2


def main(target: str, seed: str = "2") -> None:
    """Draw scenes 0, 1, 2, ... of a seed.

    Each shows the middle frame and, beside it, the y-t profile of the middle column. The bottom row
    shows the phase of the last ones.
    """
    figure = Figure(figsize=(10, 5.3), layout="constrained")
    axes = figure.subplots(ROWS + 1, COLUMNS)
    for number in range(ROWS * COLUMNS):
        scene = random_scene(int(seed), number, FRAMES, SIDE, SIDE)
        row, column = divmod(number, COLUMNS)
        draw(
            axes[row, column],
            with_profile(scene.images.abs()),
            f"{number}: {', '.join(scene.kinds) or 'beating'}",
            "gray",
            (0, 1.1),
        )
        if row == ROWS - 1:
            phase = with_profile(scene.images.angle())
            draw(axes[ROWS, column], phase, f"{number}: phase", "twilight", (-math.pi, math.pi))
    figure.savefig(target)
    # Few colours make a small file.
    Image.open(target).convert("RGB").quantize(COLOURS).save(target, optimize=True)


def with_profile(movie: Tensor) -> Tensor:
    """Return the middle frame of (frame, y, x) with its middle column over time to the right."""
    frames, y, x = movie.shape
    profile = movie[:, :, x // 2].T.repeat_interleave(WIDTH, 1)
    return torch.cat((movie[frames // 2], torch.full((y, GAP), math.nan), profile), 1)


def draw(
    axis: Axes, picture: Tensor, title: str, colours: str, window: tuple[float, float]
) -> None:
    """Draw one picture (y, x) with its title."""
    axis.imshow(picture.numpy(), cmap=colours, vmin=window[0], vmax=window[1])
    axis.set_title(title, fontsize=8)
    axis.axis("off")


if __name__ == "__main__":
    main(*sys.argv[1:])
