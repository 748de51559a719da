"""LF-MRI: unrolled reconstruction that attends to lesions, trained with image-level labels.

OUR INTERPRETATION: we know only the model and the names of the modules from the paper (Ju et al.,
Med Image Anal 2026), and no code is public. The step, the layers and all sizes are our own
(docs/models.md), so the paper's results do not apply. With N(X) = X - D(X) and H(X) = C (X - G(X))
the model is::

    min 1/2 ||A X - Y||^2 + mu1 ||N(X)||^2 + mu2 ||H(X)||^2,  A = M F S

With the denoiser D, the class activation map C of the classifier and the lesion module G, a stage
computes::

    Z = D(X),  C = classifier(|Z|),  Q = G(Z (1 + C))
    X <- X - rho [A^H (A X - Y) + mu1 (X - Z) + mu2 C (X - Q)],  starting from X = A^H Y

This follows the model only loosely: Z, C and Q are kept fixed, the lesion term has C instead of
C^2, and G sees Z (1 + C), as in A2MC-MRI by the same group. All stages share one classifier,
because there is one task with one set of labels.
"""

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional

from cmrrecon.networks.base import Output, check_window
from cmrrecon.networks.layers import ConvolutionalBody, safe_rss
from cmrrecon.networks.prompt_unet import SENSITIVITY_UNET, NormPromptUnet, UnetConfig
from cmrrecon.networks.promptmr import combine
from cmrrecon.networks.sensitivity import SensitivityNetwork, UnrolledNetwork
from cmrrecon.networks.unet import pad
from cmrrecon.operators.fourier import fft2c, ifft2c
from cmrrecon.tools.arrays import divisor
from cmrrecon.tools.errors import UsageError

# The initial value of all step sizes and weights.
FIRST_WEIGHT = 0.1
NORM_EPSILON = 1e-6
# Channels per group in the classifier's group normalisation, which works with batches of one.
GROUP = 8


@dataclass(frozen=True, kw_only=True)
class LesionOutput(Output):
    """An `Output` with the classifier's result in the last stage.

    Attributes
    ----------
    logits : Tensor of shape (batch, class)
        The logits for binary cross-entropy; each class is a kind of lesion that may be present.
    attention : Tensor of shape (batch, y, x), real
        The evidence for the likeliest class, from 0 to 1.
    """

    logits: Tensor
    attention: Tensor


class DenoiserBody(ConvolutionalBody):
    """A U-Net on (batch, 2, h, w) of any size.

    Each scale has two convolutions with instance norm and ReLU. Average pooling halves the
    resolution, nearest-neighbour interpolation doubles it.
    """

    def __init__(self, channels: Sequence[int]) -> None:
        super().__init__()
        ins = (2, *channels)
        self.encoder = nn.ModuleList(_block(a, b) for a, b in zip(ins, channels, strict=False))
        self.decoder = nn.ModuleList(
            _block(a + b, b) for a, b in zip(channels[:0:-1], channels[-2::-1], strict=True)
        )
        self.last = nn.Conv2d(channels[0], 2, 3, padding=1)

        for layer in self.modules():
            if isinstance(layer, nn.Conv2d):
                nn.init.xavier_uniform_(layer.weight)
        nn.init.zeros_(self.last.bias)  # type: ignore[arg-type]

    def forward(self, x: Tensor) -> Tensor:
        x, (rows, columns) = pad(x, 2 ** len(self.decoder))
        skips = []
        for level, block in enumerate(self.encoder):
            x = block(functional.avg_pool2d(x, 2) if level else x)
            skips.append(x)

        skips.pop()
        for block in self.decoder:
            x = block(
                torch.cat(
                    [functional.interpolate(x, scale_factor=2, mode="nearest"), skips.pop()], 1
                )
            )

        result: Tensor = self.last(x)[..., rows, columns]
        return result


def _block(channels_in: int, channels_out: int) -> nn.Sequential:
    layers: list[nn.Module] = []
    for channels in (channels_in, channels_out):
        # A bias before the norm would have no effect.
        convolution = nn.Conv2d(channels, channels_out, 3, padding=1, bias=False)
        layers += [convolution, nn.InstanceNorm2d(channels_out, eps=NORM_EPSILON), nn.ReLU()]
    return nn.Sequential(*layers)


class Denoiser(nn.Module):
    """Computes `x + U-Net(x)` on complex images (batch, 1, h, w) of unit scale, for D and G."""

    def __init__(self, channels: Sequence[int]) -> None:
        super().__init__()
        self.unet = DenoiserBody(channels)

    def forward(self, x: Tensor) -> Tensor:
        # The U-Net may run in lower precision than the images.
        real, imaginary = self.unet(torch.cat([x.real, x.imag], 1)).to(x.real.dtype).chunk(2, 1)
        return x + torch.complex(real.contiguous(), imaginary.contiguous())


class ResidualBlock(nn.Module):
    """Computes `relu(shortcut(x) + norm(conv(relu(norm(conv(x))))))`."""

    def __init__(self, channels_in: int, channels_out: int, stride: int) -> None:
        super().__init__()
        self.body = nn.Sequential(
            nn.Conv2d(channels_in, channels_out, 3, stride, padding=1, bias=False),
            _group_norm(channels_out), nn.ReLU(),
            nn.Conv2d(channels_out, channels_out, 3, padding=1, bias=False),
            _group_norm(channels_out),
        )  # fmt: skip
        self.shortcut = nn.Sequential(
            nn.Conv2d(channels_in, channels_out, 1, stride, bias=False), _group_norm(channels_out)
        )

    def forward(self, x: Tensor) -> Tensor:
        return functional.relu(self.shortcut(x) + self.body(x))


def _group_norm(channels: int) -> nn.GroupNorm:
    return nn.GroupNorm(max(1, channels // GROUP), channels)


class Classifier(nn.Module):
    """A residual network with global average pooling and a class activation map.

    References
    ----------
    He et al., CVPR 2016. Zhou et al., CVPR 2016.
    """

    def __init__(self, channels: Sequence[int], classes: int) -> None:
        super().__init__()
        ins = (1, *channels)
        self.body = nn.Sequential(
            *(ResidualBlock(a, b, 2) for a, b in zip(ins, channels, strict=False))
        )
        self.head = nn.Linear(channels[-1], classes)

    def forward(self, magnitude: Tensor) -> tuple[Tensor, Tensor]:
        """Classify magnitudes (batch, 1, h, w).

        Returns
        -------
        logits : Tensor of shape (batch, class)
            The classifier's output.
        activation : Tensor of shape (batch, 1, h, w)
            The activation map of the likeliest class.
        """
        features = self.body(magnitude)
        logits: Tensor = self.head(features.mean((-2, -1)))
        activation = class_activation(features, self.head.weight[logits.argmax(1)])
        return logits, functional.interpolate(activation, magnitude.shape[-2:], mode="bilinear")


def class_activation(features: Tensor, weights: Tensor) -> Tensor:
    """Return the positive part of the weighted sum of features, scaled to [0, 1].

    Parameters
    ----------
    features : Tensor of shape (batch, k, h, w)
        The features.
    weights : Tensor of shape (batch, k)
        Their weights for a class.

    Returns
    -------
    Tensor of shape (batch, 1, h, w)
        The class activation map, which is zero if there is no evidence at all.
    """
    evidence = torch.einsum("bkyx,bk->byx", features, weights).relu()[:, None]
    low, high = evidence.amin((2, 3), keepdim=True), evidence.amax((2, 3), keepdim=True)
    return (evidence - low) / torch.where(high > low, high - low, 1)


class Stage(nn.Module):
    """Denoiser, lesion module and data consistency; the shared classifier is an argument."""

    def __init__(self, channels: Sequence[int]) -> None:
        super().__init__()
        self.denoiser, self.lesion = Denoiser(channels), Denoiser(channels)
        self.rho, self.mu1, self.mu2 = (
            nn.Parameter(torch.full((1,), FIRST_WEIGHT)) for _ in range(3)
        )

    def forward(
        self, x: Tensor, x0: Tensor, m: Tensor, s: Tensor, classifier: Classifier
    ) -> tuple[Tensor, Tensor, Tensor]:
        """Compute the next image (batch, 1, h, w), the logits and the attention; `x0 = A^H Y`."""
        z = self.denoiser(x)
        logits, attention = classifier(z.abs())
        q = self.lesion(z * (1 + attention))
        unfolded = combine(ifft2c(fft2c(x[:, :, None] * s) * m), s)
        gradient = unfolded - x0 + self.mu1 * (x - z) + self.mu2 * attention * (x - q)
        return x - self.rho * gradient, logits, attention


class LFMRI(UnrolledNetwork):
    """The network described in the module; for calling it see `WindowNetwork`.

    `Output.images` contains the images after all stages.

    Parameters
    ----------
    stages : int
        The number of unrolled steps, at least one.
    frames : int
        The number of adjacent frames in a window, odd. Only the middle one is used.
    channels : sequence of int
        The channels of denoisers and lesion modules at each scale.
    classifier_channels : sequence of int
        The channels of the classifier after each halving.
    classes : int
        The number of kinds of lesions in the labels.
    sensitivity_unet : UnetConfig
        The sizes of the U-Net that computes the coil maps.

    Raises
    ------
    UsageError
        If `stages` is less than one (`option-value`).
    """

    def __init__(
        self,
        *,
        stages: int = 6,
        frames: int = 1,
        channels: Sequence[int] = (32, 64, 128),
        classifier_channels: Sequence[int] = (32, 64, 128, 256),
        classes: int = 1,
        sensitivity_unet: UnetConfig = SENSITIVITY_UNET,
    ) -> None:
        super().__init__()
        if stages < 1:
            raise UsageError(
                "option-value",
                f"{stages} stages were requested",
                "At least one stage is needed",
                "Choose 6 stages, the default",
            )

        self.config: dict[str, Any] = {
            "stages": stages, "frames": frames, "channels": list(channels),
            "classifier_channels": list(classifier_channels), "classes": classes,
            "sensitivity_unet": asdict(sensitivity_unet),
        }  # fmt: skip
        self.frames = frames
        self.sens_net = SensitivityNetwork(NormPromptUnet(1, 1, sensitivity_unet, nn.PReLU()))
        self.classifier = Classifier(classifier_channels, classes)
        self.stages = nn.ModuleList(Stage(channels) for _ in range(stages))

    def forward(
        self, kspace: Tensor, mask: Tensor, acs: int | None = None, maps: Tensor | None = None
    ) -> LesionOutput:
        """Reconstruct the middle frame; see `WindowNetwork.forward`."""
        check_window(kspace, mask, self.frames)
        middle = slice(self.frames // 2, self.frames // 2 + 1)
        kspace = kspace[:, middle]
        mask = mask[:, middle] if mask.shape[1] > 1 else mask
        maps = self.sens_net(kspace, mask, acs) if maps is None else maps[:, middle]
        m, s = mask.mT[:, :, None], maps.mT
        coil_images = ifft2c(kspace.mT * m)

        # The scale is set to one, because learnt weights and norms need the same scale in every
        # scan.
        scale = safe_rss(coil_images).amax((2, 3), keepdim=True)
        x = x0 = combine(coil_images, s) / divisor(scale)
        images = []

        for stage in self.stages:
            x, logits, attention = stage(x, x0, m, s, self.classifier)
            images.append((x.abs() * scale)[:, 0].mT)
        k = fft2c(x * scale * s[:, 0])

        return LesionOutput(
            images[-1], k.mT, maps[:, 0], tuple(images), logits=logits, attention=attention[:, 0].mT
        )
