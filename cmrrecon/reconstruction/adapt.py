"""A network is adapted to a single scan, without any truth: it learns to predict hidden lines.

The measured samples outside the calibration region are split (Yaman et al., ZS-SSL, ICLR 2022,
arXiv 2102.07737). A small fixed set validates (`holdout.hide`): it decides when to stop and which
weights are kept, the original ones among them. Of the others, every step draws at random which are
given to the network and which its images must predict. The samples by which `auto` compares methods
take no part, so that it compares an adapted network fairly.
"""

import copy
from abc import ABC, abstractmethod
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from cmrrecon.classical.prepared import PreparedSeries
from cmrrecon.classical.problem import Problem
from cmrrecon.classical.refined_maps import refined
from cmrrecon.data import CartesianMask, require_cartesian, window
from cmrrecon.methods.holdout import HeldOut, hide
from cmrrecon.methods.trials import narrowed
from cmrrecon.networks.base import AnyNetwork, SeriesNetwork, WindowNetwork
from cmrrecon.networks.sensitivity import calibration_size
from cmrrecon.operators.sensitivity import Calibration
from cmrrecon.tools.errors import UsageError

# The part of the lines that a step predicts, the rate, steps between two looks at what judges, and
# looks without a gain before the end.
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
    before, after : validation error before and after (`HeldOut`; of networks for windows, of
        k-space)
    steps : steps after which the best weights were found; 0 if none were better
    """

    network: AnyNetwork
    before: float
    after: float
    steps: int


def adapt(
    network: AnyNetwork,
    prepared: PreparedSeries,
    steps: int,
    on_step: Callable[[int, float], None],
    seed: int = 0,
) -> Adapted:
    """A copy of a network, trained on a single series.

    Parameters
    ----------
    network : for whole series, or for windows and giving k-space
    prepared : Cartesian
    steps : at most so many
    on_step : called with the number and the loss of every step

    Raises
    ------
    UsageError : `not-adaptable`, a network that gives no k-space, or a scan of which too little was
        measured to part it
    InputError, NumericalError : no coil maps can be made, see `estimate_coils`
    """
    require_cartesian(prepared.mask, "The series", "Adaptation")
    learner = copy.deepcopy(network).to(prepared.kspace.device).train().requires_grad_(True)
    learner.checkpointing = learner.can_checkpoint

    task = _task(learner, prepared)
    generator = torch.Generator().manual_seed(seed)
    optimiser = torch.optim.Adam(learner.parameters(), lr=RATE)

    before = least = task.judge(learner)
    best, found, stale = copy.deepcopy(learner.state_dict()), 0, 0

    for step in range(1, steps + 1):
        predicted = _drawn(task.rest, generator)
        loss = task.loss(learner, task.rest.samples & ~predicted, predicted, step)

        optimiser.zero_grad()
        loss.backward()  # type: ignore[no-untyped-call]
        nn.utils.clip_grad_norm_(learner.parameters(), CLIP)
        optimiser.step()
        on_step(step, float(loss.detach()))

        if step % LOOK_EVERY == 0 or step == steps:
            error = task.judge(learner)
            stale = 0 if error < least else stale + 1
            if error < least:
                least, found, best = error, step, copy.deepcopy(learner.state_dict())
            if stale >= PATIENCE:
                break

    learner.load_state_dict(best)
    return Adapted(learner.eval().requires_grad_(False), before, least, found)


def _task(learner: AnyNetwork, prepared: PreparedSeries) -> "_Task":
    """What the network learns on this series; refuses what cannot be parted."""
    compared = hide(prepared.series)
    learnt = prepared if compared is None else prepared.part(prepared.mask.without(compared))

    judges = hide(learnt.series)
    if compared is None or judges is None:
        raise UsageError(
            "not-adaptable",
            "Too little was measured outside the calibration region to adapt a network to this scan",
            "Some lines must judge and others be predicted",
            "Leave out --adapt",
        )

    if isinstance(learner, SeriesNetwork):
        return _Whole(learnt, judges)
    return _Windows(learner, learnt, judges)


def _drawn(mask: CartesianMask, generator: torch.Generator) -> Tensor:
    """What a step predicts of a mask: whole lines, or single samples, outside its calibration region."""
    y, x = Calibration.of(mask).always
    free = mask.samples.clone()
    free[:, y, x] = False

    drawn = torch.rand(mask.samples.shape, generator=generator) < PREDICTED
    return free & drawn.to(free.device)


class _Task(ABC):
    """A series to learn on: `rest` is for training, `judges` for validation and early stopping."""

    def __init__(self, learnt: PreparedSeries, judges: Tensor) -> None:
        assert isinstance(learnt.mask, CartesianMask)
        rest = learnt.mask.without(judges)
        self.learnt, self.rest, self.judges = learnt, rest, judges

    @abstractmethod
    def judge(self, network: Any) -> float:
        """The error of the prediction of the judges from the rest."""

    @abstractmethod
    def loss(self, network: Any, given: Tensor, predicted: Tensor, step: int) -> Tensor:
        """||A x - y||^2 / ||y||^2 on what is predicted, by images of what is given."""


class _Whole(_Task):
    """For networks that take whole series; the maps are those of the scan.

    Of whole lines it sees the columns with the most change.
    """

    def __init__(self, learnt: PreparedSeries, judges: Tensor) -> None:
        super().__init__(learnt, judges)
        coils = narrowed(learnt, learnt.coils())
        self.given = learnt.part(self.rest)
        self.coils = refined(self.given, coils)
        self.held_out = HeldOut(learnt, judges, self.coils)

    def judge(self, network: SeriesNetwork) -> float:
        return self.held_out(network.solve(Problem.of(self.given, self.coils)).x)

    def loss(self, network: SeriesNetwork, given: Tensor, predicted: Tensor, step: int) -> Tensor:
        problem = Problem.of(self.learnt.part(self.rest.chosen(given)), self.coils)
        held_out = HeldOut(self.learnt, predicted, self.coils)
        *_, x = network.steps(problem)
        apart = x.conj() * (2 * held_out.term.rhs - held_out.term.A.N(x))
        error: Tensor = 1 - apart.real.sum() / held_out.energy
        return error


class _Windows(_Task):
    """For networks that take windows and give the k-space of their middle frame; a step sees one frame."""

    def __init__(self, network: WindowNetwork, learnt: PreparedSeries, judges: Tensor) -> None:
        super().__init__(learnt, judges)
        if not network.gives_kspace:
            raise UsageError(
                "not-adaptable",
                "This network gives no k-space",
                "Adaptation compares k-space with what was measured",
                "Adapt kt-unrolled or promptmr",
            )

        self.kspace = learnt.kspace / learnt.scale
        assert isinstance(learnt.mask, CartesianMask)
        if Calibration.of(learnt.mask).averaged:
            raise UsageError(
                "not-adaptable",
                "Too few lines of this scan were measured in every frame to calibrate on",
                "Networks for windows of frames are adapted with calibration lines in every frame",
                "Adapt kt-unrolled, or leave out --adapt",
            )

        self.acs = calibration_size(learnt.mask)
        # Frames where something judges; a few of them tell enough.
        frames = range(len(self.kspace))
        judged = [frame for frame in frames if bool(judges[frame % len(judges)].any())]
        self.looked_at = judged[:: -(-len(judged) // FRAMES_LOOKED_AT)]

    def _error(
        self, network: WindowNetwork, given: Tensor, predicted: Tensor, frame: int
    ) -> tuple[Tensor, Tensor]:
        """The squared error of a frame, and the energy of what was to be predicted."""
        rows = window(frame, len(self.kspace), network.frames)
        masks = given[rows] if len(given) > 1 else given
        output = network((self.kspace[rows] * masks[:, None])[None], masks[None], self.acs)

        wanted, where = self.kspace[frame], predicted[frame % len(predicted)]
        error = ((output.kspace[0] - wanted) * where).abs().square().sum()
        return error, (wanted * where).abs().square().sum()

    def judge(self, network: WindowNetwork) -> float:
        with torch.no_grad():
            found = [
                self._error(network, self.rest.samples, self.judges, frame)
                for frame in self.looked_at
            ]
        return float(sum(error for error, _ in found) / sum(energy for _, energy in found))

    def loss(self, network: WindowNetwork, given: Tensor, predicted: Tensor, step: int) -> Tensor:
        error, energy = self._error(network, given, predicted, step % len(self.kspace))
        return error / energy.clamp(min=torch.finfo(torch.float32).tiny)
