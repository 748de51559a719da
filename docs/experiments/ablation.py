"""Measure what each ingredient of kt-unrolled is worth, at an equal and small budget.

Every variant is trained from the same seed on the same random scans in the same order, with the
losses and the optimiser of the recipe. All of them are scored by protocol fullfov on random scans
that none was trained on, and on the semi-real tuning cases of out_of_the_box.py. Coil maps and
starting solutions are computed once per scan, kept in the work folder and shared by all variants.

The program may be killed at any time; the same command goes on. A work folder belongs to one build
and one set of numbers (--scans, --passes, --held, --cases, --channels).

python docs/experiments/ablation.py --work WORK [--tool make_semireal.py --data DATA] [--shard I/N]
python docs/experiments/ablation.py --work WORK --table
"""

import argparse
import json
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import torch
from ablation_scans import ESPIRIT, FIRST, LINES, RANDOM, REFINED, SAMPLES, SECOND, Kept, Store
from torch import Tensor

from cmrrecon.evaluation.generalisation import interval
from cmrrecon.evaluation.protocols import score
from cmrrecon.losses.ssim import psnr_loss, ssim_loss
from cmrrecon.networks import kt_unrolled
from cmrrecon.networks.kt_unrolled import KtUnrolled
from cmrrecon.networks.layers import safe_root
from cmrrecon.networks.problem_facts import FACTS
from cmrrecon.training import checkpoint
from cmrrecon.training.distributed import ALONE
from cmrrecon.training.plan import make_plan
from cmrrecon.training.recipe import Recipe, load
from cmrrecon.training.state import Run
from cmrrecon.training.validation import PROTOCOL

# A seed that the shipped weights did not use. The learning rate falls PERIODS - 1 times.
SEED, FACTOR, PERIODS = 101, 0.4, 4
SAVE_EVERY = 20
CPU = torch.device("cpu")
FULL = "full"


@dataclass(frozen=True)
class Variant:
    """A network that lacks one ingredient.

    Attributes
    ----------
    change : callable
        Applied to the network after it was built.
    maps : str
        The kind of coil maps in training and test.
    channels : float
        The number of channels, relative to the full network.
    cascades : int or None
        The number of unrolled steps; None for that of the full network.
    trained : bool
        Whether it is trained.
    """

    change: Callable[[KtUnrolled], Any] = field(default=lambda network: None)
    maps: str = REFINED
    channels: float = 1.0
    cascades: int | None = None
    trained: bool = True


def without_facts(network: KtUnrolled) -> None:
    """Remove the facts of the scan from the context of the regulariser; the step stays."""

    def hook(_: Any, seen: tuple[Tensor, Tensor]) -> tuple[Tensor, Tensor]:
        images, known = seen
        return images, torch.cat([torch.zeros_like(known[:FACTS]), known[FACTS:]])

    network.unet.register_forward_pre_hook(hook)


def with_constant_weight(network: KtUnrolled) -> None:
    """Make the weight of data consistency one learnt number, the same in every scan and step."""
    network.weight.register_forward_pre_hook(lambda _, seen: (torch.zeros_like(seen[0]),))


def without_second_solution(network: KtUnrolled) -> None:
    """Remove s_2, the last two channels, from the input; it still determines e."""

    def hook(_: Any, seen: tuple[Tensor, Tensor]) -> tuple[Tensor, Tensor]:
        images, known = seen
        return torch.cat([images[:, :-2], torch.zeros_like(images[:, -2:])], 1), known

    network.unet.register_forward_pre_hook(hook)


VARIANTS = {
    FULL: Variant(),
    "no conditioning": Variant(without_facts),
    "no weighted data consistency": Variant(with_constant_weight),
    "no second solution": Variant(without_second_solution),
    "ESPIRiT maps": Variant(maps=ESPIRIT),
    "half channels": Variant(channels=0.5),
    "one step": Variant(cascades=1),
    "three steps": Variant(cascades=3),
    "no training": Variant(trained=False),
    "no training, ESPIRiT maps": Variant(maps=ESPIRIT, trained=False),
}


def magnitudes(network: torch.nn.Module, kept: Kept, maps: str) -> Tensor:
    """Return the magnitudes (frame, y, x') of a scan after the last step of the network."""
    problem = kept.problems[maps]
    assert isinstance(network, KtUnrolled)
    *_, x = network.steps(problem)

    image = safe_root(torch.view_as_real(x).square().sum(-1))
    return problem.whole(image) if kept.group in (LINES, SAMPLES) else image


def trained(name: str, asked: argparse.Namespace, recipe: Recipe, store: Store) -> Run:
    """Train a variant, or continue to; return the run at its end."""
    variant, scans = VARIANTS[name], store.names(training=True)
    total = len(scans) * asked.passes if variant.trained else 0
    path = asked.work / "states" / f"{name}.pt"

    settings = {"channels": round(asked.channels * variant.channels)}
    if variant.cascades is not None:
        settings["cascades"] = variant.cascades
    recipe = replace(recipe, network={**recipe.network, **settings})
    run = Run(recipe, CPU, ALONE, make_plan(recipe, [], CPU))
    for network in (run.network, run.shipped()):
        assert isinstance(network, KtUnrolled)
        variant.change(network)
    if path.exists():
        run.restore(checkpoint.load(path))

    started, first = time.perf_counter(), run.step
    while run.step < total:
        kept = store[scans[run.step % len(scans)]]
        run.epoch = run.step * PERIODS // total
        run.set_rate()
        loss = one_step(run, kept, variant.maps)

        if run.step % SAVE_EVERY == 0 or run.step == total:
            checkpoint.save(path, run.state())
            pace = (run.step - first) / (time.perf_counter() - started)
            print(f"{name}: {run.step} of {total}, loss {loss:.3f}, {pace:.2f} /s", flush=True)
    return run


def one_step(run: Run, kept: Kept, maps: str) -> float:
    """Train on one scan with the losses of the recipe; return the loss."""
    with torch.autocast("cpu", torch.bfloat16, enabled=run.plan.precision == "bf16"):
        image = magnitudes(run.network, kept, maps)

    limit = kept.truth.amax().expand(len(image))
    loss = psnr_loss(image, kept.truth) + ssim_loss(image, kept.truth, limit)
    loss.backward()  # type: ignore[no-untyped-call]
    run.update()
    return float(loss.detach())


def used_weights(run: Run) -> int:
    """Return the number of weights that ever had a gradient."""
    state = run.optimisers[0].state.values()
    return sum(int((moments["exp_avg_sq"] != 0).sum()) for moments in state)


def scored(name: str, run: Run, store: Store, done: set[str]) -> Iterator[dict[str, Any]]:
    """Score a variant on every scan that it was not trained on and not scored on yet."""
    network, weights = run.shipped().eval(), used_weights(run)
    for case in store.names(training=False):
        if case in done:
            continue
        kept = store[case]
        with torch.no_grad():
            image = magnitudes(network, kept, VARIANTS[name].maps)

        found = score(image[:, None], kept.truth[:, None], protocol=PROTOCOL)
        place = {"variant": name, "case": case, "group": kept.group, "weights": weights}
        yield {**place, "steps": run.step, "psnr": found.psnr, "ssim": found.ssim}


def complete_lines(path: Path) -> list[str]:
    """Return the lines of a file, without the incomplete last one of a killed run."""
    return path.read_text().rpartition("\n")[0].splitlines() if path.exists() else []


def results(work: Path) -> list[dict[str, Any]]:
    """Return all scores in a work folder."""
    paths = sorted(work.glob("results*.jsonl"))
    return [json.loads(line) for path in paths for line in complete_lines(path)]


def table(records: Sequence[dict[str, Any]]) -> None:
    """Print the means by group, and the paired differences to the full network."""
    scores = {(record["variant"], record["case"]): record for record in records}
    groups = [
        group for group in (RANDOM, LINES, SAMPLES) if any(group in r.values() for r in records)
    ]
    heads = [f"{group}: PSNR dB, SSIM | difference to {FULL} [95 %]" for group in groups]
    print(f"| variant | trained weights | {' | '.join(heads)} |\n|{'---|' * (2 + 2 * len(groups))}")

    for name in VARIANTS:
        own = [record for record in scores.values() if record["variant"] == name]
        cells = []
        for group in groups:
            pairs = [
                (record, scores[FULL, record["case"]])
                for record in own
                if record["group"] == group and (FULL, record["case"]) in scores
            ]
            cells += cells_of(pairs) if pairs else ["", ""]
        if own:
            print(f"| {name} | {own[0]['weights']:,} | {' | '.join(cells)} |")

    counts = {group: len({r["case"] for r in records if r["group"] == group}) for group in groups}
    print(f"\nScans: {counts}; steps: {max(record['steps'] for record in records)}.")


def cells_of(pairs: Sequence[tuple[dict[str, Any], dict[str, Any]]]) -> list[str]:
    """Format the mean scores of a variant and its differences to the full network."""
    means, differences = [], []
    for metric, digits in (("psnr", 2), ("ssim", 4)):
        means.append(f"{interval([own[metric] for own, _ in pairs])['mean']:.{digits}f}")
        found = interval([own[metric] - full[metric] for own, full in pairs])
        ends = f"{found['low']:+.{digits}f}, {found['high']:+.{digits}f}"
        differences.append(f"{found['mean']:+.{digits}f} [{ends}]")
    return [", ".join(means), "; ".join(differences)]


def main() -> None:
    """Prepare, train and score the share of this process, or print the table."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--work", type=Path, required=True)
    parser.add_argument("--tool", type=Path)
    parser.add_argument("--data", type=Path, help="without it, random scans only")
    parser.add_argument("--scans", type=int, default=300, help="random scans to train on")
    parser.add_argument("--passes", type=int, default=2, help="how often each is used")
    parser.add_argument("--held", type=int, default=64, help="random scans to score")
    parser.add_argument("--cases", type=int, default=16, help="semi-real cases to score")
    parser.add_argument("--channels", type=int, default=64)
    parser.add_argument("--shard", default="0/1")
    parser.add_argument("--table", action="store_true")
    asked = parser.parse_args()
    if asked.table:
        table(results(asked.work))
        return

    torch.set_num_threads(1)
    recipe = load("kt-unrolled", [f"optimiser.factor={FACTOR}", f"schedule.seed={SEED}"])
    store = Store(asked, recipe.data, SEED)
    shard, shards = map(int, asked.shard.split("/"))
    # Scans that another process has not prepared yet are prepared here when they are needed.
    for name in [*store.making][shard::shards]:
        _ = store[name]

    # From here on, the network uses the solutions that were kept.
    kt_unrolled.starts = lambda problem: (problem.solutions[FIRST], problem.solutions[SECOND])
    path = asked.work / f"results-{shard}-{shards}.jsonl"
    path.write_text("".join(f"{line}\n" for line in complete_lines(path)))
    with path.open("a", buffering=1) as file:
        for name in [*VARIANTS][shard::shards]:
            done = {record["case"] for record in results(asked.work) if record["variant"] == name}
            for record in scored(name, trained(name, asked, recipe, store), store, done):
                file.write(json.dumps(record) + "\n")


if __name__ == "__main__":
    main()
