"""Store measurements as JSON lines.

An interrupted run continues where it stopped, and tables can be made again without measuring.
"""

import hashlib
import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import cases

HERE = Path(__file__).parent
THREADS = 2
# Waiting threads must not spin: on shared cores this makes runs 5 to 20 times slower.
ENVIRONMENT = {**os.environ, "OMP_NUM_THREADS": str(THREADS), "OMP_WAIT_POLICY": "PASSIVE"}

Record = dict[str, Any]


class Records:
    """Runs each engine in its own process and keeps the results.

    Attributes
    ----------
    work : Path
        Folder with the cases and `results.jsonl`.
    """

    def __init__(self, work: Path) -> None:
        self.work = work
        self.path = work / "results.jsonl"
        self.package = source_digest()
        work.mkdir(parents=True, exist_ok=True)
        lines = self.path.read_text().splitlines() if self.path.exists() else []
        self.known: dict[str, Record] = {line["key"]: line for line in map(json.loads, lines)}

    def key(self, case: str, engine: str, options: dict[str, Any], repeat: int) -> str:
        """Return the key of a measurement.

        Our methods are measured again when the package changes, peers when the coil maps that they
        use change.
        """
        version = (
            self.package
            if engine.startswith("cmrrecon")
            else cases.load(cases.folder_of(self.work, case)).maps
        )
        return " ".join([case, engine, json.dumps(options, sort_keys=True), str(repeat), version])

    def measure(self, case: str, engine: str, options: dict[str, Any], repeat: int = 0) -> Record:
        """Return the cost and scores of one run, or `failed` with the reason.

        Measurements that are already known are not repeated.
        """
        key = self.key(case, engine, options, repeat)
        if key not in self.known:
            asked = {
                "key": key,
                "case": case,
                "engine": engine,
                "options": options,
                "repeat": repeat,
            }
            record = asked | self._run(case, engine, options)
            if "failed" not in record:
                with self.path.open("a") as file:
                    file.write(json.dumps(record) + "\n")
            self.known[key] = record
        return self.known[key]

    def ours(self) -> list[Record]:
        """Return the records of our methods that were measured with the current code."""
        return [record for key, record in self.known.items() if key.endswith(self.package)]

    def _run(self, case: str, engine: str, options: dict[str, Any]) -> Record:
        words = [
            sys.executable,
            str(HERE / "engines.py"),
            str(cases.folder_of(self.work, case)),
            engine,
            json.dumps(options),
        ]
        done = subprocess.run(words, env=ENVIRONMENT, capture_output=True, text=True)
        if done.returncode != 0:
            return {"failed": (done.stderr.strip().splitlines() or ["no message"])[-1]}
        result: Record = json.loads(done.stdout.splitlines()[-1])
        return result


def source_digest(checkout: Path = HERE.parent) -> str:
    """Return the digest of a package: measurements with other code or weights do not count."""
    digest = hashlib.sha256()
    for suffix in ("py", "safetensors"):
        for path in sorted((checkout / "cmrrecon").rglob(f"*.{suffix}")):
            digest.update(path.read_bytes())
    return digest.hexdigest()[:12]
