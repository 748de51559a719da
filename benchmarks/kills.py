"""Kill commands at random moments, and count what they leave behind.

Each case runs a command in a folder of its own, sends SIGKILL at a random moment of the time that
an undisturbed run takes, and runs the same command again. It counts kills that hit the command
before its end; outputs that were neither the old nor the new one, or unreadable; second runs that
failed or gave another result; temporary files that were left after the second run; and workers that
outlived the command.

Usage: python benchmarks/kills.py [KILLS_PER_COMMAND] [SEED] [-o RECORD.jsonl]
"""

import argparse
import contextlib
import json
import os
import random
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections import Counter
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pydicom
import torch

from cmrrecon import formats
from cmrrecon.networks.checkpoints import weights
from cmrrecon.tools.strays import OLDER, TEMPORARY
from cmrrecon.training import checkpoint

SIMULATE = ["simulate", "--frames", "4", "--coils", "4", "--size", "96x128"]
SIMULATE += ["--slice-count", "3"]
SMALL = [
    f"network.{key}={value}"
    for key, value in {
        "channels": 2,
        "pools": 1,
        "sensitivity_channels": 2,
        "sensitivity_pools": 1,
        "cascades": 1,
    }.items()
]
# Seconds for workers to end after the command was killed.
GRACE = 25.0


@dataclass(frozen=True)
class Case:
    """A command, the file whose content is checked, and the command that makes the old file."""

    words: list[str]
    result: str
    old: list[str]


def run(words: list[str], folder: Path) -> int:
    """Run a command to its end in a folder, and return its exit code."""
    return subprocess.run(
        [sys.executable, "-m", "cmrrecon", *words, "--quiet"],
        cwd=folder,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    ).returncode


def content(path: Path) -> list[torch.Tensor]:
    """Return the numbers in a file, without what differs between equal runs."""
    if path.suffix == ".safetensors":
        return list(weights.load(path).network.state_dict().values())
    if path.name.startswith("scan_") and path.suffix == ".h5":
        images = formats.read_images(path)
        return [images[index] for index in range(len(images))]
    if path.suffix == ".dcm":
        images = [pydicom.dcmread(file) for file in sorted(path.iterdir())]
        return [torch.from_numpy(image.pixel_array.astype("int64")) for image in images]
    scan = formats.read(path)
    return [scan.read_slice(index) for index in range(scan.shape[1])]


def same(a: list[torch.Tensor], b: list[torch.Tensor]) -> bool:
    return len(a) == len(b) and all(map(torch.equal, a, b))


def cases(scan: Path, store: Path) -> dict[str, Case]:
    """Return the commands to kill; each replaces an older output where that is possible."""
    kus = ["undersample", str(scan), "-o", "kspace.h5", "--overwrite", "-R"]
    images = ["reconstruct", str(scan), "-o", "scan_images.h5", "--overwrite", "-m"]
    dicom = ["reconstruct", str(scan), "-o", "scan.dcm", "--overwrite", "-m"]
    pack = ["preprocess", str(scan.parent), "--out-dir", "store", "--overwrite"]
    recipe = [word for value in [*SMALL, "schedule.epochs=2"] for word in ("--set", value)]
    train = ["train", "--recipe", "e2e-varnet", "--data", str(store), "--out-dir", "run", *recipe]
    return {
        "reconstruct": Case([*images, "llr"], "scan_images.h5", [*images, "zero-filled"]),
        "reconstruct to DICOM": Case([*dicom, "llr"], "scan.dcm", [*dicom, "zero-filled"]),
        "undersample": Case([*kus, "4"], "kspace.h5", [*kus, "2"]),
        "preprocess": Case([*pack, "--coils", "3"], "store/scan.h5", [*pack, "--coils", "2"]),
        "train": Case(train, "run/best.safetensors", []),
    }


def kill_once(case: Case, folder: Path, wait: float) -> tuple[int, list[int]]:
    """Kill a command after some seconds; return its exit code and the workers that outlive it."""
    process = subprocess.Popen(
        [sys.executable, "-m", "cmrrecon", *case.words, "--quiet"],
        cwd=folder,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        start_new_session=True,
    )
    with contextlib.suppress(subprocess.TimeoutExpired):
        process.wait(wait)
    session = process.pid
    process.kill()
    code = process.wait()

    end = time.monotonic() + GRACE
    while (alive := members(session)) and time.monotonic() < end:
        time.sleep(0.1)
    for worker in alive:
        with contextlib.suppress(ProcessLookupError):
            os.kill(worker, signal.SIGKILL)
    return code, alive


def members(session: int) -> list[int]:
    """Return the live processes of a session."""
    found = []
    for folder in Path("/proc").glob("[0-9]*"):
        with contextlib.suppress(OSError):
            state, _, _, owner = (folder / "stat").read_text().rpartition(")")[2].split()[:4]
            if int(owner) == session and state != "Z":
                found.append(int(folder.name))
    return found


def strays(folder: Path) -> list[str]:
    """Return the temporary files and part folders in a folder tree."""
    return [
        path.name
        for path in folder.rglob("*")
        if (TEMPORARY.fullmatch(path.name) or OLDER.fullmatch(path.name))
        or path.name.endswith(".parts")
    ]


def judge(path: Path, old: list[torch.Tensor], new: list[torch.Tensor]) -> str:
    """Return whether a file is old, new, absent, mixed or unreadable."""
    if not path.exists():
        return "absent"
    try:
        found = content(path)
    except Exception:
        return "unreadable"
    return "new" if same(found, new) else "old" if same(found, old) else "mixed"


def one(name: str, case: Case, reference: Path, wait: float, folder: Path) -> dict[str, Any]:
    """Kill a command once and describe what it left and how the second run ended."""
    if case.old:
        shutil.copytree(reference / "old", folder, dirs_exist_ok=True)
    old = content(folder / case.result) if case.old else []
    new = content(reference / "new" / case.result)

    code, orphans = kill_once(case, folder, wait)
    left = judge(folder / case.result, old, new)
    if left == "mixed" and not case.old:
        # Training keeps the best weights of every epoch, which are whole files of their own.
        left = "earlier"
    state = folder / "run" / "last.pt"
    if state.exists():
        try:
            checkpoint.load(state)
        except Exception:
            left = "unreadable"

    again = run(case.words, folder)
    return {
        "command": name,
        "wait": round(wait, 3),
        "killed": code == -signal.SIGKILL,
        "left": left,
        "orphans": len(orphans),
        "again": again,
        "result": judge(folder / case.result, old, new),
        "strays": strays(folder),
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("kills", nargs="?", type=int, default=10, help="kills per command")
    parser.add_argument("seed", nargs="?", type=int, default=1)
    parser.add_argument("-o", "--output", type=Path, default=Path("kills.jsonl"))
    options = parser.parse_args()
    output = options.output.absolute()
    draw = random.Random(options.seed)

    counts: dict[str, Counter[str]] = {}
    with tempfile.TemporaryDirectory() as place, open(output, "w") as record:
        root = Path(place)
        os.environ["TMPDIR"] = str(root / "tmp")
        (root / "tmp").mkdir()
        inputs = root / "in"
        inputs.mkdir()
        assert run([*SIMULATE, "-o", "scan.h5"], inputs) == 0
        assert run(["preprocess", "in", "--out-dir", "ready"], root) == 0
        for name, case in cases(inputs / "scan.h5", root / "ready").items():
            reference = root / "reference" / name
            for kind, words in (("old", case.old), ("new", case.words)):
                (reference / kind).mkdir(parents=True)
                start = time.monotonic()
                assert not words or run(words, reference / kind) == 0, (name, kind)
                spent = time.monotonic() - start

            for number in range(options.kills):
                folder = root / f"{name}-{number}"
                folder.mkdir()
                found = one(name, case, reference, draw.uniform(0.3, 1.0) * spent, folder)
                record.write(json.dumps({"seed": options.seed, **found}) + "\n")
                record.flush()
                count = counts.setdefault(name, Counter())
                count["kills"] += found["killed"]
                count["unreadable or mixed"] += found["left"] in ("unreadable", "mixed")
                count["not resumed"] += (found["again"], found["result"]) != (0, "new")
                count["strays"] += len(found["strays"])
                count["orphans"] += found["orphans"]
                shutil.rmtree(folder)

        left = [path.name for path in (root / "tmp").iterdir() if path.name.startswith("cmrrecon")]

    columns = ("kills", "unreadable or mixed", "not resumed", "strays", "orphans")
    print(f"| command | {' | '.join(columns)} |\n|---|{'---:|' * len(columns)}")
    for name, count in counts.items():
        print(f"| {name} | {' | '.join(str(count[column]) for column in columns)} |")
    print(f"seed {options.seed}; temporary folders left in TMPDIR: {len(left)}")


if __name__ == "__main__":
    main()
