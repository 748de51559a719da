"""What a command takes from its surroundings: the command line typed and the processors allotted."""

import os
import sys


def command_line() -> list[str]:
    """What the user typed, for the provenance of outputs."""
    return ["cmrrecon", *sys.argv[1:]]


def use_allotted_threads() -> None:
    """On a cluster node use the processors of this task, not all that the machine has."""
    allotted = os.environ.get("SLURM_CPUS_PER_TASK", "")
    if allotted.isdigit() and "OMP_NUM_THREADS" not in os.environ:
        import torch

        torch.set_num_threads(max(1, int(allotted)))
