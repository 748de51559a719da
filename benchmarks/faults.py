"""Count hits and false alarms of the warnings about broken data.

Usage: python benchmarks/faults.py [--bases 12] [--data DIR] [--populations]

Broken scans are made from simulated scans and, with --data or CMRRECON_TEST_DATA, from real ones,
each kind of fault at the severities in the table. `--populations` prints the values of good and
broken scans next to the limit of each kind. A run takes about three minutes on one core.
"""

import argparse
import math
import os
import random
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path

import torch
from torch import Tensor

import cmrrecon
from cmrrecon.classical.faults import LIMITS, faults_of_scan, findings
from cmrrecon.classical.faults.readings import Readings
from cmrrecon.classical.faults.slices import as_coils
from cmrrecon.data import Acquisition, Scan, Series, SpokeMask
from cmrrecon.sampling import undersample

# kind, frames, coils, y, x, decibels
SIMULATED = [
    ("cine", 12, 8, 128, 256, 30),
    ("cine", 10, 6, 96, 192, 20),
    ("perfusion", 8, 8, 96, 192, 25),
    ("cine", 8, 4, 96, 160, 20),
    ("t1map", 9, 10, 96, 192, 25),
    ("cine", 1, 12, 128, 256, 20),
    ("t2map", 3, 6, 128, 192, 25),
    ("cine", 12, 16, 96, 192, 20),
]
PATTERNS = [None, ("uniform", 4, 20), ("kt-gaussian", 8, 20), ("kt-uniform", 6, 16)]

SCANNER_FILES = ["meas_MID00349_FID09273_SNR_R3.h5", "acqDataBrainSim100.h5"]
# Two coils around a bottle: these scans are good, but conjugated lines cannot be detected in them.
BOTTLES = ["gre.dat", "epi.dat"]


@dataclass(frozen=True)
class Case:
    """A series, its name, and the scan that it belongs to."""

    name: str
    series: Series
    scan: Scan
    index: int = 0


def scan_of(series: Series) -> Scan:
    kspace = series.kspace[:, None]
    return Scan(kspace.shape, lambda i: kspace[:, i], series.mask, series.acquisition)


def case(name: str, scan: Scan, index: int = 0) -> Case:
    return Case(name, scan.series(index), scan, index)


def of_series(name: str, series: Series) -> Case:
    return Case(name, series, scan_of(series))


def simulated() -> Iterator[Case]:
    """Yield fully sampled and undersampled scans in turn."""
    for number, (kind, frames, coils, y, x, snr) in enumerate(SIMULATED):
        size = {"frames": frames, "coils": coils, "y": y, "x": x}
        made = cmrrecon.simulate(kind, slices=1, snr_db=snr, seed=40 + number, **size).scan
        for pattern in (PATTERNS[number % 4], PATTERNS[(number + 1) % 4]):
            chosen = made if pattern is None else put_on(made, *pattern)
            yield case(f"{kind}, {coils} coils, {snr} dB, {pattern or 'full'}", chosen)


def put_on(scan: Scan, pattern: str, acceleration: float, acs: int) -> Scan:
    return undersample(scan, pattern, acceleration, acs=acs, seed=3)


def real(data: Path) -> Iterator[Case]:
    """Yield measured k-space from the formats that this program reads."""
    import h5py
    import numpy as np
    from scipy.io import loadmat

    stored = h5py.File(data / "CMRxRecon2025-P003-pair" / "underkslice.mat")["underkspace"][()]
    lines = (stored["real"] + 1j * stored["imag"]).transpose(2, 1, 0).astype(np.complex64)
    yield case("cine of one frame, 10 coils", Scan.from_kspace(lines[None, None].copy()))
    stored = h5py.File(data / "mchiew-SENSE-tutorial" / "raw_data.mat")["raw"][()]
    brain = (stored["real"] + 1j * stored["imag"]).astype(np.complex64)[:, 0]
    scan = Scan.from_kspace(brain[None, None].copy())
    yield case("brain, 16 coils", scan)
    yield case("brain, 16 coils, uniform", put_on(scan, "uniform", 4, 16))
    demo = loadmat(data / "CMRxRecon2024-undersampleDemo" / "cine_sax.mat")["kspace_full"].T
    scan = Scan.from_kspace(demo.astype(np.complex64)[None, None, None].copy())
    yield case("cine of one frame, 1 coil", scan)
    poisson = np.load(data / "sigpy-mri-tutorial" / "cartesian_ksp.npy")
    yield case("brain, 8 coils, poisson", Scan.from_kspace(poisson[None, None].copy()))
    for name in SCANNER_FILES:
        yield case(name, cmrrecon.read(data / "scanner-files" / name))
    yield from semi_real(data)


def semi_real(data: Path) -> Iterator[Case]:
    """Yield measured magnitudes with a smooth phase and simulated coils."""
    import numpy as np
    from scipy.io import loadmat

    rat = loadmat(data / "HGGM-LIM-rat-cine" / "dataCine8fr.mat")["image0"]
    scan = modelled(torch.from_numpy(rat).permute(2, 1, 0).float(), 6, "Cine")
    yield case("rat", scan)
    yield case("rat, kt-gaussian", put_on(scan, "kt-gaussian", 8, 20))
    for when in ("pre", "post"):
        stored = loadmat(data / "gadluru-T1NET" / f"{when}contrast_testsets.mat")["test"]
        weighted = torch.from_numpy(stored["input"][0, 0][0, 0].astype("float32"))
        yield case(f"T1 {when}", modelled(weighted.permute(2, 0, 1), 8, "Mapping"))
    for path in sorted((data / "CMRxRecon2025-cine-pictures").glob("*.npz")):
        image = torch.from_numpy(np.load(path)["image"])
        scan = modelled(image[:, image.shape[1] // 2].float(), 10, "Cine")
        yield case(path.stem, put_on(scan, "kt-gaussian", 8, 20))


def modelled(magnitude: Tensor, coils: int, modality: str) -> Scan:
    from cmrrecon.simulation.acquisition import acquire, coil_maps, noise_sigma

    _, ny, nx = magnitude.shape
    y, x = torch.linspace(-1, 1, ny)[:, None], torch.linspace(-1, 1, nx)
    phase = 1.2 * torch.sin(1.5 * y + 0.5) + torch.cos(2 * x - 0.7) + 0.6 * y * x
    image = torch.polar(magnitude, phase.expand_as(magnitude).contiguous())
    kspace = acquire(image, coil_maps(coils, ny, nx, 7), noise_sigma(image, 25), 7)
    full = torch.ones((1, ny, 1), dtype=torch.bool)
    return Scan.from_kspace(kspace[:, None], full, Acquisition(modality=modality))


# How to break scans: each function takes a case and a random source and returns a broken case, or
# None if the case cannot be broken in this way.


def conjugated(series: Series, where: Tensor) -> Series:
    kspace = series.kspace
    return replace(series, kspace=torch.where(where, kspace.conj(), kspace).contiguous())


def some(count: int, length: int, draw: random.Random) -> Tensor:
    chosen = torch.zeros(length, dtype=torch.bool)
    chosen[draw.sample(range(length), count)] = True
    return chosen


def lines(base: Case, draw: random.Random, share: float) -> Case | None:
    y = base.series.kspace.shape[2]
    if base.series.kspace.shape[1] < 2:
        return None
    chosen = torch.arange(y) % 2 == 0 if share == 0.5 else some(round(share * y), y, draw)
    return of_series(base.name, conjugated(base.series, chosen[:, None]))


def frames(base: Case, draw: random.Random, share: float) -> Case | None:
    count = base.series.frames
    if count < 3:
        return None
    chosen = some(max(1, int(share * count)), count, draw)
    return of_series(base.name, conjugated(base.series, chosen[:, None, None, None]))


def coils(base: Case, draw: random.Random, share: float) -> Case | None:
    count = base.series.kspace.shape[1]
    if count < 4:
        return None
    chosen = some(max(1, int(share * count)), count, draw)
    return of_series(base.name, conjugated(base.series, chosen[:, None, None]))


def disordered(base: Case, draw: random.Random) -> Case | None:
    series = base.series
    if series.acquisition.modality != "Cine" or series.frames < 8:
        return None
    order = draw.sample(range(series.frames), series.frames)
    mask = series.mask
    if mask.varies:
        mask = mask.chosen(mask.samples[order])
    return of_series(base.name, replace(series, kspace=series.kspace[order], mask=mask))


def off_centre(base: Case, draw: random.Random, share: float) -> Case | None:
    y, x = base.series.kspace.shape[2:]
    steps = (round(share * y), 0) if draw.random() < 0.5 else (0, round(share * x))
    mask = base.series.mask
    samples = (
        mask.samples.roll(steps, (1, 2))
        if mask.samples.shape[2] > 1
        else mask.samples.roll(steps[0], 1)
    )
    series = replace(
        base.series, kspace=base.series.kspace.roll(steps, (2, 3)), mask=mask.chosen(samples)
    )
    return of_series(base.name, series)


def outside(base: Case, draw: random.Random) -> tuple[int, int, int]:
    """Pick a frame, and in it a measured line and sample outside the middle of k-space."""
    series = base.series
    y, x = series.kspace.shape[2:]
    frame = draw.randrange(series.frames)
    measured = series.mask.frame(frame).any(-1).nonzero().flatten().tolist()
    line = draw.choice([i for i in measured if abs(i - y // 2) > y / 8])
    return frame, line, draw.choice([i for i in range(x) if abs(i - x // 2) > x / 8])


def whole_lines(base: Case) -> bool:
    return base.series.mask.KIND == "lines"


def damaged_value(base: Case, draw: random.Random) -> Case | None:
    """Make a value of one coil 1000 times as large as the maximum, as a flipped bit may."""
    kspace = base.series.kspace.clone()
    frame, coil, y, x = (draw.randrange(n) for n in kspace.shape)
    if kspace[frame, coil, y, x] == 0:
        return None
    kspace[frame, coil, y, x] = 1000 * kspace.abs().max()
    return of_series(base.name, replace(base.series, kspace=kspace))


def spiked(base: Case, draw: random.Random, height: float) -> Case | None:
    if not whole_lines(base):
        return None
    frame, y, x = outside(base, draw)
    kspace = base.series.kspace.clone()
    turns = torch.tensor([draw.random() for _ in range(kspace.shape[1])])
    kspace[frame, :, y, x] += height * kspace.abs().max() * torch.exp(2j * math.pi * turns)
    return of_series(base.name, replace(base.series, kspace=kspace))


def gained(base: Case, draw: random.Random, factor: float) -> Case | None:
    if not whole_lines(base):
        return None
    frame, y, _ = outside(base, draw)
    kspace = base.series.kspace.clone()
    kspace[frame, :, y] *= factor
    return of_series(base.name, replace(base.series, kspace=kspace))


def loud(base: Case, draw: random.Random, factor: float) -> Case | None:
    kspace = base.series.kspace.clone()
    if kspace.shape[1] < 2:
        return None
    kspace[:, draw.randrange(kspace.shape[1])] *= factor
    return of_series(base.name, replace(base.series, kspace=kspace))


def cut(base: Case, draw: random.Random, share: float) -> Case | None:
    if not whole_lines(base):
        return None
    kspace = base.series.kspace.clone()
    count, x = kspace.shape[2:]
    chosen = some(round(share * count), count, draw)
    kspace[:, :, chosen, : x // 2] = 0
    return of_series(base.name, replace(base.series, kspace=kspace))


def swapped(base: Case, draw: random.Random) -> Case | None:
    if not whole_lines(base) or base.series.mask.complete:
        return None
    scan = Scan.from_kspace(base.series.kspace.mT[:, None].contiguous())
    return case(base.name, scan)


def as_slices(base: Case, draw: random.Random) -> Case | None:
    kspace = base.series.kspace
    if kspace.shape[1] < 4 or not whole_lines(base):
        return None
    scan = Scan.from_kspace(kspace[:, :, None], base.series.mask.samples)
    return case(base.name, scan, kspace.shape[1] // 2)


def delayed(base: Case, draw: random.Random, cycles: float) -> Case | None:
    """Return a radial scan whose samples were acquired further along the spokes than stated."""
    from cmrrecon.simulation.radial import acquire_along

    seed = draw.randrange(1000)
    size = {"frames": draw.choice([1, 4, 12]), "coils": draw.choice([1, 4, 8]), "y": 64, "x": 128}
    made = cmrrecon.simulate(
        "cine", slices=1, spokes=draw.choice([8, 21, 55]), snr_db=20, seed=seed, **size
    )
    series = made.scan.series(0)
    assert isinstance(series.mask, SpokeMask)
    positions = series.mask.trajectory.positions
    along = positions[..., -1, :] - positions[..., 0, :]
    moved = positions + cycles * (along / along.norm(dim=-1, keepdim=True))[..., None, :]
    kspace = acquire_along(moved, made.image[:, 0], made.maps, made.sigma, seed)
    return of_series("radial", replace(series, kspace=kspace))


Breaker = Callable[[Case, random.Random], Case | None]
BROKEN: list[tuple[str, str, Breaker]] = [
    ("axes-swapped", "undersampled scan transposed", swapped),
    ("centre-off", "by 20 % of y or x", partial(off_centre, share=0.2)),
    ("readout-half", "half of each line", partial(cut, share=1.0)),
    ("readout-half", "half of every third line", partial(cut, share=1 / 3)),
    ("coil-loud", "any coil 100 times", partial(loud, factor=100.0)),
    ("spike", "a sample as large as the maximum", partial(spiked, height=1.0)),
    ("value-lone", "one value 1000 times", damaged_value),
    ("spike", "a sample of 0.3 of the maximum", partial(spiked, height=0.3)),
    ("line-outlying", "a line of one frame 10 times", partial(gained, factor=10.0)),
    ("lines-conjugated", "every second line", partial(lines, share=0.5)),
    ("lines-conjugated", "20 % of the lines", partial(lines, share=0.2)),
    ("frames-conjugated", "a frame", partial(frames, share=0.0)),
    ("frames-conjugated", "a third of the frames", partial(frames, share=0.34)),
    ("coils-conjugated", "a coil", partial(coils, share=0.0)),
    ("coils-conjugated", "a third of the coils", partial(coils, share=0.34)),
    ("frames-disordered", "cine in random order", disordered),
    ("coils-as-slices", "4 to 16 coils", as_slices),
    ("trajectory-delay", "one cycle per field of view", partial(delayed, cycles=1.0)),
]


def broken(bases: list[Case], number: int) -> Iterator[tuple[int, Case]]:
    """Yield broken scans for each row of `BROKEN`, as (row, scan).

    There are `number` scans for each row, or as many as the bases allow.
    """
    for row, (_, _, breaker) in enumerate(BROKEN):
        draw, made = random.Random(row), 0
        for base in draw.sample(bases, len(bases)):
            found = breaker(base, draw) if made < number else None
            if found is not None:
                made += 1
                yield row, found


def good(data: Path | None) -> Iterator[Case]:
    """Yield good scans: many simulated scans and all real ones."""
    for kind, counts in (("cine", (1, 12)), ("perfusion", (10,)), ("t1map", (9,)), ("t2map", (3,))):
        for frames_, (coils_, y, x, snr) in [(f, s) for f in counts for s in SIZES]:
            size = {"frames": frames_, "coils": coils_, "y": y, "x": x}
            made = cmrrecon.simulate(kind, slices=4, snr_db=snr, seed=coils_, **size).scan
            yield case(f"{kind} x{frames_}, {coils_} coils, {snr} dB", made, 1)
            for pattern in SAMPLINGS:
                name = f"{kind} x{frames_}, {coils_} coils, {snr} dB, {pattern}"
                yield case(name, put_on(made, *pattern), 1)
            yield partial_fourier(made)
    for seed in range(10):
        made = cmrrecon.simulate(random=True, slices=1, coils=8, y=128, x=192, seed=seed).scan
        yield case("random scenes", made)
    for seed in range(3):
        radial = cmrrecon.simulate(
            "cine", slices=1, coils=4, y=64, x=128, spokes=13, seed=seed, snr_db=10 * (seed + 1)
        )
        yield case("radial", radial.scan)
    if data is not None:
        yield from real(data)
        yield from (case(name, cmrrecon.read(data / "scanner-files" / name)) for name in BOTTLES)
        yield from official(data.parent / "golden" / "matfiles")


SIZES = [(6, 96, 160, 20), (1, 96, 192, 30), (4, 64, 96, 10), (16, 96, 192, 5), (2, 80, 160, 60)]
SAMPLINGS = [
    ("uniform", 4, 20),
    ("uniform", 8, 16),
    ("kt-uniform", 8, 20),
    ("kt-uniform", 6, 0),
    ("kt-gaussian", 24, 16),
    ("kt-radial", 12, 16),
    ("random", 4, 12),
    ("gaussian", 6, 10),
    ("poisson", 6, 16),
]


def partial_fourier(scan: Scan) -> Case:
    """Remove the first quarter of the lines and the first 3/8 of the readout."""
    kspace = scan.series(0).kspace.clone()
    y, x = kspace.shape[2:]
    kspace[:, :, : y // 4] = 0
    kspace[..., : 3 * x // 8] = 0
    return case("partial Fourier", Scan.from_kspace(kspace[:, None], None, scan.acquisition))


def official(folder: Path) -> Iterator[Case]:
    """Yield the small files in the official layout."""
    for path in sorted(folder.rglob("*.mat")) if folder.is_dir() else ():
        if "mask" in path.name or "submission" in path.parts or "CMRx4DFlow2026" in path.parts:
            continue
        scan = cmrrecon.read(path)
        for index in range(scan.shape[1]):
            yield case(f"{path.name}, slice {index}", scan, index)


def severities(found: Case) -> dict[str, float]:
    return {
        **findings(found.series),
        "coils-as-slices": as_coils(found.scan, Readings(found.series), found.index),
    }


def warned(found: Case) -> set[str]:
    return {fault.kind for fault in faults_of_scan(found.scan, found.series, found.index)}


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--bases", type=int, default=12, help="number of broken scans for each row")
    parser.add_argument("--data", type=Path, default=os.environ.get("CMRRECON_TEST_DATA"))
    parser.add_argument("--populations", action="store_true")
    words = parser.parse_args()
    torch.set_num_threads(1)
    data = None if words.data is None else Path(words.data)
    start = time.process_time()

    measured = [] if data is None else list(real(data))
    bases = [
        *simulated(),
        *(base for base in measured if not isinstance(base.series.mask, SpokeMask)),
    ]
    hits: dict[int, list[bool]] = {row: [] for row in range(len(BROKEN))}
    beyond: dict[str, list[float]] = {kind: [] for kind in LIMITS}
    for row, found in broken(bases, words.bases):
        kind = BROKEN[row][0]
        hits[row].append(kind in warned(found))
        if words.populations:
            beyond[kind].append(severities(found).get(kind, 0.0))
        if not hits[row][-1]:
            print(f"missed: {BROKEN[row][:2]} {found.name}")
    print("\n| fault | severity | hits |\n|---|---|---|")
    for row, (kind, severity, _) in enumerate(BROKEN):
        print(f"| {kind} | {severity} | {sum(hits[row])} of {len(hits[row])} |")
    everything = [hit for found in hits.values() for hit in found]
    print(f"| all | | {sum(everything)} of {len(everything)} |\n")

    false, count, worst = 0, 0, dict.fromkeys(LIMITS, (-math.inf, ""))
    for found in good(data):
        count += 1
        alarms = warned(found)
        false += bool(alarms)
        if alarms:
            print(f"false alarm: {found.name}: {alarms}")
        if words.populations:
            for kind, severity in severities(found).items():
                worst[kind] = max(worst[kind], (severity, found.name))
    print(f"{false} false alarms on {count} good scans")
    if words.populations:
        print("\n| fault | limit | good: largest | broken: tenth, median |\n|---|---|---|---|")
        for kind, limit in LIMITS.items():
            ranked = sorted(beyond[kind])
            tenth, median = (ranked[int(part * len(ranked))] for part in (0.1, 0.5))
            print(
                f"| {kind} | {limit} | {worst[kind][0]:.3g} ({worst[kind][1]}) "
                f"| {tenth:.3g}, {median:.3g} |"
            )
    print(f"{time.process_time() - start:.0f} s CPU")


if __name__ == "__main__":
    main()
