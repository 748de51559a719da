"""Plain forward passes of vSHARP and SDUM with the weights of our networks, to compare costs.

They follow the published equations line by line, without steps in place or in parts: SDUM's map
network sees all coil images of a window at once, and vSHARP's all frames of a coil, as in the
official programs.
"""

from typing import Any

import torch
from torch import Tensor
from torch.nn import functional

from cmrrecon.networks.labelled import Labels
from cmrrecon.networks.sdum import LABEL, STEP, normalised
from cmrrecon.networks.sdum_cascade import Window
from cmrrecon.networks.sdum_labels import codes, sinusoids
from cmrrecon.networks.sdum_maps import MULTIPLE, calibration_box
from cmrrecon.networks.sdum_restormer import padding
from cmrrecon.networks.vsharp_unet import padded_to, reflected
from cmrrecon.operators.fourier import fft2c, ifft2c

EPSILON, VSHARP_SLOPE, SDUM_SLOPE = 1e-5, 0.2, 0.01


def forward(network: Any, kspace: Tensor, mask: Tensor, labels: Labels) -> Tensor:
    """Return the images of a window or series (1, frame, coil, y, x): one, or those of all frames.

    The mask has the shape (1, frame|1, y, 1). Only SDUM needs labels.
    """
    if type(network).__name__ == "SDUM":
        return sdum(network, kspace, mask, labels)
    return vsharp(network, kspace, mask)


def vsharp(network: Any, kspace: Tensor, mask: Tensor) -> Tensor:
    """Return the images (frame, y, x) of `VSharp` or `VSharp3D`."""
    admm, rule = network.admm, network.rule
    first = network.sens_net.first_images(kspace, mask, None)
    maps = torch.stack([refined(network.sens_net.norm_unet, coil) for coil in first.unbind(2)], 2)
    maps = maps / maps.abs().square().sum(2, keepdim=True).sqrt()

    kept, used, _ = rule.prepared(kspace, mask)
    y, m = kept.mT, used.mT[:, :, None]
    scale = rule.scale(y)
    y = y / scale
    x = z = (maps.conj() * ifft2c(y)).sum(2)
    u = images(initial(admm.initializer, admm._channels(x)), x)

    for rho, denoiser in zip(admm.rho, admm.denoiser_blocks, strict=True):
        z = images(unet(denoiser, admm._channels(z, x, u / rho)), x)
        for eta in admm.learning_rate_eta:
            residual = torch.where(m, fft2c(maps * x[:, :, None]) - y, 0)
            gradient = (maps.conj() * ifft2c(residual)).sum(2)
            x = x - eta * (gradient + rho * (x - z) + u)
        u = u + rho * (x - z)

    return (x.abs() * scale)[0].mT


def refined(net: Any, coil: Tensor) -> Tensor:
    """Apply the map network to all frames (1, frame, h, w) of a coil."""
    maps = unet(net, torch.stack([coil[0].real, coil[0].imag], 1))
    return torch.complex(maps[:, 0], maps[:, 1])[None]


def images(channels: Tensor, like: Tensor) -> Tensor:
    return torch.complex(channels[:, 0], channels[:, 1]).view(like.shape)


def initial(net: Any, x: Tensor) -> Tensor:
    for block in net.conv_blocks:
        x = block(x)
    result: Tensor = net.activation(net.out_block(x))
    return result


def unet(net: Any, x: Tensor) -> Tensor:
    """Apply a `PlainUnet`."""
    pool = functional.avg_pool2d if net.dims == 2 else functional.avg_pool3d
    least = 2 ** len(net.down_sample_layers) if net.dims == 3 else 0
    x, places = padded_to(x, [max(0, least - n) for n in x.shape[2:]])
    skips = []

    for block in net.down_sample_layers:
        x = normed(block.layer_2, normed(block.layer_1, x))
        skips.append(x)
        x = pool(x, 2)
    x = normed(net.conv.layer_2, normed(net.conv.layer_1, x))

    for double, block in zip(net.up_transpose_conv, net.up_conv, strict=True):
        skip = skips.pop()
        x = torch.cat([reflected(normed(double, x), skip.shape[2:]), skip], 1)
        x = normed(block.layer_2, normed(block.layer_1, x))
    result: Tensor = net.conv_out(x)[(slice(None), slice(None), *places)]
    return result


def normed(layer: Any, x: Tensor) -> Tensor:
    x = functional.instance_norm(layer.conv(x), eps=EPSILON)
    return functional.leaky_relu(x, VSHARP_SLOPE)


def sdum(network: Any, kspace: Tensor, mask: Tensor, labels: Labels) -> Tensor:
    """Return the middle image (1, y, x) of a window."""
    frames, middle = network.frames, network.frames // 2
    start, mean, scale = normalised(ifft2c(kspace))
    measured = fft2c(start)
    box = calibration_box(mask.expand(-1, -1, -1, kspace.shape[-1]))
    pattern, label = codes(labels, network.modalities)

    seen = torch.zeros_like(measured)
    seen[..., box[0], box[1]] = measured[..., box[0], box[1]]
    x, seen, deep = start, ifft2c(seen), None
    of_label = sinusoids(torch.tensor([float(LABEL * label)]), network.width)
    window = Window(measured, mask.expand(-1, frames, -1, -1), [pattern], of_label)

    for step, cascade in enumerate(network.cascades):
        maps = coil_maps(cascade.coil_sensitivity_model, seen)
        combined = (maps.conj() * x).sum(2)
        parts = torch.view_as_real(combined).permute(0, 1, 4, 2, 3).flatten(1, 2)
        of_step = sinusoids(torch.tensor([float(STEP * step)]), network.width)
        v, deep = restormer(cascade.recon_model, parts, deep, of_step, of_label)

        parts = v.unflatten(1, (frames, 2))
        update = torch.complex(parts[:, :, 0], parts[:, :, 1])[:, :, None]
        if step == len(network.cascades) - 1:
            x, maps = x[:, middle : middle + 1], maps[:, middle : middle + 1]
            measured = measured[:, middle : middle + 1]
        free = fft2c(x + maps * update)
        weights = cascade._weights(window) * window.mask[:, :, None]
        x = seen = ifft2c((1 - weights) * free + weights * measured)

    coils = x.mean(1) * scale[:, middle] + mean[:, middle]
    return coils.abs().square().sum(1).sqrt()


def coil_maps(net: Any, seen: Tensor) -> Tensor:
    samples = torch.view_as_real(seen).permute(0, 1, 2, 5, 3, 4).flatten(0, 2)
    maps = basic_unet(net.conv_net["unet"], samples).view(*seen.shape[:3], 2, *seen.shape[3:])
    maps = maps / maps.square().sum(2, keepdim=True).sqrt()
    return torch.complex(maps[:, :, :, 0], maps[:, :, :, 1])


def basic_unet(net: Any, x: Tensor) -> Tensor:
    y, w = x.shape[-2:]
    (top, bottom), (left, right) = (padding(n, MULTIPLE) for n in (y, w))
    x = functional.pad(x, (left, right, top, bottom))
    encoded = [twice(net.conv_0, x)]
    for level in net.levels:
        below = functional.max_pool2d(encoded[-1], 2)
        encoded.append(twice(net.get_submodule(f"down_{level}").convs, below))

    x = encoded.pop()
    for level in reversed(net.levels):
        layer, skip = net.get_submodule(f"upcat_{level}"), encoded.pop()
        x = layer.upsample["deconv"](x)
        missing_y, missing_x = (skip.shape[axis] - x.shape[axis] for axis in (-2, -1))
        x = functional.pad(x, (0, missing_x, 0, missing_y), "replicate")
        x = twice(layer.convs, torch.cat([skip, x], 1))
    result: Tensor = net.final_conv(x)
    return result[..., top : top + y, left : left + w]


def twice(pair: Any, x: Tensor) -> Tensor:
    for layer in (pair.conv_0, pair.conv_1):
        x = functional.leaky_relu(layer.adn["N"](layer.conv(x)), SDUM_SLOPE)
    return x


def restormer(net: Any, x: Tensor, deep: Any, step: Tensor, label: Tensor) -> tuple[Tensor, Any]:
    """Apply a `Restormer` to images (batch, channel, y, x) whose sizes need no padding."""
    e = net.time_embed(step) + net.label_emb(label)
    x = net.embed_conv(x)
    encoded = []
    for level, encoder in enumerate(net.encoders):
        if level:
            x = functional.pixel_unshuffle(net.downs[level - 1].body[0](x), 2)
            x = x if deep is None else x + deep[level - 1]
        for block in encoder:
            x = transformed(block, x, e)
        encoded.append(x)

    deepest, decoded = encoded.pop(), []
    for level in reversed(range(net.levels - 1)):
        up = functional.pixel_shuffle(net.ups[level].body[0](x), 2)
        x = net.reduces[level](torch.cat([up, encoded.pop()], 1))
        for block in net.decoders[level]:
            x = transformed(block, x, e)
        if level:
            decoded.append(x)

    for block in net.refinement:
        x = transformed(block, x, e)
    return net.output(x), (*reversed(decoded), deepest)


def transformed(block: Any, x: Tensor, e: Tensor) -> Tensor:
    x = x + attention(block.attn, normalised_pixels(block.norm1, x))
    return x + gated(block.ffn, normalised_pixels(block.norm2, x), e)


def normalised_pixels(norm: Any, x: Tensor) -> Tensor:
    result: Tensor = norm(x.permute(0, 2, 3, 1)).permute(0, 3, 1, 2)
    return result


def attention(net: Any, y: Tensor) -> Tensor:
    batch, channels, *sizes = y.shape
    heads = net.temperature.shape[1]
    parts = net.qkv_conv(net.qkv(y)).chunk(3, 1)
    q, k, v = (part.reshape(batch, heads, channels // heads, -1) for part in parts)
    q, k = functional.normalize(q, dim=-1), functional.normalize(k, dim=-1)
    weights = (q @ k.mT * net.temperature).softmax(-1)
    result: Tensor = net.project_out((weights @ v).reshape(batch, channels, *sizes))
    return result


def gated(net: Any, y: Tensor, e: Tensor) -> Tensor:
    first, gate = net.conv(net.project_in(y)).chunk(2, 1)
    z = functional.gelu(first) * gate + net.emb_layers(e)[:, :, None, None]
    result: Tensor = net.project_out(z)
    return result
