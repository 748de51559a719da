"""Several processes that train one network: started by `torchrun` or by `srun`, one process a device.

Every process has the whole network, takes its share of the batches, and averages gradients with the others. What is remembered between
steps (banks of distribution alignment, statistics of the weighting) is learnt from all processes alike, so that it agrees.
"""

import importlib
import os
import re
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import timedelta
from typing import Any, NamedTuple

import torch
import torch.distributed as dist
from torch import nn

from cmrrecon.tools.errors import CmrreconError, UsageError, is_memory_shortage

FIRST_PORT, PORTS = 20000, 20000
# How long processes wait for each other; the first one looks through the files of a folder alone.
PATIENCE = timedelta(hours=1)


@dataclass(frozen=True)
class Group:
    """The processes of a run.

    Attributes
    ----------
    rank, size : which one this is, of how many
    """

    rank: int = 0
    size: int = 1

    def average_gradients(self, modules: Iterable[nn.Module]) -> None:
        """Replace every gradient by its mean over the processes; parameters that one process did not use count as zero there."""
        if self.size == 1:
            return
        for module in modules:
            trained = [parameter for parameter in module.parameters() if parameter.requires_grad]
            flat = torch.cat(
                [
                    torch.zeros_like(p).flatten() if p.grad is None else p.grad.flatten()
                    for p in trained
                ]
            )

            with _all_alive():
                dist.all_reduce(flat)

            flat /= self.size
            for parameter, part in zip(
                trained, torch.split(flat, [p.numel() for p in trained]), strict=True
            ):
                parameter.grad = part.view_as(parameter).clone()

    def gather(self, thing: Any) -> list[Any]:
        """What every process has given, in the order of their ranks."""
        if self.size == 1:
            return [thing]
        gathered: list[Any] = [None] * self.size
        with _all_alive():
            dist.all_gather_object(gathered, thing)
        return gathered

    def mean(self, values: Mapping[str, float | None]) -> dict[str, float]:
        """Of each value the mean over the processes that have it; left out if none has."""
        every = self.gather(dict(values))
        found = {
            name: [given[name] for given in every if given.get(name) is not None] for name in values
        }
        return {name: sum(numbers) / len(numbers) for name, numbers in found.items() if numbers}


# A process on its own.
ALONE = Group()


@contextmanager
def group_of_processes(device: str) -> Iterator[tuple[Group, str]]:
    """Join the other processes, if there are any; gives the group and the device of this process ("cpu" or "cuda:N").

    Raises
    ------
    UsageError : more or fewer processes on a node than GPUs
    """
    place = _place()
    # A process of its own may be told which GPU it has; several have theirs by their number.
    if place is None or (place.size == 1 and device not in ("auto", "cuda")):
        yield Group(), device
        return

    rank, size, local, here = place
    gpus = 0 if device == "cpu" else torch.cuda.device_count()
    if gpus:
        if here != gpus:
            # A single GPU is all that a task sees to which Slurm has bound one.
            both = gpus if gpus > 1 else here
            raise UsageError(
                "gpus-mismatch",
                f"{here} processes on this node see {gpus} GPUs",
                "Every process trains on a GPU of its own, and none is left over",
                f"Use #SBATCH --ntasks-per-node={both} --gpus-per-node={both} (torchrun --nproc-per-node {both}); "
                "fewer GPUs: CUDA_VISIBLE_DEVICES",
            )
        device = f"cuda:{local}"
        torch.cuda.set_device(local)

    if size == 1:
        yield Group(), device
        return

    os.environ.setdefault(
        "MASTER_ADDR", first_host(os.environ.get("SLURM_STEP_NODELIST", "")) or "127.0.0.1"
    )
    os.environ.setdefault(
        "MASTER_PORT", str(FIRST_PORT + int(os.environ.get("SLURM_JOB_ID", "0")) % PORTS)
    )

    # Its functions take the group of the time of their import as a default: imported later, by an optimiser, they would keep it, and its
    # threads, beyond the end of the run, where they abort the process now and then.
    importlib.import_module("torch.distributed.nn.functional")
    dist.init_process_group(
        "nccl" if gpus else "gloo", rank=rank, world_size=size, timeout=PATIENCE
    )

    try:
        yield Group(rank, size), device
    finally:
        dist.destroy_process_group()


@contextmanager
def _all_alive() -> Iterator[None]:
    """Tell that another process has ended, whose own message says why, in place of the library's words about sockets."""
    try:
        yield
    except RuntimeError as error:
        if is_memory_shortage(error):
            raise
        raise CmrreconError(
            "process-lost",
            "Another process of this run has ended",
            "All of them train together",
            "See its message, or look for what killed it",
        ) from error


class _Place(NamedTuple):
    """Which process this is, of how many; which on its node, of how many."""

    rank: int
    size: int
    local: int
    here: int


def _place() -> _Place | None:
    """As torchrun or srun say; None for a process of its own."""
    values = [
        os.environ.get(name, "")
        for name in ("RANK", "WORLD_SIZE", "LOCAL_RANK", "LOCAL_WORLD_SIZE")
    ]

    # An sbatch script has numbers of tasks too, but only srun starts as many processes and numbers their steps.
    if "RANK" not in os.environ and "SLURM_STEP_ID" in os.environ:
        values = [
            os.environ.get(f"SLURM_{name}", "")
            for name in ("PROCID", "NTASKS", "LOCALID", "NODEID", "STEP_TASKS_PER_NODE")
        ]
        values[3:] = [str(tasks_of_node(values[4], int(values[3] or 0)))]

    return _Place(*map(int, values)) if all(value.isdigit() for value in values) else None


def tasks_of_node(counts: str, node: int) -> int:
    """How many tasks Slurm has started on a node of a step: of "4(x2),1" the nodes 0 and 1 have four, node 2 has one."""
    each = [
        int(count)
        for count, times in re.findall(r"(\d+)(?:\(x(\d+)\))?", counts)
        for _ in range(int(times or 1))
    ]
    return each[node] if node < len(each) else 1


def first_host(nodes: str) -> str:
    """The first of Slurm's list of nodes: "gpu[03-05,9],cpu1" gives gpu03."""
    match = re.match(r"([^\[,]+)(?:\[([^,\-\]]+))?", nodes)
    return match[1] + (match[2] or "") if match else ""
