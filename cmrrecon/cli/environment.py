"""What a command uses of its surroundings: the command line and the allotted processors."""

import os
import re
import sys
from collections.abc import Mapping


def command_line() -> list[str]:
    """The words that the user typed, for the provenance of outputs."""
    return ["cmrrecon", *sys.argv[1:]]


def use_allotted_threads() -> None:
    """Limit PyTorch to the processors that a scheduler gave this task."""
    allotted = allotted_threads(os.environ)
    if allotted is not None:
        import torch

        torch.set_num_threads(allotted)


def allotted_threads(environment: Mapping[str, str]) -> int | None:
    """How many processors a scheduler gave this task; None where PyTorch decides itself.

    PyTorch follows an explicit OMP_NUM_THREADS, so that always wins. Without
    `--cpus-per-task` Slurm only says how many processors the job has on the node; the tasks on
    the node divide them.
    """

    def number(name: str) -> int | None:
        text = environment.get(name, "")
        return int(text) if text.isdecimal() and int(text) > 0 else None

    if environment.get("OMP_NUM_THREADS"):
        return None
    if (own := number("SLURM_CPUS_PER_TASK")) is not None:
        return own
    if (on_node := number("SLURM_CPUS_ON_NODE")) is not None:
        tasks = number("SLURM_NTASKS_PER_NODE") or _tasks_on_node(environment)
        return max(1, on_node // tasks)

    # Another program may use the short name, so it counts inside a job of PBS alone.
    if "PBS_JOBID" in environment and (cores := number("NCPUS")) is not None:
        return cores
    return number("LSB_DJOB_NUMPROC") or number("NSLOTS")


def allotted_memory(environment: Mapping[str, str]) -> int | None:
    """Bytes that Slurm gave this job on the node; None where it does not say."""

    def number(name: str) -> int:
        text = environment.get(name, "")
        return int(text) if text.isdecimal() else 0

    # In MiB. An option of 0 asks for the memory of the whole node.
    on_node = number("SLURM_MEM_PER_NODE")
    per_core = number("SLURM_MEM_PER_CPU") * number("SLURM_CPUS_ON_NODE")
    return (on_node or per_core) * 2**20 or None


def _tasks_on_node(environment: Mapping[str, str]) -> int:
    """The number of Slurm tasks on this node, from a list such as `2(x3),1` over all nodes."""
    counts: list[int] = []
    for word in environment.get("SLURM_TASKS_PER_NODE", "").split(","):
        match = re.fullmatch(r"(\d+)(?:\(x(\d+)\))?", word)
        if match:
            counts += [int(match[1])] * int(match[2] or 1)

    node = environment.get("SLURM_NODEID", "0")
    place = int(node) if node.isdecimal() else 0
    return max(1, counts[place]) if place < len(counts) else 1
