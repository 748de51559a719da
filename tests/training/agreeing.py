"""Run in two processes with different losses and features, whose statistics must be equal.

No thread of the group may be left at the end.
"""

import math
from pathlib import Path

import torch

from cmrrecon.losses.distribution_alignment import DistributionAlignment
from cmrrecon.losses.weighting import CoefficientOfVariation
from cmrrecon.training.distributed import group_of_processes

with group_of_processes("cpu") as (group, _):
    # An optimiser loads modules that could hold on to the group.
    torch.optim.AdamW([torch.nn.Parameter(torch.zeros(1))])
    alignment, weighting = DistributionAlignment(), CoefficientOfVariation(("a", "b"))
    draw = torch.Generator().manual_seed(group.rank)
    for step in range(6):
        features = torch.randn((1, 4, 5, 5), generator=draw)
        alignment((features,), f"domain {group.rank}", group.gather)
        loss = torch.rand((), generator=draw) if step != 3 else torch.tensor(math.nan)
        weighting(
            {"a": loss, "b": torch.rand((), generator=draw) if group.rank else None}, group.mean
        )
    states = group.gather((alignment.state_dict(), weighting.state_dict()))
    (banks, statistics), (other_banks, other_statistics) = states
    assert statistics == other_statistics
    assert all(math.isfinite(value) for values in statistics.values() for value in values.values())
    assert len(banks["banks"][0]) == alignment.window
    for (domain, *moments), (other, *others) in zip(
        banks["banks"][0], other_banks["banks"][0], strict=True
    ):
        assert domain == other
        assert all(torch.equal(a, b) for a, b in zip(moments, others, strict=True))

left = [task.joinpath("comm").read_text().strip() for task in Path("/proc/self/task").glob("*")]
assert not [name for name in left if "gloo" in name], left
