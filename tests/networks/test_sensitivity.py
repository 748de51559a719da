import pytest
import torch

from cmrrecon.data import SamplingMask
from cmrrecon.networks.prompt_unet import NormPromptUnet, UnetConfig
from cmrrecon.networks.sensitivity import SensitivityNetwork, calibration_mask, calibration_size

TINY = UnetConfig(4, (4, 8, 8), (4, 4, 4), (2, 2, 2), (4, 4, 4), (1, 1, 1), (1, 1, 1), (1, 1, 1), 1)


def lines(*measured, count=20):
    mask = torch.zeros(count, dtype=torch.bool)
    mask[list(measured)] = True
    return mask.reshape(1, 1, 1, count)


@pytest.mark.parametrize(
    ("measured", "first", "size"),
    [
        (range(7, 13), 7, 6),
        (range(6, 13), 7, 6),  # the shorter side counts
        (range(8, 17), 8, 4),
        ((0, 10, 19), 10, 1),  # no run on the left
        (range(20), 0, 20),  # fully sampled: all, not one
        ((), 10, 1),
    ],
)
def test_central_lines_of_a_mask(measured, first, size):
    inside = calibration_mask(lines(*measured), None).flatten().nonzero().flatten().tolist()
    assert inside == list(range(first, first + size))


def test_given_lines_are_centred_as_in_the_official_programs():
    assert calibration_mask(lines(), 6).flatten().nonzero().flatten().tolist() == list(range(7, 13))
    assert calibration_mask(lines(count=21), 6).flatten().nonzero().flatten().tolist() == list(
        range(8, 14)
    )
    assert calibration_mask(lines(), 99).all()


def test_only_lines_measured_in_all_frames_calibrate():
    two = torch.cat([lines(*range(6, 14)), lines(*range(8, 12), 0)], 1)
    assert calibration_mask(two, None).flatten().nonzero().flatten().tolist() == [8, 9, 10, 11]


def test_every_sample_of_a_batch_has_its_own_lines():
    two = torch.cat([lines(*range(6, 14)), lines(*range(8, 12))])
    assert calibration_mask(two, None).flatten(1).sum(1).tolist() == [8, 4]


def test_a_full_sample_mask_calibrates_with_the_largest_square():
    assert calibration_mask(torch.ones(1, 2, 12, 20, dtype=torch.bool), None).sum() == 2 * 144


def test_the_square_of_sample_masks_has_only_measured_samples():
    mask = torch.zeros(1, 1, 12, 20, dtype=torch.bool)
    mask[..., 4:8, 8:12] = True
    mask[..., 0, 0] = True
    assert calibration_mask(mask, None).sum() == 16
    wider = calibration_mask(mask, 8)
    assert wider.sum() == 16
    assert not wider[..., 0, 0].any()
    assert calibration_mask(mask, 2).flatten().nonzero().flatten().tolist() == [
        5 * 20 + 9,
        5 * 20 + 10,
        6 * 20 + 9,
        6 * 20 + 10,
    ]


def test_the_size_for_a_series_is_that_measured_in_all_its_frames():
    mask = torch.zeros(3, 20, 1, dtype=torch.bool)
    mask[0, 5:15] = mask[1, 7:13] = mask[2, 6:14] = True
    assert calibration_size(SamplingMask.of(mask)) == 6
    square = torch.zeros(2, 20, 16, dtype=torch.bool)
    square[0, 5:15, 3:13] = square[1, 7:13, 5:11] = True
    assert calibration_size(SamplingMask.of(square)) == 6


@pytest.mark.parametrize("frames", [1, 3])
def test_maps_have_unit_rss_and_do_not_depend_on_chunks(frames):
    torch.manual_seed(0)
    network = SensitivityNetwork(NormPromptUnet(frames, frames, TINY, torch.nn.PReLU()), frames)
    kspace = torch.randn(2, 3, 4, 16, 20, dtype=torch.complex64)
    mask = torch.ones(2, 3, 16, 1, dtype=torch.bool)

    with torch.no_grad():
        maps = network(kspace, mask, 8)
        one_by_one = network(kspace, mask, 8, together=1)
    assert maps.shape == kspace.shape
    torch.testing.assert_close(
        maps.abs().square().sum(2), torch.ones(2, 3, 16, 20), atol=1e-5, rtol=0
    )
    torch.testing.assert_close(one_by_one, maps, atol=1e-5, rtol=0)
