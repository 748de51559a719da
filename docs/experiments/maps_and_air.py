"""What coil maps and the haze in air change, on tuning cases; see out-of-the-box.md.

All images are those of kt-wavelet, 20 steps from the still image. Prints two tables: PSNR and
error energy inside the maps with ESPIRiT maps, refined maps, two sets of maps and true maps; and
SSIM with empty air, with haze, and with maps that are not cropped.

python docs/experiments/maps_and_air.py --tool make_semireal.py --data DATA
"""

import argparse
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple
from unittest import mock

import numpy as np
import torch
from out_of_the_box_cases import ACS, PATTERN_SEED

from cmrrecon import Scan, evaluate, read, simulate, undersample
from cmrrecon.classical.air import with_air
from cmrrecon.classical.coils import Coils, calibration_samples
from cmrrecon.classical.measured_coils import coil_average, measured_images
from cmrrecon.classical.prepared import PreparedSeries
from cmrrecon.classical.refined_maps import refined
from cmrrecon.classical.still import started
from cmrrecon.classical.wavelets import kt_wavelet
from cmrrecon.operators import espirit
from cmrrecon.operators.coils import rss, unit

STEPS = 20
# Pictures, pattern with R, and whether coil maps are measured or simulated.
CASES = (
    ("Center001__P001__cine_lax_3ch", "kt-gaussian 8", "measured"),
    ("Center002_UIH_30T_umr880__P001__cine_lax_2ch", "kt-gaussian 16", "measured"),
    ("Center002_Siemens_30T_CIMA.X__P002__cine_lax", "uniform 8", "measured"),
    ("Center002_UIH_30T_umr880__P001__cine_lvot", "kt-radial 16", "measured"),
    ("Center002_UIH_30T_umr880__P002__cine_sax", "kt-radial 8", "simulated"),
    ("Center002_UIH_30T_umr880__P002__cine_lax_3ch", "uniform 8", "simulated"),
)
PHANTOMS = (("cine", "kt-radial 8"), ("t1map", "uniform 4"))


class Case(NamedTuple):
    """A prepared series, its truth (frame, y, x), and its true maps (coil, y, x), if known."""

    name: str
    prepared: PreparedSeries
    truth: torch.Tensor
    maps: torch.Tensor | None


def cases(tool: Path, data: Path) -> Iterator[Case]:
    """Make the cases one by one."""
    for stem, pattern, maps in CASES:
        pictures = data / "CMRxRecon2025-cine-pictures" / f"{stem}.npz"
        words = (folder := tempfile.mkdtemp(), "--data", data, "--pictures", pictures)
        command = [sys.executable, tool, *words, "--maps", maps]
        subprocess.run(command, check=True, stdout=subprocess.DEVNULL)
        path = next(Path(folder).rglob("*.mat"))
        known = np.load(path.with_name(f"{path.stem}_truth.npz"))
        truth, true_maps = (torch.from_numpy(known[name]) for name in ("image", "maps"))
        yield case(f"{stem} {pattern}, {maps} maps", read(path), pattern, truth[:, 0], true_maps)
    for kind, pattern in PHANTOMS:
        made = simulate(kind, slices=1, seed=3)
        yield case(f"phantom {kind} {pattern}", made.scan, pattern, made.image[:, 0], None)


def case(
    name: str, scan: Scan, pattern: str, truth: torch.Tensor, maps: torch.Tensor | None
) -> Case:
    """Undersample a scan."""
    kind, factor = pattern.split()
    sampled = undersample(scan, kind, float(factor), acs=ACS, seed=PATTERN_SEED)
    return Case(name, PreparedSeries(sampled.series(0)), truth, maps)


def whole(maps: torch.Tensor) -> Coils:
    """Return coils with one set of maps that covers all pixels."""
    maps = unit(maps.to(torch.complex64))
    return Coils(maps, maps, slice(0, maps.shape[-1]))


def images(one: Case, coils: Coils, *, haze: bool) -> torch.Tensor:
    """Reconstruct with the given maps, with empty air or with haze."""
    prepared = one.prepared
    problem = started(prepared, coils)
    x = problem.whole(kt_wavelet(problem, iterations=STEPS).x) * prepared.scale
    found = measured_images(x, coils, None)
    seen, outside = coil_average(x, coils)
    filled = with_air(prepared, seen, outside, found)
    return filled if haze else torch.where(outside, 0, found)


def score(one: Case, found: torch.Tensor) -> dict[str, float]:
    """Score by protocol fullfov."""
    return evaluate(found[:, None], one.truth[:, None]).as_dict()


def error_inside(one: Case, found: torch.Tensor, inside: torch.Tensor) -> float:
    """Compute the error energy inside the maps, relative to the truth, with the best scale."""
    found, truth = found.abs(), one.truth.abs()
    scale = (found * truth).sum() / found.square().sum()
    return float((scale * found - truth)[:, inside].square().sum() / truth.square().sum())


def main() -> None:
    """Print both tables."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--tool", type=Path, required=True)
    parser.add_argument("--data", type=Path, required=True)
    asked = parser.parse_args()
    maps_rows, air_rows = [], []

    for one in cases(asked.tool, asked.data):
        first = one.prepared.coils().first
        inside = rss(first.measured) > 0
        # The second set is used here wherever there is one, not only where the body folds over.
        with mock.patch.multiple(espirit, FOLDED_AREA=0.0, FOLDED=0.0):
            both = PreparedSeries(one.prepared.series).coils()

        choices = [first, refined(one.prepared, first), both]
        choices += [] if one.maps is None else [whole(one.maps)]
        cells = []
        for coils in choices:
            found = images(one, coils, haze=True)
            cells.append(f"{score(one, found)['psnr']:.2f}, {error_inside(one, found, inside):.4f}")
        maps_rows.append(f"| {one.name} | {' | '.join(cells)} |")

        calibration = calibration_samples(one.prepared.series)
        uncropped = espirit.espirit(calibration, one.prepared.series.image_shape, crop=0.0)
        airs = [images(one, choices[1], haze=haze) for haze in (False, True)]
        airs.append(images(one, whole(uncropped), haze=True))
        ssim = " | ".join(f"{score(one, found)['ssim']:.3f}" for found in airs)
        air_rows.append(f"| {one.name} | {float((~inside).float().mean()):.0%} | {ssim} |")

    print("| case | ESPIRiT: PSNR dB, error inside | refined | two sets | true maps |")
    print("| --- | --- | --- | --- | --- |", *maps_rows, sep="\n")
    print("\n| case | outside the maps | SSIM with empty air | haze | maps not cropped |")
    print("| --- | --- | --- | --- | --- |", *air_rows, sep="\n")


if __name__ == "__main__":
    main()
