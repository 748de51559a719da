"""A trial of GENRE-CMR: against PromptMR, PromptMR+ and SR-GAN, and against its own ablations.

Everything that decides the result is fixed here, before the first run:

- Every run learns from 5,000 windows, with three seeds. All networks have equal sizes (SIZES), see
  the same windows with the same masks, and are scored after 250, 1,000 and 5,000 windows.
- The first 4,000 windows are strips of 64 columns. The others are whole, with a tenth of the
  learning rate. The maps are those of the middle frame.
- Rows: "literal" has the paper's losses and optimiser. "tuned" is GENRE-CMR as `--recipe genre-cmr`
  has it. "equalised" gives the other networks what is not GENRE-CMR's own idea: optimiser,
  averaged weights, and the loss of the last cascade alone. Ablations are of the tuned row.
- Tests: held-out subjects of the five training domains; a sixth scanner; and simulated T1 mapping,
  whose contrast no training scan has. Every scan has three patterns at R = 8 and 16.
- Yardsticks: the zero-filled input, temporal TV and kt-wavelet.
- Pass: the best network beats temporal TV on the seen domains, and tuned GENRE-CMR is at least as
  good as equalised PromptMR+ on the unseen ones.

    python docs/experiments/trial.py make_semireal.py --data DATA --work WORK [--runs NAME:SEED ...]
    python docs/experiments/trial.py make_semireal.py --data DATA --work WORK --device cuda \\
        --size paper

DATA holds the pictures for make_semireal.py. All runs are taken to the first point of the learning
curve, then to the next. Every step leaves its result in WORK and is not repeated, so the same
command goes on after a stop. `--only tables` prints the tables of what is there. `--size paper`
trains the depth of the papers, on whole windows; it needs a WORK of its own.
"""

import argparse
import json
import os
import shutil
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

from tables import tables

# Domain of the pictures -> signal-to-noise ratio in dB; the seed is the place in this list.
DOMAINS = {
    "Center001": 20,
    "Center002_Siemens_30T_CIMA.X": 24,
    "Center002_UIH_30T_umr880": 28,
    "Center005_UIH_15T_umr670": 31,
    "Center006_Siemens_30T_Prisma": 35,
}
UNSEEN = "Center005/Siemens_30T_Vida"
COILS, TEST_FRAMES = 4, 4
PATTERNS, ACCELERATIONS = ("kt-uniform", "kt-gaussian", "kt-radial"), (8, 16)
# Subjects and matrix of the simulated T1 mapping.
SIMULATED, MATRIX = 5, "104x224"
SEEDS = (0, 1, 2)
POINTS = (250, 1000, 5000)

BUDGET = [
    "schedule.batch=1",
    "schedule.patience=0",
    "optimiser.accumulate=1",
    "data.validation=0",
    "data.in_turn=true",
    "sampling.acs=16",
    "sampling.curriculum=[]",
    "sampling.accelerations=[8,16,24]",
    "sampling.patterns=['kt-uniform','kt-gaussian','kt-radial']",
]
EPOCH = 250
SCHEDULE = [f"schedule.windows={EPOCH}", f"schedule.epochs={POINTS[-1] // EPOCH}"]
SCHEDULE += ["optimiser.step=16", "optimiser.factor=0.1"]
STRIPS = ["schedule.maps=middle", "data.columns=64", "data.whole_from=16"]
OPTIMISER = ["optimiser.lr=1e-3", "optimiser.clip=0.1", "optimiser.weight_decay=0.01"]
AVERAGED = "schedule.average=0.99"


def unet(features: int) -> str:
    """Return a prompt U-Net with the given number of features, as TOML."""
    half = features // 2
    dims, prompts = (
        [features + half, 2 * features, 2 * features + half],
        [half, features, features + half],
    )
    return (
        f"{{features={features}, dims={dims}, prompt_dims={prompts}, "
        "prompt_lengths=[5,5,5], prompt_sizes=[32,16,8], "
        "encoder_blocks=[1,1,1], decoder_blocks=[1,1,1], skip_blocks=[1,1,1], bottleneck_blocks=1}"
    )


PROMPTED = ["network.cascades=4", f"network.unet={unet(8)}", f"network.sensitivity_unet={unet(4)}"]
GAN = [*PROMPTED, "discriminator.channels=16"]
# Settings of the small networks by recipe: about 0.5 million parameters.
SIZES = {
    "genre-cmr": GAN,
    "genre-cmr-paper": GAN,
    "sr-gan": GAN,
    "promptmr": PROMPTED,
    "promptmr-plus": [*PROMPTED, "network.history=3"],
}


@dataclass(frozen=True)
class Trained:
    """A run: its recipe, what is changed, and whether it has the optimiser of all others."""

    recipe: str
    changes: tuple[str, ...] = ()
    equal: bool = True


RUNS = {
    "genre-cmr, tuned": Trained("genre-cmr"),
    "promptmr-plus, equalised": Trained("promptmr-plus"),
    "promptmr, equalised": Trained("promptmr"),
    "sr-gan, equalised": Trained("sr-gan", ("losses.stages=last",)),
    "genre-cmr without SDA": Trained("genre-cmr", ("losses.sda.weight=0",)),
    "genre-cmr without EAR": Trained("genre-cmr", ("losses.ear.weight=0",)),
    "genre-cmr without residual": Trained("genre-cmr", ("network.residual=none",)),
    "genre-cmr, literal": Trained("genre-cmr-paper", equal=False),
    "promptmr-plus, literal": Trained("promptmr-plus", equal=False),
    "promptmr, literal": Trained("promptmr", equal=False),
    "sr-gan, literal": Trained("sr-gan", equal=False),
}
CLASSICAL = ("zero-filled", "temporal-tv", "kt-wavelet")


def main() -> None:
    """Make the requested runs, and print the tables."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("tool", type=Path, help="make_semireal.py")
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--work", type=Path, required=True)
    parser.add_argument("--only", choices=("tables",), help="print the tables of what is there")
    parser.add_argument("--runs", nargs="+", help="only these, as NAME or NAME:SEED")
    parser.add_argument("--points", nargs="+", type=int, choices=POINTS, default=POINTS)
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--size", choices=("small", "paper"), default="small")
    chosen = parser.parse_args()
    work: Path = chosen.work.absolute()

    if chosen.only is None:
        make_data(chosen.tool.absolute(), chosen.data.absolute(), work)
        make_unseen_contrast(work)
        jobs = [(method, 0, 0) for method in CLASSICAL]
        jobs += [(n, seed, windows) for windows in chosen.points for seed in SEEDS for n in RUNS]
        for name, seed, windows in jobs:
            if chosen.runs and not {name, f"{name}:{seed}"} & {*chosen.runs}:
                continue
            if name in CLASSICAL:
                classical(name, work)
            else:
                one_run(name, seed, windows, work, chosen.device, chosen.size)
    print(tables(work / "scores", UNSEEN, len(RUNS) * len(SEEDS), POINTS))


def call(*words: object, out: Path | None = None) -> None:
    """Run a command with one thread; its output goes into a file."""
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "OMP_WAIT_POLICY": "PASSIVE"}
    done = subprocess.run(
        [str(word) for word in words], env=environment, capture_output=True, text=True
    )
    if done.returncode:
        raise SystemExit(f"{' '.join(map(str, words))}\n{done.stderr}")
    if out is not None:
        out.parent.mkdir(parents=True, exist_ok=True)
        out.with_suffix(".part").write_text(done.stdout)
        out.with_suffix(".part").rename(out)


def cmrrecon(*words: object, out: Path | None = None) -> None:
    """Run our program."""
    call(sys.executable, "-m", "cmrrecon", *words, "--quiet", out=out)


def make_data(tool: Path, data: Path, work: Path) -> None:
    """Make scans of every domain; the last subject of each, and the unseen scanner, are for
    tests."""
    if (work / "data.done").exists():
        return
    pictures = data / "CMRxRecon2025-cine-pictures"
    for seed, (domain, snr) in enumerate(DOMAINS.items()):
        files = sorted(pictures.glob(f"{domain}__*.npz"))
        held = files[-1].name.split("__")[1]
        made = ["--shrink", 2, "--maps", "simulated", "--seed", seed, "--snr-db", snr]
        for part, frames in (("train", 12), ("test", TEST_FRAMES)):
            mine = [
                file for file in files if (file.name.split("__")[1] == held) == (part == "test")
            ]
            more = [*made, "--frames", frames, "--data", data]
            call(sys.executable, tool, work / part, "--pictures", *mine, *more)

    measured = ["--slices", 4, 5, 6, 7, 8, "--shrink", 2, "--frames", TEST_FRAMES]
    call(sys.executable, tool, work / "test", *measured, "--data", data)
    for part in ("train", "test"):
        cmrrecon("preprocess", work / part, "--coils", COILS, "--out-dir", work / f"{part}-store")
    undersample(work / "test-store", work)
    (work / "data.done").touch()


def make_unseen_contrast(work: Path) -> None:
    """Simulate T1 mapping, and undersample it like the other test scans."""
    if (work / "contrast.done").exists():
        return
    raw, store = work / "contrast", work / "contrast-store"
    size = ("--size", MATRIX, "--frames", TEST_FRAMES, "--slices", 1, "--coils", 2 * COILS)
    for seed in range(SIMULATED):
        out = ("--seed", seed, "--out-dir", raw, "--overwrite")
        cmrrecon("simulate", "--kind", "t1map", *size, *out)
    cmrrecon("preprocess", raw, "--coils", COILS, "--out-dir", store)
    undersample(store, work)
    shutil.copytree(raw, work / "test", dirs_exist_ok=True)
    (work / "contrast.done").touch()


def undersample(store: Path, work: Path) -> None:
    """Undersample test scans with every pattern and acceleration."""
    for pattern in PATTERNS:
        for acceleration in ACCELERATIONS:
            mask = ("--pattern", pattern, "-R", acceleration, "--acs", 16)
            cmrrecon("undersample", store, *mask, "--out-dir", work / "under")


def classical(method: str, work: Path) -> None:
    """Reconstruct and score the test scans with a classical method."""
    scores, images = work / "scores" / f"{method}.jsonl", work / "images" / method
    if not scores.exists():
        cmrrecon("reconstruct", work / "under", "--method", method, "--out-dir", images)
        evaluate(images, scores, work, {"run": method, "seed": 0, "windows": 0})


def one_run(name: str, seed: int, windows: int, work: Path, device: str, size: str) -> None:
    """Train up to a number of windows, reconstruct the test scans and score them."""
    label = f"{name}-{seed}".replace(" ", "-").replace(",", "")
    scores, images = (work / kind / f"{label}-{windows}" for kind in ("scores", "images"))
    scores = scores.with_name(f"{scores.name}.jsonl")
    if scores.exists():
        return

    # The weights at earlier points are kept, even if those are not scored now.
    for point in POINTS:
        if point <= windows:
            weights = work / "weights" / f"{label}-{point}.safetensors"
            train(RUNS[name], seed, point, work / "runs" / label, weights, work, device, size)

    made = ("--checkpoint", weights, "--device", device, "--out-dir", images)
    cmrrecon("reconstruct", work / "under", *made)
    evaluate(images, scores, work, {"run": name, "seed": seed, "windows": windows})
    log = (work / "runs" / label / "log.jsonl").read_bytes()
    (scores.parent / f"{label}.log").write_bytes(log)


def train(
    run: Trained,
    seed: int,
    windows: int,
    folder: Path,
    weights: Path,
    work: Path,
    device: str,
    size: str,
) -> None:
    """Train, or continue training, up to a number of windows, and keep the weights."""
    if weights.exists():
        return
    small = size == "small"
    words = [*BUDGET, *(SIZES[run.recipe] if small else ()), *SCHEDULE, *(STRIPS if small else ())]
    words += [*((*OPTIMISER, AVERAGED) if run.equal else ()), *run.changes]
    sets = [word for text in (*words, f"schedule.seed={seed}") for word in ("--set", text)]
    places = ("--data", work / "train-store", "--out-dir", folder, "--max-steps", windows)
    one = ("--recipe", run.recipe, "--device", device, "--workers", 1)
    cmrrecon("train", *one, *places, *sets)
    weights.parent.mkdir(exist_ok=True)
    shutil.copyfile(folder / "best.safetensors", weights)


def evaluate(images: Path, scores: Path, work: Path, facts: dict[str, object]) -> None:
    """Score images against the noise-free truth, and remove them."""
    raw, protocol = scores.with_suffix(".raw"), ("--protocol", "fullfov", "--json")
    cmrrecon("evaluate", images, "--truth", work / "test", *protocol, out=raw)
    named = [{**json.loads(line), **facts} for line in raw.read_text().splitlines()]
    raw.write_text("".join(json.dumps(record) + "\n" for record in named))
    raw.rename(scores)
    shutil.rmtree(images)


if __name__ == "__main__":
    main()
