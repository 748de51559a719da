"""Compare ESPIRiT with SigPy and BART, and GRAPPA with pygrappa: time, CPU time and agreement.

Usage: python benchmarks/calibration.py [--rounds 5] [--seed 0]

BART and pygrappa are skipped if they are not installed. The engines take turns.

The input is a simulated cine with 12 frames, 10 coils and a matrix of 204 x 448. ESPIRiT runs on
its time average (kernel 6, the central 24 x 24 samples, eigenvalues cropped at 0.8; SigPy with 100
iterations, BART with the other defaults of `ecalib -m1 -r24`). "Series to maps" starts from the
series sampled with kt-uniform 8 and 24 calibration lines, as every method of the package does.
GRAPPA reconstructs one frame sampled with uniform 4 and 24 calibration lines, using a 5 x 5 kernel.

CPU time is user and system time with one thread; wall time is measured with two threads. BART is
measured as a whole process, including reading and writing in memory. NumPy's linear algebra always
uses one thread, because its threads spin while they wait, which made pygrappa five times slower on
a busy machine.
"""

import argparse
import os
import resource
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

os.environ.update(OPENBLAS_NUM_THREADS="1", OMP_WAIT_POLICY="PASSIVE")

import torch
from torch import Tensor

from cmrrecon import SamplingMask, simulate
from cmrrecon.classical.grappa import Interpolator
from cmrrecon.operators.coils import rss
from cmrrecon.operators.espirit import espirit
from cmrrecon.operators.fourier import centred, ifft2c
from cmrrecon.operators.sensitivity import calibration_data, estimate_maps
from cmrrecon.sampling import make_mask

ACS, CROP, KERNEL, WEIGHT = 24, 0.8, 5, 0.01


@dataclass
class Engine:
    """A function to measure, its times so far, and its last result."""

    name: str
    work: Callable[[], Tensor]
    wall: list[float] = field(default_factory=list)
    cpu: list[float] = field(default_factory=list)
    result: Tensor = field(default_factory=lambda: torch.empty(0))


def cpu_seconds() -> float:
    """Return the user and system time of this process and its finished children."""
    usages = (resource.getrusage(who) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN))
    return sum(usage.ru_utime + usage.ru_stime for usage in usages)


def measure(engines: list[Engine], rounds: int) -> None:
    """Run all engines in turn for the given number of rounds, with two threads and with one.

    A warm-up round beforehand does not count.
    """
    for turn in range(rounds + 1):
        for engine in engines:
            for threads in (2, 1):
                torch.set_num_threads(threads)
                os.environ["OMP_NUM_THREADS"] = str(threads)
                wall, cpu = time.perf_counter(), cpu_seconds()
                engine.result = engine.work()
                if turn:
                    spent = (time.perf_counter() - wall, cpu_seconds() - cpu)
                    (engine.wall if threads == 2 else engine.cpu).append(
                        spent[0] if threads == 2 else spent[1]
                    )


def table(
    title: str, engines: list[Engine], columns: list[str], facts: Callable[[Tensor], list[str]]
) -> None:
    """Print medians, median ratios to the first engine, and facts about the results."""
    print(f"\n| {title} | wall ms | CPU ms | wall ratio | CPU ratio | {' | '.join(columns)} |")
    print("|---" * (5 + len(columns)) + "|")
    for engine in engines:
        times = [f"{1e3 * statistics.median(values):.0f}" for values in (engine.wall, engine.cpu)]
        pairs = ((engine.wall, engines[0].wall), (engine.cpu, engines[0].cpu))
        ratios = [
            f"{statistics.median(a / b for a, b in zip(*pair, strict=True)):.1f}" for pair in pairs
        ]
        print(
            f"| {' | '.join([engine.name, *times, *ratios, *facts(engine.result)])} |", flush=True
        )


def sigpy_maps(average: Tensor) -> Tensor:
    from sigpy.mri.app import EspiritCalib

    app = EspiritCalib(
        average.numpy(), calib_width=ACS, kernel_width=6, crop=CROP, max_iter=100, show_pbar=False
    )
    return torch.from_numpy(app.run())


def bart_maps(average: Tensor, folder: Path) -> Tensor:
    import numpy as np

    coils, y, x = average.shape
    (folder / "k.hdr").write_text(f"# Dimensions\n{x} {y} 1 {coils}\n")
    average.numpy().tofile(folder / "k.cfl")
    words = ["bart", "ecalib", "-m1", f"-r{ACS}", f"-c{CROP}", "k", "maps"]
    subprocess.run(
        words, check=True, cwd=folder, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
    )
    maps: Any = np.fromfile(folder / "maps.cfl", np.complex64).reshape(coils, y, x)
    return torch.from_numpy(maps)


def pygrappa_kspace(frame: Tensor, block: Tensor) -> Tensor:
    from pygrappa import mdgrappa

    return torch.from_numpy(
        mdgrappa(
            frame.numpy(), block.numpy(), kernel_size=(KERNEL, KERNEL), coil_axis=0, lamda=WEIGHT
        )
    )


def compare_espirit(kspace: Tensor, rounds: int, folder: Path) -> None:
    frames, _, y, x = kspace.shape
    average = kspace.mean(0)
    block = average[:, centred(y, ACS), centred(x, ACS)]
    mask = SamplingMask.of(
        make_mask("kt-uniform", frames=frames, y=y, x=x, acceleration=8, acs=ACS)
    )
    series = kspace * mask.samples[:, None]
    engines = [
        Engine("cmrrecon", lambda: espirit(block, (y, x), crop=CROP)),
        Engine("cmrrecon, series to maps", lambda: estimate_maps(series, mask)),
        Engine("SigPy", lambda: sigpy_maps(average)),
    ]
    if shutil.which("bart"):
        engines.append(Engine("BART", lambda: bart_maps(average, folder)))
    else:
        print("BART is not installed and is skipped", file=sys.stderr)
    measure(engines, rounds)
    reference = engines[2].result
    known = rss(reference) > 0

    def facts(maps: Tensor) -> list[str]:
        support = rss(maps) > 0
        overlap = (maps.conj() * reference).sum(0).abs()[support & known]
        return [
            f"{overlap.median():.6f}",
            f"{overlap.quantile(0.01):.6f}",
            f"{int((support != known).sum())} of {int(known.sum())}",
        ]

    table(
        "ESPIRiT",
        engines,
        ["agreement with SigPy: median", "1st percentile", "support differs, pixels"],
        facts,
    )


def compare_grappa(kspace: Tensor, truth: Tensor, rounds: int) -> None:
    _, _, y, x = kspace.shape
    mask = SamplingMask.of(make_mask("uniform", frames=1, y=y, x=x, acceleration=4, acs=ACS))
    frame, measured = kspace[0] * mask.samples, mask.frame(0)[:, 0]
    block = calibration_data(frame[None], mask)
    engines = [Engine("cmrrecon", lambda: Interpolator(block, KERNEL, WEIGHT)(frame, measured))]
    try:
        import pygrappa  # noqa: F401
    except ImportError:
        print("pygrappa is not installed and is skipped", file=sys.stderr)
    else:
        engines.append(Engine("pygrappa.mdgrappa", lambda: pygrappa_kspace(frame, block)))
    measure(engines, rounds)
    references = [rss(ifft2c(kspace[0])), truth[0].abs()]

    def facts(filled: Tensor) -> list[str]:
        image = rss(ifft2c(filled))
        return [
            f"{float(10 * torch.log10(r.max() ** 2 / (image - r).square().mean())):.2f}"
            for r in references
        ]

    table("GRAPPA", engines, ["PSNR dB to fully sampled", "PSNR dB to noise-free"], facts)
    print(f"(zero-filled: {', '.join(facts(frame))} dB)")


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--seed", type=int, default=0)
    words = parser.parse_args()
    simulated = simulate("cine", slices=1, seed=words.seed)
    kspace = simulated.scan.series(0).kspace
    with tempfile.TemporaryDirectory(
        dir="/dev/shm" if Path("/dev/shm").is_dir() else None
    ) as folder:
        compare_espirit(kspace, words.rounds, Path(folder))
    compare_grappa(kspace, simulated.image[:, 0], words.rounds)


if __name__ == "__main__":
    main()
