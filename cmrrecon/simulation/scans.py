"""A simulated scan with its truth: a scene, coils and noise behind the same `Scan` that files give."""

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

SMALLEST_SIDE = 32  # pixels; below this the heart's wall is thinner than one


# Infinity, for no noise, is no number that a configuration may hold, so `snr_db` is not among these.
TYPES: dict[str, Any] = {
    "kind": str | None,
    **dict.fromkeys(("frames", "spokes"), int | None),
    **dict.fromkeys(("slices", "coils", "y", "x", "seed"), int),
}


@dataclass(frozen=True)
class Kind:
    """A kind of scan: its scene, its official base name and modality, its usual number of frames, and its coils."""

    scene: Callable[[int, int, int, int, int, bool], Phantom]
    base: str
    modality: str
    frames: int
    maps: Callable[[int, int, int, int], Tensor] = coil_maps


def random_scenes(
    frames: int, slices: int, y: int, x: int, seed: int, _lesions: bool = False
) -> Phantom:
    """Random scenes in place of a heart: slice i shows scene i of the seed."""
    return Phantom(
        torch.stack([random_scene(seed, index, frames, y, x).images for index in range(slices)], 1)
    )


def random_coils(coils: int, y: int, x: int, seed: int) -> Tensor:
    """Maps (coil, y, x) as `random_maps` draws them, of a seed."""
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
    """A scan and what is true of it.

    Attributes
    ----------
    kind : a name in `KINDS`, or "random"
    scan : Scan, fully sampled or radial; the k-space of a slice is made when it is read, with the same noise each time
    image : Tensor (frame, slice, y, x) complex64, noise-free; the maps have unit RSS, so its magnitude is the RSS image's
    maps : Tensor (coil, y, x) complex64
    times : Tensor (frame, slice) float32, weighting times in ms, or None
    sigma : standard deviation of the complex noise in every k-space sample
    lesions : the box of each slice's lesion, None for a slice without; None if none were asked for
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
    """A fully sampled or radial multi-coil scan of a phantom with a beating heart, or of random scenes, and its truth.

    Parameters
    ----------
    kind : a name in `KINDS`; None for cine
    frames : number of frames or weightings; None for the kind's usual number
    slices, coils, y, x : sizes; x is the readout, which holds 2x oversampling around the phantom; random scenes fill it
    snr_db : signal-to-noise ratio of the fully sampled, coil-combined image in dB (see `noise_sigma`); infinity for no noise
    seed : who is scanned, how the coils lie, and the noise
    spokes : golden-angle spokes a frame, of x samples (at least y), for images of y x y pixels; None for Cartesian k-space
    lesions : whether every second slice gets a lesion in the wall of the left ventricle; all else of the person stays as it is
    random : a random scene in each slice, see `random_scene`, and random coils; Cartesian, of no kind, without lesions

    Raises
    ------
    UsageError : an unknown kind, what random scenes cannot have, or a size, ratio or seed that makes no scan
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
    """The kind of scan and its name, "random" for random scenes."""
    if random:
        others = [
            name
            for name, there in (("a kind", asked), ("spokes", spokes), ("lesions", lesions))
            if there
        ]

        if others:
            raise UsageError(
                "options-conflict",
                f"Random scenes were asked for together with {' and '.join(others)}",
                "They are of no kind, are measured line by line, and have no heart for lesions",
                "Leave one or the other out",
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
    """Refuse numbers that make no scan."""
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
            "option-value", found, "It must be a number, or inf for no noise", "Give for example 30"
        )


def _scan(kind: Kind, image: Tensor, maps: Tensor, sigma: float, seed: int) -> Scan:
    """The fully sampled scan of an image (frame, slice, y, x), named as the official folders and files would."""
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
    """The same heart measured along golden-angle spokes, as many in each frame, of so many samples.

    Spokes are oversampled, not the images: these lose the sides of the field of view that the body does not reach, and have the
    square matrix y x y. Each sample has the noise of a Cartesian one.
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
    """K-space (frame, coil, y, x) of one slice of the image (frame, slice, y, x), with the noise of this seed and slice."""
    return acquire(image[:, index], maps, sigma, seed, index)


def slice_along(
    trajectory: Tensor, image: Tensor, maps: Tensor, sigma: float, seed: int, index: int
) -> Tensor:
    """K-space (frame, coil, spoke, sample) of one slice of the image, with the noise of this seed and slice."""
    return acquire_along(trajectory, image[:, index], maps, sigma, seed, index)
