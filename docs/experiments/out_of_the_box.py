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
import statistics
import subprocess
import sys
import tempfile
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
from matplotlib.image import imread
from numpy import corrcoef

sys.path.insert(0, str(Path(__file__).resolve().parents[2] / "benchmarks"))
from cases import write_cfl
from out_of_the_box_cases import Case, cases, t1_scores, undersampled
from peers import ORACLE_CHOICE, PEERS, bart_words

from cmrrecon import Result, Scan, evaluate, read, reconstruct
from cmrrecon.classical.coils import Coils
from cmrrecon.classical.prepared import PreparedSeries
from cmrrecon.classical.problem import Problem
from cmrrecon.classical.refined_maps import refined
from cmrrecon.classical.wavelets import kt_wavelet
from cmrrecon.methods.auto import Auto
from cmrrecon.methods.base import Method
from cmrrecon.methods.registry import auto, find_method, from_checkpoint
from cmrrecon.methods.shipped import NAME as NETWORK
from cmrrecon.methods.shipped import shipped_file

DEFAULT, REFINED = "kt-wavelet 0.01", "kt-wavelet, refined maps"
# `auto` without the network, and the network after this many steps on the scan itself.
WITHOUT, ADAPTED, ADAPT_STEPS = "auto without network", "kt-unrolled adapted", 40
OF_WEIGHTS = (NETWORK, "auto", ADAPTED)
# The heart (y, x) of the measured frame, and the grey value from which pictures are saturated.
HEART, SATURATED = (slice(40, 125), slice(150, 280)), 253
CLASSICAL = ("temporal-tv", "kt-wavelet", "llr", "low-rank-sparse", "sense")
# For how many methods (those with the best defaults) the weight is searched, and in which steps.
SEARCHED, COARSE, FINE = 2, 2.0, math.sqrt(2)


def scores(images: torch.Tensor, truth: torch.Tensor) -> dict[str, float]:
    """Score by protocol fullfov."""
    found = evaluate(images[:, None], truth[:, None]).as_dict()
    return {key: float(found[key]) for key in ("psnr", "ssim", "nmse", "hfen")}


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
        work: Callable[[], tuple[torch.Tensor, dict[str, Any]]],
        truth: torch.Tensor,
    ) -> Any:
        """Return the record of an engine on a case, from the file or by calling `work`.

        `work` returns the images and further facts to record.
        """
        key = (f"{case[1]} {case[3]}", engine)
        if key not in self.kept:
            started = cpu_seconds()
            images, more = work()
            record = {
                "group": case[0],
                "case": key[0],
                "engine": engine,
                "cpu_s": round(cpu_seconds() - started, 2),
            }
            record |= {"weights": self.weights} if engine in OF_WEIGHTS else {}
            self.kept[key] = (
                record | scores(images, truth) | t1_scores(case, self.data, images, truth) | more
            )
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
    problem = Problem.of(series, series.coils())
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
        help="and without, adapted, refined, bart",
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


def t1_text(record: dict[str, Any]) -> str:
    """Format the T1 error of a record."""
    return f"{record['t1_rmse_ms']:.1f} ({record['t1_bias_ms']:+.1f})"


def score_text(record: dict[str, Any]) -> str:
    """Format the scores of a record."""
    return f"{record['psnr']:.2f}, {record['ssim']:.4f}, {record['hfen']:.4f}"


def table(records: Sequence[dict[str, Any]]) -> None:
    """Print the network and `auto`, also without the network, against the oracle.

    Further tables show what adaptation and refined maps change, and T1 in the myocardium.
    """
    by_case: dict[str, list[Any]] = {}
    for record in records:
        by_case.setdefault(record["case"], []).append(record)
    measured = {record["engine"] for record in records}
    titles = {NETWORK: "network", WITHOUT: WITHOUT, "auto": "auto"}
    engines = [engine for engine in titles if engine in measured]
    print(
        f"| group | case | oracle | PSNR, SSIM, HFEN | {' | '.join(titles[e] for e in engines)} |\n"
        f"|{'---|' * (4 + len(engines))}"
    )
    gains: dict[tuple[str, str], list[dict[str, float]]] = {}
    for case, found in by_case.items():
        oracle = max(
            (record for record in found if "method" in record),
            key=lambda record: record["psnr"],
            default=None,
        )
        if oracle is None:
            continue
        cells = []
        for engine in engines:
            record = next((record for record in found if record["engine"] == engine), None)
            if record is None:
                cells.append("")
                continue
            gain = {key: record[key] - oracle[key] for key in ("psnr", "ssim", "hfen")}
            gains.setdefault((found[0]["group"], engine), []).append(gain)
            cells.append(f"{gain['psnr']:+.2f}, {gain['ssim']:+.4f}, {gain['hfen']:+.4f}")
        print(
            f"| {found[0]['group']} | {case} | {oracle['engine']} | {score_text(oracle)} "
            f"| {' | '.join(cells)} |"
        )
    print(
        "\n| group | engine | cases | median gain PSNR, SSIM, HFEN | improved | worst |\n"
        "|---|---|---|---|---|---|"
    )
    for (group, engine), each in gains.items():
        median = {key: statistics.median(gain[key] for gain in each) for key in each[0]}
        improved, worst = (
            sum(gain["psnr"] > 0 for gain in each) / len(each),
            min(gain["psnr"] for gain in each),
        )
        print(
            f"| {group} | {engine} | {len(each)} "
            f"| {median['psnr']:+.2f}, {median['ssim']:+.4f}, {median['hfen']:+.4f} "
            f"| {improved:.0%} | {worst:+.2f} |"
        )
    for title, engines in (
        ("PSNR, SSIM, HFEN | network | adapted", (NETWORK, ADAPTED)),
        (
            "kt-wavelet with its default weight: PSNR, SSIM, HFEN | ESPIRiT maps | refined maps",
            (DEFAULT, REFINED),
        ),
    ):
        print(f"\n| {title} |\n|{'---|' * (1 + len(engines))}")
        for case, found in by_case.items():
            shown = [
                next((record for record in found if record["engine"] == engine), None)
                for engine in engines
            ]
            if all(shown):
                print(
                    f"| {case} | {' | '.join(score_text(record) for record in shown if record)} |"
                )
    print("\n| T1 | oracle in PSNR | network | auto: RMSE (bias) ms |\n|---|---|---|---|")
    for case, found in by_case.items():
        if "t1_rmse_ms" in found[0]:
            shown = [
                max(
                    (record for record in found if "method" in record),
                    key=lambda record: record["psnr"],
                    default=None,
                )
            ]
            shown += [
                next((record for record in found if record["engine"] == engine), None)
                for engine in (NETWORK, "auto")
            ]
            print(
                f"| {case} | {' | '.join(t1_text(record) if record else '' for record in shown)} |"
            )


if __name__ == "__main__":
    main()
