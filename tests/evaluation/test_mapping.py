"""Fitted maps of reconstruction and reference compared inside the myocardium."""

import pytest
import torch
from refusals import refused
from relaxation_curves import MOLLI_TIMES, recovery

from cmrrecon.evaluation.mapping import compare_maps, full_scale, parameter_of
from cmrrecon.simulation import simulate
from cmrrecon.simulation.heart import Heart, heart_layers
from cmrrecon.simulation.phantoms import DIASTASIS, positions
from cmrrecon.simulation.shapes import grid
from cmrrecon.simulation.tissues import TISSUES


def square(slices=1):
    inside = torch.zeros((slices, 12, 12), dtype=torch.bool)
    inside[:, 3:9, 3:9] = True
    return inside


def heart(t1, slices=1):
    """A series (frame, slice, y, x) of one T1 inside a rim of fat, and times (frame, slice)."""
    signal = recovery(MOLLI_TIMES, torch.tensor([float(t1)]))[:, :, None, None].repeat(
        1, slices, 12, 12
    )
    signal[..., 0, :] = 40
    return signal, MOLLI_TIMES[:, None].repeat(1, slices)


@pytest.mark.parametrize("unit", [1e-9, 1.0, 1e9])
def test_series_are_scaled_to_a_maximum_of_1000(unit):
    assert float(full_scale(unit * heart(1000)[0][:, 0]).max()) == pytest.approx(1000)


def test_maps_are_compared_inside_the_myocardium():
    reference, times = heart(1200, slices=2)
    image, _ = heart(1250, slices=2)
    image[..., 9:, 9:] = 3.3  # outside
    found = compare_maps(5 * image, reference, square(2), times, "T1")
    assert (found.parameter, found.pixels, found.failed, found.reference_failed) == ("T1", 72, 0, 0)
    assert found.mean == pytest.approx(1250)
    assert found.reference_mean == pytest.approx(1200)
    assert found.rmse == pytest.approx(50, rel=1e-5)


def test_failed_fits_count_as_zero_and_those_of_the_reference_are_left_out():
    reference, times = heart(1200)
    image, _ = heart(1200)
    image[:, :, 3, 3:6] = 0
    reference[:, :, 8, 3] = 0
    found = compare_maps(image, reference, square(), times, "T1")
    assert (found.pixels, found.failed, found.reference_failed) == (35, 3, 1)
    assert found.mean == pytest.approx(1200 * 32 / 35)
    assert found.rmse == pytest.approx(1200 * (3 / 35) ** 0.5)


def test_slices_have_their_own_times():
    reference, times = heart(1000, slices=2)
    later = MOLLI_TIMES + 40
    reference[:, 1] = recovery(later, torch.tensor([1000.0]))[:, :, None]
    times = torch.stack([MOLLI_TIMES, later], 1)
    assert compare_maps(reference, reference, square(2), times, "T1").mean == pytest.approx(1000)
    assert (
        compare_maps(reference, reference, square(2), MOLLI_TIMES[:, None].repeat(1, 2), "T1").rmse
        == 0
    )


def test_what_cannot_be_compared_is_refused():
    reference, times = heart(1200)
    with refused("times-shape"):
        compare_maps(reference, reference, square(), times[:5], "T1")
    with refused("labels-empty"):
        compare_maps(reference, reference, square() & False, times, "T1")
    dark = reference.clone()
    dark[..., 3:9, 3:9] = 0
    with refused("fit-failed"):
        compare_maps(reference, dark, square(), times, "T1")


def test_only_mapping_series_have_a_parameter():
    assert [
        parameter_of(base) for base in ("T1map", "T1mappost", "T2map", "T2smap", "cine_sax")
    ] == ["T1", "T1", "T2", None, None]


def wall(seed, y, x):
    """Where the one slice of a phantom is all myocardium, (slice, y, x) bool."""
    layers = heart_layers(Heart.draw(seed), positions(1)[0], torch.tensor([DIASTASIS]), *grid(y, x))
    inside = torch.zeros((1, y, x), dtype=torch.bool)
    for layer in layers:
        inside[layer.cover > 1e-4] = False
        inside[layer.cover > 1 - 1e-4] = layer.tissue in ("myocardium", "ischaemia")
    return inside


@pytest.mark.parametrize(
    ("kind", "value"), [("t1map", TISSUES["myocardium"].t1), ("t2map", TISSUES["myocardium"].t2)]
)
def test_simulated_hearts_give_the_values_of_their_tissue(kind, value):
    made = simulate(kind, slices=1, coils=1, y=160, x=160, seed=3)
    found = compare_maps(
        1e-7 * made.image, made.image, wall(3, 160, 160), made.times, kind[:2].upper()
    )
    assert found.pixels > 20
    assert found.reference_mean == pytest.approx(value, rel=1e-3)
    assert found.rmse < 1e-3 * value
