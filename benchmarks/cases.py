"""The inputs of the benchmarks: undersampled cine scans with known truth, kept in a work folder.

Every case is normalised by the shared rule (`normalisation`), so that a regularisation weight means
the same to every program. A case is a folder with `kspace` and `maps` (ESPIRiT maps of the
undersampled series) in BART's format, whose bytes are arrays (frame, coil, y, x) and (coil, y, x)
in C order; `mask.npy`; the noise-free `truth.npy` (frame, y, x); and `case.json`.

Results are reported for a simulated cine, a semi-real cine of subject P003 and a semi-real cine of
a rat. The cases in TUNING are used only to choose weights: other simulated seeds, and pictures of
Center001 and Center002. All sizes are even, because `pics` of BART 0.8 returns wrong images for odd
sizes.

Usage: python benchmarks/cases.py NAME ... --work FOLDER [--tool make_semireal.py] [--data FOLDER]
(NAME: SOURCE/PATTERN-R, or `tuning`)
"""

import argparse
import hashlib
import json
import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any

PATTERN_SEED = 1
SIZE = {"frames": 12, "slices": 1, "coils": 10, "y": 204, "x": 448}
# The heart of P003, chosen by eye. For other cases, see `moving_box`.
HEARTS = {"P003": (40, 125, 150, 280)}
REPORTED = (
    "simulated/kt-uniform-8",
    "simulated/kt-gaussian-8",
    *(
        f"P003/{pattern}"
        for pattern in (
            "kt-gaussian-8",
            "kt-gaussian-16",
            "kt-gaussian-24",
            "uniform-8",
            "kt-radial-16",
        )
    ),
    "rat/kt-gaussian-8",
)
SEEDS = {"simulated": 0, "simulated-2": 11}
PICTURES = {
    "center001": "Center001__P003__cine_sax",
    "center002": "Center002_UIH_30T_umr880__P001__cine_sax",
}
# At half the readout resolution, lines and hence aliasing are the same, and runs take half the
# time.
NARROW = "-narrow"
TUNING = (
    "simulated-2-narrow/kt-gaussian-8",
    "center001-narrow/kt-gaussian-8",
    "center001-narrow/kt-radial-16",
    "center002-narrow/uniform-8",
)
RAT_COILS, RAT_SNR_DB, RAT_SEED = 10, 30.0, 0
WORK = Path(tempfile.gettempdir()) / "cmrrecon-benchmarks"


@dataclass(frozen=True)
class Case:
    """The content of `case.json`.

    Attributes
    ----------
    folder : Path
        Folder of the case.
    shape : tuple of int
        (frame, coil, y, x).
    kind : str
        "simulated", or "semi-real": real magnitudes, modelled k-space.
    effective : float
        Acceleration including the calibration lines.
    heart : tuple of int
        y0, y1, x0, x1.
    maps : str
        Digest of the coil maps, which the peers' results depend on.
    """

    name: str
    kind: str
    shape: tuple[int, int, int, int]
    effective: float
    heart: tuple[int, int, int, int]
    maps: str

    @property
    def input_mb(self) -> float:
        """Size of the k-space."""
        frames, coils, y, x = self.shape
        return frames * coils * y * x * 8 / 2**20


def folder_of(work: Path, name: str) -> Path:
    return work / "cases" / name.replace("/", "-")


def load(folder: Path) -> Case:
    values: dict[str, Any] = json.loads((folder / "case.json").read_text())
    return Case(
        **values | {key: tuple(values[key]) for key in ("shape", "heart")}
    )  # JSON has no tuples


def available(name: str, tool: Path | None, data: Path | None) -> bool:
    """Return whether a case can be made.

    Semi-real cases need pictures and, except for the rat, the script.
    """
    source = name.partition("/")[0]
    return source in SEEDS or (data is not None and (source == "rat" or tool is not None))


def ensure(names: Sequence[str], work: Path, tool: Path | None, data: Path | None) -> None:
    """Make missing cases in a separate process, so that the calling process stays small."""
    missing = [name for name in names if not (folder_of(work, name) / "case.json").exists()]
    if missing:
        places = [
            word
            for key, path in (("--tool", tool), ("--data", data))
            if path
            for word in (key, str(path))
        ]
        subprocess.run(
            [sys.executable, __file__, *missing, "--work", str(work), *places], check=True
        )


def make(name: str, work: Path, tool: Path | None, data: Path | None) -> None:
    import numpy as np
    import torch

    import cmrrecon
    from cmrrecon.classical.prepared import normalisation
    from cmrrecon.operators.sensitivity import estimate_maps

    source, _, sampling = name.partition("/")
    pattern, _, acceleration = sampling.rpartition("-")
    scan, truth = full_scan(source, tool, data)
    series = cmrrecon.undersample(scan, pattern, float(acceleration), seed=PATTERN_SEED).series(0)
    scale = normalisation(series)
    series, truth = series.scaled(1 / scale), truth / scale
    maps = estimate_maps(series.kspace, series.mask)
    heart = HEARTS.get(source) or moving_box(truth)
    kind = "simulated" if source.removesuffix(NARROW) in SEEDS else "semi-real"
    frames, coils, y, x = series.kspace.shape
    effective = series.mask.effective_acceleration()
    case = Case(name, kind, (frames, coils, y, x), effective, heart, digest(maps))

    folder = folder_of(work, name)
    unfinished = Path(f"{folder}.part")
    shutil.rmtree(unfinished, ignore_errors=True)
    unfinished.mkdir(parents=True)
    write_cfl(unfinished / "kspace", series.kspace)
    write_cfl(unfinished / "maps", maps)
    np.save(unfinished / "mask.npy", series.mask.samples.numpy())
    np.save(unfinished / "truth.npy", truth.to(torch.complex64).numpy())
    (unfinished / "case.json").write_text(json.dumps(asdict(case)))
    shutil.rmtree(folder, ignore_errors=True)
    unfinished.rename(folder)
    print(
        f"{name}: {case.kind}, {case.shape}, effective R {case.effective:.2f}, heart {case.heart}",
        file=sys.stderr,
    )


@lru_cache(maxsize=2)
def full_scan(source: str, tool: Path | None, data: Path | None) -> tuple[Any, Any]:
    """Return a fully sampled scan of one slice and its noise-free truth (frame, y, x)."""
    if source.endswith(NARROW):
        return narrow(*full_scan(source.removesuffix(NARROW), tool, data))
    if source in SEEDS:
        import cmrrecon

        made = cmrrecon.simulate("cine", **SIZE, seed=SEEDS[source])
        return made.scan, made.image[:, 0]
    if data is None:
        raise SystemExit(f"{source} needs real data: use --data or set CMRRECON_TEST_DATA.")
    if source == "rat":
        return rat(data / "HGGM-LIM-rat-cine" / "dataCine8fr.mat")
    if tool is None:
        raise SystemExit(f"{source} is semi-real: pass the script make_semireal.py.")
    pictures = data / "CMRxRecon2025-cine-pictures" / f"{PICTURES.get(source)}.npz"
    return semi_real(
        tool, ["--data", str(data), *(["--pictures", str(pictures)] if source in PICTURES else [])]
    )


def narrow(scan: Any, truth: Any) -> tuple[Any, Any]:
    """Keep the central half of the readout frequencies of scan and truth."""
    from cmrrecon import Scan
    from cmrrecon.operators.fourier import centred, fftc, ifftc

    columns = centred(scan.shape[-1], scan.shape[-1] // 2)
    kspace = scan.series(0).kspace[:, None, ..., columns]
    return Scan.from_kspace(kspace, scan.mask, scan.acquisition), ifftc(
        fftc(truth, -1)[..., columns], -1
    )


def semi_real(tool: Path, words: list[str]) -> tuple[Any, Any]:
    """Return the scan and truth made by `make_semireal.py`."""
    from cmrrecon import Scan, formats, read

    with tempfile.TemporaryDirectory() as folder:
        subprocess.run(
            [sys.executable, str(tool), folder, *words], check=True, stdout=subprocess.DEVNULL
        )
        path = next(path for path in Path(folder).rglob("*.mat") if "FullSample" in path.parts)
        scan = read(path)
        kspace = scan.series(0).kspace[:, None]
        truth = formats.read_images(path.with_name(f"{path.stem}_truth.npz"))[:, 0]
    return Scan.from_kspace(kspace, scan.mask, scan.acquisition), truth


def rat(path: Path) -> tuple[Any, Any]:
    """Return a real magnitude cine of a rat with simulated coils, smooth phase and noise."""
    import torch
    from scipy.io import loadmat

    from cmrrecon import Scan
    from cmrrecon.simulation.acquisition import acquire, coil_maps, noise_sigma

    magnitude = torch.from_numpy(loadmat(path)["image0"]).permute(2, 1, 0).float()
    _, ny, nx = magnitude.shape
    y, x = torch.linspace(-1, 1, ny), torch.linspace(-1, 1, nx)
    phase = (
        1.2 * torch.sin(1.5 * y[:, None] + 0.5)
        + 1.0 * torch.cos(2.0 * x[None] - 0.7)
        + 0.6 * y[:, None] * x[None]
    )
    truth = torch.polar(magnitude, phase.expand_as(magnitude).contiguous())
    maps = coil_maps(RAT_COILS, ny, nx, RAT_SEED)
    kspace = acquire(truth, maps, noise_sigma(truth, RAT_SNR_DB), RAT_SEED)
    full = torch.ones((1, ny, 1), dtype=torch.bool)
    return Scan.from_kspace(kspace[:, None], full), truth


def moving_box(truth: Any) -> tuple[int, int, int, int]:
    """Find the box around the heart.

    It covers the central 80 % of the magnitude's temporal variance along y and along x.
    """
    variance = truth.abs().var(0)
    box = []
    for axis in (1, 0):
        part = variance.sum(axis).cumsum(0)
        part = part / part[-1]
        box += [int((part < 0.1).sum()), int((part < 0.9).sum()) + 1]
    y0, y1, x0, x1 = box
    return y0, y1, x0, x1


def digest(maps: Any) -> str:
    return hashlib.sha256(maps.numpy().tobytes()).hexdigest()[:12]


def write_cfl(path: Path, array: Any) -> None:
    """Write an array in BART's format.

    BART's first dimension is the fastest, so (frame, coil, y, x) in C order is x, y, 1, coil, ...,
    with frame as dimension 10.
    """
    shape = array.shape
    frames = shape[0] if len(shape) == 4 else 1
    dims = [shape[-1], shape[-2], 1, shape[-3], 1, 1, 1, 1, 1, 1, frames, 1, 1, 1, 1, 1]
    Path(f"{path}.hdr").write_text("# Dimensions\n" + " ".join(map(str, dims)) + "\n")
    array.contiguous().numpy().tofile(f"{path}.cfl")


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("names", nargs="+")
    parser.add_argument("--work", type=Path, required=True)
    parser.add_argument("--tool", type=Path)
    parser.add_argument("--data", type=Path, default=os.environ.get("CMRRECON_TEST_DATA"))
    words = parser.parse_args()
    names = [name for word in words.names for name in (TUNING if word == "tuning" else (word,))]
    for name in names:
        make(name, words.work, words.tool, Path(words.data) if words.data else None)


if __name__ == "__main__":
    main()
