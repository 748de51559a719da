"""Several processes that train one network: started by `torchrun` or by `srun`, one process a device.

Every process has the whole network, takes its share of the batches, and averages gradients with the others. What is remembered between
steps (banks of distribution alignment, statistics of the weighting) is learnt from all processes alike, so that it agrees.
"""

import os
import re
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import torch
import torch.distributed as dist
from torch import nn

from cmrrecon.errors import UsageError

FIRST_PORT, PORTS = 20000, 20000


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
            flat = torch.cat([torch.zeros_like(p).flatten() if p.grad is None else p.grad.flatten() for p in trained])
            dist.all_reduce(flat)
            flat /= self.size
            for parameter, part in zip(trained, torch.split(flat, [p.numel() for p in trained]), strict=True):
                parameter.grad = part.view_as(parameter).clone()

    def gather(self, thing: Any) -> list[Any]:
        """What every process has given, in the order of their ranks."""
        if self.size == 1:
            return [thing]
        gathered: list[Any] = [None] * self.size
        dist.all_gather_object(gathered, thing)
        return gathered

    def mean(self, values: Mapping[str, float | None]) -> dict[str, float]:
        """Of each value the mean over the processes that have it; left out if none has."""
        every = self.gather(dict(values))
        found = {name: [given[name] for given in every if given.get(name) is not None] for name in values}
        return {name: sum(numbers) / len(numbers) for name, numbers in found.items() if numbers}


@contextmanager
def group_of_processes(device: str) -> Iterator[tuple[Group, str]]:
    """Join the other processes, if there are any; gives the group and the device of this process ("cpu" or "cuda:N").

    Raises
    ------
    UsageError : more processes on a node than GPUs
    """
    place = _place()
    if place is None:
        yield Group(), device
        return
    rank, size, local = place
    if size == 1:
        yield Group(), device
        return
    gpus = 0 if device == "cpu" else torch.cuda.device_count()
    if gpus:
        if local >= gpus:
            raise UsageError(
                f"Process {local} of this node has no GPU: there are {gpus}",
                "Every process needs a GPU of its own",
                f"Start {gpus} a node, in Slurm with: #SBATCH --ntasks-per-node={gpus} --gpus-per-node={gpus}",
            )
        device = f"cuda:{local}"
        torch.cuda.set_device(local)
    os.environ.setdefault("MASTER_ADDR", first_host(os.environ.get("SLURM_JOB_NODELIST", "")) or "127.0.0.1")
    os.environ.setdefault("MASTER_PORT", str(FIRST_PORT + int(os.environ.get("SLURM_JOB_ID", "0")) % PORTS))
    dist.init_process_group("nccl" if gpus else "gloo", rank=rank, world_size=size)
    try:
        yield Group(rank, size), device
    finally:
        dist.destroy_process_group()


def _place() -> tuple[int, int, int] | None:
    """Rank, size and rank on this node, as torchrun or srun say; None for a process of its own."""
    for names in (("RANK", "WORLD_SIZE", "LOCAL_RANK"), ("SLURM_PROCID", "SLURM_NTASKS", "SLURM_LOCALID")):
        values = [os.environ.get(name, "") for name in names]
        # An sbatch script has SLURM_NTASKS too, but only srun starts as many processes and numbers their steps.
        if all(value.isdigit() for value in values) and (names[0] == "RANK" or "SLURM_STEP_ID" in os.environ):
            rank, size, local = map(int, values)
            return rank, size, local
    return None


def first_host(nodes: str) -> str:
    """The first of Slurm's list of nodes: "gpu[03-05,9],cpu1" gives gpu03."""
    match = re.match(r"([^\[,]+)(?:\[([^,\-\]]+))?", nodes)
    return match[1] + (match[2] or "") if match else ""
