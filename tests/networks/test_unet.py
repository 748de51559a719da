import pytest
import torch
from kinds import mask_of

from cmrrecon.classical.prepared import PreparedSeries
from cmrrecon.classical.problem import Problem
from cmrrecon.classical.sense import sense
from cmrrecon.data import LineMask, SampleMask, Series
from cmrrecon.networks.combined import ITERATIONS, central, combined_magnitude
from cmrrecon.networks.layers import standardise
from cmrrecon.networks.unet import UNet, UnetBody, pad
from cmrrecon.simulation import simulate


def window(frames=1, coils=4, y=40, x=48, step=2, moving=False):
    simulated = simulate("cine", frames=frames, slices=1, coils=coils, y=y, x=x)
    mask = torch.zeros((frames if moving else 1, y, 1), dtype=torch.bool)
    for t, lines in enumerate(mask):
        lines[t % step :: step] = True
    mask[:, y // 2 - 8 : y // 2 + 8] = True
    return simulated.scan.read_slice(0) * mask[:, None], mask, simulated.image[:, 0].abs()


def test_combined_magnitude_is_the_cg_sense_image_of_the_middle_frame():
    kspace, mask, truth = window(frames=3, moving=True)
    image = combined_magnitude(kspace[None], mask[None])
    prepared = PreparedSeries(Series(kspace, mask_of(mask)))
    problem = Problem.of(prepared, prepared.coils())
    expected = problem.whole(sense(problem, iterations=ITERATIONS).x)[1].abs() * prepared.scale
    torch.testing.assert_close(image[0], expected, rtol=1e-3, atol=1e-4 * float(expected.max()))
    error = [
        float(torch.linalg.vector_norm(image[0] - frame) / torch.linalg.vector_norm(frame))
        for frame in truth
    ]
    assert error[1] < 0.15
    assert not image.requires_grad


def test_combined_magnitude_treats_windows_separately():
    kspace, mask, _ = window(frames=2)
    both = combined_magnitude(
        torch.stack([kspace[:1], kspace[1:] * 1e5]), torch.stack([mask, mask])
    )
    for one, frame in zip(both, (kspace[:1], kspace[1:] * 1e5), strict=True):
        torch.testing.assert_close(one, combined_magnitude(frame[None], mask[None])[0])


def test_central_lines_and_square():
    lines = central(LineMask(torch.ones(2, 9, 1, dtype=torch.bool)), 4)
    assert lines.samples[0, :, 0].tolist() == [0, 0, 1, 1, 1, 1, 0, 0, 0]
    square = central(SampleMask(torch.ones(1, 9, 7, dtype=torch.bool)), 2)
    assert square.samples[0].nonzero().tolist() == [[3, 2], [3, 3], [4, 2], [4, 3]]
    assert central(LineMask(torch.ones(1, 9, 1, dtype=torch.bool)), 100).samples.all()


@pytest.mark.parametrize(("y", "x"), [(1, 1), (16, 17), (33, 40)])
def test_padding_can_be_undone(y, x):
    image = torch.randn(2, 3, y, x)
    padded, (rows, columns) = pad(image, 8)
    assert torch.equal(padded[..., rows, columns], image)
    assert all(length % 8 == 0 and length >= 16 for length in padded.shape[2:])
    assert padded.abs().sum() == pytest.approx(float(image.abs().sum()), rel=1e-5)


def test_standardise():
    x = torch.stack([3 + 2 * torch.randn(9, 8), torch.full((9, 8), 5.0)])
    standard, mean, std = standardise(x, (1, 2))
    torch.testing.assert_close(standard * std + mean, x)
    assert float(standard[0].mean()) == pytest.approx(0, abs=1e-5)
    assert float(standard[0].std()) == pytest.approx(1, abs=1e-5)
    assert not standard[1].any()


def test_the_number_of_parameters_is_that_of_the_fastmri_baseline():
    """7,756,097: 32 channels, 4 poolings (arXiv 1811.08839 rounds to 7.8 million)."""
    assert sum(p.numel() for p in UNet().parameters()) == 7_756_097


@pytest.mark.parametrize("pools", [1, 3])
def test_the_body_keeps_sizes_and_doubles_channels(pools):
    torch.manual_seed(0)
    body = UnetBody(2, 3, 4, pools)
    assert body(torch.randn(1, 2, 35, 50)).shape == (1, 3, 35, 50)
    widths = [
        module.weight.shape[0] for module in body.bottleneck if isinstance(module, torch.nn.Conv2d)
    ]
    assert widths == [4 * 2**pools] * 2


def test_images_may_have_any_scale_and_offset():
    torch.manual_seed(0)
    network, x = UNet(channels=4, pools=2), torch.rand(2, 33, 40)
    with torch.no_grad():
        scaled, plain = network.forward_image(1e5 * x + 7e4).image, network.forward_image(x).image
    torch.testing.assert_close(scaled, 1e5 * plain + 7e4, rtol=1e-3, atol=10)
