"""Find out which task of a scheduler's job array this process is."""

import re
from collections.abc import Mapping
from dataclasses import dataclass

from cmrrecon.tools.errors import UsageError


@dataclass(frozen=True)
class Shard:
    """Share number `index` (from 1) of `total` shares of the inputs."""

    index: int
    total: int


@dataclass(frozen=True)
class Scheduler:
    """The environment variables in which a scheduler describes a task of a job array.

    Attributes
    ----------
    name : str
        Name for messages.
    task : str
        Variable that holds the number of this task.
    first, last, step : str
        Variables that hold the range of task numbers; empty if the scheduler sets none.
    count : str
        Variable that holds the number of tasks; empty if the scheduler sets none.
    """

    name: str
    task: str
    first: str = ""
    last: str = ""
    step: str = ""
    count: str = ""


SLURM = "SLURM_ARRAY_TASK_"
# These names are from the documentation of each scheduler. PBS does not report the number of tasks
# in an array. LSF reports only the last index and the step: name[1,3,7] looks like name[1-7], see
# `assumption_about_array`. Outside arrays, LSF sets LSB_JOBINDEX to 0, and Grid Engine sets
# SGE_TASK_ID to "undefined".
SCHEDULERS = (
    Scheduler(
        "Slurm", f"{SLURM}ID", first=f"{SLURM}MIN", step=f"{SLURM}STEP", count=f"{SLURM}COUNT"
    ),
    Scheduler("PBS", "PBS_ARRAY_INDEX"),
    Scheduler("Torque", "PBS_ARRAYID"),
    Scheduler("LSF", "LSB_JOBINDEX", last="LSB_JOBINDEX_END", step="LSB_JOBINDEX_STEP"),
    Scheduler(
        "Grid Engine",
        "SGE_TASK_ID",
        first="SGE_TASK_FIRST",
        last="SGE_TASK_LAST",
        step="SGE_TASK_STEPSIZE",
    ),
)


def parse_shard(text: str, environment: Mapping[str, str]) -> Shard:
    """Return the shard that `--shard` selects.

    Parameters
    ----------
    text : str
        `i/n`; `auto` for the current task of a job array; or `auto/n` for the current task of a
        job array numbered from 1 to n.
    environment : Mapping
        Environment variables.

    Raises
    ------
    UsageError
        If the text has another form (`option-value`), there is no job array
        (`slurm-array-missing`), the scheduler does not report the number of tasks
        (`array-count-missing`), or the task numbers are not usable (`slurm-array-uneven`).
    """
    match = re.fullmatch(r"(\d+|auto)(?:/(\d+))?", text)

    if match and match[1] == "auto":
        scheduler, number = _task(environment)
        if match[2]:
            return _check_shard(scheduler, number, Shard(number, int(match[2])))
        return _check_shard(scheduler, number, _in_array(scheduler, number, environment))

    index, total = (int(match[1]), int(match[2] or 0)) if match else (0, 0)
    if not 1 <= index <= total:
        raise UsageError(
            "option-value",
            f"--shard was given {text!r}",
            "It must be i/n with 1 <= i <= n, auto, or auto/n",
            "For example, use --shard 1/4",
        )
    return Shard(index, total)


def _task(environment: Mapping[str, str]) -> tuple[Scheduler, int]:
    """Return the scheduler and the number of this task."""
    for scheduler in SCHEDULERS:
        number = environment.get(scheduler.task, "")
        # LSF numbers a job outside an array 0.
        if number.isdecimal() and not (scheduler.name == "LSF" and number == "0"):
            return scheduler, int(number)
    raise UsageError(
        "slurm-array-missing",
        "--shard auto found no job array",
        f"One of {', '.join(scheduler.task for scheduler in SCHEDULERS)} must be set",
        "Submit a job array, such as sbatch --array=1-8, or use --shard i/n",
    )


def _in_array(scheduler: Scheduler, number: int, environment: Mapping[str, str]) -> Shard:
    """Return the position of task `number` in an array of evenly spaced numbers."""

    def value(name: str, default: int) -> int:
        text = environment.get(name, "")
        return int(text) if text.isdecimal() else default

    # Slurm arrays may start at any number.
    first = value(scheduler.first, 0 if scheduler.count else 1)
    step = max(1, value(scheduler.step, 1))
    count, last = value(scheduler.count, 0), value(scheduler.last, 0)
    total = count or (last - first) // step + 1

    if not (count or last):
        raise UsageError(
            "array-count-missing",
            f"--shard auto found task {number} of a {scheduler.name} job array",
            f"{scheduler.name} does not report the number of tasks in the array",
            "Add the number, such as --shard auto/8 for an array of tasks 1 to 8",
        )
    index = (number - first) // step + 1
    return Shard(index if (number - first) % step == 0 else 0, total)


def _check_shard(scheduler: Scheduler, number: int, shard: Shard) -> Shard:
    """Return the shard, or raise an error if its index is out of range."""
    if 1 <= shard.index <= shard.total:
        return shard
    raise UsageError(
        "slurm-array-uneven",
        f"--shard auto found {scheduler.name} task {number} in an array of {shard.total} tasks",
        "Task numbers must be evenly spaced; with auto/n they must run from 1 to n",
        "Number the tasks from 1, such as --array=1-64, or use --shard i/n",
    )


def assumption_about_array(text: str, environment: Mapping[str, str]) -> str | None:
    """Return what `--shard auto` has to assume about a job array; None if it knows all of it."""
    if text != "auto":
        return None
    scheduler, number = _task(environment)
    if scheduler.name != "LSF":
        return None
    total = _in_array(scheduler, number, environment).total
    return (
        f"LSF does not report the number of tasks in the array: --shard auto assumes {total}; "
        "for an array with gaps, number the tasks from 1 to n and use --shard auto/n"
    )
