"""The kinds of masks: which one a tensor becomes, and the properties of each."""

import math
from dataclasses import replace

import pytest
import torch
from refusals import refused

from cmrrecon.data import (
    LineMask,
    MaskSource,
    SampleMask,
    SamplingMask,
    SpokeMask,
    Trajectory,
)


def scattered(frames=2, y=8, x=10):
    return torch.rand((frames, y, x), generator=torch.Generator().manual_seed(0)) < 0.5


def spokes(samples, frames=1, matrix=(64, 60)):
    """A mask of spokes of nine samples each."""
    positions = torch.zeros((frames, samples.shape[1], 9, 2))
    return SpokeMask(samples, trajectory=Trajectory(positions, matrix))


# Kinds


def test_samples_constant_along_x_become_lines(lines):
    for samples in (lines(1, 3), lines(1, 3).expand(1, 8, 10), lines(1, 3, frames=3)):
        mask = SamplingMask.of(samples)
        assert isinstance(mask, LineMask)
        assert mask.KIND == "lines"
        assert mask.samples.shape == (1, 8, 1)
    moving = torch.stack([lines(1, 3)[0], lines(1, 4)[0]])
    assert SamplingMask.of(moving.expand(2, 8, 10)).samples.shape == (2, 8, 1)


def test_anything_else_is_samples():
    mask = SamplingMask.of(scattered(), MaskSource.FILE)
    assert isinstance(mask, SampleMask)
    assert mask.KIND == "samples"
    assert mask.source is MaskSource.FILE
    assert torch.equal(mask.samples, scattered())


@pytest.mark.parametrize("samples", [torch.ones((8, 1), dtype=torch.bool), torch.ones((1, 8, 1))])
def test_tensors_that_are_no_mask_are_refused(samples):
    with refused("mask-shape"):
        SamplingMask.of(samples)


def test_masks_are_simplified_only_where_they_do_not_change():
    samples = torch.zeros((3, 4, 5), dtype=torch.bool)
    samples[:, 1] = True
    assert SamplingMask.of(samples, MaskSource.NON_ZERO).samples.shape == (1, 4, 1)
    samples[0, 2] = True
    assert SamplingMask.of(samples, MaskSource.NON_ZERO).samples.shape == (3, 4, 1)
    samples[0, 0, 0] = True
    mask = SamplingMask.of(samples, MaskSource.NON_ZERO)
    assert torch.equal(mask.samples, samples)
    assert mask.source is MaskSource.NON_ZERO


# Frames


def test_one_mask_holds_for_all_frames(lines):
    mask = SamplingMask.of(lines(1))
    assert not mask.varies
    assert torch.equal(mask.frame(5), lines(1)[0])
    assert torch.equal(mask.over(4), lines(1, frames=4))


def test_every_frame_has_a_mask_of_its_own():
    mask = SamplingMask.of(scattered(frames=3))
    assert mask.varies
    assert torch.equal(mask.frame(2), scattered(frames=3)[2])
    assert torch.equal(mask.over(3), mask.samples)


def test_spokes_also_vary_by_their_positions():
    samples = torch.ones((1, 6, 1), dtype=torch.bool)
    assert not spokes(samples).varies
    assert spokes(samples, frames=3).varies


# Other samples


def test_hidden_samples_were_not_measured(lines):
    mask = SamplingMask.of(lines(1, 2, 3), MaskSource.HEADER)
    for hidden, left in ((lines(2, 7), lines(1, 3)), (lines(2, frames=3), lines(1, 3, frames=3))):
        rest = mask.without(hidden)
        assert isinstance(rest, LineMask)
        assert rest.source is MaskSource.HEADER
        assert torch.equal(rest.samples, left)
    assert torch.equal(mask.samples, lines(1, 2, 3))


def test_chosen_samples_keep_kind_source_and_centre(lines):
    only = replace(
        SamplingMask.of(lines(1, 2), MaskSource.FILE), calibration_only=lines(2), centre=(3, 4)
    )
    chosen = only.chosen(lines(5))
    assert isinstance(chosen, LineMask)
    assert (chosen.source, chosen.centre) == (MaskSource.FILE, (3, 4))
    assert chosen.calibration_only is None


def test_chosen_spokes_keep_their_trajectory():
    mask = spokes(torch.ones((1, 6, 1), dtype=torch.bool))
    assert mask.without(~mask.samples).trajectory is mask.trajectory


def test_image_data_excludes_calibration_only_samples(lines):
    mask = SamplingMask.of(lines(1, 2, 3))
    assert torch.equal(mask.image_data, lines(1, 2, 3))
    assert torch.equal(replace(mask, calibration_only=lines(2)).image_data, lines(1, 3))


def test_masks_move_to_another_device_as_a_whole(lines):
    mask = replace(SamplingMask.of(lines(1, 2)), calibration_only=lines(2)).to("meta")
    assert isinstance(mask, LineMask)
    assert mask.samples.device.type == mask.calibration_only.device.type == "meta"
    assert SamplingMask.of(lines(1)).to("meta").calibration_only is None
    moved = spokes(torch.ones((1, 6, 1), dtype=torch.bool)).to("meta")
    assert moved.samples.device.type == moved.trajectory.positions.device.type == "meta"


# How much was measured


@pytest.mark.parametrize(("measured", "complete"), [(8, True), (7, False), (6, False)])
def test_fully_sampled_means_the_whole_matrix_from_any_source(lines, measured, complete):
    for source in MaskSource:
        mask = SamplingMask.of(lines(*range(measured)), source)
        assert mask.complete == complete


def test_one_missing_line_in_one_frame_is_enough(lines):
    samples = lines(*range(8), frames=3)
    samples[1, 4] = False
    assert not SamplingMask.of(samples).complete
    assert not SamplingMask.of(samples).complete


def test_effective_acceleration_counts_all_samples(lines):
    assert SamplingMask.of(lines(0, 4)).effective_acceleration() == 4
    both = torch.cat([lines(0, 4), lines(1, 2, 3, 5, 6, 7)])
    assert SamplingMask.of(both).effective_acceleration() == 2


def test_partial_fourier_and_low_resolution_are_no_acceleration_of_the_extent(lines):
    mask = SamplingMask.of(lines(2, 4, 6))
    assert mask.effective_acceleration() == pytest.approx(8 / 3)
    assert mask.effective_acceleration("extent") == pytest.approx(5 / 3)
    samples = torch.zeros((2, 8, 10), dtype=torch.bool)
    samples[0, 2, 3] = samples[1, 4, 6] = True
    assert SamplingMask.of(samples).effective_acceleration("extent") == 2 * 3 * 4 / 2


def test_extent_is_the_block_that_holds_all_samples_of_all_frames(lines):
    assert SamplingMask.of(lines(2, 6)).extent() == (slice(2, 7), slice(0, 1))
    samples = torch.zeros((2, 8, 10), dtype=torch.bool)
    samples[0, 1, 9] = samples[1, 5, 3] = True
    assert SamplingMask.of(samples).extent() == (slice(1, 6), slice(3, 10))
    assert SamplingMask.of(~samples).extent() == (slice(0, 8), slice(0, 10))
    assert SamplingMask.of(lines()).extent() == (slice(0), slice(0))


def test_an_empty_mask_has_finite_numbers(lines):
    nothing = SamplingMask.of(lines())
    assert nothing.coverage.label == "undersampled"
    assert nothing.effective_acceleration() == 8
    assert not nothing.complete


def test_empty_lines_are_trimmed_from_all_parts_of_a_mask(lines):
    only = replace(SamplingMask.of(lines(1, 2, 3)), calibration_only=lines(1, 2))
    empty = torch.zeros((2, 8), dtype=torch.bool)
    empty[1, 2] = True
    trimmed = only.trimmed(empty)
    assert isinstance(trimmed, LineMask)
    assert trimmed.samples[..., 0].sum(1).tolist() == [3, 2]
    assert trimmed.calibration_only[..., 0].sum(1).tolist() == [2, 1]
    empty[0, 2] = True
    assert torch.equal(only.trimmed(empty).samples, lines(1, 3))


# Along a trajectory


def test_effective_acceleration_of_spokes_counts_those_of_full_sampling():
    samples = torch.ones((3, 10, 1), dtype=torch.bool)
    samples[1, 4:9] = False
    mask = spokes(samples)
    assert mask.KIND == "trajectory"
    assert mask.effective_acceleration() == pytest.approx(3 * 101 / 25)
    assert math.ceil(math.pi / 2 * 64) == 101


def test_spokes_never_count_as_fully_sampled():
    mask = spokes(torch.ones((1, 500, 1), dtype=torch.bool))
    assert not mask.complete
    assert not mask.complete


def test_images_are_as_large_as_kspace_or_the_matrix(lines):
    assert SamplingMask.of(lines(1)).image_shape(8, 10) == (8, 10)
    assert spokes(torch.ones((1, 6, 1), dtype=torch.bool)).image_shape(6, 9) == (64, 60)


def test_lines_have_length_one_along_the_readout():
    lines = torch.ones((1, 4, 1), dtype=torch.bool)
    counts = torch.ones(1, 4, 6)
    counts[0, 1, 2:] = 3
    assert LineMask(lines).averaged(counts).averages.flatten().tolist() == [1, 1, 1, 1]
    assert SampleMask(lines.expand(1, 4, 6)).averaged(counts).averages is counts
    for wrong in ({"samples": lines.expand(1, 4, 6)}, {"samples": lines, "averages": counts}):
        with pytest.raises(ValueError, match="lines are"):
            LineMask(**wrong)
