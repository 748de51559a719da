"""Compare recipes on semi-real cine of five seen domains and one unseen domain.

All runs have equal sizes and budgets, with several seeds. Budgets are fixed here, before the first
run.

    python docs/experiments/compare.py make_semireal.py --data DATA --work WORK

DATA holds the pictures for make_semireal.py. Every step leaves its result in WORK and is not
repeated, so the same command goes on after a stop. `--only tables` writes recipes.md from the
results so far.
"""

import argparse
import json
import os
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from tables import write_tables

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
SEEDS = (0, 1, 2)

# The budget of every run: 240 windows, each with a mask of its own; one thread.
BUDGET = [
    "schedule.windows=40",
    "schedule.epochs=6",
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
OPTIMISER = [
    "optimiser.lr=1e-3",
    "optimiser.step=5",
    "optimiser.factor=0.1",
    "optimiser.clip=0.1",
    "optimiser.weight_decay=0.01",
]


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
# Name of a run -> recipe, settings, and whether the comparison runs it with several seeds.
RUNS: dict[str, tuple[str, list[str], bool]] = {
    "genre-cmr": ("genre-cmr", [*GAN, *OPTIMISER], True),
    "sr-gan": ("sr-gan", [*GAN, *OPTIMISER], True),
    "promptmr": ("promptmr", [*PROMPTED, *OPTIMISER], True),
    "promptmr-plus": ("promptmr-plus", [*PROMPTED, "network.history=3", *OPTIMISER], True),
    "genre-cmr without SDA": ("genre-cmr", [*GAN, *OPTIMISER, "losses.sda.weight=0"], True),
    "genre-cmr without EAR": ("genre-cmr", [*GAN, *OPTIMISER, "losses.ear.weight=0"], True),
    "genre-cmr without residual": ("genre-cmr", [*GAN, *OPTIMISER, "network.residual=none"], True),
    "genre-cmr-paper": ("genre-cmr-paper", [*GAN, "optimiser.step=5"], False),
    "hypercmr": ("hypercmr", [*PROMPTED, *OPTIMISER], False),
    "hypercmr-code": ("hypercmr-code", [*PROMPTED, *OPTIMISER], False),
    "e2e-varnet": (
        "e2e-varnet",
        ["network.cascades=4", "network.channels=8", "network.pools=3", *OPTIMISER],
        False,
    ),
    "fidelity-unet": (
        "fidelity-unet",
        ["network.channels=16", "network.pools=3", "network.fidelity_channels=16", *OPTIMISER],
        False,
    ),
    "lf-mri": (
        "lf-mri",
        [
            "network.stages=4",
            "network.channels=[16,32,64]",
            f"network.sensitivity_unet={unet(4)}",
            "losses.classification.weight=0",
            *OPTIMISER,
        ],
        False,
    ),
}
CLASSICAL = {"zero-filled (the input)": "zero-filled", "temporal TV": "temporal-tv"}


def main() -> None:
    """Make the requested runs, and then the tables."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("tool", type=Path, help="make_semireal.py")
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--work", type=Path, required=True)
    parser.add_argument("--jobs", type=int, default=1, help="runs side by side, each on one thread")
    parser.add_argument("--only", choices=("tables",), help="write the tables from what is there")
    parser.add_argument("--runs", nargs="+", help="only these, as NAME or NAME:SEED")
    chosen = parser.parse_args()
    work: Path = chosen.work.absolute()
    if chosen.only is None:
        make_data(chosen.tool.absolute(), chosen.data.absolute(), work)
        jobs = [(name, 0) for name in CLASSICAL] + [
            (name, seed) for seed in SEEDS for name, run in RUNS.items() if seed == 0 or run[2]
        ]
        jobs = [
            (name, seed)
            for name, seed in jobs
            if not chosen.runs or {name, f"{name}:{seed}"} & {*chosen.runs}
        ]
        with ThreadPoolExecutor(chosen.jobs) as pool:
            list(pool.map(lambda job: one_run(*job, work), jobs))
    write_tables(work / "scores", Path(__file__).with_name("recipes.md"), UNSEEN)


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
    """Make scans of every domain; the last subject of each, and the unseen domain, are for
    tests."""
    if (work / "data.done").exists():
        return
    pictures = data / "CMRxRecon2025-cine-pictures"
    for seed, (domain, snr) in enumerate(DOMAINS.items()):
        files = sorted(pictures.glob(f"{domain}__*.npz"))
        held = files[-1].name.split("__")[1]
        for part, frames in (("train", 12), ("test", TEST_FRAMES)):
            mine = [
                file for file in files if (file.name.split("__")[1] == held) == (part == "test")
            ]
            settings = [
                "--shrink",
                2,
                "--maps",
                "simulated",
                "--seed",
                seed,
                "--snr-db",
                snr,
                "--frames",
                frames,
                "--data",
                data,
            ]
            call(sys.executable, tool, work / part, "--pictures", *mine, *settings)
    call(
        sys.executable,
        tool,
        work / "test",
        "--slices",
        4,
        5,
        6,
        7,
        8,
        "--shrink",
        2,
        "--frames",
        TEST_FRAMES,
        "--data",
        data,
    )
    for part in ("train", "test"):
        cmrrecon("preprocess", work / part, "--coils", COILS, "--out-dir", work / f"{part}-store")
    for pattern in PATTERNS:
        for acceleration in ACCELERATIONS:
            cmrrecon(
                "undersample",
                work / "test-store",
                "--pattern",
                pattern,
                "-R",
                acceleration,
                "--acs",
                16,
                "--out-dir",
                work / "under",
            )
    (work / "data.done").touch()


def one_run(name: str, seed: int, work: Path) -> None:
    """Train, reconstruct the test scans and score them; keep the training log beside the scores."""
    label = f"{name}-{seed}".replace(" ", "-").replace("(", "").replace(")", "")
    scores = work / "scores" / f"{label}.jsonl"
    if scores.exists():
        return
    images = work / "images" / label
    if name in CLASSICAL:
        cmrrecon("reconstruct", work / "under", "--method", CLASSICAL[name], "--out-dir", images)
    else:
        recipe, settings, _ = RUNS[name]
        folder = work / "runs" / label
        sets = [
            word
            for text in (*BUDGET, *settings, f"schedule.seed={seed}")
            for word in ("--set", text)
        ]
        cmrrecon(
            "train",
            "--recipe",
            recipe,
            "--data",
            work / "train-store",
            "--out-dir",
            folder,
            "--device",
            "cpu",
            "--workers",
            1,
            *sets,
        )
        cmrrecon(
            "reconstruct",
            work / "under",
            "--checkpoint",
            folder / "best.safetensors",
            "--device",
            "cpu",
            "--out-dir",
            images,
        )
        (work / "scores").mkdir(exist_ok=True)
        (work / "scores" / f"{label}.log").write_bytes((folder / "log.jsonl").read_bytes())
    cmrrecon(
        "evaluate", images, "--truth", work / "test", "--protocol", "fullfov", "--json", out=scores
    )
    named = [
        {**json.loads(line), "run": name, "seed": seed} for line in scores.read_text().splitlines()
    ]
    scores.write_text("".join(json.dumps(record) + "\n" for record in named))


if __name__ == "__main__":
    main()
