"""The state of training: network, discriminator, optimisers, averages and statistics."""

import copy
import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from torch import nn

from cmrrecon.networks.base import Output, build_network
from cmrrecon.networks.catalog import build
from cmrrecon.networks.layers import channels_last
from cmrrecon.tools.errors import NumericalError
from cmrrecon.training import checkpoint
from cmrrecon.training.batch import Batch
from cmrrecon.training.distributed import Group
from cmrrecon.training.entries import digest
from cmrrecon.training.objective import Objective
from cmrrecon.training.plan import Plan
from cmrrecon.training.recipe import Recipe

# After this number of consecutive steps with non-finite gradients, training returns to the end of
# the last epoch with half the learning rate. The second number limits these returns.
MOST_BAD_STEPS, MOST_RETURNS = 5, 4
COUNTERS = ("step", "bad_steps", "returns", "epoch", "position", "best", "stale")


class Run:
    """The network, the discriminator, the optimisers and everything else that training changes.

    Parameters
    ----------
    recipe : Recipe
        The recipe of the training.
    device : torch.device
        The device to train on.
    group : Group
        The processes that train together.
    plan : Plan
        The plan for training the recipe on this device.

    Attributes
    ----------
    step : int
        The number of steps, including skipped ones.
    bad_steps : int
        The number of consecutive steps with non-finite gradients up to now.
    returns : int
        The number of returns to an earlier state; each one halved the learning rate.
    epoch, position : int
        The epoch, and the number of its batches that have been processed.
    best : float
        The best validation SSIM.
    stale : int
        The number of epochs since the best validation score.
    """

    def __init__(self, recipe: Recipe, device: torch.device, group: Group, plan: Plan) -> None:
        self.recipe, self.group, self.plan = recipe, group, plan
        torch.manual_seed(recipe.schedule.seed)

        config = {key: value for key, value in recipe.network.items() if key != "name"}
        self.network = channels_last(
            build_network(recipe.network["name"], config).to(device)
        ).train()
        self.network.checkpointing = plan.checkpointing and self.network.can_checkpoint

        self.average = (
            copy.deepcopy(self.network).eval().requires_grad_(False)
            if recipe.schedule.average
            else None
        )

        adversarial = recipe.losses.adversarial.weight > 0
        self.discriminator = (
            channels_last(build("patch-gan", dict(recipe.discriminator)).to(device)).train()
            if adversarial
            else None
        )

        self.objective = Objective(recipe.losses, device, group)
        self.optimisers = [adamw(part, recipe) for part in self.trained()]

        self.step = self.bad_steps = self.returns = 0
        self.epoch = self.position = 0
        self.best = -math.inf
        self.stale = 0

    def trained(self) -> list[nn.Module]:
        """The modules that learn, in the order of their optimisers."""
        return [part for part in (self.network, self.discriminator) if part is not None]

    def shipped(self) -> nn.Module:
        """The network that is validated and saved: the averaged one, if there is an average."""
        return self.network if self.average is None else self.average

    def parts(self) -> dict[str, Any]:
        """Everything with a `state_dict`, by name."""
        named: dict[str, Any] = {
            "network": self.network,
            "average": self.average,
            "discriminator": self.discriminator,
            "objective": self.objective,
        }
        named |= {
            f"optimiser {number}": optimiser for number, optimiser in enumerate(self.optimisers)
        }
        return {name: part for name, part in named.items() if part is not None}

    def state(self) -> dict[str, Any]:
        """Return the state for `checkpoint.save`."""
        return {
            **{key: getattr(self, key) for key in COUNTERS},
            "parts": {name: part.state_dict() for name, part in self.parts().items()},
        }

    def restore(self, state: Mapping[str, Any]) -> None:
        """Restore what `state` returned for a run of the same recipe."""
        self._load(state["parts"])
        for key in COUNTERS:
            setattr(self, key, state[key])

    def _load(self, parts: Mapping[str, Any]) -> None:
        for name, part in self.parts().items():
            part.load_state_dict(parts[name])

    def is_over(self, most_steps: int | None = None) -> bool:
        """Return whether the run is over: by epochs, by steps or because scores stopped rising."""
        schedule = self.recipe.schedule
        given_up = bool(schedule.patience) and self.stale >= schedule.patience
        return (
            self.epoch >= schedule.epochs
            or given_up
            or (most_steps is not None and self.step >= most_steps)
        )

    def set_rate(self) -> float:
        """Set the learning rate of this epoch in the optimisers, and return it."""
        plan = self.recipe.optimiser
        rate: float = plan.lr * plan.factor ** (self.epoch // plan.step) / 2**self.returns
        for optimiser in self.optimisers:
            optimiser.param_groups[0]["lr"] = rate
        return rate

    def output_of(self, batch: Batch) -> Output:
        """Apply the network to a batch, in the precision of the plan.

        What it draws, such as branches to leave out, depends on the seed, the process and the batch
        alone, so that a continued run draws the same.
        """
        seed, half = self.recipe.schedule.seed, self.plan.precision == "bf16"
        torch.manual_seed(digest(seed, "network", self.group.rank, self.epoch, self.position))

        # Only convolutions use lower precision. Fourier transforms and data consistency are
        # complex, which autocast leaves alone, and the losses are computed outside.
        with torch.autocast(batch.kspace.device.type, torch.bfloat16, enabled=half):
            middle = self.recipe.schedule.maps == "middle"
            return batch.given_to(self.network, middle_maps=middle)

    def update(self, epoch_end: Path | None = None) -> float:
        """Clip the gradients and step every optimiser; return the norm of the network's gradient.

        A step with non-finite gradients is skipped. After several in a row, everything learnt is
        reset to `epoch_end`, the state at the end of the last epoch, or to the initial state, and
        the learning rate is halved. Training continues with the next batch.

        Raises
        ------
        NumericalError
            If several such resets did not help (`gradients-not-finite`).
        """
        limit = self.recipe.optimiser.clip or math.inf

        self.group.average_gradients(self.trained())
        norms = [
            float(nn.utils.clip_grad_norm_(part.parameters(), limit)) for part in self.trained()
        ]

        if all(map(math.isfinite, norms)):
            for optimiser in self.optimisers:
                optimiser.step()
            self.bad_steps = 0
            if self.average is not None:
                # With the full decay from the start, the average would stay close to the initial
                # weights.
                update_average(
                    self.average,
                    self.network,
                    min(self.recipe.schedule.average, (1 + self.step) / (10 + self.step)),
                )
        else:
            self.bad_steps += 1
            if self.bad_steps >= MOST_BAD_STEPS:
                self.go_back(epoch_end)

        for optimiser in self.optimisers:
            optimiser.zero_grad()
        self.step += 1
        return norms[0]

    def go_back(self, epoch_end: Path | None) -> None:
        """Return what is learnt to the end of the last epoch, or to the start, and halve the rate.

        Raises
        ------
        NumericalError
            If that was done too often already (`gradients-not-finite`).
        """
        if self.returns >= MOST_RETURNS:
            raise NumericalError(
                "gradients-not-finite",
                f"Training diverged again although the rate was halved {self.returns} times: "
                "gradients or validation images are not finite",
                "A training step needs finite gradients",
                "Use another --out-dir and a smaller optimiser.lr, or look for damaged scans",
            )
        if epoch_end is not None and epoch_end.exists():
            self._load(checkpoint.load(epoch_end)["parts"])
        else:
            device = next(self.network.parameters()).device
            self._load(Run(self.recipe, device, self.group, self.plan).state()["parts"])
        self.returns, self.bad_steps = self.returns + 1, 0


def adamw(part: nn.Module, recipe: Recipe) -> torch.optim.AdamW:
    """Return AdamW for the trained parameters of a network."""
    trained = [parameter for parameter in part.parameters() if parameter.requires_grad]
    # Not fused: on CPUs, PyTorch 2.13 then pairs values by their place in memory, which differs
    # between channels-last weights and the gradients of several processes.
    return torch.optim.AdamW(
        trained, lr=recipe.optimiser.lr, weight_decay=recipe.optimiser.weight_decay
    )


def update_average(average: nn.Module, network: nn.Module, decay: float) -> None:
    """Move the running average of the weights towards the current weights."""
    with torch.no_grad():
        # Parameters shared by several modules occur once.
        for mean, value in zip(average.parameters(), network.parameters(), strict=True):
            mean.lerp_(value, 1 - decay)
        for kept, present in zip(average.buffers(), network.buffers(), strict=True):
            kept.copy_(present)
