"""Calibration lines with gaps, filled in alternation with the image."""

from dataclasses import replace

import pytest
import torch
from kinds import mask_of
from refusals import refused

from cmrrecon.classical.coils import estimate_coils
from cmrrecon.classical.completion import completed, runs
from cmrrecon.classical.grappa import grappa
from cmrrecon.classical.zero_filled import zero_filled
from cmrrecon.data import Series

NY = 45


def gappy(cine, gaps, frames=3):
    """A still heart; each frame measured a third of the lines, and none those in the gaps."""
    series, truth = cine(coils=6, step=1, frames=frames)
    series, truth = replace(series, kspace=series.kspace[:1].repeat(frames, 1, 1, 1)), truth[:1]
    mask = torch.zeros((frames, NY, 1), dtype=torch.bool)
    for t in range(frames):
        mask[t, t::frames] = True
    mask[:, gaps] = False
    return Series(series.kspace * mask[:, None], mask_of(mask)), series, truth


@pytest.mark.parametrize(
    ("measured", "expected"),
    [([], []), ([3], [(3, 4)]), ([0, 1, 4, 5, 6, 9], [(0, 2), (4, 7), (9, 10)])],
)
def test_runs_of_lines(measured, expected):
    lines = torch.zeros(10, dtype=torch.bool)
    lines[measured] = True
    assert runs(lines) == [slice(*run) for run in expected]


def test_lines_in_gaps_are_predicted(cine):
    series, full, _ = gappy(cine, [17, 20, 24, 29, 31])
    block = completed(series.kspace, series.mask)
    true = full.kspace.mean(0)[:, 10:34]
    assert block.shape == true.shape
    gaps = [17 - 10, 20 - 10, 24 - 10]
    error = (block - true)[:, gaps].norm() / true[:, gaps].norm()
    assert error < 0.15
    measured = [n for n in range(24) if n + 10 not in (17, 20, 24, 29, 31)]
    union = series.mask.samples.any(0)[10:34, 0]
    assert union.nonzero().flatten().tolist() == measured


def test_maps_of_filled_lines_are_those_of_all_lines(cine):
    series, full, _ = gappy(cine, [17, 20, 24, 29, 31])
    maps, true = (estimate_coils(one).measured for one in (series, full))
    both = (maps.abs().sum(0) > 0) & (true.abs().sum(0) > 0)
    assert both.sum() > 0.9 * (true.abs().sum(0) > 0).sum()
    agreement = (maps.conj() * true).sum(0).abs()[both]
    assert agreement.median() > 0.995


def test_grappa_calibrates_on_filled_lines(cine):
    series, _, truth = gappy(cine, [17, 20, 24, 29, 31])
    error, empty = (float((f(series) - truth.abs()).norm()) for f in (grappa, zero_filled))
    assert error < 0.6 * empty


@pytest.mark.parametrize(
    "gaps", [list(range(11, 33, 2)), [13, 16, 17, 20, 21, 24, 25, 28, 29, 30]], ids=["comb", "many"]
)
def test_more_gaps_than_can_be_filled_are_refused(cine, gaps):
    series, _, _ = gappy(cine, gaps)
    assert completed(series.kspace, series.mask) is None
    with refused("calibration-too-small"):
        estimate_coils(series)


def test_a_block_measured_in_every_frame_is_unchanged(cine):
    for series in (cine(acs=6, moving=True)[0], cine(acs=12)[0], cine(radial=True)[0]):
        assert completed(series.kspace, series.mask) is None
    series, _, _ = gappy(cine, [3])
    assert completed(series.kspace, replace(series.mask)) is None
