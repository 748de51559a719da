"""Job arrays of cluster schedulers: which task of how many this process is."""

import re
from collections.abc import Mapping
from dataclasses import dataclass

from cmrrecon.tools.errors import UsageError


@dataclass(frozen=True)
class Shard:
    """Part `index` (from 1) of `total`."""

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
        Variable with the number of this task.
    first, last, step : str
        Variables with the range of the numbers; empty where the scheduler sets none.
    count : str
        Variable with the number of tasks; empty where the scheduler sets none.
    """

    name: str
    task: str
    first: str = ""
    last: str = ""
    step: str = ""
    count: str = ""


SLURM = "SLURM_ARRAY_TASK_"
# The documentation of each scheduler names these variables. PBS does not say how many tasks an
# array has. LSF sets LSB_JOBINDEX to 0 and Grid Engine SGE_TASK_ID to "undefined" outside arrays.
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
    """The shard that `--shard` asks for.

    Parameters
    ----------
    text : str
        `i/n`; `auto`, for the task of a job array; or `auto/n`, for the task of a job array
        whose numbers run from 1 to n.
    environment : Mapping
        Environment variables.

    Raises
    ------
    UsageError
        If the text is none of these (`option-value`), there is no job array
        (`slurm-array-missing`), the scheduler does not say how many tasks there are
        (`array-count-missing`), or its numbers do not fit (`slurm-array-uneven`).
    """
    match = re.fullmatch(r"(\d+|auto)(?:/(\d+))?", text)

    if match and match[1] == "auto":
        scheduler, number = _task(environment)
        if match[2]:
            return _checked(scheduler, number, Shard(number, int(match[2])))
        return _checked(scheduler, number, _in_array(scheduler, number, environment))

    index, total = (int(match[1]), int(match[2] or 0)) if match else (0, 0)
    if not 1 <= index <= total:
        raise UsageError(
            "option-value",
            f"The shard is {text!r}",
            "It must be i/n with 1 <= i <= n, auto, or auto/n",
            "Use for example --shard 1/4",
        )
    return Shard(index, total)


def _task(environment: Mapping[str, str]) -> tuple[Scheduler, int]:
    """The scheduler and the number of this task."""
    for scheduler in SCHEDULERS:
        number = environment.get(scheduler.task, "")
        # Task 0 of LSF is no array.
        if number.isdecimal() and not (scheduler.name == "LSF" and number == "0"):
            return scheduler, int(number)
    raise UsageError(
        "slurm-array-missing",
        "--shard auto found no job array",
        f"One of {', '.join(scheduler.task for scheduler in SCHEDULERS)} must be set",
        "Submit a job array, such as sbatch --array=1-8, or give --shard i/n",
    )


def _in_array(scheduler: Scheduler, number: int, environment: Mapping[str, str]) -> Shard:
    """The place of task `number` in its array, whose numbers are evenly spaced."""

    def value(name: str, otherwise: int) -> int:
        text = environment.get(name, "")
        return int(text) if text.isdecimal() else otherwise

    # Slurm numbers from any start; LSF, which does not say it, from 1.
    first = value(scheduler.first, 0 if scheduler.count else 1)
    step = max(1, value(scheduler.step, 1))
    count, last = value(scheduler.count, 0), value(scheduler.last, 0)
    total = count or (last - first) // step + 1

    if not (count or last):
        raise UsageError(
            "array-count-missing",
            f"--shard auto found task {number} of a job array of {scheduler.name}",
            f"{scheduler.name} does not say how many tasks the array has",
            "Give the number, such as --shard auto/8 for an array of tasks 1 to 8",
        )
    index = (number - first) // step + 1
    return Shard(index if (number - first) % step == 0 else 0, total)


def _checked(scheduler: Scheduler, number: int, shard: Shard) -> Shard:
    """The shard, or an error if there is no such part."""
    if 1 <= shard.index <= shard.total:
        return shard
    raise UsageError(
        "slurm-array-uneven",
        f"--shard auto found task {number} of {scheduler.name} in an array of {shard.total} tasks",
        "The tasks must be evenly spaced; with auto/n they are numbered from 1 to n",
        "Number the tasks from 1, such as --array=1-64, or give --shard i/n",
    )
