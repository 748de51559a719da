"""The official masks, with the arguments of `make_mask` that should give them."""

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
    r"cmr(?P<year>\d\d)_(?P<x>\d+)x(?P<y>\d+)(?:x(?P<frames>\d+))?_mask_?(?P<pattern>[A-Za-z]*)(?P<R>\d+)(?:_seed(?P<seed>\d+))?"
)


@dataclass(frozen=True)
class OfficialMask:
    """`cmr24_448x204x12_mask_ktGaussian8_seed10`: what the name says, and the mask or its number of samples in the stored shape."""

    key: str
    arguments: dict[str, Any]
    mask: Tensor | None = None
    samples: int = 0
    stored_frames: int = 1

    @property
    def falls_between_lines(self) -> bool:
        """kt-uniform with odd y and an odd number of frames, where the official program has fractional indices."""
        odd = self.arguments["y"] % 2 == 1 and self.arguments["frames"] % 2 == 1
        return self.arguments["pattern"] == "kt-uniform" and odd

    @property
    def has_ties(self) -> bool:
        """kt-radial with a spoke at an odd multiple of 45 degrees on an even grid, where rounding noise decides."""
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
    """The arguments of `make_mask` that a name tells."""
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
    """All masks of one file as (frame, y, x|1) bool; they are stored (y[, frame]) or (x, y[, frame])."""
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
    """All masks, also those of which only the number of samples is kept."""
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
