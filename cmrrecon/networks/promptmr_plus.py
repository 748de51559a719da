"""PromptMR+: PromptMR with a richer input and a memory of earlier cascades.

It differs from `promptmr` in four ways:

- Adaptive input: besides the iterate x, the U-Net sees A^H A x, a latent z that it outputs itself,
  x0 = A^H y, and A^H A x - x0.
- History: the decoders see the features of all earlier cascades.
- The coil maps are computed from all frames of a coil together.
- By default the iterate is the image.

The two variants are::

    "image"   u = A^H A x,        o = U([x, u, z, x0, u - x0])
              x <- x - lambda (u - x0) - o_0,  z <- o_2
    "kspace"  u = S^H F^-1 M k,   o = U([S^H F^-1 k, u, z, x0, u - x0])
              k <- k - lambda M (k - y) - F S o_0,  z <- o_2

In the first cascade of "kspace", u, z and u - x0 are replaced by x0.

References: Xin et al., ECCV 2024.
"""

from dataclasses import asdict
from typing import Any, ClassVar

import torch
from torch import Tensor, nn

from cmrrecon.networks.base import Output, check_window
from cmrrecon.networks.layers import recomputed
from cmrrecon.networks.prompt_unet import (
    CASCADE_UNET,
    NO_HISTORY,
    SENSITIVITY_UNET,
    History,
    NormPromptUnet,
    UnetConfig,
)
from cmrrecon.networks.promptmr import (
    Cascade,
    Variant,
    centre_first,
    combine,
    corner_first,
    enter,
    leave,
    normal,
    to_images,
    to_kspace,
)
from cmrrecon.networks.sensitivity import SensitivityNetwork, UnrolledNetwork

# The images of the adaptive input: the iterate, u, z, x0 and u - x0. The latent z is number 2.
SLOTS = 5
LATENT = 2


class PromptMRPlus(UnrolledNetwork):
    """The network described in the module; for calling it see `WindowNetwork`.

    Parameters
    ----------
    variant : str
        The iteration: "image" or "kspace".
    cascades : int
        The number of unrolled steps.
    frames : int
        The number of adjacent frames in a window, odd.
    history : int
        How many earlier cascades the decoders see. The paper uses `cascades - 1`.
    adaptive : bool
        Whether the U-Net sees the adaptive input instead of the iterate alone.
    joint_maps : bool
        Whether the maps come from all frames together.
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
        variant: Variant = "image",
        cascades: int = 12,
        frames: int = 5,
        history: int = 11,
        adaptive: bool = True,
        joint_maps: bool = True,
        unet: UnetConfig = CASCADE_UNET,
        sensitivity_unet: UnetConfig = SENSITIVITY_UNET,
        checkpointing: bool = False,
    ) -> None:
        super().__init__()
        self.config: dict[str, Any] = {
            "variant": variant, "cascades": cascades, "frames": frames, "history": history,
            "adaptive": adaptive, "joint_maps": joint_maps,
            "unet": asdict(unet), "sensitivity_unet": asdict(sensitivity_unet),
        }  # fmt: skip
        self.variant, self.frames, self.adaptive, self.checkpointing = (
            variant,
            frames,
            adaptive,
            checkpointing,
        )

        self.used = [*range(frames), *range(LATENT * frames, (LATENT + 1) * frames)]

        shared = nn.PReLU()
        joint = frames if joint_maps else 1
        self.sens_net = SensitivityNetwork(
            NormPromptUnet(joint, joint, sensitivity_unet, shared), joint
        )
        images = SLOTS * frames if adaptive else frames
        self.cascades = nn.ModuleList(
            Cascade(images, images, unet, shared, history=history) for _ in range(cascades)
        )

    def forward(
        self, kspace: Tensor, mask: Tensor, acs: int | None = None, maps: Tensor | None = None
    ) -> Output:
        """Reconstruct the middle frame; see `WindowNetwork.forward`."""
        check_window(kspace, mask, self.frames)
        if maps is None:
            maps = self.sens_net(kspace, mask, acs, again=self.checkpointing)

        y, m, s = enter(kspace, mask, maps)
        middle = self.frames // 2
        x0 = combine(to_images(y * m, m), s)
        history, latent = NO_HISTORY, x0

        if self.variant == "image":
            x = x0
            for cascade in self.cascades:
                x, latent, history = recomputed(
                    self.checkpointing, self._image_step, cascade, x, latent, history, x0, m, s
                )
            k = to_kspace(x[:, middle, None] * s[:, middle], m)
        else:
            k = y
            for index, cascade in enumerate(self.cascades):
                first = index == 0
                k, latent, history = recomputed(
                    self.checkpointing, self._kspace_step,
                    first, cascade, k, latent, history, x0, y, m, s,
                )  # fmt: skip
            k = k[:, middle]

        image, k = leave(k, m)
        return Output(image, k, maps[:, middle])

    def _image_step(
        self,
        cascade: Cascade,
        x: Tensor,
        latent: Tensor,
        history: History,
        x0: Tensor,
        m: Tensor,
        s: Tensor,
    ) -> tuple[Tensor, Tensor, History]:
        u = normal(x, m, s)
        update, latent, history = self._update(cascade, [x, u, latent, x0, u - x0], history)
        return x - cascade.dc_weight * (u - x0) - update, latent, history

    def _kspace_step(
        self,
        first: bool,
        cascade: Cascade,
        k: Tensor,
        latent: Tensor,
        history: History,
        x0: Tensor,
        y: Tensor,
        m: Tensor,
        s: Tensor,
    ) -> tuple[Tensor, Tensor, History]:
        u = combine(to_images(k * m, m), s)
        slots = [combine(to_images(k, m), s), *([x0] * 4 if first else [u, latent, x0, u - x0])]
        update, latent, history = self._update(cascade, slots, history)
        stepped = k - cascade.dc_weight * m * (k - y) - to_kspace(update[:, :, None] * s, m)
        return stepped, latent, history

    def _update(
        self, cascade: Cascade, slots: list[Tensor], history: History
    ) -> tuple[Tensor, Tensor, History]:
        """Return the update, the new latent and the new history.

        The U-Net has as many outputs as inputs, of which only these two are computed. Without the
        adaptive input there is no latent.
        """
        images, used = (torch.cat(slots, 1), self.used) if self.adaptive else (slots[0], None)
        out, history, _ = cascade.model(centre_first(images), history, used=used)
        out = corner_first(out)
        return out[:, : self.frames], out[:, self.frames :], history
