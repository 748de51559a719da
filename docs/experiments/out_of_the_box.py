"""Compare the shipped network with classical methods whose weights were searched on each case.

See out-of-the-box.md. Cases are made once in a work folder; every measurement is a line of
`results.jsonl` there, so an interrupted run goes on.

python docs/experiments/out_of_the_box.py GROUP ... --tool make_semireal.py --data DATA --work WORK
    [--checkpoint FILE] [--shard I/N]
python docs/experiments/out_of_the_box.py --table --work WORK
"""

import argparse
import json
import math
import os
import subprocess
import sys
import tempfile
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
from matplotlib.image import imread
from numpy import corrcoef

sys.path.insert(0, str(Path(__file__).resolve().parents[2] / "benchmarks"))
from cases import write_cfl
from out_of_the_box_cases import Case, cases, measured_reference, t1_scores, undersampled
from out_of_the_box_tables import (
    ADAPTED,
    DEFAULT,
    REFINED,
    SEMI_REAL,
    WITHOUT,
    YARDSTICK,
    oracle,
    table,
)
from peers import ORACLE_CHOICE, PEERS, bart_words

from cmrrecon import Result, Scan, evaluate, read, reconstruct
from cmrrecon.classical.coils import Coils
from cmrrecon.classical.prepared import PreparedSeries
from cmrrecon.classical.problem import Problem
from cmrrecon.classical.refined_maps import refined
from cmrrecon.classical.wavelets import kt_wavelet
from cmrrecon.evaluation.protocols import PROTOCOLS, SERIES_PROTOCOLS
from cmrrecon.methods.auto import Auto
from cmrrecon.methods.base import Method
from cmrrecon.methods.registry import auto, find_method, from_checkpoint
from cmrrecon.methods.shipped import NAME as NETWORK
from cmrrecon.methods.shipped import shipped_file

# The number of steps for which the network is adapted to the scan.
ADAPT_STEPS = 40
OF_WEIGHTS = (NETWORK, "auto", ADAPTED)
# The references of scores.
TRUTH, RSS = "truth", "root-sum-of-squares"
# The heart (y, x) of the measured frame, and the grey value from which pictures are saturated.
HEART, SATURATED = (slice(40, 125), slice(150, 280)), 253
CLASSICAL = ("temporal-tv", "kt-wavelet", "llr", "low-rank-sparse", "sense")
# For how many methods (those with the best defaults) the weight is searched, and in which steps.
SEARCHED, COARSE, FINE = 2, 2.0, math.sqrt(2)


def scores(images: torch.Tensor, truth: torch.Tensor) -> dict[str, float]:
    """Score by protocol fullfov."""
    found = evaluate(images[:, None], truth[:, None]).as_dict()
    return {key: float(found[key]) for key in ("psnr", "ssim", "nmse", "hfen")}


def scores_by_protocol(
    case: Case, work: Path, images: torch.Tensor, truth: torch.Tensor
) -> dict[str, dict[str, float]]:
    """Score a cine by every protocol, against the truth and against fully sampled k-space."""
    references = {TRUTH: truth, RSS: measured_reference(case, work)}
    found = {
        f"{protocol}, {name}": evaluate(
            images[:, None], reference[:, None], protocol=protocol, base="cine_sax"
        )
        for protocol in PROTOCOLS
        for name, reference in references.items()
        if name == RSS or protocol in SERIES_PROTOCOLS
    }
    return {key: {"psnr": score.psnr, "ssim": score.ssim} for key, score in found.items()}


def measurements(work: Path, weights: str) -> list[dict[str, Any]]:
    """Return all measurements in a work folder with these weights, or with none."""
    lines = [
        line
        for file in sorted(work.glob("results*.jsonl"))
        for line in file.read_text().splitlines()
    ]
    records = list(map(json.loads, lines))
    return [
        record
        for record in records
        if record["engine"] not in OF_WEIGHTS or record.get("weights") == weights
    ]


def cpu_seconds() -> float:
    """Return CPU seconds of this process and its finished children."""
    return sum(os.times()[:4])


class Measured:
    """Measurements in a file, by case and engine; those of other network weights do not count."""

    def __init__(self, path: Path, data: Path, weights: str) -> None:
        self.path, self.data, self.weights = path, data, weights
        path.parent.mkdir(parents=True, exist_ok=True)
        self.kept = {
            (record["case"], record["engine"]): record
            for record in measurements(path.parent, weights)
        }

    def measure(
        self,
        case: Case,
        engine: str,
        solve: Callable[[], tuple[torch.Tensor, dict[str, Any]]],
        truth: torch.Tensor,
    ) -> Any:
        """Return the record of an engine on a case, from the file or by calling `solve`.

        `solve` returns the images and further facts to record.
        """
        key = (f"{case[1]} {case[3]}", engine)
        if key not in self.kept:
            started = cpu_seconds()
            images, more = solve()
            record = {
                "group": case[0],
                "case": key[0],
                "engine": engine,
                "cpu_s": round(cpu_seconds() - started, 2),
            }
            record |= {"weights": self.weights} if engine in OF_WEIGHTS else {}
            record |= scores(images, truth) | t1_scores(case, self.data, images, truth) | more
            if engine in ("auto", YARDSTICK) and case[0] in SEMI_REAL:
                work = self.path.parent
                record["protocols"] = scores_by_protocol(case, work, images, truth)
            self.kept[key] = record
            with self.path.open("a") as file:
                file.write(json.dumps(self.kept[key]) + "\n")
        return self.kept[key]


def prepared(scan: Scan) -> PreparedSeries:
    """Return the slice of a case, which is normalised already."""
    return PreparedSeries(scan.series(0), scale=1.0)


def classical(case: Case, scan: Scan, truth: torch.Tensor, measured: Measured) -> None:
    """Measure every method with its default weight, and the best ones with their best weight.

    The best weight is searched on this case.
    """
    series = prepared(scan)
    problem = Problem.of(series, series.coils().first)
    solvers = {name: find_method(name).solver for name in CLASSICAL}

    def run(name: str, weight: float) -> Any:
        def work() -> tuple[torch.Tensor, dict[str, Any]]:
            solver = solvers[name]
            images = problem.whole(solver(problem, weight, solver.iterations).x)
            return images, {"method": name, "weight": weight}

        return measured.measure(case, f"{name} {weight:.3g}", work, truth)

    found = {name: run(name, solver.weight)["psnr"] for name, solver in solvers.items()}
    for name in sorted(found, key=found.__getitem__)[-SEARCHED:]:
        uphill(lambda weight: run(name, weight)["psnr"], solvers[name].weight)  # noqa: B023


def yardstick(case: Case, scan: Scan, truth: torch.Tensor, measured: Measured) -> None:
    """Repeat the oracle of a case that was measured before, to score it by every protocol."""
    records = [r for (name, _), r in measured.kept.items() if name == f"{case[1]} {case[3]}"]
    best = oracle(records)
    assert best is not None, f"measure the classical engine on {case[1]} first"

    def solve() -> tuple[torch.Tensor, dict[str, Any]]:
        series, solver = prepared(scan), find_method(best["method"]).solver
        problem = Problem.of(series, series.coils().first)
        return problem.whole(solver(problem, best["weight"], solver.iterations).x), {}

    measured.measure(case, YARDSTICK, solve, truth)


def uphill(psnr: Callable[[float], float], weight: float) -> None:
    """Measure at better and better weights, until none is better."""
    for step in (COARSE, FINE):
        best = psnr(weight)
        for ratio in (step, 1 / step):
            while (now := psnr(float(f"{weight * ratio:.3g}"))) > best:
                weight, best = float(f"{weight * ratio:.3g}"), now


def bart(case: Case, scan: Scan, truth: torch.Tensor, measured: Measured) -> None:
    """Measure BART's best method on the cine, locally low rank, with our maps and its best
    weight."""
    with tempfile.TemporaryDirectory() as folder:
        place, series = Path(folder), prepared(scan)
        write_cfl(place / "kspace", series.kspace)
        write_cfl(place / "maps", series.coils().measured)

        def run(weight: float) -> tuple[torch.Tensor, dict[str, Any]]:
            words = bart_words("llr", {**ORACLE_CHOICE["bart:llr"], "weight": weight})
            subprocess.run(
                ["bart", "pics", *words, "kspace", "maps", "images"],
                cwd=place,
                check=True,
                stdout=subprocess.DEVNULL,
            )
            images = torch.from_file(
                str(place / "images.cfl"), size=truth.numel(), dtype=torch.complex64
            )
            return images.reshape(truth.shape).clone(), {"method": "BART llr", "weight": weight}

        uphill(
            lambda weight: measured.measure(
                case, f"BART llr {weight:.3g}", lambda: run(weight), truth
            )["psnr"],
            PEERS["bart:llr"]["weight"],
        )


def refined_maps(case: Case, scan: Scan, truth: torch.Tensor, measured: Measured) -> None:
    """Measure kt-wavelet with its default weight, with ESPIRiT maps and with refined ones."""
    series = prepared(scan)

    def images(coils: Coils) -> torch.Tensor:
        problem = Problem.of(series, coils)
        return problem.whole(kt_wavelet(problem).x)

    coils = series.coils()
    measured.measure(
        case, DEFAULT, lambda: (images(coils), {"method": "kt-wavelet", "weight": 0.01}), truth
    )
    measured.measure(case, REFINED, lambda: (images(refined(series, coils)), {}), truth)


def run_on(scan: Scan, method: Method, **settings: Any) -> Result:
    """Run a method on a scan on the CPU and measure its time."""
    return reconstruct(scan, method, device="cpu", **settings)


def automatic(scan: Scan, method: Auto) -> tuple[torch.Tensor, dict[str, Any]]:
    """Return images (frame, y, x) of a method that chooses, and its choice."""
    result = run_on(scan, method)
    assert result.decision is not None
    return result.slices[0], {"choice": result.decision.as_dict()}


def without_network(scan: Scan) -> tuple[torch.Tensor, dict[str, Any]]:
    """Return images of what `auto` would choose without the network."""
    return automatic(scan, replace(auto(), trained=None))


def adapted(scan: Scan, network: Method) -> tuple[torch.Tensor, dict[str, Any]]:
    """Return images of the network after `--adapt`, and the record of the adaptation."""
    result = run_on(scan, network, adapt=ADAPT_STEPS)
    facts = result.provenance["adapted"]
    return result.slices[0], {key: facts[key] for key in ("steps", "before", "after")}


def main() -> None:
    """Measure the requested groups, or print the tables."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument(
        "groups", nargs="*", help="p003, centres, tuning, phantom, rat, t1; or frame alone"
    )
    parser.add_argument("--tool", type=Path)
    parser.add_argument("--data", type=Path)
    parser.add_argument("--work", type=Path, required=True)
    parser.add_argument("--checkpoint", type=Path, help="another network than the shipped one")
    parser.add_argument(
        "--engines",
        nargs="+",
        default=["classical", "network", "auto"],
        help="and yardstick, without, adapted, refined, bart",
    )
    parser.add_argument("--shard", default="0/1")
    parser.add_argument("--table", action="store_true")
    asked = parser.parse_args()
    network = from_checkpoint(asked.checkpoint or shipped_file())
    default = auto()
    if asked.checkpoint:
        default = default.adaptable(default.options()).adopt(network.trained)
    digest = network.weights().digest
    if asked.table:
        table(measurements(asked.work, digest))
        return
    if asked.groups == ["frame"]:
        measured_frame(asked.data, network, default)
        return
    part = "" if asked.shard == "0/1" else "-" + asked.shard.replace("/", "-")
    measured = Measured(asked.work / f"results{part}.jsonl", asked.data, digest)
    shard, shards = map(int, asked.shard.split("/"))
    chosen = [case for case in cases(asked.tool, asked.data) if case[0] in asked.groups]
    for case in chosen[shard::shards]:
        one_case(case, asked, measured, network, default)


def one_case(
    case: Case, asked: argparse.Namespace, measured: Measured, network: Method, default: Auto
) -> None:
    """Run the requested engines on a case."""
    scan, truth = undersampled(case, asked.work)
    effective = scan.series(0).mask.effective_acceleration()
    if "classical" in asked.engines:
        classical(case, scan, truth, measured)
    if "yardstick" in asked.engines:
        yardstick(case, scan, truth, measured)
    if "bart" in asked.engines:
        bart(case, scan, truth, measured)
    if "refined" in asked.engines:
        refined_maps(case, scan, truth, measured)
    if "network" in asked.engines:
        print(
            measured.measure(
                case,
                NETWORK,
                lambda: (run_on(scan, network).slices[0], {"effective": effective}),
                truth,
            ),
            flush=True,
        )
    if "without" in asked.engines:
        measured.measure(case, WITHOUT, lambda: without_network(scan), truth)
    if "adapted" in asked.engines:
        print(measured.measure(case, ADAPTED, lambda: adapted(scan, network), truth), flush=True)
    if "auto" in asked.engines:
        measured.measure(case, "auto", lambda: automatic(scan, default), truth)


def measured_frame(data: Path, network: Method, default: Auto) -> None:
    """Measure one real frame.

    Reports the correlation of magnitudes with the picture of the same slice and frame, in the heart
    and without saturated pixels, and the error on hold-out lines.
    """
    folder = data / "CMRxRecon2025-P003-pair"
    scan = read(folder / "underkslice.mat", axes="x,y,coil")
    picture = imread(folder / "reference_png" / "cine_sax_slice6_time1_mag.png")
    picture = (255 * picture.reshape(*picture.shape[:2], -1)[..., 0]).round().T[HEART]
    inside = picture < SATURATED
    single = [method.name for method in default.single_frame]
    methods = {name: find_method(name) for name in (*CLASSICAL, *single)} | {
        NETWORK: network,
        "auto": default,
    }
    results = {name: run_on(scan, method) for name, method in methods.items()}
    decision = results["auto"].decision
    assert decision is not None
    errors = {}
    for trial in decision.trials:
        errors[trial.method] = min(trial.error, errors.get(trial.method, math.inf))
    print(
        f"auto chose {decision.method} at {decision.weight:g}, partner {decision.partner}; "
        f"noise alone {decision.noise}"
    )
    print("| method | correlation | error of hidden lines |\n|---|---|---|")
    for name, result in results.items():
        image = result.slices[0][0].abs().numpy()[HEART]
        print(
            f"| {name} | {corrcoef(image[inside], picture[inside])[0, 1]:.4f} "
            f"| {errors.get(name, math.nan):.4f} |"
        )


if __name__ == "__main__":
    main()
