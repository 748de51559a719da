"""vSHARP: variable splitting with learned denoisers and half-quadratic penalties.

With the data y, the encoding A = M F S (mask, Fourier transform, coil maps), learned numbers rho_t
and eta_k, denoisers D_t and an initialiser I, it computes::

    x = z = A^H y,  u = I(x)
    for every step t:
        z <- D_t(z, x, u / rho_t)
        for every k:  x <- x - eta_k (A^H (A x - y) + rho_t (x - z) + u)
        u <- u + rho_t (x - z)

The result is the last x. The eta_k are the same in all steps. K-space is divided by a quantile of
its magnitudes first, and the coil maps come from calibration lines and a U-Net of their own; see
`vsharp_input`. The layers are in `vsharp_unet`.

There are two networks: `VSharp` reconstructs single frames, and `VSharp3D` all frames of a series
at once, with time as the third axis of its convolutions.

References: Yiasemis et al., Magn. Reson. Imaging 2025;115:110266 (vSHARP); arXiv 2310.06628 (with
time, CMRxRecon 2023).
"""

from dataclasses import asdict
from typing import Any, ClassVar

import torch
from torch import Tensor, nn

from cmrrecon.networks.base import Output, SeriesNetwork, check_window
from cmrrecon.networks.cost import Footprint, Kind, footprint, training_bytes
from cmrrecon.networks.layers import recomputed
from cmrrecon.networks.sensitivity import KEPT_TOGETHER, SensitivityNetwork, UnrolledNetwork
from cmrrecon.networks.vsharp_frames import WEIGHTS
from cmrrecon.networks.vsharp_input import InputRule, RefinedMaps
from cmrrecon.networks.vsharp_model import combined, completed, modulus, normal
from cmrrecon.networks.vsharp_sizes import VSharpSizes
from cmrrecon.networks.vsharp_unet import Initialiser, PlainUnet
from cmrrecon.tools.arrays import divisor

# Memory of the process in multiples of its tensors and copied weights, as measured on a CPU at
# 10 x 204 x 448: freed memory of one layer does not always fit the next.
HEAP = 1.6
# The channels of a denoiser: real and imaginary parts of z, x and u / rho.
SEEN = 6


# The network of the UNIFORM release, and that of the challenge, with 24 calibration lines and masks
# that come with the data.
FRAMES, UNIFORM = VSharpSizes(), InputRule()
SERIES = VSharpSizes(gradient_steps=8)
CHALLENGE = InputRule(percentile=0.99, padding_unmeasured=False, calibration="lines")


class Admm(nn.Module):
    """The iteration of the module, for k-space that is already scaled and maps that are known.

    Parameters
    ----------
    dims : int
        2 for single frames, 3 for series.
    cascades : int
        The number of steps t.
    sizes : VSharpSizes
        The sizes of its parts.
    """

    checkpointing = False

    def __init__(self, dims: int, cascades: int, sizes: VSharpSizes) -> None:
        super().__init__()
        self.dims, self.sizes = dims, sizes
        self.learning_rate_eta = nn.Parameter(_half_normal(sizes.gradient_steps, 1.0))
        self.rho = nn.Parameter(_half_normal(cascades, 0.1))

        self.initializer = Initialiser(
            dims, sizes.initialiser_channels, sizes.initialiser_dilations,
            sizes.initialiser_outputs, sizes.activation,
        )  # fmt: skip
        self.denoiser_blocks = nn.ModuleList(
            PlainUnet(
                dims, SEEN, 2, sizes.filters, sizes.pools,
                bias=sizes.head_bias, standardised=sizes.standardised,
            )
            for _ in range(1 if sizes.shared else cascades)
        )  # fmt: skip

    def forward(self, first: Tensor, adjoint: Tensor, mask: Tensor, maps: Tensor) -> list[Tensor]:
        """Return the images after the last steps.

        Parameters
        ----------
        first, adjoint : Tensor of shape (batch, frame, h, w), complex
            The first x, and A^H y.
        mask : Tensor of shape (batch, frame|1, h|1, w), bool
            The measured samples.
        maps : Tensor of shape (batch, frame, coil, h, w), complex
            The coil maps.

        Returns
        -------
        list of Tensor of shape (batch, frame, h, w), complex
            In training mode one image after each of the steps that `sizes.images` asks for,
            otherwise the last one alone.
        """
        x = z = first
        u = _images(self.initializer(self._channels(x)), x)
        memory = self._memory(x)

        # For lines, the transforms along the readout cancel in A^H A, and so do the shifts of the
        # images' centre.
        axes = (-1,) if mask.shape[2] == 1 else (-2, -1)
        shifted = torch.fft.ifftshift(mask, axes)[:, :, None]

        # Only losses need the images of earlier steps.
        wanted = (self.sizes.images or len(self.rho)) if self.training else 1
        kept: list[Tensor] = []
        for step in range(len(self.rho)):
            x, z, u = recomputed(
                self.checkpointing, self._step, step, x, z, u, adjoint, shifted, maps, axes, memory
            )
            kept = [*kept, x][-wanted:]
        return kept

    def _step(
        self,
        step: int,
        x: Tensor,
        z: Tensor,
        u: Tensor,
        adjoint: Tensor,
        mask: Tensor,
        maps: Tensor,
        axes: tuple[int, ...],
        memory: Tensor | None,
    ) -> tuple[Tensor, Tensor, Tensor]:
        """Do one step on images (batch, frame, h, w)."""
        rho = self.rho[step]
        denoiser = self.denoiser_blocks[0 if self.sizes.shared else step]
        z = _images(denoiser(self._channels(z, x, u / rho), memory), x)

        for eta in self.learning_rate_eta:
            x = x - eta * (normal(x, mask, maps, axes) - adjoint + rho * (x - z) + u)
        return x, z, u + rho * (x - z)

    def _memory(self, x: Tensor) -> Tensor | None:
        """Return the memory of all denoisers; None with gradients, which need all features."""
        denoiser = self.denoiser_blocks[0]
        assert isinstance(denoiser, PlainUnet)
        return None if torch.is_grad_enabled() else denoiser.memory(len(x), x.shape[2:])

    def _channels(self, *images: Tensor) -> Tensor:
        """Return real and imaginary parts of images as channels (batch, channel, [frame,] h, w)."""
        channels = torch.stack([part for x in images for part in (x.real, x.imag)], 1)
        return channels.squeeze(2) if self.dims == 2 else channels


class VSharp(UnrolledNetwork):
    """vSHARP for single frames; for calling it see `WindowNetwork`.

    Parameters
    ----------
    cascades : int
        The number of steps.
    sizes : VSharpSizes
        The sizes of its parts.
    rule : InputRule
        How k-space is prepared.
    checkpointing : bool
        Keep only the inputs of every step for the backward pass and recompute the rest.
    """

    frames = 1
    can_checkpoint: ClassVar[bool] = True
    own_calibration: ClassVar[bool] = True

    def __init__(
        self,
        *,
        cascades: int = 12,
        sizes: VSharpSizes = FRAMES,
        rule: InputRule = UNIFORM,
        checkpointing: bool = False,
    ) -> None:
        super().__init__()
        self.config: dict[str, Any] = {
            "cascades": cascades, "sizes": asdict(sizes), "rule": asdict(rule),
        }  # fmt: skip
        self.rule, self.checkpointing = rule, checkpointing
        self.sens_net: SensitivityNetwork = _maps(sizes, rule)
        self.admm = Admm(2, cascades, sizes)

    def forward(
        self, kspace: Tensor, mask: Tensor, acs: int | None = None, maps: Tensor | None = None
    ) -> Output:
        """Reconstruct the frame; see `WindowNetwork.forward`."""
        check_window(kspace, mask, self.frames)
        if maps is None:
            maps = self.sens_net(kspace, mask, acs, again=self.checkpointing)
        self.admm.checkpointing = self.checkpointing
        images, predicted, scale = _reconstructed(self.admm, self.rule, kspace, mask, maps)

        frames = tuple(image[:, 0] for image in images)
        return Output(frames[-1], predicted[:, 0], maps[:, 0], frames, scale=scale)

    def window_cost(self, coils: int, y: int, x: int, *, lines: bool, acs: int) -> Footprint:
        return _process(footprint(self.ghost().eval().admm, *_window(1, coils, y, x, lines)), self)

    def maps_cost(self, coils: int, y: int, x: int, *, lines: bool, acs: int) -> Footprint:
        images, ghost = _window(1, coils, y, x, lines)[-1], self.ghost()
        cost = footprint(lambda given: ghost.sens_net.refined(given, 1, False), images)
        return _process(cost, self)

    def training_memory(
        self, coils: int, y: int, x: int, acs: int, *, middle_maps: bool = False
    ) -> int:
        ghost = self.ghost()
        ghost.admm.checkpointing = self.checkpointing
        image, _, mask, maps = _window(1, coils, y, x, lines=True)

        def trained(first: Tensor, m: Tensor, images: Tensor) -> tuple[Tensor, ...]:
            refined = ghost.sens_net.refined(images, None, self.checkpointing)
            return tuple(image.abs() for image in ghost.admm(first, first, m, refined))

        return training_bytes(trained, image, mask, maps)


class VSharp3D(SeriesNetwork):
    """vSHARP for whole series, with time as the third axis; for calling it see `SeriesNetwork`.

    The coil maps differ from frame to frame, and a 2-D U-Net refines them.

    Parameters
    ----------
    cascades : int
        See `VSharp`.
    sizes : VSharpSizes
        See `VSharp`.
    rule : InputRule
        See `VSharp`.
    checkpointing : bool
        See `VSharp`.
    """

    can_checkpoint: ClassVar[bool] = True

    def __init__(
        self,
        *,
        cascades: int = 10,
        sizes: VSharpSizes = SERIES,
        rule: InputRule = CHALLENGE,
        checkpointing: bool = False,
    ) -> None:
        super().__init__()
        self.config: dict[str, Any] = {
            "cascades": cascades, "sizes": asdict(sizes), "rule": asdict(rule),
        }  # fmt: skip
        self.rule, self.checkpointing = rule, checkpointing
        self.sens_net = _maps(sizes, rule)
        self.admm = Admm(3, cascades, sizes)

    def forward(
        self, kspace: Tensor, mask: Tensor, acs: int | None = None, columns: slice | None = None
    ) -> Output:
        """Reconstruct all frames of one series; see `SeriesNetwork.forward`."""
        check_window(kspace, mask)
        if len(kspace) != 1:
            raise ValueError("one series at a time")
        together = None if torch.is_grad_enabled() else _together(kspace.device)
        maps = self.sens_net(kspace, mask, acs, together, self.checkpointing)
        self.admm.checkpointing = self.checkpointing

        images, predicted, scale = _reconstructed(self.admm, self.rule, kspace, mask, maps)
        frames = tuple(image[0][..., columns or slice(None)] for image in images)
        of_frames = scale.expand(len(maps[0]))
        return Output(frames[-1], predicted[0], maps[0], frames, scale=of_frames)

    def cost(self, frames: int, coils: int, y: int, x: int, *, lines: bool) -> Footprint:
        ghost = self.ghost().eval()
        series = _window(frames, coils, y, x, lines)
        steps = footprint(ghost.admm, *series)
        together = _together(self.admm.rho.device)
        maps = footprint(lambda images: ghost.sens_net.refined(images, together, False), series[-1])
        total = Footprint(steps.flops + maps.flops, max(steps.nbytes, maps.nbytes))
        return _process(total, self)


def _reconstructed(
    admm: Admm, rule: InputRule, kspace: Tensor, mask: Tensor, maps: Tensor
) -> tuple[list[Tensor], Tensor, Tensor]:
    """Reconstruct k-space (batch, frame, coil, y, x) of any scale.

    Returns
    -------
    images : list of Tensor of shape (batch, frame, y, x), real
        The magnitudes after the last steps; see `Admm.forward`.
    predicted : Tensor of shape (batch, frame, coil, y, x), complex
        The measured k-space, completed with that of the last image.
    scale : Tensor of shape (batch,)
        The numbers by which k-space was divided.
    """
    kept, used, known = rule.prepared(kspace, mask)
    y, s = kept.mT, maps.mT
    scale = rule.scale(y)[:, None, None, None]
    size = divisor(scale)

    adjoint = combined(y, s) / size
    first = adjoint if admm.sizes.start == "sense" else combined(y, None) / size
    solutions = admm(first, adjoint, used.mT, s)

    images = [(modulus(x) * scale).mT for x in solutions]
    last = (solutions[-1] * scale)[:, :, None]
    return images, completed(y, known.mT[:, :, None], last, s).mT, scale.flatten()


def _maps(sizes: VSharpSizes, rule: InputRule) -> RefinedMaps:
    filters, pools = sizes.sensitivity_filters, sizes.sensitivity_pools
    return RefinedMaps(PlainUnet(2, 2, 2, filters, pools) if filters else None, rule)


def _images(channels: Tensor, like: Tensor) -> Tensor:
    """Return channels (batch, 2, [frame,] h, w) as complex images (batch, frame, h, w)."""
    real, imaginary = channels.to(like.real.dtype).unbind(1)
    return torch.complex(real.contiguous(), imaginary.contiguous()).view(like.shape)


def _half_normal(count: int, sigma: float) -> Tensor:
    return nn.init.trunc_normal_(torch.empty(count), 0.0, sigma, 0.0, 2.0)


def _process(cost: Footprint, network: nn.Module) -> Footprint:
    """Return the memory of the process for tensors of this size."""
    # A convolution cuts its weight into parts and reorders them, in 2-D a part at a time.
    weights = max(network.parameters(), key=lambda weight: weight.nbytes)
    most = WEIGHTS * weights.itemsize if weights.ndim == 4 else weights.nbytes
    copied = 2 * min(weights.nbytes, most)
    return Footprint(cost.flops, int(HEAP * (cost.nbytes + copied)))


def _together(device: torch.device) -> int:
    """Return how many coil images pass through the map network at once.

    On a CPU, several would not fit into the cache.
    """
    return 1 if device.type == "cpu" else KEPT_TOGETHER


def _window(frames: int, coils: int, y: int, x: int, lines: bool) -> tuple[Kind, ...]:
    """Return shapes and types of the arguments of `Admm`."""
    image = (1, frames, x, y), torch.complex64
    mask = (1, 1, 1 if lines else x, y), torch.bool
    return image, image, mask, ((1, frames, coils, x, y), torch.complex64)
