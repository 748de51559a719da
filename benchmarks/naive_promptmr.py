# ruff: noqa: D102 - every class has one method, its forward pass
"""PromptMR as its equations are written, to compare our training steps with.

Every cascade transforms all coils of all frames with centred Fourier transforms, and the coil maps
of all frames are computed in every window. The U-Net has the plain layout, and its 1 x 1
convolutions are convolutions. The modules have the names of the official checkpoints, so weights
of `cmrrecon.networks.PromptMR` fit.

References: Xin et al., STACOM 2023, arXiv 2309.13839.
"""

import torch
from torch import Tensor, nn
from torch.nn import functional

DIMS, PROMPT_DIMS = (48, 72, 96, 120), (24, 48, 72)
PROMPTS, PROMPT_SIZES = 5, (64, 32, 16)
ENCODER, DECODER = (2, 3, 3), (2, 2, 3)
BOTTLENECK = 3
CASCADES, FRAMES, ACS = 12, 5, 16


def conv(channels: int, out: int, size: int = 3, bias: bool = False) -> nn.Conv2d:
    return nn.Conv2d(channels, out, size, padding=size // 2, bias=bias)


class Attention(nn.Module):
    """Channel attention."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        inner = channels // 4
        self.conv_du = nn.Sequential(
            conv(channels, inner, 1), nn.ReLU(), conv(inner, channels, 1), nn.Sigmoid()
        )

    def forward(self, x: Tensor) -> Tensor:
        return x * self.conv_du(functional.adaptive_avg_pool2d(x, 1))


class Block(nn.Module):
    """Two convolutions with channel attention, added to the input."""

    def __init__(self, channels: int, prelu: nn.PReLU) -> None:
        super().__init__()
        self.CA = Attention(channels)
        self.body = nn.Sequential(conv(channels, channels), prelu, conv(channels, channels))

    def forward(self, x: Tensor) -> Tensor:
        return self.CA(self.body(x)) + x


class Down(nn.Module):
    """An encoder level."""

    def __init__(self, channels: int, out: int, blocks: int, prelus: list[nn.PReLU]) -> None:
        super().__init__()
        self.encoder = nn.Sequential(*(Block(channels, prelus[n]) for n in range(blocks)))
        self.down = nn.Conv2d(channels, out, 3, stride=2, padding=1)

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        x = self.encoder(x)
        return x, self.down(x)


class Skip(nn.Module):
    """A block between encoder and decoder."""

    def __init__(self, channels: int, prelu: nn.PReLU) -> None:
        super().__init__()
        self.skip_attn = nn.Sequential(Block(channels, prelu))

    def forward(self, x: Tensor) -> Tensor:
        return self.skip_attn(x)


class Prompt(nn.Module):
    """Prompts, mixed by weights from the features."""

    def __init__(self, channels: int, prompt: int, size: int) -> None:
        super().__init__()
        images = torch.rand(1, PROMPTS, prompt, size, size)
        self.prompt_param = nn.Parameter(images, requires_grad=False)
        self.linear_layer = nn.Linear(channels, PROMPTS)
        self.dec_conv3x3 = conv(prompt, prompt)

    def forward(self, x: Tensor) -> Tensor:
        weights = self.linear_layer(x.mean((-2, -1))).softmax(1)
        mixed = (weights[:, :, None, None, None] * self.prompt_param).sum(1)
        return self.dec_conv3x3(functional.interpolate(mixed, x.shape[-2:], mode="bilinear"))


class Up(nn.Module):
    """A decoder level."""

    def __init__(self, channels: int, out: int, prompt: int, blocks: int, prelu: nn.PReLU) -> None:
        super().__init__()
        wide = channels + prompt
        self.fuse = nn.Sequential(*(Block(wide, prelu) for _ in range(blocks)))
        self.reduce = conv(wide, channels, 1)
        self.up = nn.Sequential(
            nn.Upsample(scale_factor=2, mode="bilinear"), conv(channels, out, 1)
        )
        self.ca = Block(out, prelu)

    def forward(self, x: Tensor, prompt: Tensor, skip: Tensor) -> Tensor:
        x = self.reduce(self.fuse(torch.cat([x, prompt], 1)))
        return self.ca(self.up(x) + skip)


class Unet(nn.Module):
    """The prompted U-Net."""

    def __init__(self, channels: int, prelu: nn.PReLU, part: int = 1) -> None:
        super().__init__()
        dims, prompts = (tuple(n // part for n in sizes) for sizes in (DIMS, PROMPT_DIMS))
        self.feat_extract = conv(channels, dims[0])
        self.conv_last = conv(dims[0], channels, 5)
        self.bottleneck = nn.Sequential(*(Block(dims[3], prelu) for _ in range(BOTTLENECK)))
        for n in range(3):
            own = [nn.PReLU() if (n, block) == (0, 0) else prelu for block in range(ENCODER[n])]
            down = Down(dims[n], dims[n + 1], ENCODER[n], own)
            up = Up(dims[n + 1], dims[n], prompts[n], DECODER[n], prelu)
            self.add_module(f"enc_level{n + 1}", down)
            self.add_module(f"skip_attn{n + 1}", Skip(dims[n], prelu))
            prompt = Prompt(dims[n + 1], prompts[n], PROMPT_SIZES[n])
            self.add_module(f"prompt_level{n + 1}", prompt)
            self.add_module(f"dec_level{n + 1}", up)

    def forward(self, x: Tensor) -> Tensor:
        parts, skips, x = dict(self.named_children()), [], self.feat_extract(x)
        for n in (1, 2, 3):
            skip, x = parts[f"enc_level{n}"](x)
            skips.append(parts[f"skip_attn{n}"](skip))
        x = self.bottleneck(x)
        for n in (3, 2, 1):
            x = parts[f"dec_level{n}"](x, parts[f"prompt_level{n}"](x), skips[n - 1])
        return self.conv_last(x)


class NormUnet(nn.Module):
    """The U-Net on complex images (sample, image, x, y), standardised and padded."""

    def __init__(self, images: int, prelu: nn.PReLU, part: int = 1) -> None:
        super().__init__()
        self.unet = Unet(2 * images, prelu, part)

    def forward(self, images: Tensor) -> Tensor:
        x = torch.cat([images.real, images.imag], 1)
        mean, std = x.mean((1, 2, 3), keepdim=True), x.std((1, 2, 3), keepdim=True)
        h, w = x.shape[-2:]
        top, left = (-h % 8) // 2, (-w % 8) // 2
        edges = (left, -w % 8 - left, top, -h % 8 - top)
        out = self.unet(functional.pad((x - mean) / std, edges))
        real, imaginary = (out[..., top : top + h, left : left + w] * std + mean).chunk(2, 1)
        return torch.complex(real.contiguous(), imaginary.contiguous())


class Cascade(nn.Module):
    """One cascade."""

    def __init__(self, prelu: nn.PReLU) -> None:
        super().__init__()
        self.dc_weight = nn.Parameter(torch.ones(1))
        self.model = NormUnet(FRAMES, prelu)

    def forward(self, k: Tensor, y: Tensor, mask: Tensor, maps: Tensor) -> Tensor:
        combined = (image(k) * maps.conj()).sum(2)
        update = self.model(combined)[:, :, None] * maps
        return k - self.dc_weight * mask * (k - y) - kspace(update)


class Sensitivity(nn.Module):
    """Coil maps from the calibration lines of every frame."""

    def __init__(self, prelu: nn.PReLU) -> None:
        super().__init__()
        self.norm_unet = NormUnet(1, prelu, part=2)

    def forward(self, y: Tensor) -> Tensor:
        start = (y.shape[-1] - ACS + 1) // 2
        lines = torch.zeros_like(y)
        lines[..., start : start + ACS] = y[..., start : start + ACS]
        coils = image(lines)
        maps = self.norm_unet(coils.flatten(0, 2)[:, None]).view(coils.shape)
        return maps / root_sum_of_squares(maps)[:, :, None]


class NaivePromptMR(nn.Module):
    """The network on k-space (batch, frame, coil, x, y) and lines (batch, frame, 1, 1, y).

    Its output is the image (batch, x, y) of the middle frame.
    """

    def __init__(self) -> None:
        super().__init__()
        prelu = nn.PReLU()
        self.sens_net = Sensitivity(prelu)
        self.cascades = nn.ModuleList(Cascade(prelu) for _ in range(CASCADES))

    def forward(self, y: Tensor, mask: Tensor) -> Tensor:
        maps, k = self.sens_net(y), y
        for cascade in self.cascades:
            k = cascade(k, y, mask, maps)
        return root_sum_of_squares(image(k)[:, FRAMES // 2])


def root_sum_of_squares(x: Tensor) -> Tensor:
    return (x.real**2 + x.imag**2).sum(-3).sqrt()


def image(k: Tensor) -> Tensor:
    return shifted(torch.fft.ifft2, k)


def kspace(x: Tensor) -> Tensor:
    return shifted(torch.fft.fft2, x)


def shifted(transform, x: Tensor) -> Tensor:
    moved = torch.fft.ifftshift(x, (-2, -1))
    return torch.fft.fftshift(transform(moved, norm="ortho"), (-2, -1))
