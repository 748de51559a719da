"""Compare inference on a whole series, as in `reconstruct --checkpoint`, with single windows.

Usage: python benchmarks/networks.py [NETWORK ...] [--device cpu|cuda] [--cascades N] [--frames N]

The networks have their official sizes and random weights. The input is a simulated cine with 12
frames, 10 coils and a matrix of 204 x 448. `naive` calls the network on one window of adjacent
frames at a time, as the official programs do; to save time, it does so for only two frames, after a
warm-up frame. Every row is measured in its own process.

Memory is the peak of the process beyond libraries, weights and input (on a GPU, the memory that
PyTorch allocated). `difference` is the largest deviation from `naive` divided by the largest pixel,
over every third pixel along y and x of these two frames. The PSNR is relative to the fully sampled
RSS image (protocol `fullfov`); with random weights it only shows the effect of precision. TFLOP
counts convolutions and matrix products for the whole series; `naive` includes the maps of all
frames of every window.
"""

import argparse
import json
import subprocess
import sys
import time
from typing import Any

import numpy as np
from engines import peak_mb, restart_peak
from records import ENVIRONMENT, THREADS

NAMES = ("promptmr", "promptmr-plus")
MODES = ("naive", "fp32", "bf16")
TARGET = "promptmr"
NAIVE_FRAMES = 2
FLOOR_NOTE = (
    "{}, lower bound: {:.3g} s per series at the {:.0f} GFLOP/s that a single convolution "
    "of this kind reaches on this machine in fp32"
)


def main() -> None:
    words = arguments()
    if words.mode:
        print(json.dumps(measure(words)))
        return
    device = words.device
    modes = (*MODES, "bf16 compiled") if device == "cuda" else MODES
    print(
        "| network | parameters | TFLOP | mode | s a frame | CPU s a frame | naive / this "
        "| memory MB | difference | PSNR dB |"
    )
    print("|---" * 10 + "|")
    notes: list[str] = []
    for name in words.networks or NAMES:
        rows: dict[str, dict[str, Any]] = {}
        for mode in modes:
            command = [
                sys.executable,
                __file__,
                name,
                "--device",
                device,
                "--frames",
                str(words.frames),
                "--cascades",
                str(words.cascades),
            ]
            done = subprocess.run(
                [*command, "--mode", mode],
                env=ENVIRONMENT,
                stdout=subprocess.PIPE,
                text=True,
                check=True,
            )
            rows[mode] = json.loads(done.stdout.splitlines()[-1])
            print(row(name, mode, rows), flush=True)
        notes.append(
            FLOOR_NOTE.format(
                name, rows["fp32"]["flop"] / rows["fp32"]["speed"], rows["fp32"]["speed"] / 1e9
            )
        )
        if name == TARGET and device == "cpu":
            notes += verdicts(rows)
    print("\n" + "\n".join(f"- {note}" for note in notes))


def verdicts(rows: dict[str, dict[str, Any]]) -> list[str]:
    """List the targets and whether they were met."""
    naive, fp32, bf16 = (rows[mode] for mode in MODES)
    aims = (
        (
            "at most half the time of naive",
            f"{fp32['seconds'] / naive['seconds']:.2f}",
            fp32["seconds"] <= 0.5 * naive["seconds"],
        ),
        (
            "differences of at most 1e-4",
            f"{difference(naive, fp32):.0e}",
            difference(naive, fp32) <= 1e-4,
        ),
        (
            "less than 2000 MB of memory",
            f"{fp32['extra_mb']:.0f} MB beyond libraries, weights and input",
            fp32["total_mb"] < 2000,
        ),
        (
            "bf16 at least 1.6 times as fast as fp32",
            f"{fp32['seconds'] / bf16['seconds']:.2f}",
            fp32["seconds"] >= 1.6 * bf16["seconds"],
        ),
        (
            "bf16 within 0.05 dB",
            f"{abs(bf16['psnr'] - fp32['psnr']):.3f} dB",
            abs(bf16["psnr"] - fp32["psnr"]) <= 0.05,
        ),
    )
    return [f"{TARGET}: {aim}: {figure}, {'met' if met else 'missed'}" for aim, figure, met in aims]


def difference(expected: dict[str, Any], got: dict[str, Any]) -> float:
    """Return the largest deviation divided by the largest pixel."""
    a, b = np.array(expected["probe"]), np.array(got["probe"])
    return float(np.abs(a - b).max() / a.max())


def row(name: str, mode: str, rows: dict[str, dict[str, Any]]) -> str:
    naive, this = rows["naive"], rows[mode]
    cells = [
        name,
        f"{this['parameters']:,}",
        f"{this['flop'] / 1e12:.3g}",
        mode,
        f"{this['seconds']:.2f}",
        f"{this['cpu']:.2f}",
        f"{naive['seconds'] / this['seconds']:.2f}x",
        f"{this['extra_mb']:.0f}",
        f"{difference(naive, this):.0e}",
        f"{this['psnr']:.3f}",
    ]
    return f"| {' | '.join(cells)} |"


def measure(words: argparse.Namespace) -> dict[str, Any]:
    """Measure one network in one mode, in this process."""
    import torch

    import cmrrecon
    from cmrrecon.classical.prepared import PreparedSeries
    from cmrrecon.evaluation.protocols import score
    from cmrrecon.methods.base import Weights
    from cmrrecon.methods.window_network import WindowNetworkMethod, acs_of
    from cmrrecon.networks.base import build_network
    from cmrrecon.networks.cost import speed
    from cmrrecon.operators.coils import rss_images

    torch.set_num_threads(THREADS)
    device = torch.device(words.device)
    full = cmrrecon.simulate(
        "cine", frames=words.frames, slices=1, coils=10, y=204, x=448, seed=0
    ).scan
    series = cmrrecon.undersample(full, "kt-gaussian", 8, seed=1).series(0).to(device)
    truth = rss_images(full.series(0).kspace)
    (name,) = words.networks
    torch.manual_seed(0)
    network = build_network(name, {"cascades": words.cascades} if words.cascades else {}).eval()
    method = WindowNetworkMethod(name, "random weights", network, Weights(""))
    precision = "fp32" if words.mode == "naive" else words.mode.split()[0]
    options = method.options({"precision": precision, "compile": "compiled" in words.mode})
    cost = method.predict(series, options)
    acs = acs_of(series, options)
    facts: dict[str, Any] = {
        "parameters": sum(p.numel() for p in network.parameters()),
        "flop": cost.flops,
    }
    if words.mode == "naive" and network.shares_maps:
        _, maps = method.costs(series, options)
        again = (network.frames - 1) * maps.flops
        facts["flop"] += words.frames * again
    facts["speed"] = speed(device, torch.float32)

    def run(count: int) -> torch.Tensor:
        if words.mode != "naive":
            return method.reconstruct(PreparedSeries(series), options).images.cpu()
        return torch.stack(
            [one_window(network.to(device), series, t, acs).cpu() for t in range(count)]
        )

    if words.mode == "naive":
        run(1)
        done = NAIVE_FRAMES
    else:
        method.ready(options, device)
        if device.type == "cuda":
            run(0)
        done = words.frames
    if device.type == "cuda":
        torch.cuda.reset_peak_memory_stats()
        held = torch.cuda.memory_allocated() / 2**20
    else:
        held = restart_peak()
    wall, cpu = time.perf_counter(), time.process_time()
    images = run(done)
    facts |= {
        "seconds": (time.perf_counter() - wall) / done,
        "cpu": (time.process_time() - cpu) / done,
    }
    facts["extra_mb"] = (
        torch.cuda.max_memory_allocated() / 2**20 if device.type == "cuda" else peak_mb()
    ) - held
    facts["total_mb"] = facts["extra_mb"] + held
    facts["psnr"] = score(
        images[:NAIVE_FRAMES, None], truth[:NAIVE_FRAMES, None], protocol="fullfov"
    ).psnr
    facts["probe"] = images[:NAIVE_FRAMES, ::3, ::3].tolist()
    return facts


def one_window(network: Any, series: Any, frame: int, acs: int) -> Any:
    import torch

    from cmrrecon.data import window

    rows = window(frame, series.frames, network.frames)
    mask = series.mask.over(series.frames)[rows]
    with torch.inference_mode():
        return network(series.kspace[None, rows], mask[None], acs).image[0]


def arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument(
        "networks", nargs="*", help=f"names of `cmrrecon models`; {', '.join(NAMES)} by default"
    )
    parser.add_argument("--device", default="cpu", help="cpu or cuda")
    parser.add_argument(
        "--cascades", type=int, default=0, help="number of cascades, if not the official one"
    )
    parser.add_argument("--frames", type=int, default=12)
    parser.add_argument("--mode", help=argparse.SUPPRESS)
    return parser.parse_args()


if __name__ == "__main__":
    main()
