"""Measure CPU time and size of `cmrrecon report` on 200 simulated scans.

Usage: python benchmarks/report.py [SCANS] [YxX]

Each scan has a reference and two reconstructions, which are the reference with noise: 12 frames,
one slice, 128 x 160 pixels unless stated otherwise. The files are written to a temporary folder.
"""

import hashlib
import resource
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

import torch

import cmrrecon
from cmrrecon import formats

FRAMES = 12
# Different phantoms; scans beyond this number repeat them with other noise.
PHANTOMS = 10
METHODS = {"llr": 0.02, "zero-filled": 0.08}
PLACE = "MultiCoil/Cine/TrainingSet/{}/Center001/UIH_30T_umr780/P{:03}"


def write_scan(folder: Path, number: int, image: torch.Tensor) -> None:
    """Write a reference and the reconstructions of one scan."""
    generator = torch.Generator().manual_seed(number)
    truth = folder / "data" / PLACE.format("FullSample", number) / "cine_sax_truth.npz"
    truth.parent.mkdir(parents=True)
    formats.write_truth(truth, image, torch.ones((1, *image.shape[2:]), dtype=torch.complex64))

    acceleration = (4, 8, 12)[number % 3]
    for method, level in METHODS.items():
        noise = torch.randn(image.shape, generator=generator) * level * image.abs().max()
        made = (image.abs() + noise).abs()
        digest = hashlib.sha256(str(number).encode()).hexdigest()
        facts: dict[str, Any] = {
            "base": "cine_sax",
            "subject": f"P{number:03}",
            "centre": "Center001",
            "pattern": "kt-gaussian",
            "acceleration": float(acceleration),
        }
        stamp = {
            "cmrrecon": cmrrecon.__version__,
            "acquisition": facts,
            "config": {"method": method, "slices": [0]},
            "inputs": [{"name": "cine_sax_kus.mat", "sha256": digest}],
            "data_residual": [1.0],
            "warnings": [],
        }
        place = folder / "rec" / method / PLACE.format("UnderSample_TaskR1", number)
        name = f"cine_sax_kus_ktGaussian{acceleration}_{method}.h5"
        formats.write_images(place / name, made.unbind(1), stamp)


def main() -> None:
    scans = int(sys.argv[1]) if len(sys.argv) > 1 else 200
    y, x = map(int, (sys.argv[2] if len(sys.argv) > 2 else "128x160").split("x"))
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        phantoms = [
            cmrrecon.simulate(frames=FRAMES, slices=1, coils=1, y=y, x=x, seed=seed).image
            for seed in range(min(scans, PHANTOMS))
        ]
        for number in range(1, scans + 1):
            write_scan(folder, number, phantoms[number % len(phantoms)])

        page = folder / "report.html"
        words = ["report", folder / "rec", "--truth", folder / "data", "-o", page, "--quiet"]
        before = resource.getrusage(resource.RUSAGE_CHILDREN)
        subprocess.run(
            [sys.executable, "-m", "cmrrecon", *map(str, words)],
            stdout=subprocess.DEVNULL,
            check=True,
        )
        after = resource.getrusage(resource.RUSAGE_CHILDREN)

        seconds = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
        print(
            f"cmrrecon report: {scans} scans with {len(METHODS)} methods, {FRAMES} frames of "
            f"{y} x {x}: {seconds:.1f} s CPU, {page.stat().st_size / 1e6:.1f} MB, "
            f"{after.ru_maxrss / 1024:.0f} MB of memory"
        )


if __name__ == "__main__":
    main()
