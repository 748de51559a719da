from dataclasses import replace
from itertools import pairwise

import pytest
import torch

from cmrrecon.simulation.heart import Heart, contraction, heart_layers, surroundings
from cmrrecon.simulation.shapes import FIELD_OF_VIEW, grid
from cmrrecon.simulation.tissues import TISSUES, Layer, paint

Y, X = 144, 320
SQUARE_MM = FIELD_OF_VIEW[0] / Y * FIELD_OF_VIEW[1] / X


def area(seed, position, phase, *tissues):
    """Area in mm^2 of these tissues of the heart, per phase."""
    rows, columns = grid(Y, X)
    layers = [
        Layer(layer.tissue, layer.cover, torch.zeros(1))
        for layer in heart_layers(Heart.draw(seed), position, phase, rows, columns)
    ]
    signals = {name: torch.tensor([float(name in tissues)]) for name in TISSUES}
    return paint(layers, signals).sum((1, 2)) * SQUARE_MM


def test_contraction_is_periodic_smooth_and_greatest_at_end_systole():
    phase = torch.linspace(0, 1, 1001)
    squeeze = contraction(phase, 0.35)
    assert squeeze[0] == squeeze[-1] == 0
    torch.testing.assert_close(contraction(phase + 3, 0.35), squeeze, atol=1e-4, rtol=0)
    assert phase[squeeze.argmax()] == pytest.approx(0.36, abs=0.02)
    assert squeeze.max() == pytest.approx(1)
    assert squeeze.diff().diff().abs().max() < 2e-4
    # Unlike a sine, the heart rests in diastasis, more than half relaxed.
    assert squeeze[650:810].max() - squeeze[650:810].min() < 0.01


@pytest.mark.parametrize("seed", [0, 1, 2, 3])
def test_volumes_are_those_of_a_healthy_adult(seed):
    phase = torch.tensor([0.0, 0.36])
    positions = [(i + 0.5) / 8 for i in range(8)]
    left, right = (
        sum(area(seed, p, phase, name) for p in positions) * 10 / 1000
        for name in ("left blood", "right blood")
    )
    assert 80 < left[0] < 160
    assert 0.40 < 1 - left[1] / left[0] < 0.70
    assert 0.40 < 1 - right[1] / right[0] < 0.65
    wall = sum(area(seed, p, phase, "myocardium", "ischaemia") for p in positions)
    assert 1.0 < wall[1] / wall[0] < 1.2


def test_wall_thickens_as_the_cavity_contracts():
    phase = torch.tensor([0.0, 0.36])
    for position in (0.2, 0.5, 0.8):
        cavity = area(0, position, phase, "left blood")
        rows, columns = grid(Y, X)
        layers = heart_layers(Heart.draw(0), position, phase, rows, columns)
        whole = (
            next(a for a, b in pairwise(layers) if b.tissue == "left blood").cover.sum((1, 2))
            * SQUARE_MM
        )
        thickness = (whole / torch.pi).sqrt() - (cavity / torch.pi).sqrt()
        assert 1.25 < thickness[1] / thickness[0] < 1.8


def test_cavity_shrinks_from_base_to_apex():
    areas = [
        float(area(1, position, torch.tensor([0.0]), "left blood"))
        for position in (0.1, 0.4, 0.7, 0.95)
    ]
    assert areas == sorted(areas, reverse=True)
    assert areas[-1] < 0.45 * areas[0]


def test_heart_stays_within_its_surroundings():
    rows, columns = grid(Y, X)
    phase = torch.tensor([0.0, 0.36])
    moved = (torch.tensor([5.0, -5.0]), torch.tensor([-5.0, 5.0]))
    for seed in range(10):
        heart = Heart.draw(seed)
        near = surroundings(heart, rows, columns)
        outside = torch.ones(Y, X, dtype=torch.bool)
        outside[near] = False
        for position in (0.05, 0.5):
            assert all(
                layer.cover[:, outside].max() == 0
                for layer in heart_layers(heart, position, phase, rows, columns, moved)
            )


def test_textures_move_with_the_wall():
    # Without twist and shift a point of the wall moves along its ray. The row through the centre
    # is such a ray, finely sampled.
    heart = replace(Heart.draw(0), shift=(0.0, 0.0), twist=0.0)
    rows, columns = grid(101, 1801)
    layers = heart_layers(heart, 0.5, torch.tensor([0.0, 0.36]), rows, columns)
    wall, blood = next((a, b) for a, b in pairwise(layers) if b.tissue == "left blood")
    row = int((rows - heart.centre[0] - 2).abs().argmin())
    middle = int((columns - heart.centre[1] - 3).abs().argmin())
    seen = []
    for frame in (0, 1):
        inner, outer = (
            middle + int((layer.cover[frame, row, middle:] > 0.5).sum()) for layer in (blood, wall)
        )
        assert outer > inner + 10
        # Only the outer half: trabeculae blur the inner border.
        at = torch.linspace((inner + outer) / 2, outer - 1, 5).round().long()
        seen.append(wall.texture[frame, row, at])
    assert seen[0].std() > 0.3
    torch.testing.assert_close(seen[1], seen[0], atol=0.35, rtol=0)


def test_displacement_moves_the_whole_heart():
    rows, columns = grid(Y, X)
    step = FIELD_OF_VIEW[0] / Y
    moved = (torch.tensor([0.0, 3 * step]), torch.zeros(2))
    for layer in heart_layers(Heart.draw(2), 0.5, torch.tensor([0.2, 0.2]), rows, columns, moved):
        torch.testing.assert_close(layer.cover[1, 3:], layer.cover[0, :-3], atol=1e-2, rtol=0)
