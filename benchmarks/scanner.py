"""Measure how much more real scans cost than plain ones.

Usage: python benchmarks/scanner.py [RUNS]

A simulated series of 12 frames is reconstructed with `sense`: as it is, with a noise scan (coils
are whitened), with the middle lines averaged twice (lines get weights), and with both, in turn.
ESPIRiT maps are computed with and without searching for a second set (fold-over). Weight and
iterations are fixed, so that all reconstructions take the same steps. The output is a JSON record
with median CPU seconds, using one thread, and their ratios.
"""

import json
import statistics
import sys
import time
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import torch

import cmrrecon
from cmrrecon.classical.coils import calibration_samples
from cmrrecon.classical.prepared import PreparedSeries
from cmrrecon.data import Noise, Scan
from cmrrecon.methods.registry import find_method
from cmrrecon.operators.coils import virtual_coils
from cmrrecon.operators.espirit import espirit

OPTIONS = {"weight": 0.003, "iterations": 20}


def scans() -> dict[str, Scan]:
    """Return a scan with and without noise scan and averages."""
    made = cmrrecon.simulate(slices=1)
    plain = cmrrecon.undersample(made.scan, "kt-uniform", 4)
    coils, y = plain.shape[2], plain.shape[3]
    noise = Noise(torch.eye(coils, dtype=torch.complex64) * 1e-6, 4096)
    counts = torch.ones((1, y, 1))
    counts[:, y // 4 : 3 * y // 4] = 2
    weighted = replace(plain.mask, averages=counts)
    return {
        "plain": plain,
        "noise scan": replace(plain, noise=noise),
        "averages": replace(plain, mask=weighted),
        "both": replace(plain, mask=weighted, noise=noise),
    }


def sense(scan: Scan) -> Callable[[], Any]:
    method, series = find_method("sense"), scan.series(0)
    options = method.options(OPTIONS)
    return lambda: method.reconstruct(PreparedSeries(series), options)


def maps(scan: Scan, sets: int) -> Callable[[], Any]:
    series = scan.series(0)
    block = calibration_samples(series)
    few = torch.einsum("vc,cyx->vyx", virtual_coils([block]), block)
    return lambda: espirit(few, series.image_shape, sets=sets)


def main() -> None:
    runs = int(sys.argv[1]) if len(sys.argv) > 1 else 7
    torch.set_num_threads(1)
    known = scans()
    tasks = {f"sense, {name}": sense(scan) for name, scan in known.items()}
    tasks |= {f"maps, {sets} sets": maps(known["plain"], sets) for sets in (1, 2)}
    spent: dict[str, list[float]] = {name: [] for name in tasks}
    for task in tasks.values():
        task()
    for _ in range(runs):
        for name, task in tasks.items():
            start = time.process_time()
            task()
            spent[name].append(time.process_time() - start)
    cpu = {name: statistics.median(times) for name, times in spent.items()}
    first = {
        name: cpu[f"{name.split(',')[0]}, {'plain' if 'sense' in name else '1 sets'}"]
        for name in cpu
    }
    extra = cpu["maps, 2 sets"] - cpu["maps, 1 sets"]
    record = {
        "cpu_s": {name: round(seconds, 4) for name, seconds in cpu.items()},
        "ratio": {name: round(seconds / first[name], 3) for name, seconds in cpu.items()},
        "second_set_over_sense": round(extra / cpu["sense, plain"], 4),
        "runs": runs,
    }
    print(json.dumps(record, indent=1))


if __name__ == "__main__":
    main()
