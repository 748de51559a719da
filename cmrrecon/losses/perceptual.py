"""Perceptual loss: feature differences of VGG19, with weights supplied by the user.

Nothing is downloaded: the user provides torchvision's file `vgg19-dcbb9e9d.pth`. HyperCMR's paper
does not name the layers, and its code chains five convolutions without the layers between them.
Both variants are available.

References: Johnson et al., ECCV 2016.
"""

from pathlib import Path
from typing import Literal

import torch
from torch import Tensor, nn

from cmrrecon.tools.errors import InputError

# The output channels of the convolutions in torchvision's model, and the number of convolutions
# before each pooling.
CHANNELS = (64, 64, 128, 128, 256, 256, 256, 256, 512, 512, 512, 512, 512, 512, 512, 512)
POOL_AFTER = (2, 4, 8, 12, 16)
# The indices of relu1_1, relu2_1, relu3_1, relu4_1 and relu5_1.
TAPS = (1, 6, 11, 20, 29)
# The indices of the convolutions before them.
FIRST_OF_BLOCKS = (0, 5, 10, 19, 28)
IMAGENET_MEAN, IMAGENET_STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)
Variant = Literal["standard", "hypercmr"]


def vgg19() -> nn.Sequential:
    """Return the convolutional part of VGG19 with new weights and torchvision's indices."""
    layers: list[nn.Module] = []
    channels_in = 3
    for number, channels in enumerate(CHANNELS, 1):
        layers += [nn.Conv2d(channels_in, channels, 3, padding=1), nn.ReLU()]
        channels_in = channels
        if number in POOL_AFTER:
            layers.append(nn.MaxPool2d(2))
    return nn.Sequential(*layers)


class PerceptualLoss(nn.Module):
    """The mean squared differences of VGG19 features, summed over the layers.

    Images (batch, y, x) are scaled to [0, 1] and repeated as three colour channels.

    Parameters
    ----------
    weights : Path
        The file of torchvision's VGG19 weights.
    variant : str
        "standard" uses the first ReLU of every block and ImageNet's normalisation. "hypercmr"
        follows HyperCMR's code: the first convolution of every block, chained at full resolution
        without ReLU and pooling.

    Raises
    ------
    InputError
        If the file does not contain VGG19 (`checkpoint-format`).
    """

    def __init__(self, weights: Path, variant: Variant = "standard") -> None:
        super().__init__()
        self.variant = variant
        self.features = vgg19().requires_grad_(False).eval()

        try:
            state = torch.load(weights, map_location="cpu", weights_only=True)
            own = {
                name.removeprefix("features."): value
                for name, value in state.items()
                if name.startswith("features.")
            }
            self.features.load_state_dict(own)

        except Exception as error:
            raise InputError(
                "checkpoint-format",
                f"{weights.name} cannot be read as VGG19",
                "The perceptual loss needs torchvision's weights, vgg19-dcbb9e9d.pth",
                "Give that file, or set the loss's weight to 0",
            ) from error

    def forward(self, image: Tensor, target: Tensor) -> Tensor:
        """Compute the loss, a scalar, of image and target (batch, y, x), real."""
        return torch.stack(
            [
                (a - b).square().mean()
                for a, b in zip(self._taps(image), self._taps(target), strict=True)
            ]
        ).sum()

    def _taps(self, images: Tensor) -> list[Tensor]:
        low, high = images.amin((1, 2), keepdim=True), images.amax((1, 2), keepdim=True)
        x = ((images - low) / torch.where(high > low, high - low, 1))[:, None].expand(-1, 3, -1, -1)
        taps = []

        if self.variant == "hypercmr":
            for index in FIRST_OF_BLOCKS:
                x = self.features[index](x)
                taps.append(x)
            return taps

        mean, std = (
            images.new_tensor(values)[:, None, None] for values in (IMAGENET_MEAN, IMAGENET_STD)
        )
        x = (x - mean) / std

        for index in range(TAPS[-1] + 1):
            x = self.features[index](x)
            if index in TAPS:
                taps.append(x)

        return taps
