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

vSHARP and SDUM are compared with the plain forward passes of `naive_networks`, in a table of their
own: one thread, after a small image, with memory reuse as in the program, and the cascades and
frames of the row. SDUM sees each frame in a window of five. Memory is what follows on weights,
libraries, input and its scale. `predicted` are the figures of `--dry-run`, divided by those
measured.
"""

import argparse
import ctypes
import inspect
import json
import subprocess
import sys
import time
from typing import Any
from unittest import mock

import numpy as np
from engines import peak_mb, restart_peak
from records import ENVIRONMENT, THREADS

NAMES = ("promptmr", "promptmr-plus")
# The cascades and frames of the networks that are compared with plain forward passes.
PLAIN = {"vsharp": (12, 1), "vsharp-3d": (2, 12), "sdum": (1, 1)}
# The matrix of a first reconstruction, which loads the libraries.
WARM = (64, 96)
PLAIN_HEADER = (
    "| network | parameters | cascades | frames | naive CPU s | CPU s | ratio | naive MB | MB "
    "| ratio | difference | predicted s | predicted MB |"
)
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
        plain = words.networks[0] in PLAIN
        print(json.dumps(measure_plain(words) if plain else measure(words)))
        return
    names = words.networks or (*NAMES, *PLAIN)
    notes: list[str] = []
    if windowed := [name for name in names if name not in PLAIN]:
        notes += compare_windows(windowed, words)
    if plain := [name for name in names if name in PLAIN]:
        notes += compare_plain(plain, words)
    print("\n" + "\n".join(f"- {note}" for note in notes))


def compare_windows(names: list[str], words: argparse.Namespace) -> list[str]:
    """Print the table of networks that share work between windows; return notes."""
    device = words.device
    modes = (*MODES, "bf16 compiled") if device == "cuda" else MODES
    print(
        "| network | parameters | TFLOP | mode | s a frame | CPU s a frame | naive / this "
        "| memory MB | difference | PSNR dB |"
    )
    print("|---" * 10 + "|")
    notes: list[str] = []
    for name in names:
        rows: dict[str, dict[str, Any]] = {}
        for mode in modes:
            rows[mode] = measured(name, mode, words)
            print(row(name, mode, rows), flush=True)
        notes.append(
            FLOOR_NOTE.format(
                name, rows["fp32"]["flop"] / rows["fp32"]["speed"], rows["fp32"]["speed"] / 1e9
            )
        )
        if name == TARGET and device == "cpu":
            notes += verdicts(rows)
    return notes


def compare_plain(names: list[str], words: argparse.Namespace) -> list[str]:
    """Print the table of networks that have a plain forward pass; return notes."""
    print(f"\n{PLAIN_HEADER}")
    print("|---" * PLAIN_HEADER.count(" |") + "|")
    notes = []
    for name in names:
        naive, ours = (measured(name, mode, words) for mode in ("naive", "fp32"))
        time_ratio, memory = ours["cpu"] / naive["cpu"], ours["extra_mb"] / naive["extra_mb"]
        cells = [
            name,
            f"{ours['parameters']:,}",
            f"{ours['cascades']} of {ours['published']}",
            str(ours["frames"]),
            f"{naive['cpu']:.1f}",
            f"{ours['cpu']:.1f}",
            f"{time_ratio:.2f}",
            f"{naive['extra_mb']:.0f}",
            f"{ours['extra_mb']:.0f}",
            f"{memory:.2f}",
            f"{difference(naive, ours):.0e}",
            *(f"{ours[f'predicted_{of}'] / ours[of]:.2f}" for of in ("cpu", "extra_mb")),
        ]
        print(f"| {' | '.join(cells)} |", flush=True)

        aims = {"at most half the memory of naive": memory <= 0.5, "no slower": time_ratio <= 1}
        aims |= {
            f"predicted {label} within 25 %": abs(ours[f"predicted_{of}"] / ours[of] - 1) <= 0.25
            for label, of in (("time", "cpu"), ("memory", "extra_mb"))
        }
        notes += [f"{name}: {aim}: {'met' if met else 'missed'}" for aim, met in aims.items()]
    return notes


def measured(name: str, mode: str, words: argparse.Namespace) -> dict[str, Any]:
    """Measure one network in one mode, in a process of its own."""
    cascades, frames = PLAIN.get(name, (0, 12))
    command = [sys.executable, __file__, name, "--device", words.device, "--mode", mode]
    command += ["--frames", str(words.frames or frames)]
    command += ["--cascades", str(words.cascades or cascades)]
    done = subprocess.run(command, env=ENVIRONMENT, stdout=subprocess.PIPE, text=True, check=True)
    result: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    return result


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


def measure_plain(words: argparse.Namespace) -> dict[str, Any]:
    """Measure a network that has a plain forward pass, on a CPU, in this process."""
    import naive_networks
    import torch

    import cmrrecon
    from cmrrecon.classical.prepared import PreparedSeries
    from cmrrecon.cli.environment import return_freed_memory, reuse_freed_memory
    from cmrrecon.methods.base import Weights
    from cmrrecon.methods.labelled_network import LabelledNetworkMethod, labels_of
    from cmrrecon.methods.series_network import SeriesNetworkMethod
    from cmrrecon.methods.window_network import WindowNetworkMethod
    from cmrrecon.networks.base import build_network
    from cmrrecon.networks.labelled import Labels

    torch.set_num_threads(1)
    return_freed_memory()
    (name,) = words.networks
    torch.manual_seed(0)
    network = build_network(name, {"cascades": words.cascades}).eval()
    reuse_freed_memory()
    kind = {"sdum": LabelledNetworkMethod, "vsharp-3d": SeriesNetworkMethod}.get(
        name, WindowNetworkMethod
    )
    method = kind(name, "random weights", network, Weights(""))

    def simulated(coils: int, y: int, x: int) -> Any:
        size = {"slices": 1, "coils": coils, "y": y, "x": x}
        full = cmrrecon.simulate("cine", frames=words.frames, **size, seed=0).scan
        return cmrrecon.undersample(full, "kt-gaussian", 8, seed=1).series(0)

    series, small = simulated(10, 204, 448), simulated(2, *WARM)
    options = method.options({"modality": "Cine"} if name == "sdum" else {})
    labels = labels_of(series, options) if name == "sdum" else Labels()
    facts: dict[str, Any] = {
        "parameters": sum(p.numel() for p in network.parameters()),
        "cascades": words.cascades,
        "published": inspect.signature(type(network)).parameters["cascades"].default,
        "frames": words.frames,
    }

    def run(prepared: Any) -> torch.Tensor:
        if words.mode != "naive":
            return method.reconstruct(prepared, options).images
        series = prepared.series
        mask = series.mask.over(series.frames)
        with torch.inference_mode():
            if name == "vsharp-3d":
                return naive_networks.forward(network, series.kspace[None], mask[None], labels)
            rows = [network.window(t, series.frames) for t in range(series.frames)]
            return torch.cat([
                naive_networks.forward(network, series.kspace[None, r], mask[None, r], labels)
                for r in rows
            ])  # fmt: skip

    if words.mode != "naive":
        # With one thread, CPU time is the time on a machine without other work.
        with mock.patch("time.perf_counter", time.process_time):
            cost = method.predict(series, options)
        facts |= {"predicted_cpu": cost.seconds, "predicted_extra_mb": cost.nbytes / 2**20}
    run(PreparedSeries(small))
    prepared = PreparedSeries(series)
    ctypes.CDLL(None).malloc_trim(0)
    held, start = restart_peak(), time.process_time()
    images = run(prepared)
    facts["cpu"] = time.process_time() - start
    facts["extra_mb"] = peak_mb() - held
    facts["probe"] = images[:, ::3, ::3].tolist()
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
    parser.add_argument("--frames", type=int, default=0, help="number of frames; 12 by default")
    parser.add_argument("--mode", help=argparse.SUPPRESS)
    return parser.parse_args()


if __name__ == "__main__":
    main()
