"""A network is adapted to a single scan, without any truth: it learns to predict measured lines that it is not given.

The measured samples outside the calibration region are parted (Yaman et al., ZS-SSL, ICLR 2022, arXiv 2102.07737): a few, the same all
the time, judge (`holdout.hide`); of the others every step draws anew which ones the network is given and which ones its images must
predict. What judges says when to stop, and which weights are kept, the first ones among them. The samples by which `auto` compares
methods take no part in any of this, so that it judges an adapted network fairly.
"""

import copy
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor, nn

from cmrrecon.classical.problem import Coils, Problem
from cmrrecon.classical.refined_maps import refined
from cmrrecon.data.scan import Series, require_cartesian, window
from cmrrecon.methods.auto import liveliest
from cmrrecon.methods.holdout import HeldOut, hide
from cmrrecon.networks.base import SeriesNetwork, WindowNetwork
from cmrrecon.networks.sensitivity import calibration_size
from cmrrecon.operators.sensitivity import calibration_region
from cmrrecon.tools.errors import UsageError

# The part of the lines that a step predicts, the rate, steps between two looks at what judges, and looks without a gain before the end.
PREDICTED, RATE, LOOK_EVERY, PATIENCE = 0.4, 2e-4, 5, 5
CLIP = 1.0
# Of networks for windows: frames by which is judged.
FRAMES_LOOKED_AT = 4


@dataclass(frozen=True)
class Adapted:
    """What adaptation gave.

    Attributes
    ----------
    network : with the weights that predicted best
    before, after : error of the prediction of what says when to stop (`HeldOut`; of networks for windows, of k-space), at first and of
        those weights
    steps : after how many these were found; 0: no better ones were
    """

    network: WindowNetwork | SeriesNetwork
    before: float
    after: float
    steps: int


def adapt(network: WindowNetwork | SeriesNetwork, series: Series, steps: int, on_step: Callable[[float], None], seed: int = 0) -> Adapted:
    """A copy of a network, trained on a single series.

    Parameters
    ----------
    network : for whole series, or for windows and giving k-space
    series : Cartesian
    steps : at most so many
    on_step : is told the loss of every step

    Raises
    ------
    UsageError : a network that gives no k-space, or a scan of which too little was measured to part it
    InputError, NumericalError : no coil maps can be made, see `Coils.of`
    """
    require_cartesian(series, "Adaptation")
    compared = hide(series)
    learnt = series if compared is None else replace(series, mask=series.mask & ~compared)
    judges = hide(learnt)
    if compared is None or judges is None:
        raise UsageError(
            "todo",
            "Too little was measured outside the calibration region to adapt a network to this scan",
            "Some lines must judge and others be predicted",
            "Leave out --adapt",
        )
    learner = copy.deepcopy(network).to(series.kspace.device).train().requires_grad_(True)
    learner.checkpointing = learner.can_checkpoint
    rest = replace(learnt, mask=learnt.mask & ~judges)
    task: _Whole | _Windows
    task = _Whole(learnt, rest, judges) if isinstance(learner, SeriesNetwork) else _Windows(learner, learnt, rest, judges)
    generator = torch.Generator().manual_seed(seed)
    optimiser = torch.optim.Adam(learner.parameters(), lr=RATE)
    before = least = task.judge(learner)
    best, found, stale = copy.deepcopy(learner.state_dict()), 0, 0
    for step in range(1, steps + 1):
        predicted = _drawn(rest.mask, generator)
        loss = task.loss(learner, rest.mask & ~predicted, predicted, step)
        optimiser.zero_grad()
        loss.backward()  # type: ignore[no-untyped-call]
        nn.utils.clip_grad_norm_(learner.parameters(), CLIP)
        optimiser.step()
        on_step(float(loss.detach()))
        if step % LOOK_EVERY == 0 or step == steps:
            error = task.judge(learner)
            stale = 0 if error < least else stale + 1
            if error < least:
                least, found, best = error, step, copy.deepcopy(learner.state_dict())
            if stale >= PATIENCE:
                break
    learner.load_state_dict(best)
    return Adapted(learner.eval().requires_grad_(False), before, least, found)


def _drawn(mask: Tensor, generator: torch.Generator) -> Tensor:
    """What a step predicts of a mask: whole lines, or single samples, outside its calibration region."""
    y, x = calibration_region(mask)
    free = mask.clone()
    free[:, y, x] = False
    return free & (torch.rand(mask.shape, generator=generator) < PREDICTED).to(mask.device)


class _Whole:
    """A network that takes whole series, by their least-squares problem; the maps are those of the scan. Of line masks it sees the columns
    with the most change."""

    def __init__(self, series: Series, rest: Series, judges: Tensor) -> None:
        self.series, self.rest, self.scale, coils = series, rest, series.scale(), Coils.of(series)
        if series.mask.shape[2] == 1:
            coils = replace(coils, columns=liveliest(Problem.of(series, coils, self.scale)))
        self.coils = refined(rest, coils, self.scale)
        self.judges = HeldOut(series, self.scale, judges, self.coils)

    def judge(self, network: Any) -> float:
        return self.judges(network.solve(Problem.of(self.rest, self.coils, self.scale)).x)

    def loss(self, network: Any, given: Tensor, predicted: Tensor, step: int) -> Tensor:
        """||A x - y||^2 / ||y||^2 on what is predicted."""
        problem = Problem.of(replace(self.series, mask=given), self.coils, self.scale)
        held_out = HeldOut(self.series, self.scale, predicted, self.coils)
        *_, x = network.steps(problem)
        apart = x.conj() * (2 * held_out.problem.rhs - held_out.problem.A.N(x))
        error: Tensor = 1 - apart.real.sum() / held_out.energy
        return error


class _Windows:
    """A network that takes windows and gives the k-space of their middle frame; a step sees one frame."""

    def __init__(self, network: WindowNetwork, series: Series, rest: Series, judges: Tensor) -> None:
        if not network.gives_kspace:
            raise UsageError(
                "todo",
                "This network gives no k-space",
                "Adaptation compares k-space with what was measured",
                "Adapt kt-unrolled or promptmr",
            )
        self.kspace, self.rest, self.judges = series.kspace / series.scale(), rest, judges
        self.acs, self.width = calibration_size(series.mask), network.frames
        # Frames where something judges; a few of them tell enough.
        judged = [frame for frame in range(len(self.kspace)) if bool(judges[frame % len(judges)].any())]
        self.looked_at = judged[:: -(-len(judged) // FRAMES_LOOKED_AT)]

    def _predict(self, network: Any, mask: Tensor, frame: int) -> Tensor:
        rows = window(frame, len(self.kspace), self.width)
        masks = mask[rows] if len(mask) > 1 else mask
        kspace: Tensor = network((self.kspace[rows] * masks[:, None])[None], masks[None], self.acs).kspace
        return kspace

    def _error(self, network: Any, given: Tensor, predicted: Tensor, frame: int) -> tuple[Tensor, Tensor]:
        """The squared error of a frame, and the energy of what was to be predicted."""
        kspace = self._predict(network, given, frame)
        wanted, where = self.kspace[frame], predicted[frame % len(predicted)]
        return ((kspace[0] - wanted) * where).abs().square().sum(), (wanted * where).abs().square().sum()

    def judge(self, network: Any) -> float:
        with torch.no_grad():
            found = [self._error(network, self.rest.mask, self.judges, frame) for frame in self.looked_at]
        return float(sum(error for error, _ in found) / sum(energy for _, energy in found))

    def loss(self, network: Any, given: Tensor, predicted: Tensor, step: int) -> Tensor:
        error, energy = self._error(network, given, predicted, step % len(self.kspace))
        return error / energy.clamp(min=torch.finfo(torch.float32).tiny)
