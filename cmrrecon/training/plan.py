"""The plan of training, derived from the sizes of the scans and the memory of the device.

As in nnU-Net (Isensee et al., Nat Methods 2021;18:203), users need not choose these settings. The
plan is printed, and users can set each value themselves.
"""

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any

import torch

from cmrrecon.networks.base import SeriesNetwork, WindowNetwork, build_network
from cmrrecon.tools.devices import Precision, device_memory
from cmrrecon.tools.machine import available_cores
from cmrrecon.training.dataset import KEPT_BYTES
from cmrrecon.training.entries import Entry
from cmrrecon.training.recipe import Recipe
from cmrrecon.training.strips import columns_of, trained_shape

# The fraction of the memory that the plan may use; the rest is for losses, discriminator, libraries
# and fragmentation.
MEMORY_SHARE = 0.7
# The largest batch if the recipe leaves its size open, and the largest number of reading threads.
MOST_WINDOWS, MOST_WORKERS = 16, 4
# Weights and the two moments of AdamW in float32. The estimate of a step includes the gradients.
BYTES_A_PARAMETER = 3 * 4
BYTES_OF_AVERAGE = 4


@dataclass(frozen=True)
class Plan:
    """How a recipe is trained on a device.

    Attributes
    ----------
    batches : dict of int
        The number of windows in a batch for each size of scan, "{coils}x{y}x{x}".
    checkpointing : bool
        Whether activations are recomputed in the backward pass.
    precision : str
        Precision of the convolutions.
    workers : int
        Number of threads that prepare the next batches.
    step_mb, device_mb : int
        Estimated peak memory of a step (0 if not estimated) and memory of the device, in MiB.
    """

    batches: Mapping[str, int] = field(default_factory=dict)
    checkpointing: bool = False
    precision: Precision = "fp32"
    workers: int = 1
    step_mb: int = 0
    device_mb: int = 0

    def batch(self, shape: Sequence[int]) -> int:
        """Return the number of windows in a batch of scans of this shape (coil, y, x)."""
        return self.batches.get(named(shape), 1)

    def as_dict(self) -> dict[str, Any]:
        """Return the plan as plain values for JSON."""
        return asdict(self)


def named(shape: Sequence[int]) -> str:
    """Return the key in `Plan.batches` for a shape (coil, y, x)."""
    return "x".join(map(str, shape))


def make_plan(
    recipe: Recipe,
    entries: Sequence[Entry],
    device: torch.device,
    *,
    checkpointing: bool | None = None,
    workers: int | None = None,
) -> Plan:
    """Plan the training of scans on a device.

    A batch has the size stated in the recipe, or as many windows as fit into memory if that size is
    0, but never more than fit. Activations are recomputed if a single window of the largest scan
    would not fit otherwise. If that is not enough and the recipe does not fix the precision,
    convolutions use half precision. Scans that still do not seem to fit are tried anyway, because
    the estimates are cautious. Networks for whole series train on one series at a time, without an
    estimate of the memory.

    Parameters
    ----------
    recipe : Recipe
        The recipe.
    entries : sequence of Entry
        The scans to train on.
    device : torch.device
        The device to train on.
    checkpointing : bool or None
        The user's choice, or None.
    workers : int or None
        The user's choice, or None.
    """
    memory = device_memory(device)
    threads = max(1, min(MOST_WORKERS, available_cores() - 1)) if workers is None else workers

    network = _ghost(recipe, False)
    if isinstance(network, SeriesNetwork):
        half = recipe.schedule.precision == "bf16"
        return Plan({}, bool(checkpointing), "bf16" if half else "fp32", threads, 0, memory >> 20)

    free = MEMORY_SHARE * memory - _kept_bytes(recipe, network, device)
    scans = _windows_by_shape(recipe, entries)
    largest = max(scans, key=_samples)
    saved, needed = _checkpointed(recipe, largest, free, checkpointing)

    precision = recipe.schedule.precision
    if precision == "auto":
        precision = "bf16" if needed > free and device.type == "cuda" else "fp32"

    sizes = {}
    for shape, windows in sorted(scans.items()):
        fitting = max(1, int(free / (needed * _samples(shape) / _samples(largest))))
        wanted = recipe.schedule.batch or min(MOST_WINDOWS, windows)
        sizes[shape] = min(wanted, fitting)

    most = max(size * _samples(shape) for shape, size in sizes.items()) / _samples(largest)
    step = needed * most + MEMORY_SHARE * memory - free

    return Plan(
        {named(shape): size for shape, size in sizes.items()},
        saved,
        precision,
        threads,
        int(step) >> 20,
        memory >> 20,
    )


def _kept_bytes(recipe: Recipe, network: WindowNetwork, device: torch.device) -> int:
    """Return the bytes always in use: weights, moments, average and, on a CPU, cached slices."""
    parameters = sum(parameter.numel() for parameter in network.parameters())
    each = BYTES_A_PARAMETER + BYTES_OF_AVERAGE * bool(recipe.schedule.average)
    return parameters * each + (KEPT_BYTES if device.type == "cpu" else 0)


def _windows_by_shape(recipe: Recipe, entries: Sequence[Entry]) -> Counter[tuple[int, ...]]:
    """Return the number of windows for each shape (coil, y, x); empty slices have none."""
    scans: Counter[tuple[int, ...]] = Counter()
    for columns in {columns_of(recipe.data, epoch) for epoch in range(recipe.schedule.epochs)}:
        for entry in entries:
            frames, slices = entry["shape"][:2]
            windows = frames * (slices - len(entry["empty_slices"]))
            scans[trained_shape(entry, columns)] += windows
    return scans


def _checkpointed(
    recipe: Recipe, largest: Sequence[int], free: float, asked: bool | None
) -> tuple[bool, int]:
    """Return whether activations are recomputed, and the memory of a window of the largest scan."""
    plain = window_bytes(recipe, largest, checkpointing=False)
    if plain <= free and not asked:
        return False, plain
    again = window_bytes(recipe, largest, checkpointing=True)
    saved = plain > free and again < plain if asked is None else asked
    return saved, again if saved else plain


def batches_in_all(recipe: Recipe, every: int, most_steps: int | None) -> int:
    """Return how many batches a process works through, if an epoch has `every` of them."""
    total = every * recipe.schedule.epochs
    if most_steps is None:
        return total
    accumulate = recipe.optimiser.accumulate
    epochs, steps = divmod(most_steps, -(-every // accumulate))
    return min(total, epochs * every + steps * accumulate)


def window_bytes(recipe: Recipe, shape: Sequence[int], *, checkpointing: bool) -> int:
    """Return the bytes needed to train on one window of a scan (coil, y, x) with a line mask.

    This covers the forward and backward pass and the gradients of the weights.
    """
    network, (coils, y, x) = _ghost(recipe, checkpointing), shape
    assert isinstance(network, WindowNetwork)
    middle = recipe.schedule.maps == "middle"
    return network.training_memory(coils, y, x, recipe.sampling.acs, middle_maps=middle)


def _ghost(recipe: Recipe, checkpointing: bool) -> WindowNetwork | SeriesNetwork:
    """Return the network without values, on the meta device."""
    with torch.device("meta"):
        network = build_network(
            recipe.network["name"],
            {key: value for key, value in recipe.network.items() if key != "name"},
        )
    network.checkpointing = checkpointing and network.can_checkpoint
    return network.train()


def _samples(shape: Sequence[int]) -> int:
    coils, y, x = shape
    return coils * y * x
