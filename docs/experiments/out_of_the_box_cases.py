"""The cases of out_of_the_box.py: how each is made, and the folder that keeps them."""

import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path

import torch
from scipy.io import loadmat

from cmrrecon import SamplingMask, Scan, Series, formats, read, simulate, undersample
from cmrrecon.classical.prepared import normalisation
from cmrrecon.evaluation.mapping import compare_maps
from cmrrecon.operators.coils import rss
from cmrrecon.operators.fourier import ifft2c
from cmrrecon.simulation.acquisition import acquire, coil_maps, noise_sigma

PATTERNS = (
    "kt-gaussian 8",
    "kt-gaussian 16",
    "kt-gaussian 24",
    "kt-radial 8",
    "kt-radial 16",
    "kt-radial 24",
    "uniform 4",
    "uniform 8",
)
PATTERN_SEED, ACS = 1, 20
COILS, SNR_DB = 10, 30.0
P003_SLICES = range(1, 15)
TUNING_CENTRES, REPORTED_CENTRES = ("Center001", "Center002"), ("Center005", "Center006")
Case = tuple[str, str, Callable[[], tuple[Scan, torch.Tensor]], str]


def cases(tool: Path, data: Path) -> Iterator[Case]:
    """List the cases: group, name, a function that makes scan and truth, pattern and R.

    The truth is (frame, y, x).
    """
    for number, index in enumerate(P003_SLICES):
        yield (
            "p003",
            f"P003 slice {index}",
            lambda z=index: semi_real(tool, data, "--slices", str(z)),
            PATTERNS[number % 8],
        )  # type: ignore[misc]
    for group, centres in (("tuning", TUNING_CENTRES), ("centres", REPORTED_CENTRES)):
        found = [
            path
            for path in sorted((data / "CMRxRecon2025-cine-pictures").glob("*.npz"))
            if path.name.startswith(centres)
        ]
        for number, path in enumerate(found):
            yield (
                group,
                path.stem,
                lambda p=path: semi_real(tool, data, "--pictures", str(p)),
                PATTERNS[number % 8],
            )  # type: ignore[misc]
    for kind in ("cine", "perfusion", "t1map"):
        for pattern in ("kt-gaussian 8", "uniform 4"):
            yield "phantom", f"phantom {kind}", lambda k=kind: phantom(k), pattern  # type: ignore[misc]
    for pattern in ("kt-gaussian 8", "uniform 4"):
        yield "rat", "rat cine", lambda: rat(data), pattern
        for when in ("pre", "post"):
            yield (
                "t1",
                f"T1NET {when}contrast",
                lambda w=when: with_coils(t1_weighted(data, w)[0]),
                pattern,
            )  # type: ignore[misc]


def semi_real(tool: Path, data: Path, *words: str) -> tuple[Scan, torch.Tensor]:
    """Return what `make_semireal.py` makes."""
    with tempfile.TemporaryDirectory() as folder:
        subprocess.run(
            [sys.executable, str(tool), folder, "--data", str(data), *words],
            check=True,
            stdout=subprocess.DEVNULL,
        )
        path = next(path for path in Path(folder).rglob("*.mat") if "FullSample" in path.parts)
        scan = read(path)
        truth = formats.read_images(path.with_name(f"{path.stem}_truth.npz"))[:, 0]
        return Scan.from_kspace(scan.series(0).kspace[:, None], scan.mask, scan.acquisition), truth


def phantom(kind: str) -> tuple[Scan, torch.Tensor]:
    """Return a kind of the phantom, which no network was trained on."""
    made = simulate(kind, slices=1, seed=3)
    return made.scan, made.image[:, 0]


def rat(data: Path) -> tuple[Scan, torch.Tensor]:
    """Return real magnitudes of a rat heart."""
    return with_coils(
        torch.from_numpy(loadmat(data / "HGGM-LIM-rat-cine" / "dataCine8fr.mat")["image0"])
        .permute(2, 1, 0)
        .float()
    )


def with_coils(magnitude: torch.Tensor) -> tuple[Scan, torch.Tensor]:
    """Add modelled phase, coils and noise to magnitudes (frame, y, x)."""
    _, ny, nx = magnitude.shape
    y, x = torch.linspace(-1, 1, ny)[:, None], torch.linspace(-1, 1, nx)[None]
    phase = 1.2 * torch.sin(1.5 * y + 0.5) + 1.0 * torch.cos(2.0 * x - 0.7) + 0.6 * y * x
    truth = torch.polar(magnitude, phase.expand_as(magnitude).contiguous())
    kspace = acquire(truth, coil_maps(COILS, ny, nx, 0), noise_sigma(truth, SNR_DB), 0)
    return Scan.from_kspace(kspace[:, None], torch.ones((1, ny, 1), dtype=torch.bool)), truth


def t1_weighted(data: Path, when: str) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """Return magnitudes (frame, y, x), myocardium (y, x) and times (frame,) in ms.

    They are those of the first subject of T1NET.
    """
    content = loadmat(data / f"gadluru-T1NET/{when}contrast_testsets.mat")["test"][0, 0]
    magnitude = torch.from_numpy(content["input"][0, 0].astype("float32")).permute(2, 0, 1)
    return (
        magnitude,
        torch.from_numpy(content["myoMask"][0, 0] > 0),
        torch.from_numpy(content["TI"][0].astype("float64").ravel()),
    )


def t1_scores(
    case: Case, data: Path, images: torch.Tensor, truth: torch.Tensor
) -> dict[str, float]:
    """Score T1 in the myocardium against the truth; empty for other cases."""
    if case[0] != "t1":
        return {}
    _, wall, times = t1_weighted(data, case[1].split()[1].removesuffix("contrast"))
    found = compare_maps(images[:, None], truth[:, None], wall[None], times[:, None], "T1")
    return {
        "t1_rmse_ms": found.rmse,
        "t1_bias_ms": found.mean - found.reference_mean,
        "t1_ms": found.reference_mean,
    }


def undersampled(case: Case, work: Path) -> tuple[Scan, torch.Tensor]:
    """Return a normalised case of one slice and its truth (frame, y, x); made once."""
    path = work / "cases" / f"{case[1]} {case[3]}.pt"
    if not path.exists():
        _, series, scale, truth = made(case)
        parts = {
            "kspace": series.kspace / scale,
            "mask": series.mask.samples,
            "truth": truth / scale,
        }
        path.parent.mkdir(parents=True, exist_ok=True)
        torch.save(parts, path)
    kept = torch.load(path, weights_only=True)
    return Scan.from_kspace(kept["kspace"][:, None], SamplingMask.of(kept["mask"])), kept["truth"]


def measured_reference(case: Case, work: Path) -> torch.Tensor:
    """Return the root-sum-of-squares (frame, y, x) of the fully sampled case; made once."""
    path = work / "cases" / f"{case[1]} {case[3]} reference.pt"
    if not path.exists():
        scan, _, scale, _ = made(case)
        torch.save(rss(ifft2c(scan.series(0).kspace / scale)), path)
    reference: torch.Tensor = torch.load(path, weights_only=True)
    return reference


def made(case: Case) -> tuple[Scan, Series, float, torch.Tensor]:
    """Make a case: the fully sampled scan, the undersampled series, its scale, and the truth."""
    _, _, make, pattern = case
    scan, truth = make()
    kind, factor = pattern.split()
    series = undersample(scan, kind, float(factor), acs=ACS, seed=PATTERN_SEED).series(0)
    return scan, series, normalisation(series), truth
