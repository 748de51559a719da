"""A simulated scan with its truth: a scene, coils and noise behind the same `Scan` that files give."""

import math
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial

import torch
from torch import Tensor

from cmrrecon.errors import UsageError, nearest
from cmrrecon.scan import Acquisition, Scan
from cmrrecon.simulation.acquisition import acquire, coil_maps, noise_sigma
from cmrrecon.simulation.phantoms import Phantom, cine, perfusion, t1map, t2map

SMALLEST_SIDE = 32  # pixels; below this the heart's wall is thinner than one


@dataclass(frozen=True)
class Kind:
    """A kind of scan: its scene, its official base name and modality, and its usual number of frames."""

    scene: Callable[[int, int, int, int, int], Phantom]
    base: str
    modality: str
    frames: int


KINDS = {
    "cine": Kind(cine, "cine_sax", "Cine", 12),
    "perfusion": Kind(perfusion, "perfusion", "Perfusion", 20),
    "t1map": Kind(t1map, "T1map", "Mapping", 9),
    "t2map": Kind(t2map, "T2map", "Mapping", 3),
}


@dataclass(frozen=True)
class Simulated:
    """A scan and what is true of it.

    Attributes
    ----------
    scan : Scan, fully sampled; the k-space of a slice is made when it is read, with the same noise each time
    image : Tensor (frame, slice, y, x) complex64, noise-free; the maps have unit RSS, so its magnitude is the RSS image's
    maps : Tensor (coil, y, x) complex64
    times : Tensor (frame, slice) float32, weighting times in ms, or None
    sigma : standard deviation of the complex noise in every k-space sample
    """

    scan: Scan
    image: Tensor
    maps: Tensor
    times: Tensor | None
    sigma: float


def simulate(
    kind: str = "cine",
    *,
    frames: int | None = None,
    slices: int = 3,
    coils: int = 10,
    y: int = 204,
    x: int = 448,
    snr_db: float = 30.0,
    seed: int = 0,
) -> Simulated:
    """A fully sampled multi-coil scan of a phantom with a beating heart, and its truth.

    Parameters
    ----------
    kind : a name in `KINDS`
    frames : number of frames or weightings; None for the kind's usual number
    slices, coils, y, x : sizes; x is the readout and holds 2x oversampling
    snr_db : signal-to-noise ratio of the fully sampled, coil-combined image in dB (see `noise_sigma`); infinity for no noise
    seed : who is scanned, how the coils lie, and the noise

    Raises
    ------
    UsageError : an unknown kind, or a size, ratio or seed that makes no scan
    """
    if kind not in KINDS:
        near = nearest(kind, KINDS)
        remedy = f"Perhaps {near} was meant" if near else "Choose one of them"
        raise UsageError(f"There is no kind of scan {kind!r}", f"The kinds are {', '.join(KINDS)}", remedy)
    chosen = KINDS[kind]
    frames = chosen.frames if frames is None else frames
    for name, size, least in (
        ("frames", frames, 1),
        ("slices", slices, 1),
        ("coils", coils, 1),
        ("y", y, SMALLEST_SIDE),
        ("x", x, SMALLEST_SIDE),
        ("seed", seed, 0),
    ):
        if size < least:
            raise UsageError(f"{name} is {size}", f"It must be at least {least}", f"Give {name} a value of {least} or more")
    if math.isnan(snr_db) or snr_db == -math.inf:
        raise UsageError(f"The signal-to-noise ratio is {snr_db} dB", "It must be a number, or inf for no noise", "Give for example 30")

    image, times = chosen.scene(frames, slices, y, x, seed)
    maps = coil_maps(coils, y, x, seed)
    sigma = noise_sigma(image, snr_db)
    scan = Scan(
        shape=(frames, slices, coils, y, x),
        read_slice=partial(slice_kspace, image, maps, sigma, seed),
        mask=torch.ones((1, y, 1), dtype=torch.bool),
        acquisition=Acquisition(
            base=chosen.base,
            modality=chosen.modality,
            year=2025,
            centre="Center000",
            vendor="Simulated_30T_phantom",
            subject=f"P{seed + 1:03d}",
        ),
    )
    return Simulated(scan, image, maps, times, sigma)


def slice_kspace(image: Tensor, maps: Tensor, sigma: float, seed: int, index: int) -> Tensor:
    """K-space (frame, coil, y, x) of one slice of the image (frame, slice, y, x), with the noise of this seed and slice."""
    return acquire(image[:, index], maps, sigma, seed, index)
