import pytest

from cmrrecon.data import cyclic_window, window


@pytest.mark.parametrize(
    ("frame", "frames", "expected"),
    [
        (0, 1, [0, 0, 0, 0, 0]),
        (0, 2, [1, 1, 0, 1, 1]),
        (0, 3, [2, 2, 0, 1, 1]),
        (2, 3, [1, 1, 2, 0, 0]),
        (0, 4, [2, 3, 0, 1, 2]),
        (0, 12, [10, 11, 0, 1, 2]),
        (11, 12, [9, 10, 11, 0, 1]),
        (5, 12, [3, 4, 5, 6, 7]),
    ],
)
def test_windows_of_adjacent_frames(frame, frames, expected):
    assert window(frame, frames) == expected


def test_windows_of_other_widths():
    assert window(4, 12, 1) == [4]
    assert window(0, 12, 3) == [11, 0, 1]
    assert window(0, 2, 7) == [1, 1, 1, 0, 1, 1, 1]


@pytest.mark.parametrize(
    ("frame", "frames", "expected"),
    [
        (0, 1, [0, 0, 0, 0, 0]),
        (0, 2, [0, 1, 0, 1, 0]),
        (0, 3, [1, 2, 0, 1, 2]),
        (2, 3, [0, 1, 2, 0, 1]),
    ],
)
def test_cyclic_windows_are_plain_modulo(frame, frames, expected):
    assert cyclic_window(frame, frames) == expected


def test_cyclic_windows_differ_only_in_short_series():
    for frames in (1, 4, 5, 12):
        for frame in range(frames):
            assert cyclic_window(frame, frames) == window(frame, frames)
