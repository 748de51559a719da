"""Divide inputs among shards by predicted cost, so that each input goes to exactly one shard.

Every shard computes the whole assignment from the file headers alone, so all shards agree without
communicating.
"""

import heapq
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from cmrrecon.cli.arrays import Shard


@dataclass(frozen=True)
class Part:
    """One or more of the equal parts into which the slices of a scan are split.

    Attributes
    ----------
    numbers : tuple of int
        Numbers of the parts, counted from 0.
    of : int
        Total number of parts.
    """

    numbers: tuple[int, ...]
    of: int

    def __str__(self) -> str:
        return f"part {', '.join(str(number + 1) for number in self.numbers)} of {self.of}"

    def among(self, slices: Sequence[int]) -> tuple[int, ...]:
        """Return the slices of these parts; the lengths of two parts differ by at most one."""
        bounds = [len(slices) * number // self.of for number in range(self.of + 1)]
        return tuple(index for n in self.numbers for index in slices[bounds[n] : bounds[n + 1]])


def predicted_cost(path: Path) -> int:
    """Return the predicted cost of a file: the number of samples that its header declares.

    For raw data and damaged files, whose headers do not declare it, the size on disk is used.
    """
    from cmrrecon.formats.kinds import contents, raw_format
    from cmrrecon.tools.errors import InputError

    try:
        if raw_format(path) is None:
            arrays, _ = contents(path, "kspace")
            return max((_length(array.shape) for array in arrays.values()), default=1)
    except InputError:
        # The shard that gets the file reports the problem.
        pass
    # A complex64 sample has 8 bytes.
    return max(1, path.stat().st_size // 8) if path.is_file() else 1


def _length(shape: Sequence[int]) -> int:
    length = 1
    for axis in shape:
        length *= axis
    return length


def assign(costs: Sequence[int], shards: int) -> list[int]:
    """Assign items to shards (from 0): the most costly first, each to the least loaded shard.

    References
    ----------
    Graham RL. Bounds on multiprocessing timing anomalies. SIAM J Appl Math 1969;17:416 (LPT).
    """
    loads = [(0, shard) for shard in range(shards)]
    chosen = [0] * len(costs)
    for item in sorted(range(len(costs)), key=lambda item: (-costs[item], item)):
        load, shard = loads[0]
        heapq.heapreplace(loads, (load + costs[item], shard))
        chosen[item] = shard
    return chosen


def share_of(
    costs: Sequence[int], shard: Shard, slices: Callable[[int], int] | None = None
) -> dict[int, Part | None]:
    """Return the items of a shard in order.

    Parameters
    ----------
    costs : Sequence of int
        Predicted cost of each item.
    shard : Shard
        The shard.
    slices : Callable or None
        Returns the number of slices of an item that may be split. An item whose cost is k times
        the mean cost of a shard is split into k parts. None keeps all items whole.

    Returns
    -------
    dict
        Index of each item of this shard -> its parts, or None for the whole item.
    """
    total = sum(costs)
    units: list[tuple[int, int, int]] = []
    for item, cost in enumerate(costs):
        worth = cost * shard.total // max(total, 1)
        parts = 1 if slices is None or worth < 2 else max(1, min(worth, slices(item)))
        units += [(item, number, parts) for number in range(parts)]

    owners = assign([costs[item] // parts for item, _, parts in units], shard.total)
    mine: dict[int, Part | None] = {}
    for (item, number, parts), owner in zip(units, owners, strict=True):
        if owner == shard.index - 1:
            before = mine.get(item)
            numbers = (*before.numbers, number) if before else (number,)
            mine[item] = Part(numbers, parts) if parts > 1 else None
    return mine
