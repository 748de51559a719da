"""Coils that drop out of frames are predicted."""

import pytest
import torch

from cmrrecon.data.dropouts import dropout_texts, filled
from cmrrecon.operators.coils import rss
from cmrrecon.operators.fourier import ifft2c
from cmrrecon.sampling import make_mask
from cmrrecon.simulation import simulate


def error(images, expected):
    return float((images - expected).norm() / expected.norm())


@pytest.mark.parametrize("pattern", [None, "kt-gaussian", "kt-radial"])
def test_a_dropped_coil_is_predicted_and_nothing_else_changes(pattern):
    mask = torch.ones((1, 64, 1), dtype=torch.bool)
    if pattern:
        mask = make_mask(pattern, frames=6, y=64, x=64, acceleration=2, acs=16, seed=1)
    sim = simulate(slices=1, frames=6, coils=6, y=64, x=64, snr_db=40)
    kspace = sim.scan.read_slice(0) * mask[:, None]
    dropped = torch.zeros((6, 6), dtype=torch.bool)
    dropped[3, 2] = dropped[5, 4] = dropped[1, 2] = True
    lost = kspace * ~dropped[..., None, None]
    got = filled(lost, mask, dropped)
    assert torch.equal(got[~dropped], kspace[~dropped])
    whole, without, with_it = (rss(ifft2c(k[3])) for k in (kspace, lost, got))
    assert error(with_it, whole) < 0.3 * error(without, whole)
    assert (got[~mask[:, None].expand_as(got)] == 0).all()


def test_the_scale_does_not_matter():
    kspace = simulate(slices=1, frames=3, coils=4, y=32, x=32).scan.read_slice(0)
    mask, dropped = torch.ones((1, 32, 1), dtype=torch.bool), torch.eye(3, 4).bool()
    dropped[1:] = False
    kspace = kspace * ~dropped[..., None, None]
    large = filled(kspace, mask, dropped)
    torch.testing.assert_close(filled(kspace * 2.0**-60, mask, dropped), large * 2.0**-60)


def test_a_single_coil_gets_its_time_average():
    kspace = torch.randn((3, 1, 8, 8), dtype=torch.complex64)
    dropped = torch.tensor([[False], [True], [False]])
    got = filled(kspace * ~dropped[..., None, None], torch.ones((1, 8, 1)).bool(), dropped)
    torch.testing.assert_close(got[1], (kspace[0] + kspace[2]) / 2)


def test_positions_that_change_have_no_time_average():
    kspace = torch.randn((3, 1, 8, 8), dtype=torch.complex64)
    dropped = torch.tensor([[False], [True], [False]])
    lost = kspace * ~dropped[..., None, None]
    got = filled(lost, torch.ones((1, 8, 1)).bool(), dropped, alike=False)
    assert torch.equal(got, lost)


def test_texts_name_coil_and_frames():
    dropped = torch.zeros((9, 2), dtype=torch.bool)
    dropped[1:8, 1] = True
    (text,) = dropout_texts(dropped, 4)
    assert "slice 4" in text
    assert "coil 1" in text
    assert "7 of 9 frames (1, 2, 3, 4, 5, ...)" in text
