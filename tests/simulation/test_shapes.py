import math

import pytest
import torch

from cmrrecon.simulation.shapes import (
    FIELD_OF_VIEW,
    cover,
    ellipse,
    generator,
    grid,
    harmonics,
    strip,
    texture,
)


def test_generators_repeat_for_the_same_keys_and_differ_for_others():
    def numbers(*keys):
        return torch.randn(4, generator=generator(*keys))

    assert torch.equal(numbers(3, "noise", 1), numbers(3, "noise", 1))
    assert (
        len(
            {
                float(numbers(*keys)[0])
                for keys in ((0,), (0, 0), (0, 1), (1, 0), (0, "a"), (0, "b"))
            }
        )
        == 6
    )


@pytest.mark.parametrize(("y", "x"), [(204, 448), (33, 65)])
def test_grid_has_its_zero_at_the_centre_of_the_fft(y, x):
    rows, columns = grid(y, x)
    assert rows.shape == (y, 1)
    assert columns.shape == (1, x)
    assert rows[y // 2, 0] == 0
    assert columns[0, x // 2] == 0
    assert float(rows[1, 0] - rows[0, 0]) == pytest.approx(FIELD_OF_VIEW[0] / y, rel=1e-5)
    assert float(columns[0, 1] - columns[0, 0]) == pytest.approx(FIELD_OF_VIEW[1] / x, rel=1e-5)


@pytest.mark.parametrize(("y", "x"), [(204, 448), (101, 301), (160, 640)])
def test_cover_keeps_the_area_in_millimetres_on_any_matrix(y, x):
    rows, columns = grid(y, x)
    covered = cover(ellipse(rows, columns, (-10, 20), (30, 50), turn=0.4))
    area = float(covered.sum()) * FIELD_OF_VIEW[0] / y * FIELD_OF_VIEW[1] / x
    assert area == pytest.approx(math.pi * 30 * 50, rel=0.01)


def test_cover_rises_over_about_a_pixel():
    covered = cover(torch.arange(-8.0, 8.0).expand(16, 16) + 0.3)
    assert covered.min() == 0
    assert covered.max() == 1
    assert int(((covered[0] > 0) & (covered[0] < 1)).sum()) in (1, 2)


def test_strip_keeps_the_width_of_a_line_thinner_than_a_pixel():
    rows, columns = grid(204, 448)
    pixel = FIELD_OF_VIEW[1] / 448
    for width in (0.4, 1.0, 4.0):
        line = strip(columns - 0.37 + 0 * rows, width)
        assert float(line[0].sum()) * pixel == pytest.approx(width, rel=0.2)
    assert strip(columns + 0 * rows, -1.0).abs().max() == 0


def test_texture_has_zero_mean_unit_variance_and_the_stated_length():
    rows, columns = grid(204, 448)
    fields = [texture(rows, columns, length, generator(5)) for length in (4.0, 12.0)]
    for field in fields:
        assert abs(float(field.mean())) < 0.1
        assert float(field.std()) == pytest.approx(1, abs=0.1)
    steps = [float(field.diff(dim=1).square().mean().sqrt()) for field in fields]
    assert 2 < steps[0] / steps[1] < 4


def test_texture_moves_with_its_coordinates():
    rows, columns = grid(64, 64)
    still = texture(rows, columns, 20.0, generator(1))
    shifted = texture(rows + 320 / 64, columns, 20.0, generator(1))
    torch.testing.assert_close(shifted[:-1], still[1:], atol=1e-4, rtol=0)


def test_harmonics_are_periodic():
    angle = torch.linspace(-3, 3, 50)
    once, again = (harmonics(a, range(1, 9), generator(2)) for a in (angle, angle + 2 * math.pi))
    torch.testing.assert_close(once, again, atol=1e-4, rtol=0)
