"""The positions of slices, and the times of frames."""

import numpy as np
import pytest
from readout_tables import COILS, X, Y, cnormal, encoding, lines, raw

from cmrrecon.formats.readouts_scan import assemble

KSPACE = cnormal(COILS, Y, X)
TILT = np.array([[0.6, 0.8, 0.0], [0.0, 0.0, -1.0], [-0.8, 0.6, 0.0]])  # x, y, slice
FOV = (80.0, 240.0, 6.0)


def directed(axes=TILT, **columns):
    return lines(KSPACE, along_x=axes[0], along_y=axes[1], across=axes[2], **columns)


def geometry(rows, **more):
    return assemble(raw(rows, encoding(**{"field_of_view_mm": FOV, **more}))).geometry


def test_a_voxel_is_the_encoded_field_of_view_over_the_encoded_matrix():
    found = geometry(directed(), image=(Y, X // 2), recon_matrix=(64, 48))
    assert found.voxel_mm == (10.0, 20.0, 6.0)
    assert found.field_of_view == (Y, X // 2)
    assert found.recon_matrix == (64, 48)
    assert geometry(directed(), field_of_view_mm=None).voxel_mm is None


def test_directions_are_those_of_increasing_y_x_and_slice():
    (y, x, across) = geometry(directed()).directions[0]
    np.testing.assert_allclose(y, TILT[1])
    np.testing.assert_allclose(x, TILT[0])
    np.testing.assert_allclose(across, TILT[2])


def test_slices_keep_the_order_of_their_counter_and_have_positions():
    """Five interleaved slices of 6 mm with gaps of 2 mm; the odd ones are counted last."""
    places = [0, 2, 4, 1, 3]
    rows = [
        row
        for z, place in enumerate(places)
        for row in directed(slice=z, position=np.array([5.0, 6.0, 7.0]) + 8 * place * TILT[2])
    ]
    found = geometry(rows)
    expected = np.array([5.0, 6.0, 7.0]) + 8 * np.array(places)[:, None] * TILT[2]
    np.testing.assert_allclose(found.positions_mm, expected)
    assert found.voxel_mm == pytest.approx((10.0, 20.0, 8.0))
    assert len(found.directions) == 5


def test_slices_at_the_same_place_have_unknown_positions():
    rows = [row for z in (0, 1) for row in directed(slice=z, position=(1.0, 2.0, 3.0))]
    found = geometry(rows)
    assert found.positions_mm is None
    assert found.voxel_mm == (10.0, 20.0, 6.0)
    assert len(found.directions) == 2


@pytest.mark.parametrize(
    "axes",
    [
        np.zeros((3, 3)),
        2 * TILT,
        np.array([TILT[0], TILT[0], TILT[2]]),
        np.full((3, 3), np.nan),
    ],
)
def test_invalid_directions_are_left_out_with_a_note(axes):
    scan = assemble(raw(directed(axes, position=(1.0, 2.0, 3.0)), encoding(field_of_view_mm=FOV)))
    assert scan.geometry.directions is None
    assert scan.geometry.positions_mm == ((1.0, 2.0, 3.0),)
    assert scan.geometry.voxel_mm == (10.0, 20.0, 6.0)
    assert "directions" in scan.notes[0]


def test_without_directions_a_position_of_zero_counts_as_unknown():
    assert geometry(directed(np.zeros((3, 3)))).positions_mm is None
    assert geometry(directed()).positions_mm == ((0.0, 0.0, 0.0),)


def test_non_finite_positions_count_as_unknown():
    assert geometry(directed(position=(np.inf, 0.0, 0.0))).positions_mm is None


def timed(counter, frames=3, **times):
    """Frames that are each measured twice around their own time."""
    rows = []
    for t in range(frames):
        for shift, part in ((-4.0, range(Y // 2)), (4.0, range(Y // 2, Y))):
            known = {name: start + step * t + shift for name, (start, step) in times.items()}
            rows += lines(KSPACE, part, **{counter: t}, **known)
    return rows


def test_phases_are_timed_after_the_trigger():
    found = geometry(timed("phase", trigger_ms=(20.0, 40.0), time_ms=(5000.0, 3.0)))
    assert found.frame_times_ms == pytest.approx((20.0, 60.0, 100.0))


def test_repetitions_are_timed_after_the_first():
    found = geometry(timed("repetition", trigger_ms=(20.0, 40.0), time_ms=(5000.0, 300.0)))
    assert found.frame_times_ms == pytest.approx((0.0, 300.0, 600.0))


def test_phases_without_a_trigger_are_timed_after_the_first():
    assert geometry(timed("phase", time_ms=(5000.0, 30.0))).frame_times_ms == (0.0, 30.0, 60.0)


@pytest.mark.parametrize("times", [{}, {"time_ms": (5000.0, 0.0)}, {"time_ms": (0.0, -30.0)}])
def test_times_that_do_not_increase_count_as_unknown(times):
    assert geometry(timed("phase", **times)).frame_times_ms is None
