"""The shipped network against classical methods whose weights were searched on the very case; see out-of-the-box.md.

Cases are made once in a work folder; every measurement is a line of `results.jsonl` there, so that a stopped run goes on.

python docs/experiments/out_of_the_box.py GROUP ... --tool make_semireal.py --data DATA --work WORK [--checkpoint FILE] [--shard I/N]
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
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
from matplotlib.image import imread
from numpy import corrcoef
from scipy.io import loadmat

sys.path.insert(0, str(Path(__file__).resolve().parents[2] / "benchmarks"))
from cases import write_cfl
from peers import ORACLE_CHOICE, PEERS, bart_words

from cmrrecon import formats
from cmrrecon.classical.problem import Coils, Problem
from cmrrecon.classical.refined_maps import refined
from cmrrecon.classical.wavelets import kt_wavelet
from cmrrecon.evaluation.mapping import compare_maps
from cmrrecon.evaluation.protocols import score
from cmrrecon.reconstruct.auto import fixed
from cmrrecon.reconstruct.learned import find_method, from_file
from cmrrecon.reconstruct.methods import METHODS, SINGLE_FRAME
from cmrrecon.reconstruct.shipped import NAME as NETWORK
from cmrrecon.sampling.apply import undersample
from cmrrecon.scan import Scan, Series, effective_acceleration
from cmrrecon.simulation.acquisition import acquire, coil_maps, noise_sigma
from cmrrecon.simulation.scans import simulate

PATTERNS = ("kt-gaussian 8", "kt-gaussian 16", "kt-gaussian 24", "kt-radial 8", "kt-radial 16", "kt-radial 24", "uniform 4", "uniform 8")
DEFAULT, REFINED = "kt-wavelet 0.01", "kt-wavelet, refined maps"
PATTERN_SEED, ACS = 1, 20
COILS, SNR_DB = 10, 30.0
# Of the measured frame: the heart (y, x), and the grey value from which pictures are saturated.
HEART, SATURATED = (slice(40, 125), slice(150, 280)), 253
P003_SLICES = range(1, 15)
TUNING_CENTRES, REPORTED_CENTRES = ("Center001", "Center002"), ("Center005", "Center006")
CLASSICAL = ("temporal-tv", "kt-wavelet", "llr", "low-rank-sparse", "sense")
# The weights of so many methods, those with the best defaults, are searched, in these steps.
SEARCHED, COARSE, FINE = 2, 2.0, math.sqrt(2)
Case = tuple[str, str, Callable[[], tuple[Scan, torch.Tensor]], str]


def cases(tool: Path, data: Path) -> Iterator[Case]:
    """Group, name, how the full scan and its truth (frame, y, x) are made, and the pattern with its acceleration."""
    for number, index in enumerate(P003_SLICES):
        yield "p003", f"P003 slice {index}", lambda z=index: semi_real(tool, data, "--slices", str(z)), PATTERNS[number % 8]  # type: ignore[misc]
    for group, centres in (("tuning", TUNING_CENTRES), ("centres", REPORTED_CENTRES)):
        found = [path for path in sorted((data / "CMRxRecon2025-cine-pictures").glob("*.npz")) if path.name.startswith(centres)]
        for number, path in enumerate(found):
            yield group, path.stem, lambda p=path: semi_real(tool, data, "--pictures", str(p)), PATTERNS[number % 8]  # type: ignore[misc]
    for kind in ("cine", "perfusion", "t1map"):
        for pattern in ("kt-gaussian 8", "uniform 4"):
            yield "phantom", f"phantom {kind}", lambda k=kind: phantom(k), pattern  # type: ignore[misc]
    for pattern in ("kt-gaussian 8", "uniform 4"):
        yield "rat", "rat cine", lambda: rat(data), pattern
        for when in ("pre", "post"):
            yield "t1", f"T1NET {when}contrast", lambda w=when: with_coils(t1_weighted(data, w)[0]), pattern  # type: ignore[misc]


def semi_real(tool: Path, data: Path, *words: str) -> tuple[Scan, torch.Tensor]:
    """What `make_semireal.py` makes."""
    with tempfile.TemporaryDirectory() as folder:
        subprocess.run([sys.executable, str(tool), folder, "--data", str(data), *words], check=True, stdout=subprocess.DEVNULL)
        path = next(path for path in Path(folder).rglob("*.mat") if "FullSample" in path.parts)
        scan = formats.read(path)
        truth = formats.read_images(path.with_name(f"{path.stem}_truth.npz"))[:, 0]
        return Scan.from_kspace(scan.read_slice(0)[:, None], scan.mask, scan.acquisition), truth


def phantom(kind: str) -> tuple[Scan, torch.Tensor]:
    """A kind of the phantom, which no network has seen."""
    made = simulate(kind, slices=1, seed=3)
    return made.scan, made.image[:, 0]


def rat(data: Path) -> tuple[Scan, torch.Tensor]:
    """Real magnitudes of a rat's heart."""
    return with_coils(torch.from_numpy(loadmat(data / "HGGM-LIM-rat-cine" / "dataCine8fr.mat")["image0"]).permute(2, 1, 0).float())


def with_coils(magnitude: torch.Tensor) -> tuple[Scan, torch.Tensor]:
    """Magnitudes (frame, y, x) with a modelled phase, seen by modelled coils with noise."""
    _, ny, nx = magnitude.shape
    y, x = torch.linspace(-1, 1, ny)[:, None], torch.linspace(-1, 1, nx)[None]
    phase = 1.2 * torch.sin(1.5 * y + 0.5) + 1.0 * torch.cos(2.0 * x - 0.7) + 0.6 * y * x
    truth = torch.polar(magnitude, phase.expand_as(magnitude).contiguous())
    kspace = acquire(truth, coil_maps(COILS, ny, nx, 0), noise_sigma(truth, SNR_DB), 0)
    return Scan.from_kspace(kspace[:, None], torch.ones((1, ny, 1), dtype=torch.bool)), truth


def t1_weighted(data: Path, when: str) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """Of T1NET's first subject the magnitudes (frame, y, x), the myocardium (y, x) and the times (frame,) in ms."""
    content = loadmat(data / f"gadluru-T1NET/{when}contrast_testsets.mat")["test"][0, 0]
    magnitude = torch.from_numpy(content["input"][0, 0].astype("float32")).permute(2, 0, 1)
    return magnitude, torch.from_numpy(content["myoMask"][0, 0] > 0), torch.from_numpy(content["TI"][0].astype("float64").ravel())


def t1_scores(case: Case, data: Path, images: torch.Tensor, truth: torch.Tensor) -> dict[str, float]:
    """T1 in the myocardium against that of the truth; nothing of other cases."""
    if case[0] != "t1":
        return {}
    _, wall, times = t1_weighted(data, case[1].split()[1].removesuffix("contrast"))
    found = compare_maps(images[:, None], truth[:, None], wall[None], times[:, None], "T1")
    return {"t1_rmse_ms": found.rmse, "t1_bias_ms": found.mean - found.reference_mean, "t1_ms": found.reference_mean}


def undersampled(case: Case, work: Path) -> tuple[Series, torch.Tensor]:
    """A case, normalised; made once."""
    _, name, make, pattern = case
    path = work / "cases" / f"{name} {pattern}.pt"
    if not path.exists():
        scan, truth = make()
        kind, factor = pattern.split()
        series = undersample(scan, kind, float(factor), acs=ACS, seed=PATTERN_SEED).series(0)
        scale = series.scale()
        path.parent.mkdir(parents=True, exist_ok=True)
        torch.save({"kspace": series.kspace / scale, "mask": series.mask, "truth": truth / scale}, path)
    kept = torch.load(path, weights_only=True)
    return Series(kept["kspace"], kept["mask"]), kept["truth"]


def scores(images: torch.Tensor, truth: torch.Tensor) -> dict[str, float]:
    """By protocol fullfov."""
    found = score(images.abs()[:, None], truth.abs()[:, None], protocol="fullfov").as_dict()
    return {key: float(found[key]) for key in ("psnr", "ssim", "nmse", "hfen")}


def measurements(work: Path, weights: str) -> list[dict[str, Any]]:
    """All that was measured in a work folder, with these weights or without any."""
    lines = [line for file in sorted(work.glob("results*.jsonl")) for line in file.read_text().splitlines()]
    records = list(map(json.loads, lines))
    return [record for record in records if record["engine"] not in (NETWORK, "auto") or record.get("weights") == weights]


def cpu_seconds() -> float:
    """Of this process and of those it started and that ended."""
    return sum(os.times()[:4])


class Measured:
    """Measurements in a file, by case and engine; those of other weights of the network do not count."""

    def __init__(self, path: Path, data: Path, weights: str) -> None:
        self.path, self.data, self.weights = path, data, weights
        path.parent.mkdir(parents=True, exist_ok=True)
        self.kept = {(record["case"], record["engine"]): record for record in measurements(path.parent, weights)}

    def measure(self, case: Case, engine: str, work: Callable[[], tuple[torch.Tensor, dict[str, Any]]], truth: torch.Tensor) -> Any:
        """The record of an engine on a case: kept, or of the images (and what else is to be kept) that `work` makes now."""
        key = (f"{case[1]} {case[3]}", engine)
        if key not in self.kept:
            started = cpu_seconds()
            images, more = work()
            record = {"group": case[0], "case": key[0], "engine": engine, "cpu_s": round(cpu_seconds() - started, 2)}
            record |= {"weights": self.weights} if engine in (NETWORK, "auto") else {}
            self.kept[key] = record | scores(images, truth) | t1_scores(case, self.data, images, truth) | more
            with self.path.open("a") as file:
                file.write(json.dumps(self.kept[key]) + "\n")
        return self.kept[key]


def classical(case: Case, series: Series, truth: torch.Tensor, measured: Measured) -> None:
    """Every method with its default weight, and the best of them with the best weight on this case."""
    problem = Problem.of(series, Coils.of(series))

    def run(name: str, weight: float) -> Any:
        def work() -> tuple[torch.Tensor, dict[str, Any]]:
            return problem.whole(METHODS[name].function()(problem, weight=weight).x), {"method": name, "weight": weight}

        return measured.measure(case, f"{name} {weight:.3g}", work, truth)

    defaults = {name: fixed(METHODS[name].function(), {})[0] for name in CLASSICAL}
    found = {name: run(name, weight)["psnr"] for name, weight in defaults.items()}
    for name in sorted(found, key=found.__getitem__)[-SEARCHED:]:
        uphill(lambda weight: run(name, weight)["psnr"], defaults[name])  # noqa: B023


def uphill(psnr: Callable[[float], float], weight: float) -> None:
    """Measure at ever better weights, until none is."""
    for step in (COARSE, FINE):
        best = psnr(weight)
        for ratio in (step, 1 / step):
            while (now := psnr(float(f"{weight * ratio:.3g}"))) > best:
                weight, best = float(f"{weight * ratio:.3g}"), now


def bart(case: Case, series: Series, truth: torch.Tensor, measured: Measured) -> None:
    """BART's best method on the cine, locally low rank, with our maps and the best weight on this case."""
    with tempfile.TemporaryDirectory() as folder:
        place = Path(folder)
        write_cfl(place / "kspace", series.kspace)
        write_cfl(place / "maps", Coils.of(series).measured)

        def run(weight: float) -> tuple[torch.Tensor, dict[str, Any]]:
            words = bart_words("llr", {**ORACLE_CHOICE["bart:llr"], "weight": weight})
            subprocess.run(["bart", "pics", *words, "kspace", "maps", "images"], cwd=place, check=True, stdout=subprocess.DEVNULL)
            images = torch.from_file(str(place / "images.cfl"), size=truth.numel(), dtype=torch.complex64)
            return images.reshape(truth.shape).clone(), {"method": "BART llr", "weight": weight}

        uphill(
            lambda weight: measured.measure(case, f"BART llr {weight:.3g}", lambda: run(weight), truth)["psnr"], PEERS["bart:llr"]["weight"]
        )


def refined_maps(case: Case, series: Series, truth: torch.Tensor, measured: Measured) -> None:
    """kt-wavelet with its default weight, with the maps of ESPIRiT and with refined ones."""

    def images(coils: Coils) -> torch.Tensor:
        problem = Problem.of(series, coils)
        return problem.whole(kt_wavelet(problem).x)

    coils = Coils.of(series)
    measured.measure(case, DEFAULT, lambda: (images(coils), {"method": "kt-wavelet", "weight": 0.01}), truth)
    measured.measure(case, REFINED, lambda: (images(refined(series, coils, 1.0)), {}), truth)


def main() -> None:
    """See the module."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("groups", nargs="*", help="p003, centres, tuning, phantom, rat, t1; or frame alone")
    parser.add_argument("--tool", type=Path)
    parser.add_argument("--data", type=Path)
    parser.add_argument("--work", type=Path, required=True)
    parser.add_argument("--checkpoint", type=Path, help="another network than the shipped one")
    parser.add_argument("--engines", nargs="+", default=["classical", "network", "auto"], help="and refined, bart")
    parser.add_argument("--shard", default="0/1")
    parser.add_argument("--table", action="store_true")
    asked = parser.parse_args()
    network = from_file(asked.checkpoint) if asked.checkpoint else find_method(NETWORK)
    if asked.table:
        table(measurements(asked.work, network.digest))
        return
    if asked.groups == ["frame"]:
        measured_frame(asked.data)
        return
    measured = Measured(
        asked.work / f"results{'' if asked.shard == '0/1' else '-' + asked.shard.replace('/', '-')}.jsonl", asked.data, network.digest
    )
    shard, shards = map(int, asked.shard.split("/"))
    chosen = [case for case in cases(asked.tool, asked.data) if case[0] in asked.groups]
    for case in chosen[shard::shards]:
        series, truth = undersampled(case, asked.work)
        effective = effective_acceleration(series.mask)
        if "classical" in asked.engines:
            classical(case, series, truth, measured)
        if "bart" in asked.engines:
            bart(case, series, truth, measured)
        if "refined" in asked.engines:
            refined_maps(case, series, truth, measured)
        if "network" in asked.engines:
            print(measured.measure(case, NETWORK, lambda: (network(series), {"effective": effective}), truth), flush=True)  # noqa: B023
        if "auto" in asked.engines:
            method = replace(METHODS["auto"], network=network.network if asked.checkpoint else None)

            def automatic() -> tuple[torch.Tensor, dict[str, Any]]:
                choice = method.choose(series)  # noqa: B023
                return method(series, choice=choice), {"choice": choice.as_dict()}  # noqa: B023

            measured.measure(case, "auto", automatic, truth)


def measured_frame(data: Path) -> None:
    """One measured frame: correlation of magnitudes with the picture of the same slice and frame, in the heart, without saturated pixels,
    and with what error hidden lines are predicted."""
    folder = data / "CMRxRecon2025-P003-pair"
    series = formats.read(folder / "underkslice.mat", axes="x,y,coil").series(0)
    picture = imread(folder / "reference_png" / "cine_sax_slice6_time1_mag.png")
    picture = (255 * picture.reshape(*picture.shape[:2], -1)[..., 0]).round().T[HEART]
    inside = picture < SATURATED
    choice = METHODS["auto"].choose(series)
    errors = {
        name: min((trial.error for trial in choice.trials if trial.method == name), default=math.nan) for name in (*SINGLE_FRAME, NETWORK)
    }
    print(f"auto chose {choice.method} at {choice.weight:g}, partner {choice.partner}; noise alone {choice.noise}")
    print("| method | correlation | error of hidden lines |\n|---|---|---|")
    for name in (*CLASSICAL, *SINGLE_FRAME, NETWORK, "auto"):
        image = find_method(name)(series)[0].abs().numpy()[HEART]
        print(f"| {name} | {corrcoef(image[inside], picture[inside])[0, 1]:.4f} | {errors.get(name, math.nan):.4f} |")


def t1_text(record: dict[str, Any]) -> str:
    """The T1 error of a record."""
    return f"{record['t1_rmse_ms']:.1f} ({record['t1_bias_ms']:+.1f})"


def score_text(record: dict[str, Any]) -> str:
    """The scores of a record."""
    return f"{record['psnr']:.2f}, {record['ssim']:.4f}, {record['hfen']:.4f}"


def table(records: Sequence[dict[str, Any]]) -> None:
    """Network and `auto` against the oracle, by group; T1 in the myocardium; and what refined maps alone change."""
    by_case: dict[str, list[Any]] = {}
    for record in records:
        by_case.setdefault(record["case"], []).append(record)
    print("| group | case | oracle | PSNR, SSIM, HFEN | network | auto |\n|---|---|---|---|---|---|")
    gains: dict[tuple[str, str], list[dict[str, float]]] = {}
    for case, found in by_case.items():
        oracle = max((record for record in found if "method" in record), key=lambda record: record["psnr"], default=None)
        if oracle is None:
            continue
        cells = []
        for engine in (NETWORK, "auto"):
            record = next((record for record in found if record["engine"] == engine), None)
            if record is None:
                cells.append("")
                continue
            gain = {key: record[key] - oracle[key] for key in ("psnr", "ssim", "hfen")}
            gains.setdefault((found[0]["group"], engine), []).append(gain)
            cells.append(f"{gain['psnr']:+.2f}, {gain['ssim']:+.4f}, {gain['hfen']:+.4f}")
        print(f"| {found[0]['group']} | {case} | {oracle['engine']} | {score_text(oracle)} | {' | '.join(cells)} |")
    print("\n| group | engine | cases | median gain PSNR, SSIM, HFEN | improved | worst |\n|---|---|---|---|---|---|")
    for (group, engine), each in gains.items():
        median = {key: statistics.median(gain[key] for gain in each) for key in each[0]}
        improved, worst = sum(gain["psnr"] > 0 for gain in each) / len(each), min(gain["psnr"] for gain in each)
        print(
            f"| {group} | {engine} | {len(each)} | {median['psnr']:+.2f}, {median['ssim']:+.4f}, {median['hfen']:+.4f} "
            f"| {improved:.0%} | {worst:+.2f} |"
        )
    print("\n| T1 | oracle in PSNR | network | auto: RMSE (bias) ms |\n|---|---|---|---|")
    for case, found in by_case.items():
        if "t1_rmse_ms" in found[0]:
            shown = [max((record for record in found if "method" in record), key=lambda record: record["psnr"], default=None)]
            shown += [next((record for record in found if record["engine"] == engine), None) for engine in (NETWORK, "auto")]
            print(f"| {case} | {' | '.join(t1_text(record) if record else '' for record in shown)} |")
    print("\n| kt-wavelet at its default | maps of ESPIRiT: PSNR, SSIM, HFEN | refined |\n|---|---|---|")
    for case, found in by_case.items():
        pair = [record for engine in (DEFAULT, REFINED) for record in found if record["engine"] == engine]
        if len(pair) == 2:
            print(f"| {case} | {' | '.join(score_text(record) for record in pair)} |")


if __name__ == "__main__":
    main()
