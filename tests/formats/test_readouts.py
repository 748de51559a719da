"""Readouts of any format become a scan: frames, averages, positions, calibration."""

import numpy as np
import pytest
import torch
from readout_tables import COILS, X, Y, cnormal, encoding, lines, raw, readout
from refusals import refused

from cmrrecon.formats.readouts_scan import assemble

KSPACE = cnormal(COILS, Y, X)


def measured(scan):
    return scan.mask.samples[0, :, 0].nonzero().flatten().tolist()


def test_lines_are_placed():
    scan = assemble(raw(lines(KSPACE)))
    np.testing.assert_array_equal(scan.series(0).kspace[0].numpy(), KSPACE)
    assert scan.shape == (1, 1, COILS, Y, X)
    assert scan.mask.complete
    assert scan.mask.averages is None
    assert scan.notes == ()


@pytest.mark.parametrize("matrix", [(60000, X), (Y, 60000), (33 * Y, X)])
def test_a_matrix_out_of_all_proportion_is_refused(matrix):
    with refused("shape-mismatch"):
        assemble(raw(lines(KSPACE), encoding(*matrix)))


# Averages


def test_averages_become_their_mean_and_are_counted():
    others = cnormal(COILS, Y, X, seed=1), cnormal(COILS, Y, X, seed=2)
    rows = lines(KSPACE) + lines(others[0], [3, 4], average=1) + lines(others[1], [4], average=2)
    scan = assemble(raw(rows))
    expected = KSPACE.copy()
    expected[:, 3] = (KSPACE[:, 3] + others[0][:, 3]) / 2
    expected[:, 4] = (KSPACE[:, 4] + others[0][:, 4] + others[1][:, 4]) / 3
    np.testing.assert_allclose(scan.series(0).kspace[0].numpy(), expected, rtol=1e-6)
    assert scan.mask.averages.flatten().tolist() == [1, 1, 1, 2, 3, 1, 1, 1]
    assert "up to 3 times" in scan.notes[0]


def test_repeated_lines_are_averages_too():
    scan = assemble(raw(lines(KSPACE) + lines(3 * KSPACE, [2])))
    np.testing.assert_allclose(scan.series(0).kspace[0, :, 2].numpy(), 2 * KSPACE[:, 2], rtol=1e-6)
    assert scan.mask.averages.flatten().tolist() == [1, 1, 2, 1, 1, 1, 1, 1]


def test_whole_lines_of_several_lengths_count_as_often_as_their_ends():
    short = readout(3 * KSPACE[:, 5, 4:], line=5, centre=2)
    scan = assemble(raw([*lines(KSPACE), short]))
    expected = KSPACE[:, 5].copy()
    expected[:, 4:] *= 2
    np.testing.assert_allclose(scan.series(0).kspace[0, :, 5].numpy(), expected, rtol=1e-6)
    assert (scan.mask.averages == 1).all()


def test_averages_that_differ_between_slices_are_used_but_not_counted():
    rows = [*lines(KSPACE), *lines(KSPACE, slice=1), *lines(KSPACE, [1], slice=1)]
    scan = assemble(raw(rows))
    assert scan.mask.averages is None
    assert any("differs between slices" in note for note in scan.notes)


def test_equal_averages_of_all_frames_are_kept_once():
    rows = [row for t in (0, 1) for row in lines(KSPACE, phase=t) + lines(KSPACE, [0], phase=t)]
    scan = assemble(raw(rows))
    assert scan.mask.averages.shape == (1, Y, 1)


# Positions


def test_the_centre_of_the_header_is_the_middle_of_the_matrix():
    scan = assemble(raw(lines(KSPACE, range(5)), encoding(centre=1, limits=(0, 4))))
    assert measured(scan) == [3, 4, 5, 6, 7]
    assert scan.mask.centre is None


def test_a_centre_outside_its_limits_is_ignored():
    scan = assemble(raw(lines(KSPACE), encoding(centre=40, limits=(0, 7))))
    assert scan.mask.complete
    assert "line 40" in scan.notes[0]


def test_lines_outside_the_limits_are_read_with_a_note():
    scan = assemble(raw(lines(KSPACE), encoding(centre=4, limits=(0, 5))))
    assert scan.mask.complete
    assert "limits 0 to 5" in scan.notes[0]


def test_lines_outside_the_matrix_are_refused():
    with refused("shape-mismatch"):
        assemble(raw(lines(KSPACE), encoding(y=6)))


def test_a_centre_off_the_middle_of_whole_readouts_is_kept():
    assert assemble(raw(lines(KSPACE, centre=4))).mask.centre == (Y // 2, 4)
    for usual in (0, X // 2 - 1, X // 2, X // 2 + 1):
        assert assemble(raw(lines(KSPACE, centre=usual))).mask.centre is None


def test_short_readouts_without_a_centre_lie_in_the_middle():
    scan = assemble(raw(lines(KSPACE[..., :8], centre=0)))
    assert scan.mask.samples[0, 0].tolist() == [False] * 2 + [True] * 8 + [False] * 2
    assert "middle sample" in scan.notes[0]


def test_readouts_of_other_lengths_lie_around_the_same_centre():
    rows = lines(KSPACE, [0, 1, 2, 3])
    rows += [readout(KSPACE[:, y, 3:], line=y, centre=3) for y in range(4, 8)]
    scan = assemble(raw(rows))
    expected = KSPACE.copy()
    expected[:, 4:, :3] = 0
    np.testing.assert_array_equal(scan.series(0).kspace[0].numpy(), expected)
    assert torch.equal(scan.mask.samples[0], torch.from_numpy(expected[0] != 0))


def test_short_readouts_that_run_backwards_have_their_centre_at_the_other_end():
    rows = [readout(KSPACE[:, y, 3:], line=y, centre=3) for y in range(4)]
    rows += [readout(KSPACE[:, y, :2:-1], line=y, centre=6, reverse=True) for y in range(4, 8)]
    expected = KSPACE.copy()
    expected[..., :3] = 0
    np.testing.assert_array_equal(assemble(raw(rows)).series(0).kspace[0].numpy(), expected)


def test_coils_must_be_the_same():
    with refused("readouts-differ"):
        assemble(raw([*lines(KSPACE), readout(KSPACE[:2, 0])]))


# Frames and encodings


def test_the_first_value_of_other_counters_is_read():
    other = cnormal(COILS, Y, X, seed=3)
    rows = [
        row for t in (0, 1) for row in lines(KSPACE, phase=t) + lines(other, phase=t, repetition=1)
    ]
    scan = assemble(raw(rows))
    assert scan.shape[0] == 2
    np.testing.assert_array_equal(scan.series(0).kspace[1].numpy(), KSPACE)
    assert "2 values of the counter repetition" in scan.notes[0]


def test_the_first_of_two_encodings_with_images_is_read():
    rows = lines(KSPACE, space=1) + [readout(cnormal(COILS, 6), line=y, space=2) for y in range(4)]
    scan = assemble(raw(rows, encoding(4, 4), encoding(), encoding(4, 6)))
    assert scan.shape[3:] == (Y, X)
    assert "encoding 1 was read, not encoding 2" in scan.notes[0]


def test_an_encoding_that_the_header_lacks_is_refused():
    with refused("encoding-missing"):
        assemble(raw(lines(KSPACE, space=1)))


# Calibration

GRID = [0, 3, 6]  # with the lines 2 to 5 for calibration
ALONE, BOTH = [2, 4, 5], [3]
REFERENCE = cnormal(COILS, Y, X, seed=7)


def with_references(values=REFERENCE, rows=ALONE, **columns):
    image = lines(KSPACE, [0, 6]) + lines(KSPACE, BOTH, kind="image calibration")
    return image + lines(values, rows, kind="calibration", **columns)


@pytest.mark.parametrize("mode", ["embedded", "interleaved", ""])
def test_embedded_references_are_lines_of_the_image(mode):
    scan = assemble(raw(with_references(), encoding(calibration=mode)))
    assert measured(scan) == [0, 2, 3, 4, 5, 6]
    assert scan.calibration is None
    np.testing.assert_array_equal(scan.series(0).kspace[0, :, 4].numpy(), REFERENCE[:, 4])


@pytest.mark.parametrize("mode", ["separate", "external", "other"])
def test_separate_references_calibrate_and_are_not_in_the_image(mode):
    scan = assemble(raw(with_references(rows=[2, 3, 4, 5]), encoding(calibration=mode)))
    assert measured(scan) == GRID
    found = scan.series(0).calibration
    np.testing.assert_array_equal(found.numpy(), REFERENCE[:, 2:6])
    assert "4 separate reference lines" in scan.notes[0]


@pytest.mark.parametrize("mode", ["separate", "external", "other"])
def test_gaps_in_separate_references_are_filled_by_image_lines_that_calibrate_too(mode):
    scan = assemble(raw(with_references(), encoding(calibration=mode)))
    assert measured(scan) == GRID
    expected = REFERENCE[:, 2:6].copy()
    expected[:, 1] = KSPACE[:, 3]
    np.testing.assert_array_equal(scan.series(0).calibration.numpy(), expected)


def test_references_that_repeat_image_lines_are_separate_even_if_the_header_is_silent():
    scan = assemble(raw(with_references(rows=[2, 3, 4, 5]), encoding()))
    assert measured(scan) == GRID
    assert scan.calibration is not None


def test_references_of_another_length_are_separate_even_if_the_header_is_silent():
    rows = with_references(REFERENCE[..., 2:10])
    assert measured(assemble(raw(rows, encoding()))) == GRID
    scan = assemble(raw(rows, encoding(calibration="embedded")))
    assert scan.mask.samples[0, 4].tolist() == [False] * 2 + [True] * 8 + [False] * 2
    assert scan.mask.samples[0, 3].all()


def test_references_in_a_frame_of_their_own_are_separate():
    rows = [row for t in (1, 2) for row in lines(KSPACE, GRID, phase=t)]
    rows += lines(REFERENCE, [2, 4, 5], kind="calibration", phase=0)
    scan = assemble(raw(rows))
    assert scan.shape[0] == 2
    assert measured(scan) == GRID
    # Lines 4 and 5 form a block at the centre; line 2 is isolated.
    np.testing.assert_array_equal(scan.series(0).calibration.numpy(), REFERENCE[:, 4:6])


def test_separate_references_of_an_encoding_of_their_own_are_averaged():
    """Six lines of 8 samples over the same field of view, with the centre at line 3."""
    fov = {"field_of_view_mm": (80.0, 120.0, 5.0)}
    first, second = cnormal(COILS, 6, 8, seed=8), cnormal(COILS, 6, 8, seed=9)
    own = {"kind": "calibration", "space": 1}
    rows = lines(first, **own) + lines(second, average=1, **own) + lines(KSPACE, GRID)
    scan = assemble(
        raw(rows, encoding(**fov, calibration="separate"), encoding(6, 8, centre=3, **fov))
    )
    np.testing.assert_allclose(
        scan.series(0).calibration.numpy(), (first + second) / 2, rtol=1e-5, atol=1e-6
    )


def test_the_central_block_of_references_with_gaps_calibrates():
    rows = lines(REFERENCE, [0, 1, 3, 4, 5], kind="calibration", space=1) + lines(KSPACE, GRID)
    scan = assemble(raw(rows, encoding(calibration="separate"), encoding(centre=1)))
    np.testing.assert_array_equal(scan.series(0).calibration.numpy(), REFERENCE[:, :2])


def test_references_over_a_larger_field_of_view_are_cropped_to_that_of_the_image():
    """An object of two samples across, seen with twice the field of view along x."""
    image = np.zeros((COILS, Y, 2 * X), complex)
    image[:, :, X - 1 : X + 1] = cnormal(COILS, Y, 2, seed=4)
    transform = {"axes": (1, 2)}

    def kspace(values):
        shifted = np.fft.ifftshift(values, **transform)
        return np.fft.fftshift(np.fft.fft2(shifted, **transform), **transform).astype("c8")

    inner = kspace(image[:, :, X // 2 : X + X // 2])
    rows = lines(kspace(image), kind="calibration", space=1) + lines(inner, GRID)
    one = encoding(field_of_view_mm=(80.0, 120.0, 5.0), calibration="separate")
    two = encoding(Y, 2 * X, field_of_view_mm=(80.0, 240.0, 5.0))
    found = assemble(raw(rows, one, two)).series(0).calibration.numpy()
    np.testing.assert_allclose(found, inner, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"slice": 3}, None),
        ({"given": REFERENCE[:2, 0], "coils": 2}, "coils or samples"),
        ({"before": 8, "after": 8}, "coils or samples"),
    ],
)
def test_references_that_do_not_fit_are_left_out(change, words):
    rows = with_references(rows=[2, 3, 4, 5])
    rows = [row | change if not row["image"] else row for row in rows]
    scan = assemble(raw(rows, encoding(calibration="separate")))
    assert scan.calibration is None
    assert measured(scan) == GRID
    assert (words is None) == (scan.notes == ())
    assert words is None or words in scan.notes[0]


def test_references_that_run_backwards_are_turned():
    rows = with_references(REFERENCE[..., ::-1], [2, 3, 4, 5], reverse=True)
    found = assemble(raw(rows, encoding(calibration="separate"))).series(0).calibration
    np.testing.assert_array_equal(found.numpy(), REFERENCE[:, 2:6])


def test_non_finite_references_are_refused():
    broken = REFERENCE.copy()
    broken[1, 3, 2] = np.nan
    rows = with_references(broken, [2, 3, 4, 5])
    scan = assemble(raw(rows, encoding(calibration="separate")))
    with refused("kspace-not-finite"):
        scan.series(0)


def test_references_that_some_slices_lack_are_left_out():
    rows = with_references(rows=[2, 3, 4, 5]) + lines(KSPACE, GRID, slice=1)
    scan = assemble(raw(rows, encoding(calibration="separate")))
    assert scan.calibration is None
    assert "some slices have none" in scan.notes[0]
