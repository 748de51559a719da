"""The Restormer and the memory of SDUM compared with a plain forward pass."""

import pytest
import torch
from torch.nn import functional

from cmrrecon.networks import sdum_maps
from cmrrecon.networks.sdum import SDUM
from cmrrecon.networks.sdum_labels import sinusoids
from cmrrecon.networks.sdum_restormer import Restormer, padding


def plain(network, x, skips, time, label):
    """The Restormer as published: channels first, all channels at once, nothing in place."""
    x = x.permute(0, 3, 1, 2)
    y, w = x.shape[-2:]
    (top, bottom), (left, right) = (padding(n, 2 ** (network.levels - 1)) for n in (y, w))
    x = network.embed_conv(functional.pad(x, (left, right, top, bottom)))
    e = None if time is None else network.time_embed(time) + network.label_emb(label)

    encoded = []
    for level, blocks in enumerate(network.encoders):
        if level:
            x = functional.pixel_unshuffle(network.downs[level - 1].body[0](x), 2)
            x = x + skips[level - 1].permute(0, 3, 1, 2) if skips else x
        x = plain_blocks(blocks, x, e)
        encoded.append(x)

    deepest, decoded = encoded.pop(), []
    for level in reversed(range(network.levels - 1)):
        up = functional.pixel_shuffle(network.ups[level].body[0](x), 2)
        both = torch.cat([up, encoded[level]], 1)
        x = plain_blocks(network.decoders[level], network.reduces[level](both), e)
        decoded.insert(0, x)

    out = network.output(plain_blocks(network.refinement, x, e))
    out = out[..., top : top + y, left : left + w].permute(0, 2, 3, 1)
    return out, tuple(part.permute(0, 2, 3, 1) for part in (*decoded[1:], deepest))


def plain_blocks(blocks, x, e):
    for block in blocks:
        x = x + plain_attention(block.attn, normal(block.norm1, x))
        x = x + plain_feed_forward(block.ffn, normal(block.norm2, x), e)
    return x


def normal(layer, x):
    return layer(x.permute(0, 2, 3, 1)).permute(0, 3, 1, 2)


def plain_attention(layer, y):
    q, k, v = (
        part.unflatten(1, (layer.temperature.shape[1], -1)).flatten(3)
        for part in layer.qkv_conv(layer.qkv(y)).chunk(3, 1)
    )
    likeness = functional.normalize(q, dim=-1) @ functional.normalize(k, dim=-1).mT
    values = (layer.temperature * likeness).softmax(-1) @ v
    return layer.project_out(values.flatten(1, 2).unflatten(2, y.shape[-2:]))


def plain_feed_forward(layer, y, e):
    p, gate = layer.conv(layer.project_in(y)).chunk(2, 1)
    z = functional.gelu(p) * gate
    if e is not None:
        z = z + layer.emb_layers(e)[:, :, None, None]
    return layer.project_out(z)


def made(levels, conditioned, channels=12):
    torch.manual_seed(0)
    network = Restormer(
        4,
        [channels * 2**level for level in range(levels)],
        [2, 1, 2][:levels],
        [1, 2, 3][:levels],
        1,
        2.66,
        conditioned=conditioned,
        drop=0.1,
    )
    for name, parameter in network.named_parameters():
        if "temperature" in name:
            torch.nn.init.uniform_(parameter, 1, 5)
    return network.double().eval()


@pytest.mark.parametrize("at_once", [128, 5])
@pytest.mark.parametrize("conditioned", [True, False])
@pytest.mark.parametrize("levels", [1, 2, 3])
def test_images_and_skips_are_those_of_a_plain_forward_pass(
    levels, conditioned, at_once, monkeypatch
):
    monkeypatch.setattr("cmrrecon.networks.sdum_blocks.AT_ONCE", at_once)
    network = made(levels, conditioned)
    e = [sinusoids(torch.tensor([value, value + 1.0]), 12).double() for value in (50, 170)]
    e = e if conditioned else [None, None]
    skips = expected_skips = ()

    with torch.no_grad():
        for number in range(2):
            x = torch.randn(2, 18, 21, 4, dtype=torch.float64)
            kept = x.clone()
            expected, expected_skips = plain(network, x, expected_skips, *e)
            found, skips = network(x, skips, *e)
            torch.testing.assert_close(found, expected, rtol=0, atol=1e-10)
            assert torch.equal(x, kept), number
            for skip, other in zip(skips[: levels - 1], expected_skips, strict=False):
                torch.testing.assert_close(skip, other, rtol=0, atol=1e-10)

    x.requires_grad_()
    network(x, (), *e)[0].square().sum().backward()
    gradient, x.grad = x.grad, None
    plain(network, x, (), *e)[0].square().sum().backward()
    torch.testing.assert_close(gradient, x.grad, rtol=1e-9, atol=1e-9)


def test_memory_is_at_most_half_of_that_of_a_plain_forward_pass(monkeypatch):
    """At the published width, with 10 coils, beyond the weights."""
    size = {"coils": 10, "y": 64, "x": 64, "lines": True, "acs": 8}
    with torch.device("meta"):
        network = SDUM(cascades=1)
    found = network.window_cost(**size)

    monkeypatch.setattr(Restormer, "forward", plain)
    monkeypatch.setattr(sdum_maps, "TOGETHER", 50)
    expected = network.window_cost(**size)
    assert found.nbytes < 0.5 * expected.nbytes
    assert found.flops < expected.flops
