"""Compare the network with `auto` without it where all frames have the same lines.

Also shows what hold-out lines reveal about both; see out-of-the-box.md. Uses tuning cases only:
pictures of Center001 and Center002 at half their resolution, phantoms, and random scans that were
not used in training.

python docs/experiments/same_lines.py --tool make_semireal.py --data DATA
"""

import argparse
from collections.abc import Iterator
from pathlib import Path

import torch
from out_of_the_box import WITHOUT, run_on, scores, without_network
from out_of_the_box_cases import TUNING_CENTRES, semi_real

from cmrrecon import LineMask, Scan, simulate, undersample
from cmrrecon.methods.registry import find_method
from cmrrecon.methods.shipped import NAME as NETWORK
from cmrrecon.simulation.random_scans import random_scan

SEED, ACS = 7, 16
PHANTOM = {"slices": 1, "frames": 8, "coils": 6, "y": 96, "x": 112, "seed": 11}
RANDOM_SEED, RANDOM_SCANS = 777, range(41)


def cases(tool: Path, data: Path) -> Iterator[tuple[str, Scan, torch.Tensor]]:
    """Yield name, scan of one slice with the same lines in all frames, and truth (frame, y, x)."""

    def uniform(scan: Scan, acceleration: float) -> Scan:
        return undersample(scan, "uniform", acceleration, acs=ACS, seed=SEED)

    found = [
        path
        for path in sorted((data / "CMRxRecon2025-cine-pictures").glob("*.npz"))
        if path.name.startswith(TUNING_CENTRES)
    ]
    for number, path in enumerate(found):
        acceleration = (4, 6, 8)[number % 3]
        scan, truth = semi_real(tool, data, "--pictures", str(path), "--shrink", "2")
        yield f"{path.stem} uniform {acceleration}", uniform(scan, acceleration), truth
    for kind in ("cine", "t1map", "perfusion"):
        for acceleration in (4, 6):
            made = simulate(kind, **PHANTOM)
            yield (
                f"phantom {kind} uniform {acceleration}",
                uniform(made.scan, acceleration),
                made.image[:, 0],
            )
    for number in RANDOM_SCANS:
        made = random_scan(RANDOM_SEED, number)
        series, mask = made.series, made.series.mask
        if series.frames > 2 and isinstance(mask, LineMask) and not mask.varies:
            yield (
                f"random scan {number}",
                Scan.from_kspace(series.kspace[:, None], mask),
                made.truth,
            )


def main() -> None:
    """Print one row a case."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--tool", type=Path, required=True)
    parser.add_argument("--data", type=Path, required=True)
    asked = parser.parse_args()
    network, auto = find_method(NETWORK), find_method("auto")
    print(
        "| case | error of hold-out lines: without the network, with it, noise alone "
        f"| {WITHOUT}: PSNR dB (fullfov) "
        "| gain dB: network | halfway | auto |"
    )
    print("|---|---|---|---|---|---|")
    for name, scan, truth in cases(asked.tool, asked.data):

        def psnr(images: torch.Tensor) -> float:
            return scores(images, truth)["psnr"]  # noqa: B023

        chosen = run_on(scan, auto)
        decision = chosen.decision
        of_network = decision and decision.best(lambda method: method == NETWORK)
        if not of_network:
            continue
        images, more = without_network(scan)
        learned = run_on(scan, network).slices[0]
        without = psnr(images)
        others = (learned, images.lerp(learned, 0.5), chosen.slices[0])
        noise = "unknown" if decision.noise is None else f"{decision.noise:.3f}"
        print(
            f"| {name} | {more['choice']['error']:.3f}, {of_network.error:.3f}, {noise} "
            f"| {without:.2f} "
            f"| {' | '.join(f'{psnr(other) - without:+.2f}' for other in others)} |",
            flush=True,
        )


if __name__ == "__main__":
    main()
