"""Adapt a network to a single scan without ground truth: it learns to predict hold-out lines.

The measured samples outside the calibration region are split (Yaman et al., ZS-SSL, ICLR 2022,
arXiv 2102.07737). A small fixed set (`holdout.hide`) is used for validation: it decides when to
stop and which weights to keep, possibly the original ones. Every step splits the rest at random
into samples that the network receives and samples that its images must predict. The hold-out
samples by which `auto` compares methods are not used, so that an adapted network is compared
fairly.
"""

import copy
from abc import ABC, abstractmethod
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from cmrrecon.classical.prepared import PreparedSeries
from cmrrecon.classical.refined_maps import refined
from cmrrecon.classical.still import started
from cmrrecon.data import CartesianMask, require_cartesian
from cmrrecon.methods.holdout import HeldOut, hide
from cmrrecon.methods.trials import narrowed
from cmrrecon.networks.base import AnyNetwork, WindowNetwork
from cmrrecon.networks.problem_network import ProblemNetwork
from cmrrecon.networks.sensitivity import calibration_size
from cmrrecon.operators.sensitivity import Calibration
from cmrrecon.tools.errors import UsageError

# Fraction of the lines that the network must predict in a step, learning rate, number of steps
# between two validations, and number of validations without improvement before adaptation ends.
PREDICTED, RATE, VALIDATE_EVERY, PATIENCE = 0.4, 2e-4, 5, 5
# Largest norm of the gradient.
CLIP = 1.0
# Largest number of frames for the validation of networks for windows.
VALIDATED_FRAMES = 4


@dataclass(frozen=True)
class Adapted:
    """An adapted network.

    Attributes
    ----------
    network : AnyNetwork
        The network with the best weights on the validation samples.
    before : float
        Validation error before adaptation (`HeldOut`; for window networks, the error of k-space).
    after : float
        Validation error after adaptation.
    steps : int
        Number of steps to the best weights; 0 if the original weights are the best.
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
    """Train a copy of a network on a single series.

    Parameters
    ----------
    network : AnyNetwork
        A network for whole series, or a network for windows that returns k-space.
    prepared : PreparedSeries
        Cartesian series.
    steps : int
        Largest number of steps.
    on_step : callable
        Called with the number and the loss of every step.
    seed : int
        Seed of the random splits.

    Returns
    -------
    Adapted
        The adapted network and its validation errors.

    Raises
    ------
    UsageError
        If a network for windows returns no k-space, or too little of the scan was measured to split
        it (`not-adaptable`).
    InputError
        If the coils cannot be calibrated, see `estimate_coils`.
    NumericalError
        If the coil maps are zero everywhere (`maps-empty`).
    """
    require_cartesian(prepared.mask, "The series", "Adaptation")
    learner = copy.deepcopy(network).to(prepared.kspace.device).train().requires_grad_(True)
    learner.checkpointing = learner.can_checkpoint

    task = _task(learner, prepared)
    generator = torch.Generator().manual_seed(seed)
    optimiser = torch.optim.Adam(learner.parameters(), lr=RATE)

    before = least = task.validate(learner)
    best, best_step, stale = copy.deepcopy(learner.state_dict()), 0, 0

    for step in range(1, steps + 1):
        predicted = _drawn(task.rest, generator)
        loss = task.loss(learner, task.rest.samples & ~predicted, predicted, step)

        optimiser.zero_grad()
        loss.backward()  # type: ignore[no-untyped-call]
        nn.utils.clip_grad_norm_(learner.parameters(), CLIP)
        optimiser.step()
        on_step(step, float(loss.detach()))

        if step % VALIDATE_EVERY == 0 or step == steps:
            error = task.validate(learner)
            stale = 0 if error < least else stale + 1
            if error < least:
                least, best_step, best = error, step, copy.deepcopy(learner.state_dict())
            if stale >= PATIENCE:
                break

    learner.load_state_dict(best)
    return Adapted(learner.eval().requires_grad_(False), before, least, best_step)


def _task(learner: AnyNetwork, prepared: PreparedSeries) -> "_Task":
    """Make the task that the network learns on this series; refuse series too small to split."""
    for_comparison = hide(prepared.series)
    usable = (
        prepared if for_comparison is None else prepared.part(prepared.mask.without(for_comparison))
    )

    validation = hide(usable.series)
    if for_comparison is None or validation is None:
        raise UsageError(
            "not-adaptable",
            "Too little was measured outside the calibration region to adapt a network",
            "Adaptation needs lines to predict and other lines for validation",
            "Leave out --adapt",
        )

    if isinstance(learner, ProblemNetwork):
        return _Whole(usable, validation)
    if not isinstance(learner, WindowNetwork):
        raise UsageError(
            "not-adaptable",
            "This network reconstructs a whole series at once from coil maps of its own",
            "Adaptation is implemented for kt-unrolled and for networks for windows",
            "Adapt kt-unrolled or promptmr",
        )
    return _Windows(learner, usable, validation)


def _drawn(mask: CartesianMask, generator: torch.Generator) -> Tensor:
    """Draw the lines or samples to predict in a step, outside the calibration region."""
    y, x = Calibration.of(mask).always
    free = mask.samples.clone()
    free[:, y, x] = False

    drawn = torch.rand(mask.samples.shape, generator=generator) < PREDICTED
    return free & drawn.to(free.device)


class _Task(ABC):
    """A series to learn on: `rest` for training, and `validation` for early stopping."""

    def __init__(self, usable: PreparedSeries, validation: Tensor) -> None:
        assert isinstance(usable.mask, CartesianMask)
        rest = usable.mask.without(validation)
        self.usable, self.rest, self.validation = usable, rest, validation

    @abstractmethod
    def validate(self, network: Any) -> float:
        """Return the error with which the network predicts the validation samples from the rest."""

    @abstractmethod
    def loss(self, network: Any, given: Tensor, predicted: Tensor, step: int) -> Tensor:
        """Compute `||A x - y||^2 / ||y||^2` on predicted samples, for images of the given ones."""


class _Whole(_Task):
    """A task for networks for whole series, with the coil maps of the scan.

    For whole lines, it uses only the columns with the largest change over time.
    """

    def __init__(self, usable: PreparedSeries, validation: Tensor) -> None:
        super().__init__(usable, validation)
        coils = narrowed(usable, usable.coils())
        self.given = usable.part(self.rest)
        self.coils = refined(self.given, coils)
        self.held_out = HeldOut(usable, validation, self.coils)

    def validate(self, network: ProblemNetwork) -> float:
        return self.held_out(network.solve(started(self.given, self.coils)).x)

    def loss(self, network: ProblemNetwork, given: Tensor, predicted: Tensor, step: int) -> Tensor:
        problem = started(self.usable.part(self.rest.chosen(given)), self.coils)
        held_out = HeldOut(self.usable, predicted, self.coils)
        *_, x = network.steps(problem)
        products = x.conj() * (2 * held_out.term.rhs - held_out.term.A.N(x))
        error: Tensor = 1 - products.real.sum() / held_out.energy
        return error


class _Windows(_Task):
    """A task for networks that return the k-space of the middle frame of a window.

    Each step uses one frame.
    """

    def __init__(self, network: WindowNetwork, usable: PreparedSeries, validation: Tensor) -> None:
        super().__init__(usable, validation)
        if not network.gives_kspace:
            raise UsageError(
                "not-adaptable",
                "This network returns no k-space",
                "Adaptation compares k-space with the measured samples",
                "Adapt kt-unrolled or promptmr",
            )

        self.kspace = usable.kspace / usable.scale
        assert isinstance(usable.mask, CartesianMask)
        if Calibration.of(usable.mask).averaged:
            raise UsageError(
                "not-adaptable",
                "Too few lines of this scan were measured in every frame for calibration",
                "To adapt a network for windows, every frame must have calibration lines",
                "Adapt kt-unrolled, or leave out --adapt",
            )

        self.acs = calibration_size(usable.mask)
        # A few of the frames with validation samples are enough.
        frames = range(len(self.kspace))
        candidates = [frame for frame in frames if bool(validation[frame % len(validation)].any())]
        self.validated = candidates[:: -(-len(candidates) // VALIDATED_FRAMES)]

    def _error(
        self, network: WindowNetwork, given: Tensor, predicted: Tensor, frame: int
    ) -> tuple[Tensor, Tensor]:
        """Return the squared error of a frame, and the energy of the samples to predict."""
        rows = network.window(frame, len(self.kspace))
        masks = given[rows] if len(given) > 1 else given
        output = network((self.kspace[rows] * masks[:, None])[None], masks[None], self.acs)

        measured, chosen = self.kspace[frame], predicted[frame % len(predicted)]
        error = ((output.kspace[0] - measured) * chosen).abs().square().sum()
        return error, (measured * chosen).abs().square().sum()

    def validate(self, network: WindowNetwork) -> float:
        with torch.no_grad():
            found = [
                self._error(network, self.rest.samples, self.validation, frame)
                for frame in self.validated
            ]
        return float(sum(error for error, _ in found) / sum(energy for _, energy in found))

    def loss(self, network: WindowNetwork, given: Tensor, predicted: Tensor, step: int) -> Tensor:
        error, energy = self._error(network, given, predicted, step % len(self.kspace))
        return error / energy.clamp(min=torch.finfo(torch.float32).tiny)
