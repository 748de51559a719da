"""Train one network with several processes, started by `torchrun` or `srun`, one per device.

Every process has the whole network, trains on its share of the batches, and averages gradients with
the others. Statistics kept between steps (banks of distribution alignment, statistics of the
weighting) are computed from all processes, so that they agree.
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

# The range of ports for communication: the first port and the number of ports.
FIRST_PORT, PORTS = 20000, 20000
# How long processes wait for each other. The first process alone scans the files of a folder.
PATIENCE = timedelta(hours=1)


@dataclass(frozen=True)
class Group:
    """The processes of a run.

    Attributes
    ----------
    rank, size : int
        The number of this process, counted from 0, and the total number of processes.
    """

    rank: int = 0
    size: int = 1

    def average_gradients(self, modules: Iterable[nn.Module]) -> None:
        """Replace every gradient by its mean over the processes.

        The gradient of a parameter that a process did not use counts as zero.
        """
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

    def gather(self, value: Any) -> list[Any]:
        """Return the values of all processes in the order of their ranks."""
        if self.size == 1:
            return [value]
        gathered: list[Any] = [None] * self.size
        with _all_alive():
            dist.all_gather_object(gathered, value)
        return gathered

    def mean(self, values: Mapping[str, float | None]) -> dict[str, float]:
        """Average each value over the processes that have it; values that none has are left out."""
        every = self.gather(dict(values))
        found = {
            name: [given[name] for given in every if given.get(name) is not None] for name in values
        }
        return {name: sum(numbers) / len(numbers) for name, numbers in found.items() if numbers}


# A single process.
ALONE = Group()


@contextmanager
def group_of_processes(device: str) -> Iterator[tuple[Group, str]]:
    """Join the other processes, if there are any.

    Parameters
    ----------
    device : str
        The device requested: "auto", "cpu", "cuda" or "cuda:N".

    Yields
    ------
    group : Group
        The processes of the run.
    device : str
        The device of this process: "cpu" or "cuda:N". A single process uses the requested device.

    Raises
    ------
    UsageError
        If a node has more or fewer processes than GPUs (`gpus-mismatch`).
    """
    place = _place()
    # The user may choose the GPU of a single process; several processes use the GPUs by number.
    if place is None or (place.size == 1 and device not in ("auto", "cuda")):
        yield Group(), device
        return

    rank, size, local, on_node = place
    gpus = 0 if device == "cpu" else torch.cuda.device_count()
    if gpus:
        if on_node != gpus:
            # A task that Slurm has bound to a single GPU sees only that one.
            both = gpus if gpus > 1 else on_node
            raise UsageError(
                "gpus-mismatch",
                f"{on_node} processes on this node see {gpus} GPUs",
                "Each process needs its own GPU, and each GPU needs a process",
                f"Use #SBATCH --ntasks-per-node={both} --gpus-per-node={both} "
                f"(torchrun --nproc-per-node {both}); fewer GPUs: CUDA_VISIBLE_DEVICES",
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

    # Functions of this module store the group that exists at import time as a default. If an
    # optimiser imported the module later, it would keep the group and its threads alive beyond the
    # end of the run, where they sometimes abort the process.
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
    """Report that another process has ended, instead of the library's message about sockets.

    The other process explains the reason in its own message.
    """
    try:
        yield
    except RuntimeError as error:
        if is_memory_shortage(error):
            raise
        raise CmrreconError(
            "process-lost",
            "Another process of this run has ended",
            "All processes train together",
            "Read its message, or find out what ended it",
        ) from error


class _Place(NamedTuple):
    """The rank of this process and the number of processes, in total and on its node."""

    rank: int
    size: int
    local: int
    on_node: int


def _place() -> _Place | None:
    """Return the place of this process according to torchrun or srun; None for a single process."""
    values = [
        os.environ.get(name, "")
        for name in ("RANK", "WORLD_SIZE", "LOCAL_RANK", "LOCAL_WORLD_SIZE")
    ]

    # An sbatch script sees task numbers too, but only srun starts the processes and numbers steps.
    if "RANK" not in os.environ and "SLURM_STEP_ID" in os.environ:
        values = [
            os.environ.get(f"SLURM_{name}", "")
            for name in ("PROCID", "NTASKS", "LOCALID", "NODEID", "STEP_TASKS_PER_NODE")
        ]
        values[3:] = [str(tasks_of_node(values[4], int(values[3] or 0)))]

    return _Place(*map(int, values)) if all(value.isdigit() for value in values) else None


def tasks_of_node(counts: str, node: int) -> int:
    """Return the number of tasks of a Slurm step on a node.

    In "4(x2),1" nodes 0 and 1 have four tasks and node 2 has one.
    """
    each = [
        int(count)
        for count, times in re.findall(r"(\d+)(?:\(x(\d+)\))?", counts)
        for _ in range(int(times or 1))
    ]
    return each[node] if node < len(each) else 1


def first_host(nodes: str) -> str:
    """Return the first host of Slurm's list of nodes: gpu03 for "gpu[03-05,9],cpu1"."""
    match = re.match(r"([^\[,]+)(?:\[([^,\-\]]+))?", nodes)
    return match[1] + (match[2] or "") if match else ""
