"""Tissues of the chest, the signal each gives, and painting with them. Typical values at 3 T, not measurements of anyone."""

import math
from dataclasses import dataclass

import torch
from torch import Tensor


@dataclass(frozen=True)
class Tissue:
    """Relative proton density, T1 and T2 in ms, and the relative strength of its texture."""

    density: float
    t1: float
    t2: float
    texture: float = 0.05


@dataclass(frozen=True)
class Layer:
    """One tissue of a scene, painted over the layers before it.

    Attributes
    ----------
    tissue : a name in `TISSUES`
    cover : Tensor (frame|1, y, x) float, 0 to 1, how much of each pixel it covers
    texture : Tensor (frame|1, y, x) float, zero mean, about unit variance; the tissue says how strong it is
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
    # Of lesions, with T2 farther from that of the myocardium than in patients, so that they can be found.
    "haemorrhage": Tissue(0.6, 1000, 15, 0.07),
    "oedema": Tissue(0.95, 1450, 110, 0.07),
}
BLOODS = ("pulmonary", "systemic", "venous", "right blood", "left blood")
# Fresh spins flow into the slice between two excitations; 1.6 gives the blood-to-myocardium ratio of about 3 seen in cine.
INFLOW = 1.6
FLIP_ANGLE = math.radians(45)


def balanced_ssfp(tissue: Tissue) -> float:
    """Steady-state signal of balanced SSFP for TR much shorter than T2 (Carr, Phys. Rev. 1958;112:1693)."""
    ratio = tissue.t1 / tissue.t2
    return tissue.density * math.sin(FLIP_ANGLE) / (ratio + 1 - math.cos(FLIP_ANGLE) * (ratio - 1))


def cine_signals() -> dict[str, Tensor]:
    """Balanced SSFP signal of each tissue, (1,), with blood at 1."""
    blood = balanced_ssfp(BLOOD) * INFLOW
    return {
        name: torch.tensor([balanced_ssfp(t) * (INFLOW if name in BLOODS else 1) / blood])
        for name, t in TISSUES.items()
    }


def inversion_recovery(times: Tensor) -> dict[str, Tensor]:
    """Signed signal of each tissue, (frame,), after an inversion: density * (1 - 2 exp(-TI / T1)). Times (frame,) in ms."""
    return {name: t.density * (1 - 2 * torch.exp(-times / t.t1)) for name, t in TISSUES.items()}


def t2_preparation(times: Tensor) -> dict[str, Tensor]:
    """Signal of each tissue, (frame,), after a T2 preparation: density * exp(-TE / T2). Times (frame,) in ms."""
    return {name: t.density * torch.exp(-times / t.t2) for name, t in TISSUES.items()}


def saturation_recovery(delay: float, added_rate: dict[str, Tensor]) -> dict[str, Tensor]:
    """Signal of each tissue, (frame,) or (1,), `delay` ms after a saturation: density * (1 - exp(-delay * R1)).

    Parameters
    ----------
    delay : saturation time in ms
    added_rate : what contrast agent adds to R1 = 1 / T1, per tissue, (frame,) in 1/ms; a tissue that is absent gets none
    """
    none = torch.zeros(1)
    return {
        name: t.density * (1 - torch.exp(-delay * (1 / t.t1 + added_rate.get(name, none))))
        for name, t in TISSUES.items()
    }


def paint(layers: list[Layer], signals: dict[str, Tensor], ground: Tensor | None = None) -> Tensor:
    """The image of a scene: each layer covers what lies below it, and a pixel on an edge holds a share of both.

    Parameters
    ----------
    layers : from the bottom to the top
    signals : signal of each tissue, (frame|1,), real and possibly negative
    ground : Tensor (frame|1, y, x) float32, what lies below all layers; zero if there is none

    Returns
    -------
    Tensor (frame|1, y, x) float32; one frame if neither ground, layers nor signals change
    """
    image = torch.zeros(1) if ground is None else ground
    for layer in layers:
        value = signals[layer.tissue][:, None, None] * (
            1 + TISSUES[layer.tissue].texture * layer.texture
        )
        image = image + layer.cover * (value - image)
    return image
