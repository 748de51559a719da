"""The tissues of the chest, their signals, and how a scene is painted with them.

The values are typical for 3 T, not measurements of a person.
"""

import math
from dataclasses import dataclass

import torch
from torch import Tensor


@dataclass(frozen=True)
class Tissue:
    """Relative proton density, T1 and T2 in ms, and relative strength of the texture."""

    density: float
    t1: float
    t2: float
    texture: float = 0.05


@dataclass(frozen=True)
class Layer:
    """One tissue of a scene, painted over the layers before it.

    Attributes
    ----------
    tissue : str
        A name in `TISSUES`.
    cover : Tensor of shape (frame|1, y, x), float
        The fraction of each pixel that the layer covers, from 0 to 1.
    texture : Tensor of shape (frame|1, y, x), float
        The texture, with zero mean and about unit variance; its strength depends on the tissue.
    """

    tissue: str
    cover: Tensor
    texture: Tensor


BLOOD = Tissue(1.0, 1800, 150, 0.03)
MYOCARDIUM = Tissue(0.85, 1200, 46, 0.07)
TISSUES = {
    "lung": Tissue(0.2, 1200, 25, 0.25),
    "fat": Tissue(0.75, 300, 70, 0.07),
    "muscle": Tissue(0.8, 1400, 32, 0.10),
    "bone": Tissue(0.08, 800, 20, 0.0),
    "marrow": Tissue(0.6, 550, 50, 0.14),
    "fluid": Tissue(1.0, 4000, 800, 0.04),
    "liver": Tissue(0.8, 600, 34, 0.07),
    "spleen": Tissue(0.9, 1300, 60, 0.06),
    "stomach": Tissue(0.8, 900, 50, 0.20),
    "pulmonary": BLOOD,
    "systemic": BLOOD,
    "venous": BLOOD,
    "right blood": Tissue(1.0, 1800, 150, 0.07),
    "left blood": BLOOD,
    "myocardium": MYOCARDIUM,
    "ischaemia": MYOCARDIUM,
    # Lesions. Their T2 is farther from the myocardium's than in patients, so that a network can
    # find them.
    "haemorrhage": Tissue(0.6, 1000, 15, 0.07),
    "oedema": Tissue(0.95, 1450, 110, 0.07),
}
BLOODS = ("pulmonary", "systemic", "venous", "right blood", "left blood")
# Fresh spins flow into the slice between two excitations. With 1.6 the ratio of blood to myocardium
# is about 3, as in cine images.
INFLOW = 1.6
FLIP_ANGLE = math.radians(45)


def balanced_ssfp(tissue: Tissue) -> float:
    """Return the steady-state signal of balanced SSFP for a TR much shorter than T2.

    References
    ----------
    Carr, Phys. Rev. 1958;112:1693.
    """
    ratio = tissue.t1 / tissue.t2
    return tissue.density * math.sin(FLIP_ANGLE) / (ratio + 1 - math.cos(FLIP_ANGLE) * (ratio - 1))


def cine_signals() -> dict[str, Tensor]:
    """Return the balanced SSFP signal (1,) of each tissue, relative to blood."""
    blood = balanced_ssfp(BLOOD) * INFLOW
    return {
        name: torch.tensor([balanced_ssfp(t) * (INFLOW if name in BLOODS else 1) / blood])
        for name, t in TISSUES.items()
    }


def inversion_recovery(times: Tensor) -> dict[str, Tensor]:
    """Return the signed signal (frame,) of each tissue after an inversion.

    It is `density * (1 - 2 exp(-TI / T1))`.

    Parameters
    ----------
    times : Tensor of shape (frame,)
        Inversion times TI in ms.
    """
    return {name: t.density * (1 - 2 * torch.exp(-times / t.t1)) for name, t in TISSUES.items()}


def t2_preparation(times: Tensor) -> dict[str, Tensor]:
    """Return the signal (frame,) of each tissue after T2 preparation: `density * exp(-TE / T2)`.

    Parameters
    ----------
    times : Tensor of shape (frame,)
        Preparation times TE in ms.
    """
    return {name: t.density * torch.exp(-times / t.t2) for name, t in TISSUES.items()}


def saturation_recovery(delay: float, added_rate: dict[str, Tensor]) -> dict[str, Tensor]:
    """Return the signal (frame|1,) of each tissue after a saturation.

    It is `density * (1 - exp(-delay * R1))`.

    Parameters
    ----------
    delay : float
        Saturation time in ms.
    added_rate : dict of Tensor of shape (frame,)
        The increase of R1 = 1 / T1 of each tissue by the contrast agent, in 1/ms; zero for tissues
        that are missing.
    """
    none = torch.zeros(1)
    return {
        name: t.density * (1 - torch.exp(-delay * (1 / t.t1 + added_rate.get(name, none))))
        for name, t in TISSUES.items()
    }


def paint(layers: list[Layer], signals: dict[str, Tensor], ground: Tensor | None = None) -> Tensor:
    """Paint the image of a scene.

    Each layer covers the layers below it; a pixel on an edge is a mixture of both.

    Parameters
    ----------
    layers : list of Layer
        The layers, from bottom to top.
    signals : dict of Tensor of shape (frame|1,)
        The signal of each tissue, real and possibly negative.
    ground : Tensor of shape (frame|1, y, x), float32, or None
        The image below all layers; None means zero.

    Returns
    -------
    Tensor of shape (frame|1, y, x), float32
        The image. It has one frame if ground, layers and signals do not change.
    """
    image = torch.zeros(1) if ground is None else ground
    for layer in layers:
        value = signals[layer.tissue][:, None, None] * (
            1 + TISSUES[layer.tissue].texture * layer.texture
        )
        image = image + layer.cover * (value - image)
    return image
