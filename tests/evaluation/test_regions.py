"""Scores over regions, against their definitions worked out another way."""

import numpy as np
import pytest
import torch
from refusals import refused
from skimage.metrics import structural_similarity

from cmrrecon.evaluation.protocols import score
from cmrrecon.evaluation.regions import (
    Region,
    average,
    boxes,
    contrast_to_noise,
    focused,
    labelled,
    merged,
    signal_to_noise,
    together,
)
from cmrrecon.formats.labels import LabelRow

SHAPE = (3, 2, 40, 48)


@pytest.fixture
def pair():
    """A reconstruction in another scale, and its reference."""
    generator = torch.Generator().manual_seed(0)
    reference = torch.rand(SHAPE, generator=generator) + 0.2
    return 7 * (reference + 0.1 * torch.randn(SHAPE, generator=generator)).abs(), reference


def box(y0, y1, x0, x1, z=None, frames=1):
    mask = torch.zeros((frames, *SHAPE[1:]), dtype=torch.bool)
    mask[:, slice(None) if z is None else z, y0:y1, x0:x1] = True
    return mask


def by_hand(image, reference, mask, frame, z):
    """LF-PSNR and LF-SSIM of one image in NumPy and scikit-image."""
    series, truth = image[:, z].double().numpy(), reference[:, z].double().numpy()
    series = series * (series * truth).sum() / (series**2).sum()
    inside = mask[frame if len(mask) > 1 else 0, z].numpy()
    psnr = 10 * np.log10(truth.max() ** 2 / np.mean((series[frame] - truth[frame])[inside] ** 2))
    _, similarity = structural_similarity(
        truth[frame], series[frame], data_range=truth[frame].max(), full=True
    )
    return psnr, similarity[inside].mean()


def test_scores_of_boxes_equal_their_definition(pair):
    regions = [
        Region("a", box(5, 12, 8, 20, z=0)),
        Region("b", box(20, 30, 30, 40)),
        Region("a", box(22, 25, 10, 14, z=1)),
    ]
    table = focused(*pair, regions)
    assert table.shape == (2, 3, 3, 2)
    for n, region in enumerate(regions):
        for frame in range(3):
            for z in range(2):
                found = table[:, n, frame, z].tolist()
                if region.mask[0, z].any():
                    assert found == pytest.approx(by_hand(*pair, region.mask, frame, z), abs=1e-9)
                else:
                    assert np.isnan(found).all()


def test_boxes_are_averaged_first_and_images_then(pair):
    table = focused(
        *pair,
        [
            Region("a", box(5, 12, 8, 20, z=0)),
            Region("b", box(20, 30, 30, 40)),
            Region("c", box(22, 25, 10, 14, z=0)),
        ],
    )
    first = table[:, :, :, 0].mean(1)
    second = table[:, 1, :, 1]
    expected = torch.cat([first, second], 1).mean(1)
    assert average(table, range(3)) == pytest.approx(expected.tolist(), abs=1e-12)
    assert average(table, [1]) == pytest.approx(table[:, 1].flatten(1).mean(1).tolist(), abs=1e-12)


def test_the_whole_image_as_region_gives_the_ssim_of_fullfov(pair):
    psnr, ssim = average(
        focused(*pair, [Region("all", torch.ones((1, *SHAPE[1:]), dtype=torch.bool))]), [0]
    )
    scores = score(*pair, protocol="fullfov")
    assert ssim == pytest.approx(scores.ssim, abs=1e-9)
    # The mean PSNR of images is above the PSNR of their mean error, and close for similar images.
    assert scores.psnr <= psnr <= scores.psnr + 0.1


def test_a_region_over_time_counts_each_frame_with_its_own_pixels(pair):
    mask = box(5, 12, 8, 20, z=0, frames=3)
    mask[2] = False
    mask[1, 0, 30:35, 30:35] = True
    table = focused(*pair, [Region("1", mask)])
    for frame in (0, 1):
        assert table[:, 0, frame, 0].tolist() == pytest.approx(
            by_hand(*pair, mask, frame, 0), abs=1e-9
        )
    assert table[:, 0, 2].isnan().all()
    assert average(table, [0])[0] == pytest.approx(float(table[0, 0, :2, 0].mean()))


def test_an_error_elsewhere_leaves_the_region_as_it_is_but_for_the_scale(pair):
    reference = pair[1]
    spoilt = reference.clone()
    spoilt[..., :4, :4] += 1e-3
    far = average(focused(spoilt, reference, [Region("far", box(20, 30, 30, 40))]), [0])
    near = average(focused(spoilt, reference, [Region("near", box(0, 8, 0, 8))]), [0])
    assert far[0] > near[0] + 10
    assert far[1] > near[1]
    same = average(focused(reference, reference, [Region("x", box(5, 9, 5, 9))]), [0])
    assert same[0] > 250
    assert same[1] == pytest.approx(1)


def test_scores_are_of_magnitudes_whatever_the_phase_and_unit(pair):
    image, reference = pair
    region = [Region("1", box(5, 12, 8, 20))]
    turned = 1e-9 * image * torch.exp(1j * image)
    assert average(focused(turned, reference, region), [0]) == pytest.approx(
        average(focused(image, reference, region), [0]), abs=1e-4
    )


def test_a_region_at_the_edge_has_no_ssim(pair):
    with refused("region-at-edge"):
        focused(*pair, [Region("edge", box(0, 3, 8, 20))])


@pytest.mark.parametrize("value", [0.0, float("nan"), float("inf")])
def test_a_slice_without_numbers_has_no_scores(pair, value):
    image, reference = pair
    image[:, 1] = value
    focused(image, reference, [Region("1", box(5, 12, 8, 20, z=0))])
    with refused("images-not-finite") as error:
        focused(image, reference, [Region("1", box(5, 12, 8, 20))])
    assert "slice 1" in error.value.found


def test_labels_become_regions_by_their_value():
    labels = torch.tensor([[0, 3], [7, 3]])[None, None]
    found = labelled(labels)
    assert [region.name for region in found] == ["3", "7"]
    assert torch.equal(found[0].mask, labels == 3)


def test_rows_become_boxes_on_the_slices_at_hand():
    rows = [
        LabelRow("a", 5, "lesion", (1, 4, 2, 6)),
        LabelRow("a", None, "scar", (10, 12, 20, 30)),
        LabelRow("a", 9, "elsewhere", (1, 2, 3, 4)),
        LabelRow("a", 5, "normal", None),
    ]
    lesion, scar = boxes(rows, (3, 2, 40, 48), [4, 5])
    assert (lesion.name, scar.name) == ("lesion", "scar")
    assert torch.equal(lesion.mask, box(1, 4, 2, 6, z=1))
    assert torch.equal(scar.mask, box(10, 12, 20, 30))
    both = merged([lesion, Region("lesion", scar.mask)])
    assert len(both) == 1
    assert int(both[0].mask.sum()) == 12 + 40
    with refused("box-outside"):
        boxes([LabelRow("a", 5, "lesion", (1, 4, 2, 60))], (3, 2, 40, 48), [5])


def test_noise_ratios_by_hand():
    images = torch.zeros((2, 1, 4, 4))
    images[0, 0, 0, :2] = 10
    images[1, 0, 0, :2] = 30
    images[:, 0, 1, :2] = torch.tensor([4.0, 8.0])
    images[:, 0, 3] = torch.tensor([1.0, 3.0, 1.0, 3.0])  # standard deviation 1
    rows = [torch.zeros((1, 1, 4, 4), dtype=torch.bool) for _ in range(3)]
    rows[0][..., 0, :2] = rows[1][..., 1, :2] = rows[2][..., 3, :] = True
    assert signal_to_noise(images, rows[0], rows[2]) == pytest.approx(20)
    assert signal_to_noise(images, rows[1], rows[2]) == pytest.approx(6)
    assert contrast_to_noise(images, rows[0], rows[1], rows[2]) == pytest.approx(14)
    assert contrast_to_noise(images, rows[1], rows[0], rows[2]) == pytest.approx(-14)
    assert signal_to_noise(-1j * 1e8 * images, rows[0], rows[2]) == pytest.approx(20)


def test_the_ratio_is_what_the_noise_was_made_with():
    generator = torch.Generator().manual_seed(1)
    images = 5 + 0.25 * torch.randn((4, 2, 64, 64), generator=generator)
    tissue, background = (torch.zeros((1, 2, 64, 64), dtype=torch.bool) for _ in range(2))
    tissue[..., :32], background[..., 32:] = True, True
    assert signal_to_noise(images, tissue, background) == pytest.approx(20, rel=0.02)
    assert contrast_to_noise(images, tissue, background, background) == pytest.approx(0, abs=0.1)


def test_without_noise_there_is_no_ratio_and_apart_from_it_neither(pair):
    image = pair[0].clone()
    tissue, background = box(5, 12, 8, 20, z=0), box(20, 30, 30, 40, z=0)
    image[..., 20:30, 30:40] = 0
    assert signal_to_noise(image, tissue, background) is None
    with refused("regions-apart"):
        signal_to_noise(image, tissue, box(20, 30, 30, 40, z=1))
    assert together(tissue, background, box(0, 1, 0, 1, frames=3))
    assert not together(tissue, background, box(0, 1, 0, 1, z=1, frames=3))
