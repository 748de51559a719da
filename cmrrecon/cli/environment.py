"""The command line, threads and memory of this process."""

import ctypes
import os
import re
import sys
from collections.abc import Mapping

# Options of glibc's `mallopt`, and the largest value of its argument.
M_TRIM_THRESHOLD, M_MMAP_THRESHOLD, LARGEST = -1, -3, 2**31 - 1
PATIENT, HIDDEN = "--patient-id", "hidden"
# Arrays that count as large while weights are read, in bytes.
LARGE = 2**18


def command_line() -> list[str]:
    """Return the command line for the provenance of outputs, without identifiers of patients."""
    shown = ["cmrrecon"]
    for word in sys.argv[1:]:
        option, equals, _ = word.partition("=")
        if shown[-1] == PATIENT:
            word = HIDDEN
        elif option == PATIENT and equals:
            word = f"{PATIENT}={HIDDEN}"
        shown.append(word)
    return shown


def use_allotted_threads() -> None:
    """Limit PyTorch to the processors that a scheduler allotted to this task."""
    allotted = allotted_threads(os.environ)
    if allotted is not None:
        import torch

        torch.set_num_threads(allotted)


def return_freed_memory() -> None:
    """Return freed arrays to the system at once, if the C library is glibc.

    Reading the weights of a network takes several copies. These would leave gaps, among which later
    arrays are scattered.
    """
    _set_thresholds(LARGE)


def reuse_freed_memory() -> None:
    """Keep freed memory for the next arrays, if the C library is glibc.

    By default glibc returns large arrays to the system, which clears their pages again whenever
    they are needed; iterative methods free and allocate them all the time.
    """
    _set_thresholds(LARGEST)


def _set_thresholds(size: int) -> None:
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None) if sys.platform == "linux" else None
    # Some versions of glibc refuse to keep such large arrays, and then nothing is changed.
    if mallopt is not None and mallopt(M_MMAP_THRESHOLD, size):
        mallopt(M_TRIM_THRESHOLD, size)


def allotted_threads(environment: Mapping[str, str]) -> int | None:
    """Return the number of processors allotted to this task; None if PyTorch should decide.

    PyTorch follows an explicit OMP_NUM_THREADS, which therefore takes precedence. Without
    `--cpus-per-task` Slurm reports only the processors of the whole job on the node, which the
    tasks on the node share.
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

    # Other programs may use this short name too, so it only counts inside a PBS job.
    if "PBS_JOBID" in environment and (cores := number("NCPUS")) is not None:
        return cores
    return number("LSB_DJOB_NUMPROC") or number("NSLOTS")


def allotted_memory(environment: Mapping[str, str]) -> int | None:
    """Return the memory in bytes that Slurm allotted on this node; None if unknown."""

    def number(name: str) -> int:
        text = environment.get(name, "")
        return int(text) if text.isdecimal() else 0

    # In MiB. A value of 0 means all memory of the node.
    on_node = number("SLURM_MEM_PER_NODE")
    per_core = number("SLURM_MEM_PER_CPU") * number("SLURM_CPUS_ON_NODE")
    return (on_node or per_core) * 2**20 or None


def _tasks_on_node(environment: Mapping[str, str]) -> int:
    """Return the number of Slurm tasks on this node, from a list of all nodes like `2(x3),1`."""
    counts: list[int] = []
    for word in environment.get("SLURM_TASKS_PER_NODE", "").split(","):
        match = re.fullmatch(r"(\d+)(?:\(x(\d+)\))?", word)
        if match:
            counts += [int(match[1])] * int(match[2] or 1)

    node = environment.get("SLURM_NODEID", "0")
    place = int(node) if node.isdecimal() else 0
    return max(1, counts[place]) if place < len(counts) else 1
