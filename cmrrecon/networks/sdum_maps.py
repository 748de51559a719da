"""The map network of SDUM: a U-Net on each coil image, and the part of k-space it starts from.

The U-Net is MONAI's BasicUNet, with its names of tensors.

References: Falk et al., Nat Methods 2019;16:67; Wang et al., arXiv 2512.17137.
"""

from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torch.nn import functional

from cmrrecon.networks.layers import ConvolutionalBody, safe_root
from cmrrecon.networks.sdum_restormer import padding
from cmrrecon.tools.arrays import divisor
from cmrrecon.tools.errors import InputError, UsageError

# The number of coil images that pass through the U-Net at once.
TOGETHER = 4
# The input is padded to multiples of this.
MULTIPLE = 4
SLOPE = 0.01
Box = tuple[slice, slice]


def calibration_box(mask: Tensor) -> Box:
    """Find the rows and columns of k-space from which the first maps are computed.

    A box grows from the centre over samples that all masks measured, by one row or column to the
    left, to the right, up and down in turn. The result is as large but for its last row and column,
    and is moved to the centre, even if samples in there were not measured.

    Parameters
    ----------
    mask : Tensor of shape (..., y, x), bool
        The measured samples.

    Returns
    -------
    tuple of slice
        Rows and columns; empty for a single line or sample.

    Raises
    ------
    InputError
        If the centre was not measured (`calibration-empty`).
    """
    y, x = mask.shape[-2:]
    measured = mask.reshape(-1, y, x).all(0).cpu().numpy()
    top = bottom = y // 2
    left = right = x // 2

    if not measured[top, left]:
        raise InputError(
            "calibration-empty",
            "The centre of k-space was not measured in all frames",
            "SDUM computes its coil maps from the samples around the centre",
            "Give k-space whose calibration lines were measured in every frame",
        )

    grows = True
    while grows:
        before = (left, right, top, bottom)
        if left and measured[top : bottom + 1, left - 1].all():
            left -= 1
        if right < x - 1 and measured[top : bottom + 1, right + 1].all():
            right += 1
        if top and measured[top - 1, left : right + 1].all():
            top -= 1
        if bottom < y - 1 and measured[bottom + 1, left : right + 1].all():
            bottom += 1
        grows = before != (left, right, top, bottom)

    rows, columns = bottom - top, right - left
    first_row, first_column = (y - rows + 1) // 2, (x - columns + 1) // 2
    return slice(first_row, first_row + rows), slice(first_column, first_column + columns)


class Convolution(nn.Module):
    """A 3 x 3 convolution, instance normalisation and a leaky ReLU."""

    def __init__(self, inputs: int, outputs: int) -> None:
        super().__init__()
        self.conv = nn.Conv2d(inputs, outputs, 3, padding=1)
        self.adn = nn.ModuleDict({"N": nn.InstanceNorm2d(outputs, affine=True)})

    def forward(self, x: Tensor) -> Tensor:
        x = self.adn["N"](self.conv(x))
        return functional.leaky_relu(x, SLOPE, inplace=not torch.is_grad_enabled())


class Convolutions(nn.Sequential):
    """Two convolutions."""

    def __init__(self, inputs: int, outputs: int) -> None:
        super().__init__()
        self.conv_0 = Convolution(inputs, outputs)
        self.conv_1 = Convolution(outputs, outputs)


class Down(nn.Module):
    """Half the resolution."""

    def __init__(self, inputs: int, outputs: int) -> None:
        super().__init__()
        self.convs = Convolutions(inputs, outputs)

    def forward(self, x: Tensor) -> Tensor:
        out: Tensor = self.convs(functional.max_pool2d(x, 2))
        return out


class Up(nn.Module):
    """Twice the resolution, joined with the encoder's features."""

    def __init__(self, inputs: int, middle: int, encoded: int, outputs: int) -> None:
        super().__init__()
        self.upsample = nn.ModuleDict({"deconv": nn.ConvTranspose2d(inputs, middle, 2, stride=2)})
        self.convs = Convolutions(encoded + middle, outputs)

    def forward(self, x: Tensor, encoded: Tensor) -> Tensor:
        x = self.upsample["deconv"](x)
        missing_y, missing_x = (encoded.shape[axis] - x.shape[axis] for axis in (-2, -1))
        if missing_y or missing_x:
            x = functional.pad(x, (0, missing_x, 0, missing_y), "replicate")
        out: Tensor = self.convs(torch.cat([encoded, x], 1))
        return out


class BasicUnet(ConvolutionalBody):
    """Maps images (sample, 2, y, x) to images of this shape.

    Parameters
    ----------
    features : sequence of int
        The channels of each level, from the finest to the coarsest.
    """

    def __init__(self, features: Sequence[int]) -> None:
        super().__init__()
        levels = range(1, len(features))
        self.conv_0 = Convolutions(2, features[0])
        for level in levels:
            self.add_module(f"down_{level}", Down(features[level - 1], features[level]))
        for level in reversed(levels):
            size, encoded = features[level], features[level - 1]
            # The finest level keeps its channels.
            middle = size // 2 if level > 1 else size
            self.add_module(f"upcat_{level}", Up(size, middle, encoded, encoded))

        self.final_conv = nn.Conv2d(features[0], 2, 1)
        self.levels = tuple(levels)

    def forward(self, x: Tensor) -> Tensor:
        y, w = x.shape[-2:]
        (top, bottom), (left, right) = (padding(n, MULTIPLE) for n in (y, w))
        x = functional.pad(x, (left, right, top, bottom))

        encoded = [self.conv_0(x)]
        for level in self.levels:
            encoded.append(self.get_submodule(f"down_{level}")(encoded[-1]))
        x = encoded.pop()
        for level in reversed(self.levels):
            x = self.get_submodule(f"upcat_{level}")(x, encoded.pop())

        out: Tensor = self.final_conv(x)
        return out[..., top : top + y, left : left + w]


class MapNetwork(nn.Module):
    """Computes the coil maps of a frame from its coil images.

    Real and imaginary parts are normalised apart, so the squared maps add up to 2.

    Parameters
    ----------
    features : sequence of int
        See `BasicUnet`.
    """

    def __init__(self, features: Sequence[int]) -> None:
        super().__init__()
        self.conv_net = nn.ModuleDict({"unet": BasicUnet(features)})
        self.shrink = 2 ** (len(features) - 1)

    def forward(self, images: Tensor) -> Tensor:
        """Return the maps of coil images (batch, coil, y, x), complex.

        Raises
        ------
        UsageError
            If the images are too small for the U-Net (`images-too-small`).
        """
        y, x = images.shape[-2:]
        self._check(y, x)
        samples = torch.view_as_real(images).permute(0, 1, 4, 2, 3).reshape(-1, 2, y, x)
        parts = [self.conv_net["unet"](part) for part in torch.split(samples, TOGETHER)]

        maps = torch.cat(parts).to(images.real.dtype).view(*images.shape[:2], 2, y, x)
        size = safe_root(maps.square().sum(1, keepdim=True))
        maps = maps / divisor(size)
        return torch.complex(maps[:, :, 0], maps[:, :, 1])

    def _check(self, y: int, x: int) -> None:
        coarsest = [(n + sum(padding(n, MULTIPLE))) // self.shrink for n in (y, x)]
        if coarsest[0] * coarsest[1] < 2:
            raise UsageError(
                "images-too-small",
                f"The images have y {y} and x {x}",
                f"At least {self.shrink} along one axis and {2 * self.shrink} along the other fit",
                "Reconstruct larger images",
            )
