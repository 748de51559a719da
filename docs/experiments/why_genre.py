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

from cmrrecon.evaluation.protocols import score as evaluate
from cmrrecon.networks.checkpoints.weights import load
from cmrrecon.training import recipe as recipes
from cmrrecon.training.batch import collate
from cmrrecon.training.dataset import Windows
from cmrrecon.training.entries import domain_of, read_entries
from cmrrecon.training.validation import PROTOCOL, validate

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
# Until these runs, the recipe had the mean loss of all cascades.
MEAN, LAST = "losses.stages=mean", "losses.stages=last"
NO_SDA, NO_GAN = "losses.sda.weight=0", "losses.adversarial.weight=0"
# The loss of PromptMR, for GENRE-CMR's network.
PLAIN = [LAST, "losses.weighting=sum", "losses.kspace.weight=0", "losses.ear.weight=0"]
PLAIN += [NO_SDA, NO_GAN]
# Name -> recipe, and what is changed.
CHANGES: dict[str, tuple[str, list[str]]] = {
    "promptmr": ("promptmr", []),
    "genre-cmr": ("genre-cmr", [MEAN]),
    "loss of PromptMR": ("genre-cmr", PLAIN),
    "loss of the last cascade alone": ("genre-cmr", [LAST]),
    "losses rising with the cascades": ("genre-cmr", ["losses.stages=rising"]),
    "no adversarial loss": ("genre-cmr", [MEAN, NO_GAN]),
    "no SDA": ("genre-cmr", [MEAN, NO_SDA]),
}
# Once the loss of the last cascade alone had explained the difference, the rest was changed there.
CHANGES |= {
    f"last, {name}": ("genre-cmr", [LAST, change])
    for name, change in {
        "no adversarial loss": NO_GAN,
        "no SDA": NO_SDA,
        "plain sum of the losses": "losses.weighting=sum",
        "no magnitude and phase fidelity": "losses.kspace.weight=0",
        "no EAR": "losses.ear.weight=0",
        "fixed prompts": "network.trainable_prompts=false",
        "no residual": "network.residual=none",
        "residual of features": "network.residual=feature",
        "gate of one": "network.gate=one",
        "SDA of means": "losses.sda.covariance=identity",
        "SDA, bank of 16": "losses.sda.window=16",
        "learning rate 2e-3": "optimiser.lr=2e-3",
        "clip 1": "optimiser.clip=1",
    }.items()
}
CHANGES["promptmr-plus"] = ("promptmr-plus", [])
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
    label = f"{name}-{windows}-{seed}".replace(" ", "-").replace(",", "")
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
    weights = folder / "best.safetensors"
    record["scores"] = score(weights, work / "train-store")
    record["cascades"] = by_cascade(weights, work / "train-store")
    record["gradient"] = gradients(folder / "log.jsonl")
    scores.write_text(json.dumps(record) + "\n")


def held_out(store: Path) -> dict[str, Windows]:
    """Return the windows that are scored, by subject."""
    entries = [entry for entry in read_entries(store) if entry["subject"] == HELD]
    recipe, found = recipes.load("promptmr", BUDGET), {}
    for place in sorted({domain_of(entry, recipe.data.domain) for entry in entries}):
        mine = [entry for entry in entries if domain_of(entry, recipe.data.domain) == place]
        found[place] = Windows(store, mine, 5, recipe.sampling, recipe.data, 0, fixed=True)
        found[place].places = [one for one in found[place].places if one.frame in FRAMES]
    return found


def score(weights: Path, store: Path) -> dict[str, dict[str, float]]:
    """Return the mean scores of a network on whole windows of each held-out subject."""
    network, found = load(weights).network, {}
    for place, held in held_out(store).items():
        scores = validate(network, held, torch.device("cpu"), lambda: False)
        assert scores is not None
        found[place] = scores
    return found


def by_cascade(weights: Path, store: Path) -> list[float]:
    """Return the mean PSNR of the zero-filled images, and of the images of every cascade."""
    network, rows = load(weights).network.train(), []
    for held in held_out(store).values():
        for place in held.places:
            batch = collate([held.sample(place, 0)], torch.device("cpu"))
            with torch.no_grad():
                images = (batch.zero_filled(), *network(batch.kspace, batch.mask, batch.acs).stages)
            truth = batch.target[:, None]
            rows.append(
                [evaluate(image[:, None], truth, protocol=PROTOCOL).psnr for image in images]
            )
    return [statistics.mean(column) for column in zip(*rows, strict=True)]


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
        "| gradient | PSNR dB, input and cascades |",
        "|---|---|---|---|---|---|---|---|---|",
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
        cells.append(", ".join(f"{value:.1f}" for value in record["cascades"]))
        lines.append(f"| {' | '.join(map(str, cells))} |")
    return "\n".join(lines)


def mean(record: dict[str, Any], metric: str) -> float:
    """Return the mean over subjects."""
    return statistics.mean(scores[metric] for scores in record["scores"].values())


if __name__ == "__main__":
    main()
