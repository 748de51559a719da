import torch

from cmrrecon.simulation.shapes import FIELD_OF_VIEW, grid
from cmrrecon.simulation.thorax import Thorax, thorax_layers
from cmrrecon.simulation.tissues import TISSUES, paint


def test_body_fits_into_the_field_of_view_and_the_central_half_of_the_readout():
    rows, columns = grid(96, 192)
    for seed in range(20):
        body = thorax_layers(Thorax.draw(seed), 0.5, rows, columns)[0].cover[0] > 0
        assert columns[0, body.any(0)].abs().max() < FIELD_OF_VIEW[1] / 4
        extent = rows[body.any(1), 0]
        assert extent.abs().max() < FIELD_OF_VIEW[0] / 2
        assert extent.max() - extent.min() > 0.6 * FIELD_OF_VIEW[0]


def test_covers_are_fractions_and_all_tissues_are_known():
    rows, columns = grid(101, 203)
    layers = thorax_layers(Thorax.draw(1), 0.3, rows, columns)
    for layer in layers:
        assert layer.cover.shape == (1, 101, 203)
        assert 0 <= layer.cover.min() <= layer.cover.max() <= 1
    assert {layer.tissue for layer in layers} >= {
        "fat",
        "lung",
        "liver",
        "marrow",
        "muscle",
        "systemic",
    }
    assert {layer.tissue for layer in layers} <= set(TISSUES)


def test_liver_grows_towards_the_apex():
    rows, columns = grid(96, 192)
    signals = {name: torch.tensor([float(name == "liver")]) for name in TISSUES}
    areas = [
        float(paint(thorax_layers(Thorax.draw(0), p, rows, columns), signals).sum())
        for p in (0.1, 0.9)
    ]
    assert areas[1] > 1.05 * areas[0] > 0
