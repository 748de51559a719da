"""The loss of a recipe: its terms, summed or weighted, and the loss of the discriminator."""

from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from cmrrecon.losses import fidelity
from cmrrecon.losses.adversarial import discriminator_loss, generator_loss
from cmrrecon.losses.distribution_alignment import DistributionAlignment
from cmrrecon.losses.eagle import eagle_loss
from cmrrecon.losses.edge_aware import edge_aware_loss
from cmrrecon.losses.gaussian_ssim import similarity_loss
from cmrrecon.losses.high_frequency import high_frequency_loss
from cmrrecon.losses.lesion import classification_loss, lesion_loss
from cmrrecon.losses.perceptual import PerceptualLoss
from cmrrecon.losses.ssim import absolute_loss, l1_loss, largest, psnr_loss, ssim_loss
from cmrrecon.losses.volume_ssim import volume_ssim_loss
from cmrrecon.losses.weighting import CoefficientOfVariation
from cmrrecon.networks.base import Output
from cmrrecon.networks.lf_mri import LesionOutput
from cmrrecon.training.batch import Batch
from cmrrecon.training.distributed import Group
from cmrrecon.training.loss_terms import Losses

KSPACE_FORMS = {
    "complex": fidelity.kspace_loss,
    "physical": fidelity.physical_loss,
    "literal": fidelity.literal_physical_loss,
    "coilwise": fidelity.coilwise_magnitude_loss,
    "nmae": fidelity.normalised_absolute_loss,
    "nmse": fidelity.normalised_squared_loss,
}
GROUPS = ("fidelity", "ear", "sda")


class Objective:
    """The loss of a batch, with the state of distribution alignment and of the weighting.

    Parameters
    ----------
    losses : Losses
        The `losses` section of the recipe.
    device : torch.device
        Device of the network.
    group : Group
        The processes that train together.

    Attributes
    ----------
    notes : list of str
        Sentences for the user about terms that are left out, and the reasons.
    """

    def __init__(self, losses: Losses, device: torch.device, group: Group) -> None:
        self.losses, self.group = losses, group
        self.alignment = DistributionAlignment(losses.sda.window, losses.sda.covariance)
        self.weighting = CoefficientOfVariation(GROUPS)
        self.notes: list[str] = []
        self.perceptual: nn.Module | None = None

        if losses.perceptual.weight and losses.perceptual.file:
            self.perceptual = PerceptualLoss(
                Path(losses.perceptual.file), losses.perceptual.variant
            ).to(device)
        elif losses.perceptual.weight:
            self.notes.append(
                "the perceptual loss is left out: losses.perceptual.file has no VGG19 weights"
            )

    def __call__(
        self, output: Output, batch: Batch, discriminator: nn.Module | None
    ) -> tuple[Tensor, dict[str, float]]:
        """Compute the loss, and its terms for the log.

        Parameters
        ----------
        output : Output
            Output of the network for this batch.
        batch : Batch
            The batch.
        discriminator : nn.Module or None
            The discriminator of an adversarial loss.

        Returns
        -------
        loss : Tensor
            The loss, a scalar.
        log : dict of float
            The unweighted terms, and the weights of the groups.
        """
        terms = self._terms(output, batch)
        weights = {name: getattr(self.losses, name).weight for name in terms}
        parts = {name: weights[name] * value for name, value in terms.items()}
        log = {name: float(value.detach()) for name, value in terms.items()}

        sda = (
            self.alignment(output.features, batch.domain, self.group.gather)
            if self.losses.sda.weight and output.features
            else None
        )

        if sda is not None:
            parts["sda"], log["sda"] = self.losses.sda.weight * sda, float(sda.detach())

        # A batch with lesion terms alone may have no term at all.
        nothing = 0 * output.image.sum()
        total = (
            self._weighted(parts, log)
            if self.losses.weighting == "variation"
            else torch.stack([nothing, *parts.values()]).sum()
        )

        for name, value in self._occasional(output, batch, discriminator).items():
            total = total + getattr(self.losses, name).weight * value
            log[name] = float(value.detach())
        return total, {**log, "loss": float(total.detach())}

    def _occasional(
        self, output: Output, batch: Batch, discriminator: nn.Module | None
    ) -> dict[str, Tensor]:
        """Return the terms that only some batches have; the weighting by groups leaves them out."""
        losses, found = self.losses, {}
        if discriminator is not None and losses.adversarial.weight:
            found["adversarial"] = generator_loss(discriminator, output.image, batch.zero_filled())

        if losses.lesion.weight and bool(batch.lesion.any()):
            found["lesion"] = lesion_loss(output.image, batch.target, batch.lesion)
        if (
            losses.classification.weight
            and isinstance(output, LesionOutput)
            and not bool(batch.classes.isnan().all())
        ):
            found["classification"] = classification_loss(output.logits, batch.classes)
        return found

    def _terms(self, output: Output, batch: Batch) -> dict[str, Tensor]:
        chosen, target, limit = self.losses, batch.target, batch.limit
        images = (output.image,) if chosen.stages == "last" else output.stages
        last = chosen.stages in ("last", "rising") or not output.kspaces
        kspaces = (output.kspace,) if last else output.kspaces

        # The range of the batch is the largest pixel of all its targets.
        whole = chosen.ssim.range == "batch"
        level = largest(target).amax().expand(len(target)) if whole else limit
        scale = output.scale if chosen.l1.unit == "network" else None

        image_terms = {
            "ssim": lambda image: ssim_loss(image, target, level),
            "gaussian_ssim": lambda image: similarity_loss(
                image,
                target,
                absolute=chosen.gaussian_ssim.absolute,
                normalised=chosen.gaussian_ssim.normalised,
            ),
            "l1": lambda image: (
                l1_loss(image, target) if scale is None else absolute_loss(image, target, scale)
            ),
            "hfen": lambda image: high_frequency_loss(image, target, chosen.hfen.norm),
            "volume_ssim": lambda image: volume_ssim_loss(image, target),
            "psnr": lambda image: psnr_loss(image, target),
            "ear": lambda image: edge_aware_loss(
                image,
                target,
                threshold=chosen.ear.threshold,
                inclusive=chosen.ear.inclusive,
                reduce=chosen.ear.reduce,
                data_range=limit,
            ),
            "eagle": lambda image: eagle_loss(
                image / limit[:, None, None],
                target / limit[:, None, None],
                patch=chosen.eagle.patch,
                cutoff=chosen.eagle.cutoff,
                variant=chosen.eagle.variant,
            ),
            "perceptual": lambda image: (
                self.perceptual(image, target)
                if self.perceptual is not None
                else image.new_zeros(())
            ),
        }

        kspace_terms = {
            "kspace": lambda kspace: KSPACE_FORMS[chosen.kspace.form](kspace, batch.target_kspace),
            "regularisation": lambda kspace: fidelity.regularisation(
                kspace, chosen.regularisation.share
            ),
        }

        found = {}
        for terms, stages in ((image_terms, images), (kspace_terms, kspaces)):
            for name, term in terms.items():
                if getattr(chosen, name).weight and stages[0] is not None:
                    values = torch.stack([term(stage) for stage in stages])
                    found[name] = _over_stages(values, chosen.stages, terms is kspace_terms)
        return found

    def _weighted(self, parts: dict[str, Tensor], log: dict[str, float]) -> Tensor:
        """Return the sum of the groups, weighted by their coefficients of variation."""
        together = [value for name, value in parts.items() if name not in ("ear", "sda")]
        groups = {
            "fidelity": torch.stack(together).sum() if together else None,
            "ear": parts.get("ear"),
            "sda": parts.get("sda"),
        }

        total, weights = self.weighting(groups, self.group.mean)
        log.update({f"weight_{name}": value for name, value in weights.items()})
        return total

    def judge(self, discriminator: nn.Module, output: Output, batch: Batch) -> Tensor:
        """Return the discriminator's own loss on the images of every cascade."""
        return discriminator_loss(discriminator, output.stages, batch.target, batch.zero_filled())

    def state_dict(self) -> dict[str, Any]:
        """Return the state for a checkpoint."""
        return {"alignment": self.alignment.state_dict(), "weighting": self.weighting.state_dict()}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Restore what `state_dict` returned."""
        self.alignment.load_state_dict(state["alignment"])
        self.weighting.load_state_dict(state["weighting"])


def _over_stages(values: Tensor, stages: str, of_kspace: bool) -> Tensor:
    """Return the value of a term from those of all stages."""
    if stages == "rising":
        # A single image has the weight 0.1, but k-space has the weight 1.
        lowest = 0 if of_kspace else -1
        return (torch.logspace(lowest, 0, len(values)).to(values) * values).sum()
    return values.sum() if stages == "sum" else values.mean()
