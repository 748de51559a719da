"""Damage files of every format in many ways, and count how reading them ends.

Usage: python benchmarks/fuzz.py [--mutants 10000] [--seed 1] [--out FILE] [--formats NAME ...]

Every mutant is read in a child process with limits on time and memory. Each result is one line of
JSON in the output file; a run that was stopped continues there. Mutant n of a format has the seed
`--seed` + n, and the same seed gives the same bytes: `--replay FORMAT SEED` reads that mutant with
its traceback. `--show` prints the table of a finished run.

The outcomes: `coded` (an error with a code), `equal` (read as if undamaged), `different` (read, but
not the same), `traceback` (another exception), `hang` (over 5 s), `memory` (over 500 MB), `crash`
(the process died). Linux only.
"""

import argparse
import json
import os
import resource
import select
import signal
import sys
import tempfile
import time
import traceback
import warnings
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NoReturn

import torch
from fuzz_mutations import mutant
from fuzz_targets import TARGETS, Target, digest

from cmrrecon.tools.errors import CmrreconError, is_memory_shortage

OUTCOMES = ("coded", "equal", "different", "traceback", "hang", "memory", "crash")
BAD = OUTCOMES[3:]
SECONDS, MEMORY = 5, 500 * 2**20
BATCH = 50
Record = dict[str, Any]


@dataclass
class Batch:
    """Mutants of one format that a child process reads in turn."""

    target: Target
    folder: Path
    path: Path
    original: str
    seeds: list[int]
    pid: int = 0
    pipe: int = -1
    unread: bytes = b""
    since: float = field(default_factory=time.monotonic)


def examined(target: Target, path: Path, original: str) -> tuple[str, str]:
    """Read one damaged file; return the outcome and its details."""
    try:
        found = digest(target.read(path))
    except CmrreconError as error:
        return "coded", error.code
    except Exception as error:
        if is_memory_shortage(error):
            return "memory", repr(error)[:200]
        frames = traceback.extract_tb(error.__traceback__)
        ours = [frame for frame in frames if "/cmrrecon/" in frame.filename] or frames
        place = f"{Path(ours[-1].filename).name}:{ours[-1].lineno}"
        return "traceback", f"{place} {type(error).__name__}: {str(error)[:150]}"
    return ("equal", "") if found == original else ("different", "")


def prepared(target: Target, folder: Path) -> tuple[Path, bytes, str]:
    """Make the file of a format; return its path, content and the digest of what is read."""
    folder.mkdir()
    path = target.make(folder)
    return path, path.read_bytes(), digest(target.read(path))


def _child(batch: Batch, pipe: int) -> NoReturn:
    """Read all mutants of a batch; one line to the pipe for each."""
    warnings.simplefilter("ignore")
    torch.set_num_threads(1)
    content = batch.path.read_bytes()
    # The parent's file stays whole for later batches.
    with tempfile.TemporaryDirectory() as copy:
        place = Path(copy)
        for file in batch.folder.rglob("*"):
            made = place / file.relative_to(batch.folder)
            made.parent.mkdir(parents=True, exist_ok=True)
            if file.is_file():
                made.write_bytes(file.read_bytes())
        path = place / batch.path.relative_to(batch.folder)
        _limit_memory()
        for seed in batch.seeds:
            kind, damaged = mutant(content, batch.target.name, seed, text=batch.target.text)
            path.write_bytes(damaged)
            start = time.monotonic()
            outcome, detail = (
                ("equal", "same bytes")
                if damaged == content
                else examined(batch.target, path, batch.original)
            )
            seconds = round(time.monotonic() - start, 3)
            record = {"kind": kind, "outcome": outcome, "detail": detail, "seconds": seconds}
            os.write(pipe, json.dumps(record).encode() + b"\n")
    os._exit(0)


def _limit_memory() -> None:
    pages = int(Path("/proc/self/statm").read_text().split()[0])
    limit = pages * os.sysconf("SC_PAGE_SIZE") + MEMORY
    resource.setrlimit(resource.RLIMIT_AS, (limit, limit))
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))


def _started(batch: Batch) -> Batch:
    reading, writing = os.pipe()
    sys.stdout.flush()
    batch.pid = os.fork()
    if batch.pid == 0:
        os.close(reading)
        null = os.open(os.devnull, os.O_WRONLY)
        os.dup2(null, 1)
        os.dup2(null, 2)
        try:
            _child(batch, writing)
        finally:
            os._exit(1)
    os.close(writing)
    batch.pipe, batch.unread, batch.since = reading, b"", time.monotonic()
    return batch


def _advance(batch: Batch, report: Callable[[Target, int, Record], None]) -> bool:
    """Take what a child has reported; return whether it has ended."""
    piece = os.read(batch.pipe, 65536)
    *lines, batch.unread = (batch.unread + piece).split(b"\n")
    for line in lines:
        report(batch.target, batch.seeds.pop(0), json.loads(line))
        batch.since = time.monotonic()
    return not piece


def run(
    batches: Sequence[Batch], workers: int, report: Callable[[Target, int, Record], None]
) -> None:
    """Read all mutants with several children at a time; one that hangs or dies is replaced."""
    waiting, running = list(batches), []
    while waiting or running:
        while waiting and len(running) < workers:
            running.append(_started(waiting.pop(0)))

        ready, _, _ = select.select([batch.pipe for batch in running], [], [], 0.5)
        for batch in list(running):
            hangs = time.monotonic() - batch.since > SECONDS
            if hangs:
                os.kill(batch.pid, signal.SIGKILL)
            if not (hangs or (batch.pipe in ready and _advance(batch, report))):
                continue

            running.remove(batch)
            os.close(batch.pipe)
            _, status = os.waitpid(batch.pid, 0)
            if batch.seeds:
                outcome = "hang" if hangs else "crash"
                record = {"kind": "?", "outcome": outcome, "detail": f"status {status}"}
                report(batch.target, batch.seeds.pop(0), record)
            if batch.seeds:
                waiting.insert(0, batch)


def batches_of(
    targets: Sequence[Target], work: Path, seeds: range, done: set[tuple[str, int]]
) -> Iterator[Batch]:
    """Make the files of the formats, and yield the mutants that are still to be read."""
    for number, target in enumerate(targets):
        missing = [seed for seed in seeds if (target.name, seed) not in done]
        if missing:
            folder = work / str(number)
            path, _, original = prepared(target, folder)
            for start in range(0, len(missing), BATCH):
                chosen = missing[start : start + BATCH]
                yield Batch(target, folder, path, original, chosen)


def show(records: Sequence[Record]) -> None:
    """Print the counts by format and outcome, and every kind of bad outcome once."""
    counts = Counter((record["format"], record["outcome"]) for record in records)
    print(f"| format | {' | '.join(OUTCOMES)} |")
    print("| --- |" + " ---: |" * len(OUTCOMES))
    names = list(dict.fromkeys(record["format"] for record in records))
    for name in names:
        print(f"| {name} | {' | '.join(str(counts[name, each]) for each in OUTCOMES)} |")
    total = Counter(record["outcome"] for record in records)
    print(f"| all {len(records)} | {' | '.join(str(total[each]) for each in OUTCOMES)} |")

    seen = set()
    for record in records:
        silent = record["outcome"] == "different" and TARGETS[record["format"]].checked
        if record["outcome"] in BAD or silent:
            key = record["format"], record["outcome"], record["detail"].partition(":")[2][:30]
            if key not in seen:
                seen.add(key)
                print(f"{record['outcome']}: {record['format']} seed {record['seed']} "
                      f"({record['kind']}) {record['detail']}")  # fmt: skip


def replay(name: str, seed: int) -> None:
    """Read one mutant in this process."""
    with tempfile.TemporaryDirectory() as folder:
        target = TARGETS[name]
        path, content, original = prepared(target, Path(folder) / "files")
        kind, damaged = mutant(content, name, seed, text=target.text)
        path.write_bytes(damaged)
        print(f"{path}: {kind}, {len(content)} -> {len(damaged)} bytes")
        print("equal" if digest(target.read(path)) == original else "different")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--mutants", type=int, default=10_000, help="of all formats together")
    parser.add_argument("--seed", type=int, default=1, help="seed of the first mutant")
    parser.add_argument("--out", type=Path, default=Path("fuzz.jsonl"))
    parser.add_argument("--formats", nargs="*", default=list(TARGETS), choices=list(TARGETS))
    parser.add_argument("--workers", type=int, default=2)
    parser.add_argument("--replay", nargs=2, metavar=("FORMAT", "SEED"))
    parser.add_argument("--show", action="store_true", help="only print the table of --out")
    given = parser.parse_args()
    if given.replay:
        replay(given.replay[0], int(given.replay[1]))
        return

    lines = given.out.read_text().splitlines() if given.out.exists() else []
    records = [json.loads(line) for line in lines]
    if not given.show:
        start = time.monotonic()
        each = -(-given.mutants // len(given.formats))
        seeds = range(given.seed, given.seed + each)
        done = {(record["format"], record["seed"]) for record in records}
        with tempfile.TemporaryDirectory() as work, open(given.out, "a", buffering=1) as file:

            def report(target: Target, seed: int, record: Record) -> None:
                records.append({"format": target.name, "seed": seed, **record})
                file.write(json.dumps(records[-1]) + "\n")

            targets = [TARGETS[name] for name in given.formats]
            run(list(batches_of(targets, Path(work), seeds, done)), given.workers, report)
        print(f"{time.monotonic() - start:.0f} s")
    show(records)


if __name__ == "__main__":
    main()
