import pytest
import torch

from cmrrecon.operators.fourier import centred
from cmrrecon.sampling import make_mask


def radial(frames=3, y=48, x=64, acceleration=8, acs=0):
    return make_mask("kt-radial", frames=frames, y=y, x=x, acceleration=acceleration, acs=acs)


def test_official_masks_are_reproduced_except_for_ties(official_radial):
    exact = 0
    for official in official_radial:
        mask = make_mask(**official.arguments)
        assert mask.shape == official.mask.shape, official.key
        if official.has_ties:
            assert (mask != official.mask).double().mean() <= 0.052, official.key
        else:
            exact += 1
            assert torch.equal(mask, official.mask), official.key

    assert (exact, len(official_radial)) == (17, 21)


def test_rectangular_masks_are_cropped_from_the_square():
    square = radial(y=64, x=64)
    assert torch.equal(radial(y=48, x=64), square[:, centred(64, 48)])
    assert torch.equal(radial(y=64, x=49), square[:, :, centred(64, 49)])


def test_the_first_frame_has_exact_lines_at_0_90_and_180_degrees():
    # R = 16 and 20 give 18 and 15 beams. Only with 18 there is one at 90 degrees.
    for acceleration, upright in ((16, True), (20, False)):
        mask = radial(frames=1, y=65, x=65, acceleration=acceleration)[0]
        assert mask[:, 32].all()
        assert bool(mask[32].all()) is upright


@pytest.mark.parametrize("frame", [0, 4, 8, 12, 20, 36])
def test_spokes_at_multiples_of_90_degrees_reach_both_edges_in_any_frame(frame):
    # 18 beams are 10 degrees apart and every fourth frame starts at a multiple of 10 degrees.
    mask = radial(frames=frame + 1, y=64, x=64, acceleration=16)[frame]
    assert mask[:, 31].all() or mask[:, 32].all()
    assert mask[31].all() or mask[32].all()


def test_frames_differ_and_all_contain_the_centre():
    mask = radial(frames=5, y=49, x=65)
    assert mask[:, 24, 32].all()
    assert all(not torch.equal(mask[t], mask[t + 1]) for t in range(4))


def test_higher_accelerations_have_fewer_beams():
    counts = [int(radial(acceleration=r).sum()) for r in (4, 6.5, 8, 12, 16, 24, 48)]
    assert counts == sorted(counts, reverse=True)
    assert len(set(counts)) == len(counts)


@pytest.mark.parametrize(("y", "x"), [(1, 1), (1, 7), (2, 2), (400, 3)])
def test_extreme_grids_and_a_single_beam_work(y, x):
    mask = radial(y=y, x=x, acceleration=y)
    assert mask.shape == (3, y, x)
    assert mask.any((1, 2)).all()
