"""Simulate a scan and its ground truth from a scene, coils and noise."""

import math
from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import partial
from typing import Any

import torch
from torch import Tensor

from cmrrecon.data import Acquisition, LineMask, MaskSource, Scan, SpokeMask, Trajectory
from cmrrecon.operators.fourier import centred
from cmrrecon.simulation.acquisition import acquire, coil_maps, noise_sigma
from cmrrecon.simulation.lesions import Box
from cmrrecon.simulation.phantoms import Phantom, cine, perfusion, t1map, t2map
from cmrrecon.simulation.radial import acquire_along, golden_angle
from cmrrecon.simulation.random_scans import random_maps
from cmrrecon.simulation.random_scenes import random_scene
from cmrrecon.simulation.shapes import generator
from cmrrecon.tools.configuration import checked_mapping
from cmrrecon.tools.errors import UsageError, suggestion

SMALLEST_SIDE = 32  # pixels; with fewer, the wall of the heart would be thinner than one pixel


# `snr_db` is missing because configurations may not contain infinity (no noise).
TYPES: dict[str, Any] = {
    "kind": str | None,
    **dict.fromkeys(("frames", "spokes"), int | None),
    **dict.fromkeys(("slices", "coils", "y", "x", "seed"), int),
}


@dataclass(frozen=True)
class Kind:
    """A kind of scan: scene, official base name, modality, default number of frames, and coils."""

    scene: Callable[[int, int, int, int, int, bool], Phantom]
    base: str
    modality: str
    frames: int
    maps: Callable[[int, int, int, int], Tensor] = coil_maps


def random_scenes(
    frames: int, slices: int, y: int, x: int, seed: int, _lesions: bool = False
) -> Phantom:
    """Return random scenes instead of a heart: slice i shows scene i of the seed."""
    return Phantom(
        torch.stack([random_scene(seed, index, frames, y, x).images for index in range(slices)], 1)
    )


def random_coils(coils: int, y: int, x: int, seed: int) -> Tensor:
    """Return random coil sensitivity maps (coil, y, x) for a seed; see `random_maps`."""
    return random_maps(coils, y, x, generator(seed, "coils"))


KINDS = {
    "cine": Kind(cine, "cine_sax", "Cine", 12),
    "perfusion": Kind(perfusion, "perfusion", "Perfusion", 20),
    "t1map": Kind(t1map, "T1map", "Mapping", 9),
    "t2map": Kind(t2map, "T2map", "Mapping", 3),
}
RANDOM = Kind(random_scenes, "cine_random", "Cine", 12, random_coils)


@dataclass(frozen=True)
class Simulated:
    """A scan and its ground truth.

    Attributes
    ----------
    kind : str
        A name in `KINDS`, or "random".
    scan : Scan
        Fully sampled or radial. The k-space of a slice is made when it is read, always with the
        same noise.
    image : Tensor of shape (frame, slice, y, x), complex64
        The noise-free image. The maps have unit RSS, so its magnitude is the RSS image.
    maps : Tensor of shape (coil, y, x), complex64
        The coil sensitivity maps.
    times : Tensor of shape (frame, slice), float32, or None
        The weighting times in ms.
    sigma : float
        The standard deviation of the complex noise in each k-space sample.
    lesions : tuple of (Box or None), or None
        For each slice the bounding box of its lesion, or None if it has no lesion; None if lesions
        were not requested.
    """

    kind: str
    scan: Scan
    image: Tensor
    maps: Tensor
    times: Tensor | None
    sigma: float
    lesions: tuple[Box | None, ...] | None = None


def simulate(
    kind: str | None = None,
    *,
    frames: int | None = None,
    slices: int = 3,
    coils: int = 10,
    y: int = 204,
    x: int = 448,
    snr_db: float = 30.0,
    seed: int = 0,
    spokes: int | None = None,
    lesions: bool = False,
    random: bool = False,
) -> Simulated:
    """Simulate a multi-coil scan of a phantom with a beating heart, or of random scenes.

    Parameters
    ----------
    kind : str or None
        A name in `KINDS`; None means cine.
    frames : int or None
        The number of frames or weightings; None uses the default of the kind.
    slices, coils : int
        The number of slices and coils.
    y, x : int
        The size of the matrix. x is the readout, with twofold oversampling around the phantom;
        random scenes fill it completely.
    snr_db : float
        The signal-to-noise ratio in dB of the fully sampled, coil-combined image (see
        `noise_sigma`); infinity means no noise.
    seed : int
        Determines the person, the positions of the coils and the noise.
    spokes : int or None
        The number of golden-angle spokes per frame, each with x samples (at least y), for images of
        y x y pixels; None means Cartesian k-space.
    lesions : bool
        Whether every second slice has a lesion in the wall of the left ventricle; nothing else
        about the person changes.
    random : bool
        Whether to use a random scene in each slice (see `random_scene`) and random coils. Such
        scans are Cartesian and have neither a kind nor lesions.

    Returns
    -------
    Simulated
        The scan, fully sampled or radial, and its ground truth.

    Raises
    ------
    UsageError
        If the kind is unknown (`unknown-kind`), random scenes are combined with other options
        (`options-conflict`), or a size, ratio or seed is out of range (`option-value`).
    """
    given = {"kind": kind, "frames": frames, "spokes": spokes, "seed": seed}
    given |= {"slices": slices, "coils": coils, "y": y, "x": x}
    checked_mapping("The simulation", given, TYPES)

    name, chosen = _kind(kind, random=random, spokes=spokes is not None, lesions=lesions)
    frames = chosen.frames if frames is None else frames
    _check_numbers(
        frames=frames, slices=slices, coils=coils, y=y, x=x, spokes=spokes, seed=seed, snr_db=snr_db
    )

    columns = x if spokes is None else 2 * y
    image, times, boxes = chosen.scene(frames, slices, y, columns, seed, lesions)
    maps = chosen.maps(coils, y, columns, seed)
    sigma = noise_sigma(image, snr_db)
    made = Simulated(
        name, _scan(chosen, image, maps, sigma, seed), image, maps, times, sigma, boxes
    )

    return made if spokes is None else along_spokes(made, spokes, x, seed)


def _kind(asked: str | None, *, random: bool, spokes: bool, lesions: bool) -> tuple[str, Kind]:
    """Return the name and the kind of scan; the name is "random" for random scenes."""
    if random:
        others = [
            name
            for name, given in (("a kind", asked), ("spokes", spokes), ("lesions", lesions))
            if given
        ]

        if others:
            raise UsageError(
                "options-conflict",
                f"Random scenes were requested together with {' and '.join(others)}",
                "They have no kind, are measured line by line, and show no heart for lesions",
                "Leave out one or the other",
            )

        return "random", RANDOM
    if asked is not None and asked not in KINDS:
        remedy = suggestion(asked, KINDS, "Choose one of them")
        raise UsageError(
            "unknown-kind",
            f"There is no kind of scan {asked!r}",
            f"The kinds are {', '.join(KINDS)}",
            remedy,
        )

    name = asked or "cine"
    return name, KINDS[name]


def _check_numbers(
    *,
    frames: int,
    slices: int,
    coils: int,
    y: int,
    x: int,
    spokes: int | None,
    seed: int,
    snr_db: float,
) -> None:
    """Refuse numbers for which no scan can be simulated."""
    for name, size, least in (
        ("frames", frames, 1),
        ("slices", slices, 1),
        ("coils", coils, 1),
        ("y", y, SMALLEST_SIDE),
        ("x", x, SMALLEST_SIDE if spokes is None else y),
        ("spokes", 1 if spokes is None else spokes, 1),
        ("seed", seed, 0),
    ):
        if size < least:
            raise UsageError(
                "option-value",
                f"{name} is {size}",
                f"It must be at least {least}",
                f"Give {name} a value of {least} or more",
            )

    if math.isnan(snr_db) or snr_db == -math.inf:
        found = f"The signal-to-noise ratio is {snr_db} dB"
        raise UsageError(
            "option-value",
            found,
            "It must be a number, or inf for no noise",
            "Give 30, for example",
        )


def _scan(kind: Kind, image: Tensor, maps: Tensor, sigma: float, seed: int) -> Scan:
    """Return the fully sampled scan of an image (frame, slice, y, x), with official names."""
    frames, slices, y, x = image.shape
    acquisition = Acquisition(
        base=kind.base,
        modality=kind.modality,
        year=2025,
        centre="Center000",
        vendor="Simulated_30T_phantom",
        subject=f"P{seed + 1:03d}",
    )

    read_slice = partial(slice_kspace, image, maps, sigma, seed)
    everything = LineMask(torch.ones((1, y, 1), dtype=torch.bool), MaskSource.HEADER)
    return Scan((frames, slices, len(maps), y, x), read_slice, everything, acquisition)


def along_spokes(made: Simulated, spokes: int, samples: int, seed: int) -> Simulated:
    """Measure the same heart along golden-angle spokes.

    The spokes are oversampled, but the images are not: they have the square matrix y x y, without
    the sides of the field of view that the body does not reach. Each sample has the same noise as a
    Cartesian one.

    Parameters
    ----------
    made : Simulated
        The fully sampled scan.
    spokes, samples : int
        The number of spokes per frame, and of samples per spoke.
    seed : int
        Determines the noise.
    """
    frames, slices, coils, n, columns = made.scan.shape

    kept = centred(columns, n)
    image, maps = (whole[..., kept].contiguous() for whole in (made.image, made.maps))
    lesions = made.lesions and tuple(
        box and (*box[:2], box[2] - kept.start, box[3] - kept.start) for box in made.lesions
    )

    trajectory = golden_angle(frames, spokes, samples, n)
    scan = Scan(
        shape=(frames, slices, coils, spokes, samples),
        read_slice=partial(slice_along, trajectory, image, maps, made.sigma, seed),
        mask=SpokeMask(
            torch.ones((1, spokes, 1), dtype=torch.bool),
            MaskSource.HEADER,
            trajectory=Trajectory(trajectory, (n, n)),
        ),
        acquisition=replace(made.scan.acquisition, pattern="radial"),
    )
    return replace(made, scan=scan, image=image, maps=maps, lesions=lesions)


def slice_kspace(image: Tensor, maps: Tensor, sigma: float, seed: int, index: int) -> Tensor:
    """Return the k-space (frame, coil, y, x) of a slice, with its noise for this seed."""
    return acquire(image[:, index], maps, sigma, seed, index)


def slice_along(
    trajectory: Tensor, image: Tensor, maps: Tensor, sigma: float, seed: int, index: int
) -> Tensor:
    """Return the k-space (frame, coil, spoke, sample) of a slice, with its noise for this seed."""
    return acquire_along(trajectory, image[:, index], maps, sigma, seed, index)
