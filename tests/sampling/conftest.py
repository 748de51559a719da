"""The official masks, with the arguments of `make_mask` that should reproduce them."""

import json
import math
import re
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

PATTERN_NAMES = {
    "": "uniform",
    "Uniform": "uniform",
    "ktUniform": "kt-uniform",
    "ktGaussian": "kt-gaussian",
    "ktRadial": "kt-radial",
}
KEY = re.compile(
    r"cmr(?P<year>\d\d)_(?P<x>\d+)x(?P<y>\d+)(?:x(?P<frames>\d+))?_mask_?"
    r"(?P<pattern>[A-Za-z]*)(?P<R>\d+)(?:_seed(?P<seed>\d+))?"
)


@dataclass(frozen=True)
class OfficialMask:
    """An official mask, or only its number of samples in the stored shape.

    Its name is like `cmr24_448x204x12_mask_ktGaussian8_seed10`.
    """

    key: str
    arguments: dict[str, Any]
    mask: Tensor | None = None
    samples: int = 0
    stored_frames: int = 1

    @property
    def falls_between_lines(self) -> bool:
        """Whether the official program uses fractional indices: kt-uniform, odd y, odd frames."""
        odd = self.arguments["y"] % 2 == 1 and self.arguments["frames"] % 2 == 1
        return self.arguments["pattern"] == "kt-uniform" and odd

    @property
    def has_ties(self) -> bool:
        """Whether rounding errors decide: kt-radial, even grid, a spoke at odd multiples of 45."""
        if (
            self.arguments["pattern"] != "kt-radial"
            or max(self.arguments["x"], self.arguments["y"]) % 2 == 1
        ):
            return False

        beams = math.floor(1 / (0.6 * self.arguments["acceleration"]) * 180)
        angles = (
            Fraction(275, 2) * t + Fraction(180 * k, beams)
            for t in range(self.arguments["frames"])
            for k in range(beams)
        )

        return any(angle % 90 == 45 for angle in angles)


def arguments_of(key: str) -> dict[str, Any]:
    """Return the arguments of `make_mask` that a name contains."""
    found = KEY.fullmatch(key)
    assert found, key
    return {
        "pattern": PATTERN_NAMES[found["pattern"]],
        "frames": int(found["frames"] or 1),
        "y": int(found["y"]),
        "x": int(found["x"]),
        "acceleration": int(found["R"]),
        "seed": int(found["seed"]) if found["seed"] else None,
        "year": 2000 + int(found["year"]),
    }


def load(path: Path) -> list[OfficialMask]:
    """Load all masks of a file, stored as (y[, frame]) or (x, y[, frame]), as (frame, y, x|1)."""
    masks = []
    with np.load(path) as arrays:
        for key in arrays.files:
            arguments = arguments_of(key)
            array = torch.from_numpy(arrays[key].astype(bool))
            x = arguments["x"] if array.shape[0] == arguments["x"] else 1
            masks.append(
                OfficialMask(key, arguments, array.reshape(x, arguments["y"], -1).permute(2, 1, 0))
            )

    return masks


@pytest.fixture
def official_lines(golden: Path) -> list[OfficialMask]:
    return load(golden / "masks" / "masks_lines.npz")


@pytest.fixture
def official_radial(golden: Path) -> list[OfficialMask]:
    return load(golden / "masks" / "masks_ktRadial.npz")


@pytest.fixture
def official_full(golden: Path) -> list[OfficialMask]:
    return load(golden / "masks" / "masks_full_examples.npz")


@pytest.fixture
def official_counts(golden: Path) -> list[OfficialMask]:
    """All masks, including those for which only the number of samples is stored."""
    listed = json.loads((golden / "masks" / "masks_index.json").read_text())["masks"]
    return [
        OfficialMask(
            key,
            arguments_of(key),
            samples=entry["sampled"],
            stored_frames=([*entry["shape"], 1])[2],
        )
        for key, entry in listed.items()
    ]
