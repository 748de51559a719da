"""GENRE-CMR: unrolled reconstruction with residual connections between the cascades.

The authors published no code; this is our interpretation (docs/models.md). In the notation of
`promptmr`, for t = 0, 1, ...::

    F_t = -R_t(S^H F^-1 k_t) + g_t F_(t-1)               (the residual, with F_(-1) = 0)
    k_(t+1) = k_t - eta_t M (k_t - y) + F S F_t,  k_0 = y

R_t is PromptMR's U-Net, and its output is subtracted. The U-Net standardises its input and adds the
mean back to its output. If the output were added to the image, the mean would grow with every
cascade.

With the paper's g_t = 1, the first update is added in every cascade and the iteration diverges at
the start of training. By default the gates g_t are therefore learnt, starting from zero. The losses
use the image and the k-space of every cascade. The distribution alignment uses the features before
the last convolution in every cascade.

References: Anvari Hamedani et al., 2025, Algorithm 1.
"""

from dataclasses import asdict
from typing import Any, ClassVar, Literal

import torch
from torch import Tensor, nn

from cmrrecon.networks.base import Output, check_window
from cmrrecon.networks.layers import recomputed
from cmrrecon.networks.prompt_unet import (
    CASCADE_UNET,
    NO_HISTORY,
    SENSITIVITY_UNET,
    NormPromptUnet,
    UnetConfig,
    crop,
)
from cmrrecon.networks.promptmr import (
    centre_first,
    combine,
    corner_first,
    enter,
    leave,
    to_images,
    to_kspace,
)
from cmrrecon.networks.sensitivity import SensitivityNetwork, UnrolledNetwork

Residual = Literal["image", "feature", "none"]
Gate = Literal["learnt", "one"]


class Reconstructor(nn.Module):
    """One cascade: its U-Net R_t, step size eta_t and gate g_t, which is learnt if it is used."""

    def __init__(
        self,
        frames: int,
        unet: UnetConfig,
        shared: nn.PReLU,
        gate: Gate,
        used: bool,
        trainable_prompts: bool,
    ) -> None:
        super().__init__()
        self.model = NormPromptUnet(
            frames, frames, unet, shared, trainable_prompts=trainable_prompts
        )
        self.step = nn.Parameter(torch.ones(1))
        self.gate = nn.Parameter(
            torch.full((1,), float(gate == "one")), requires_grad=used and gate == "learnt"
        )


class GenreCMR(UnrolledNetwork):
    """The network described in the module; for calling it see `WindowNetwork`.

    Parameters
    ----------
    cascades : int
        The number of unrolled steps.
    frames : int
        The number of adjacent frames in a window, odd.
    residual : str
        What is passed from cascade to cascade: the "image" F (Algorithm 1), the decoder's "feature"
        maps (the paper's text), or "none".
    gate : str
        "learnt", starting from zero, or "one", as in the paper.
    trainable_prompts : bool
        Whether the prompts are learnt, as in the paper. PromptMR draws them once at random.
    unet, sensitivity_unet : UnetConfig
        The sizes of the U-Nets in the cascades and for the maps.
    checkpointing : bool
        Keep only the inputs of every cascade for the backward pass and recompute the rest. The
        gradients are the same.
    """

    can_checkpoint: ClassVar[bool] = True

    def __init__(
        self,
        *,
        cascades: int = 16,
        frames: int = 5,
        residual: Residual = "image",
        gate: Gate = "learnt",
        trainable_prompts: bool = True,
        unet: UnetConfig = CASCADE_UNET,
        sensitivity_unet: UnetConfig = SENSITIVITY_UNET,
        checkpointing: bool = False,
    ) -> None:
        super().__init__()
        self.config: dict[str, Any] = {
            "cascades": cascades, "frames": frames, "residual": residual, "gate": gate,
            "trainable_prompts": trainable_prompts,
            "unet": asdict(unet), "sensitivity_unet": asdict(sensitivity_unet),
        }  # fmt: skip
        self.frames, self.residual, self.checkpointing = frames, residual, checkpointing

        shared = nn.PReLU()
        self.sens_net = SensitivityNetwork(
            NormPromptUnet(1, 1, sensitivity_unet, shared, trainable_prompts=trainable_prompts)
        )
        used = [residual != "none" and index > 0 for index in range(cascades)]
        self.cascades = nn.ModuleList(
            Reconstructor(frames, unet, shared, gate, use, trainable_prompts) for use in used
        )

    def forward(
        self, kspace: Tensor, mask: Tensor, acs: int | None = None, maps: Tensor | None = None
    ) -> Output:
        """Reconstruct the middle frame; see `WindowNetwork.forward`.

        In training mode the output contains the image, k-space and features of every cascade,
        otherwise only those of the last cascade.
        """
        check_window(kspace, mask, self.frames)
        if maps is None:
            maps = self.sens_net(kspace, mask, acs, again=self.checkpointing)
        y, m, s = enter(kspace, mask, maps)
        middle = self.frames // 2
        k, carried = y, None
        images, kspaces, features = [], [], []

        for cascade in self.cascades:
            k, carried, feature = recomputed(
                self.checkpointing, self._step, cascade, k, carried, y, m, s
            )
            if self.training or cascade is self.cascades[-1]:
                image, predicted = leave(k[:, middle], m)
                images.append(image)
                kspaces.append(predicted)
                features.append(crop(feature, *k.shape[-2:]))

        return Output(
            images[-1], kspaces[-1], maps[:, middle], tuple(images), tuple(kspaces), tuple(features)
        )

    def _step(
        self,
        cascade: Reconstructor,
        k: Tensor,
        carried: Tensor | None,
        y: Tensor,
        m: Tensor,
        s: Tensor,
    ) -> tuple[Tensor, Tensor | None, Tensor]:
        """Return the next k-space, what is passed to the next cascade, and the features."""
        gated = None if carried is None else cascade.gate * carried
        negative, _, feature = cascade.model(
            centre_first(combine(to_images(k, m), s)),
            NO_HISTORY,
            gated if self.residual == "feature" else None,
        )
        negative = corner_first(negative)
        update = -negative if self.residual != "image" or gated is None else gated - negative
        k = k - cascade.step * m * (k - y) + to_kspace(update[:, :, None] * s, m)

        return k, {"image": update, "feature": feature, "none": None}[self.residual], feature
