"""The scripts of examples/slurm on a real one-node Slurm; skipped, with the reason, without one."""

import fcntl
import json
import os
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import h5py
import numpy as np
import pytest
import torch
from typer.testing import CliRunner

from cmrrecon.cli.app import app
from cmrrecon.tools.machine import available_cores
from cmrrecon.training import checkpoint

# A second Slurm on the same machine would find its ports in use.
pytestmark = pytest.mark.xdist_group("slurm")

ROOT = Path(__file__).parents[2]
SCRIPTS = ROOT / "examples" / "slurm"
TOOL = (
    Path(os.environ.get("CMRRECON_TEST_DATA", ROOT / ".." / "shared" / "data")).resolve().parent
    / "tools"
    / "local-slurm"
)
CONTROLLER_PORT = 6817
# Generous limits, since the machine may be busy.
START_SECONDS, JOB_SECONDS = 150, 300

ONE_NODE = ["--mem=1G", "--time=5"]
TWO_TASKS = [*ONE_NODE, "--gpus-per-node=0", "--cpus-per-task=1"]
SMALL = [
    "network.cascades=1",
    "network.channels=2",
    "network.pools=1",
    "network.sensitivity_channels=2",
    "network.sensitivity_pools=1",
]
SETTINGS = [
    f"--set={text}"
    for text in (*SMALL, "sampling.acs=12", "schedule.batch=1", "schedule.epochs=12")
]


class Slurm:
    """Commands to a running Slurm, from the folder of the jobs' logs."""

    def __init__(self, conf: Path, folder: Path) -> None:
        self.folder = folder
        own = {
            "SLURM_CONF": str(conf),
            "PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}",
            "OMP_NUM_THREADS": "1",
        }
        self.environment = {**os.environ, **own, "OMP_WAIT_POLICY": "PASSIVE"}

    def __call__(self, *words: str) -> str:
        done = subprocess.run(
            words,
            env=self.environment,
            cwd=self.folder,
            capture_output=True,
            text=True,
            timeout=JOB_SECONDS,
        )
        assert done.returncode == 0, done.stderr
        return done.stdout.strip()

    def sbatch(self, script: str, *words: object, options: list[str]) -> str:
        """Submit a script of the examples and return the job number."""
        return self("sbatch", "--parsable", *options, str(SCRIPTS / script), *map(str, words))

    def facts(self, job: str) -> list[dict[str, str]]:
        """What Slurm reports about a job, or about every task of an array."""
        lines = self("scontrol", "--oneliner", "show", "job", job).splitlines()
        return [dict(word.partition("=")[::2] for word in line.split()) for line in lines]

    def wait(self, job: str, reached: Callable[[dict[str, str]], bool]) -> dict[str, str]:
        """Wait until all tasks of a job have reached a state; return the facts of the last one."""
        ends = time.monotonic() + JOB_SECONDS
        while not all(reached(facts) for facts in self.facts(job)):
            assert time.monotonic() < ends, (self.facts(job), self.logs())
            time.sleep(0.2)
        return self.facts(job)[-1]

    def wait_until_done(self, job: str) -> dict[str, str]:
        """Wait until a job has ended in any way."""
        return self.wait(
            job,
            lambda facts: (
                facts["JobState"] not in ("PENDING", "CONFIGURING", "RUNNING", "COMPLETING")
            ),
        )

    def wait_until_training(self, job: str, log: Path, lines: int) -> None:
        """Wait until a job has logged this number of lines."""
        self.wait(job, lambda facts: facts["JobState"] == "RUNNING" and lines_of(log) >= lines)

    def logs(self) -> str:
        return "\n".join(
            f"{path.name}:\n{path.read_text()}" for path in sorted(self.folder.glob("*.log"))
        )


@pytest.fixture(scope="module")
def slurm(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Slurm]:
    """A real Slurm of one node, stopped at the end."""
    if not TOOL.is_file():
        pytest.skip(f"no Slurm: {TOOL} is missing (CMRRECON_TEST_DATA)")
    if os.geteuid() != 0 or available_cores() < 2:
        pytest.skip("no Slurm: starting one needs root, and two tasks need two cores")
    folder, jobs = tmp_path_factory.mktemp("slurm"), tmp_path_factory.mktemp("jobs")
    with open(Path(tempfile.gettempdir()) / "cmrrecon-slurm.lock", "w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        with socket.socket() as port:
            if port.connect_ex(("127.0.0.1", CONTROLLER_PORT)) == 0:
                pytest.skip(f"no Slurm: another one uses port {CONTROLLER_PORT}")
        running = Slurm(folder / "slurm.conf", jobs)
        # The tool calls nproc, which obeys OpenMP's variables.
        plain = {key: value for key, value in os.environ.items() if not key.startswith("OMP_")}
        try:
            with open(folder / "start.txt", "w") as console:
                started = subprocess.run(
                    [
                        "timeout",
                        "--kill-after=5",
                        str(START_SECONDS),
                        str(TOOL),
                        "start",
                        str(folder),
                    ],
                    stdout=console,
                    stderr=console,
                    env=plain,
                )
            output = (folder / "start.txt").read_text()
            if started.returncode != 0 or "idle" not in output:
                reason = output.strip()[-300:]
                pytest.skip(f"no Slurm: {TOOL.name} ended with {started.returncode}: {reason}")
            yield running
            subprocess.run(
                ["scancel", "--signal=KILL", "--full", "--user=root"], env=running.environment
            )
        finally:
            subprocess.run([str(TOOL), "stop", str(folder)], capture_output=True)
            for name in ("slurmd.pid", "slurmctld.pid"):
                for _ in range(100):
                    if (folder / name).exists():
                        time.sleep(0.1)


def lines_of(log: Path) -> int:
    return log.read_text().count("\n") if log.exists() else 0


def run(*words: object) -> None:
    done = CliRunner().invoke(app, list(map(str, words)))
    assert done.exit_code == 0, done.output


def arrays(folder: Path) -> dict[str, np.ndarray]:
    """All datasets of all HDF5 files under a folder."""
    found: dict[str, np.ndarray] = {}
    for path in sorted(path for path in folder.rglob("*") if path.is_file()):
        with h5py.File(path) as file:
            file.visititems(
                lambda name, thing, path=path: (
                    found.update({f"{path.relative_to(folder)}:{name}": thing[()]})
                    if isinstance(thing, h5py.Dataset)
                    else None
                )
            )
    return found


def test_job_arrays_make_the_same_files_as_one_process(slurm, data, tmp_path):
    raw, under, images = data.parent / "raw", tmp_path / "under", tmp_path / "images"
    array = [*ONE_NODE, "--array=1-2", "--cpus-per-task=1"]
    first = slurm.sbatch("undersample.sbatch", raw, under, "-R", 4, "--acs", 12, options=array)
    second = slurm.sbatch(
        "reconstruct.sbatch",
        under,
        images,
        "--method",
        "zero-filled",
        options=[*array, f"--dependency=afterok:{first}"],
    )
    run("undersample", raw, "--out-dir", tmp_path / "plain" / "under", "-R", 4, "--acs", 12)
    run(
        "reconstruct",
        tmp_path / "plain" / "under",
        "--out-dir",
        tmp_path / "plain" / "images",
        "--method",
        "zero-filled",
    )
    slurm.wait_until_done(second)
    assert {facts["JobState"] for job in (first, second) for facts in slurm.facts(job)} == {
        "COMPLETED"
    }, slurm.logs()
    for made in (under, images):
        expected, found = arrays(tmp_path / "plain" / made.name), arrays(made)
        assert len(found) >= 3
        assert found.keys() == expected.keys()
        for name, values in expected.items():
            np.testing.assert_array_equal(found[name], values, err_msg=name)


def test_the_chain_of_the_examples_runs_to_its_scores(slurm, data, tmp_path):
    """Each job waits until the one before has succeeded; two tasks share the slices of a scan."""
    work, raw = tmp_path / "work", data.parent / "raw"
    settings = {"ACCELERATION": "4", "ACS": "12", "METHOD": "zero-filled", "SPLIT_SLICES": "1"}
    slurm.environment |= {f"CMRRECON_{name}": value for name, value in settings.items()}
    words = ["bash", str(SCRIPTS / "chain.sh"), str(raw), str(work), "2"]
    try:
        jobs = slurm(*words, *ONE_NODE, "--cpus-per-task=1").split()
    finally:
        for name in settings:
            del slurm.environment[f"CMRRECON_{name}"]
    assert len(jobs) == 3
    assert slurm.facts(jobs[1])[0]["Dependency"].startswith(f"afterok:{jobs[0]}")
    slurm.wait_until_done(jobs[2])
    assert {facts["JobState"] for job in jobs for facts in slurm.facts(job)} == {"COMPLETED"}, (
        slurm.logs()
    )
    records = [json.loads(line) for line in (work / "scores.jsonl").read_text().splitlines()]
    scored = [record for record in records if record["status"] == "done"]
    assert len(scored) == len(list(raw.rglob("*.mat"))) >= 2
    assert not list(work.rglob("*.parts"))


def test_a_chain_stops_at_the_first_job_that_fails(slurm, tmp_path):
    (tmp_path / "bad.mat").write_bytes(b"not a scan")
    words = ["bash", str(SCRIPTS / "chain.sh"), str(tmp_path / "bad.mat"), str(tmp_path / "work")]
    jobs = slurm(*words, "1", *ONE_NODE, "--cpus-per-task=1").split()
    facts = slurm.wait_until_done(jobs[0])
    assert (facts["JobState"], facts["ExitCode"]) == ("FAILED", "3:0")
    slurm.wait(jobs[1], lambda facts: facts["Reason"] == "DependencyNeverSatisfied")
    slurm("scancel", *jobs[1:])
    assert not (tmp_path / "work" / "images").exists()


@pytest.fixture(scope="module")
def together(slurm: Slurm, data: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of an undisturbed run of two tasks."""
    folder = tmp_path_factory.mktemp("together") / "run"
    job = train(slurm, data, folder)
    facts = slurm.wait_until_done(job)
    assert (facts["JobState"], facts["Restarts"]) == ("COMPLETED", "0"), slurm.logs()
    return folder


def train(slurm: Slurm, data: Path, folder: Path, *options: str) -> str:
    return slurm.sbatch(
        "train.sbatch",
        "e2e-varnet",
        data,
        folder,
        "--device=cpu",
        *SETTINGS,
        options=[*TWO_TASKS, *options],
    )


def test_two_tasks_step_as_one_process_that_accumulates(together, data, tmp_path):
    run(
        "train",
        "--recipe=e2e-varnet",
        "--data",
        data,
        "--out",
        tmp_path / "one",
        "--device=cpu",
        *SETTINGS,
        "--set=optimiser.accumulate=2",
    )
    two, one = checkpoint.load(together / "last.pt"), checkpoint.load(tmp_path / "one" / "last.pt")
    assert two["step"] == one["step"] == 36
    for key, value in two["parts"]["network"].items():
        torch.testing.assert_close(value, one["parts"]["network"][key], rtol=1e-2, atol=1e-4)


def test_a_job_asked_to_stop_is_queued_again_and_continues_to_the_same_bits(
    slurm, together, data, tmp_path
):
    job, log = train(slurm, data, tmp_path / "run"), tmp_path / "run" / "log.jsonl"
    # The signals before the end of the job's time and on preemption.
    for restarts, name in enumerate(["USR1", "TERM"], start=1):
        slurm.wait_until_training(job, log, 2 + lines_of(log))
        slurm("scancel", f"--signal={name}", job)
        slurm.wait(
            job,
            lambda facts, restarts=restarts: (
                (facts["JobState"], facts["Restarts"]) == ("PENDING", str(restarts))
            ),
        )
        # Slurm delays the restart of a job by two minutes.
        slurm("scontrol", "update", f"jobid={job}", "StartTime=now")
    assert slurm.wait_until_done(job)["JobState"] == "COMPLETED", slurm.logs()
    found, expected = (
        checkpoint.load(tmp_path / "run" / "last.pt"),
        checkpoint.load(together / "last.pt"),
    )
    assert found["step"] == expected["step"] == 36
    for key, value in expected["parts"]["network"].items():
        assert torch.equal(found["parts"]["network"][key], value), key
    records = [json.loads(line) for line in log.read_text().splitlines()]
    assert [record["step"] for record in records if "loss" in record] == list(range(1, 37))


def test_jobs_that_fail_or_are_cancelled_are_not_queued_again(slurm, data, tmp_path):
    failing = train(slurm, tmp_path, tmp_path / "none", "--ntasks-per-node=1")
    cancelled = train(slurm, data, tmp_path / "run", "--ntasks-per-node=1")
    slurm.wait_until_training(cancelled, tmp_path / "run" / "log.jsonl", 1)
    slurm("scancel", cancelled)
    facts = slurm.wait_until_done(cancelled)
    assert (facts["JobState"], facts["Restarts"]) == ("CANCELLED", "0")
    assert checkpoint.load(tmp_path / "run" / "last.pt")["step"] > 0
    facts = slurm.wait_until_done(failing)
    assert (facts["JobState"], facts["ExitCode"], facts["Restarts"]) == ("FAILED", "3:0", "0")


def test_more_tasks_than_gpus_are_refused_with_the_right_options(slurm, data, tmp_path):
    program = (
        "import torch; torch.cuda.device_count = lambda: 1; "
        "from cmrrecon.cli.app import main; main()"
    )
    words = ["train", "--recipe=e2e-varnet", "--data", str(data), "--out", str(tmp_path / "run")]
    done = subprocess.run(
        ["srun", "--ntasks=2", *ONE_NODE, sys.executable, "-c", program, *words],
        env=slurm.environment,
        cwd=slurm.folder,
        capture_output=True,
        text=True,
        timeout=JOB_SECONDS,
    )
    assert done.returncode == 2, done.stderr
    assert "[gpus-mismatch]" in done.stderr
    assert "#SBATCH --ntasks-per-node=2 --gpus-per-node=2" in done.stderr
