"""Run one engine on one case in its own process and print time, memory and scores as JSON.

An engine is PROGRAM:METHOD, where the program is

- `cmrrecon:` a method of the package. It starts from the k-space alone and estimates its own coil
  maps. Unless settings are passed, it also chooses them, which takes `choosing` s of the time.
- `cmrrecon-solver:` a method of the package that uses the coil maps of the case.
- `sigpy:` or `bart:` a method of peers.py, which uses the coil maps of the case.

Time is measured for the reconstruction only; a small reconstruction beforehand loads the libraries.
For BART, time is measured for the whole process, including reading and writing. Memory is the peak
during the reconstruction minus the memory in use before it (libraries, input); for BART it is the
peak of the process minus its input.

Usage: python benchmarks/engines.py CASE_FOLDER ENGINE OPTIONS_AS_JSON
"""

import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import cases
import peers

WARM_SIDE, WARM_FRAMES = 48, 3
# Takes k-space, mask and maps as NumPy arrays; returns images (frame, y, x) and the chosen
# settings.
Engine = Callable[[Any, Any, Any], tuple[Any, dict[str, Any]]]


@dataclass(frozen=True)
class Cost:
    """Wall time and CPU time in s, and additional memory in MB."""

    seconds: float
    cpu: float
    extra_mb: float


def run(folder: Path, engine: str, options: dict[str, Any]) -> tuple[Any, Cost, dict[str, Any]]:
    """Run an engine; return images (frame, y, x), their cost, and the chosen settings."""
    program, _, method = engine.partition(":")
    if program == "bart":
        return *run_bart(folder, method, options), {}
    import numpy as np
    import torch

    torch.set_num_threads(int(os.environ.get("OMP_NUM_THREADS", "2")))
    case = cases.load(folder)
    kspace = np.fromfile(folder / "kspace.cfl", np.complex64).reshape(case.shape)
    maps = np.fromfile(folder / "maps.cfl", np.complex64).reshape(case.shape[1:])
    mask = np.load(folder / "mask.npy")
    reconstruct = {"cmrrecon": ours, "cmrrecon-solver": our_solver, "sigpy": with_sigpy}[program](
        method, options
    )
    reconstruct(*centre(kspace, mask, maps))
    held = restart_peak()
    wall, cpu = time.perf_counter(), time.process_time()
    images, chosen = reconstruct(kspace, mask, maps)
    cost = Cost(time.perf_counter() - wall, time.process_time() - cpu, peak_mb() - held)
    return images, cost, chosen


def ours(name: str, given: dict[str, Any]) -> Engine:
    """Load the method once, because network weights count as libraries."""
    from cmrrecon.classical.prepared import PreparedSeries
    from cmrrecon.methods.registry import find_method

    method = find_method(name)
    options = method.options(given)

    def run(kspace: Any, mask: Any, maps: Any) -> tuple[Any, dict[str, Any]]:
        prepared = PreparedSeries(series_of(kspace, mask))
        start = time.perf_counter()
        decision = method.decide(prepared, options)
        seconds = time.perf_counter() - start
        images = method.reconstruct(prepared, options, decision).images
        return images, {} if decision is None else {**facts_of(decision), "choosing": seconds}

    return run


def facts_of(decision: Any) -> dict[str, Any]:
    """Return the chosen settings for the record."""
    name, partner = decision.method, decision.partner
    if partner is not None:
        name += f" + {decision.share:.0%} {partner.method}"
    return {"method": name, "weight": decision.weight, "iterations": decision.iterations}


def our_solver(name: str, options: dict[str, Any]) -> Engine:
    """Return an engine that uses the case's maps, as the peers do, to compare only solvers."""
    import torch

    from cmrrecon.classical.coils import Coils
    from cmrrecon.classical.prepared import PreparedSeries
    from cmrrecon.classical.problem import Problem
    from cmrrecon.methods.registry import find_method

    method = find_method(name)

    def run(kspace: Any, mask: Any, maps: Any) -> tuple[Any, dict[str, Any]]:
        given = torch.from_numpy(maps)
        seen = given.abs().amax((0, 1)).nonzero().flatten()
        coils = Coils(given, given, slice(int(seen[0]), int(seen[-1]) + 1))
        # Cases are already normalised.
        problem = Problem.of(PreparedSeries(series_of(kspace, mask), scale=1.0), coils)
        return problem.whole(method.function(problem, **options).x), {}

    return run


def series_of(kspace: Any, mask: Any) -> Any:
    """Make a series from NumPy arrays."""
    import torch

    from cmrrecon import SamplingMask, Series

    return Series(torch.from_numpy(kspace), SamplingMask.of(torch.from_numpy(mask)))


def with_sigpy(method: str, options: dict[str, Any]) -> Engine:
    import torch

    def run(kspace: Any, mask: Any, maps: Any) -> tuple[Any, dict[str, Any]]:
        return torch.from_numpy(peers.sigpy_images(method, kspace, mask, maps, options)), {}

    return run


def centre(kspace: Any, mask: Any, maps: Any) -> tuple[Any, Any, Any]:
    """Cut out the middle of k-space of a few frames, a small problem that loads all libraries."""
    y, x = (slice(n // 2 - WARM_SIDE // 2, n // 2 + WARM_SIDE // 2) for n in maps.shape[1:])
    few = slice(0, WARM_FRAMES)
    small = mask[few, y, x if mask.shape[2] > 1 else slice(None)]
    return kspace[few, :, y, x].copy(), small.copy(), maps[:, y, x].copy()


def restart_peak() -> float:
    """Reset the peak resident memory to the current value, and return this value in MB."""
    Path("/proc/self/clear_refs").write_text("5")
    return peak_mb()


def peak_mb() -> float:
    line = next(
        line
        for line in Path("/proc/self/status").read_text().splitlines()
        if line.startswith("VmHWM")
    )
    return int(line.split()[1]) / 1024


def run_bart(folder: Path, method: str, options: dict[str, Any]) -> tuple[Any, Cost]:
    """Run BART in its own process, started while this one is small.

    Linux includes a parent's memory in the peak of its child.
    """
    shape = cases.load(folder).shape
    with tempfile.TemporaryDirectory(dir="/dev/shm") as place:
        words = [
            "bart",
            "pics",
            *peers.bart_words(method, options),
            str(folder / "kspace"),
            str(folder / "maps"),
            f"{place}/images",
        ]
        start = time.perf_counter()
        process = subprocess.Popen(words, stdout=subprocess.DEVNULL)
        _, status, usage = os.wait4(process.pid, 0)
        seconds = time.perf_counter() - start
        if os.waitstatus_to_exitcode(status) != 0:
            raise SystemExit(f"failed: {' '.join(words)}")
        cost = Cost(
            seconds,
            usage.ru_utime + usage.ru_stime,
            usage.ru_maxrss / 1024 - cases.load(folder).input_mb,
        )
        import numpy as np
        import torch

        images = np.fromfile(f"{place}/images.cfl", np.complex64).reshape(shape[0], *shape[2:])
    return torch.from_numpy(images), cost


def scores(images: Any, folder: Path) -> dict[str, float]:
    """Score by protocol `fullfov` against the noise-free truth.

    `..._unsaturated` leaves out pixels where the truth is at least 0.99 of its maximum.
    """
    import numpy as np
    import torch

    from cmrrecon.evaluation.protocols import score

    truth = torch.from_numpy(np.load(folder / "truth.npy"))[:, None]
    heart = cases.load(folder).heart
    all_pixels, rest = (
        score(images[:, None], truth, protocol="fullfov", heart=heart, exclude_saturated=flag)
        for flag in (False, True)
    )
    return {
        "psnr": all_pixels.psnr,
        "heart_psnr": all_pixels.heart_psnr or 0.0,
        "ssim": all_pixels.ssim,
        "nmse": all_pixels.nmse,
        "psnr_unsaturated": rest.psnr,
        "heart_psnr_unsaturated": rest.heart_psnr or 0.0,
    }


def main() -> None:
    folder, engine, options = Path(sys.argv[1]), sys.argv[2], json.loads(sys.argv[3])
    images, cost, chosen = run(folder, engine, options)
    print(json.dumps({**asdict(cost), **chosen, **scores(images, folder)}))


if __name__ == "__main__":
    main()
