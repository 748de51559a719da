"""Find out why GENRE-CMR trails PromptMR: change one thing at a time, at a small fixed budget.

All runs train on subject P001 of the five domains of trial.py, and are scored on subject P002 of
four of them (the fifth has a single subject besides its test subject). Test subjects and the unseen
domain are not used. Budgets were fixed before the first run: 600 windows. Three such runs showed a
difference of more than 3 dB, so 300 windows are enough for the others.

    python docs/experiments/why_genre.py make_semireal.py --data DATA --work WORK
        [--windows 600] [--runs NAME ...]

Every run leaves its scores in WORK/why and is not repeated, so the same command goes on after a
stop. The table is printed at the end.
"""

import argparse
import json
import statistics
import time
from pathlib import Path
from typing import Any

import torch
from trial import BUDGET, OPTIMISER, SIZES, cmrrecon, make_data

from cmrrecon.networks.checkpoints.weights import load
from cmrrecon.training import recipe as recipes
from cmrrecon.training.dataset import Windows
from cmrrecon.training.entries import read_entries
from cmrrecon.training.validation import validate

TRAINED, HELD, FRAMES = "P001", "P002", (1, 4, 7, 10)
WINDOWS, EPOCHS = (300, 600), 12
# Three quarters of the windows are strips of 64 columns, the rest is whole. The maps are those of
# the middle frame; weights are averaged.
CHEAP = [
    f"schedule.epochs={EPOCHS}",
    "schedule.average=0.95",
    "schedule.maps=middle",
    "optimiser.step=12",
    *OPTIMISER,
    "data.columns=64",
    "data.whole_from=9",
]
# The loss of PromptMR, for GENRE-CMR's network.
PLAIN = [
    "losses.weighting=sum",
    "losses.stages=last",
    "losses.kspace.weight=0",
    "losses.ear.weight=0",
    "losses.sda.weight=0",
    "losses.adversarial.weight=0",
]
# Name -> recipe, and what is changed.
CHANGES: dict[str, tuple[str, list[str]]] = {
    "promptmr": ("promptmr", []),
    "genre-cmr": ("genre-cmr", []),
    "loss of PromptMR": ("genre-cmr", PLAIN),
    "loss of the last cascade alone": ("genre-cmr", ["losses.stages=last"]),
    "plain sum of the losses": ("genre-cmr", ["losses.weighting=sum"]),
    "no adversarial loss": ("genre-cmr", ["losses.adversarial.weight=0"]),
    "no SDA": ("genre-cmr", ["losses.sda.weight=0"]),
    "no magnitude and phase fidelity": ("genre-cmr", ["losses.kspace.weight=0"]),
    "losses rising with the cascades": ("genre-cmr", ["losses.stages=rising"]),
    "no adversarial loss, no SDA": (
        "genre-cmr",
        ["losses.adversarial.weight=0", "losses.sda.weight=0"],
    ),
    "no EAR": ("genre-cmr", ["losses.ear.weight=0"]),
    "fixed prompts": ("genre-cmr", ["network.trainable_prompts=false"]),
    "no residual": ("genre-cmr", ["network.residual=none"]),
    "residual of features": ("genre-cmr", ["network.residual=feature"]),
    "gate of one": ("genre-cmr", ["network.gate=one"]),
    "learning rate 2e-3": ("genre-cmr", ["optimiser.lr=2e-3"]),
    "clip 1": ("genre-cmr", ["optimiser.clip=1"]),
    "SDA of means": ("genre-cmr", ["losses.sda.covariance=identity"]),
    "SDA, bank of 16": ("genre-cmr", ["losses.sda.window=16"]),
    "promptmr-plus": ("promptmr-plus", []),
}
METRICS = ("psnr", "ssim", "nmse")


def main() -> None:
    """Make the requested runs, and print the table."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("tool", type=Path, help="make_semireal.py")
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--work", type=Path, required=True)
    names = list(CHANGES)
    parser.add_argument("--runs", nargs="+", choices=names, default=names, metavar="NAME")
    parser.add_argument("--windows", type=int, choices=WINDOWS, default=WINDOWS[0])
    parser.add_argument("--seeds", nargs="+", type=int, default=[0])
    chosen = parser.parse_args()

    work: Path = chosen.work.absolute()
    make_data(chosen.tool.absolute(), chosen.data.absolute(), work)
    torch.set_num_threads(1)
    for seed in chosen.seeds:
        for name in chosen.runs:
            one_run(name, seed, chosen.windows, work)
    print(table(work / "why"))


def one_run(name: str, seed: int, windows: int, work: Path) -> None:
    """Train, and keep the scores of every held-out subject and the training log."""
    label = f"{name}-{windows}-{seed}".replace(" ", "-")
    scores, folder = work / "why" / f"{label}.json", work / "why" / "runs" / label
    if scores.exists():
        return

    recipe, changes = CHANGES[name]
    words = [*BUDGET, *SIZES[recipe], *CHEAP, *changes]
    words += [f"schedule.windows={windows // EPOCHS}", f"schedule.seed={seed}"]
    sets = [word for text in words for word in ("--set", text)]
    places = ("--data", work / "train-store", "--out-dir", folder)
    one = ("--device", "cpu", "--workers", 1, "--only", f"subject={TRAINED}")
    start = time.monotonic()
    cmrrecon("train", "--recipe", recipe, *places, *one, *sets)

    record = {"name": name, "seed": seed, "windows": windows, "seconds": time.monotonic() - start}
    record["scores"] = score(folder / "best.safetensors", work / "train-store")
    record["gradient"] = gradients(folder / "log.jsonl")
    scores.write_text(json.dumps(record) + "\n")


def score(weights: Path, store: Path) -> dict[str, dict[str, float]]:
    """Return the mean scores of a network on whole windows of each held-out subject."""
    network, recipe = load(weights).network, recipes.load("promptmr", BUDGET)
    found = {}
    entries = [entry for entry in read_entries(store) if entry["subject"] == HELD]
    for centre in sorted({f"{entry['centre']}/{entry['vendor']}" for entry in entries}):
        mine = [entry for entry in entries if f"{entry['centre']}/{entry['vendor']}" == centre]
        held = Windows(store, mine, 5, recipe.sampling, recipe.data, 0, fixed=True)
        held.places = [place for place in held.places if place.frame in FRAMES]
        scores = validate(network, held, torch.device("cpu"), lambda: False)
        assert scores is not None
        found[centre] = scores
    return found


def gradients(log: Path) -> float:
    """Return the median norm of the gradient, before clipping."""
    lines = map(json.loads, log.read_text().splitlines())
    return statistics.median(line["gradient"] for line in lines if "gradient" in line)


def table(folder: Path) -> str:
    """Return a row a run: means over subjects, and the difference from genre-cmr by subject."""
    records = [json.loads(path.read_text()) for path in folder.glob("*.json")]
    order = {name: number for number, name in enumerate(CHANGES)}
    base = {(one["windows"], one["seed"]): one for one in records if one["name"] == "genre-cmr"}
    lines = [
        "| run | windows | seed | PSNR dB | SSIM | NMSE | minus genre-cmr, PSNR dB (by subject) "
        "| gradient |",
        "|---|---|---|---|---|---|---|---|",
    ]
    for record in sorted(
        records, key=lambda one: (-one["windows"], one["seed"], order[one["name"]])
    ):
        means = {key: mean(record, key) for key in METRICS}
        difference = "-"
        run = record["windows"], record["seed"]
        if run in base and record["name"] != "genre-cmr":
            theirs = base[run]["scores"]
            each = [
                scores["psnr"] - theirs[centre]["psnr"]
                for centre, scores in record["scores"].items()
            ]
            by_subject = ", ".join(f"{value:+.2f}" for value in each)
            difference = f"{statistics.mean(each):+.2f} ({by_subject})"
        cells = [record["name"], *run, f"{means['psnr']:.2f}", f"{means['ssim']:.4f}"]
        cells += [f"{means['nmse']:.4f}", difference, f"{record['gradient']:.3g}"]
        lines.append(f"| {' | '.join(map(str, cells))} |")
    return "\n".join(lines)


def mean(record: dict[str, Any], metric: str) -> float:
    """Return the mean over subjects."""
    return statistics.mean(scores[metric] for scores in record["scores"].values())


if __name__ == "__main__":
    main()
