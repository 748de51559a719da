import pytest
import torch
from refusals import refused

from cmrrecon.simulation.heart import Heart, heart_layers, surroundings
from cmrrecon.simulation.phantoms import (
    DIASTASIS,
    INVERSION_TIMES,
    cine,
    perfusion,
    positions,
    receive_field,
    scene,
    t1map,
    t2map,
)
from cmrrecon.simulation.shapes import grid
from cmrrecon.simulation.tissues import TISSUES, Layer, cine_signals, paint

Y, X = 96, 224


def pure(tissue, position, y=Y, x=X):
    """Pixels filled by this tissue alone, in the heart of seed 0 at rest."""
    rows, columns = grid(y, x)
    layers = heart_layers(Heart.draw(0), position, torch.tensor([DIASTASIS]), rows, columns)
    names = (tissue, "ischaemia") if tissue == "myocardium" else (tissue,)
    signals = {name: torch.tensor([float(name in names)]) for name in TISSUES}
    return (
        paint([Layer(layer.tissue, layer.cover, torch.zeros(1)) for layer in layers], signals)[0]
        > 0.9999
    )


@pytest.mark.parametrize("kind", [cine, perfusion, t1map, t2map])
def test_same_seed_same_numbers(kind):
    first, again, other = (kind(2, 2, 48, 80, seed).image for seed in (4, 4, 5))
    assert first.shape == (2, 2, 48, 80)
    assert first.dtype == torch.complex64
    assert torch.isfinite(torch.view_as_real(first)).all()
    assert torch.equal(first, again)
    assert not torch.equal(first, other)


def test_cine_is_periodic():
    image = scene(2, Y, X, 0, torch.tensor([0.0, 0.3, 1.0, 1.3]), cine_signals()).image
    torch.testing.assert_close(image[2:], image[:2], atol=1e-3, rtol=0)
    assert (image[1] - image[0]).abs().max() > 0.3


def test_single_frame_is_end_diastole():
    torch.testing.assert_close(cine(1, 1, Y, X, 0).image[0], cine(6, 1, Y, X, 0).image[0])


def test_heart_moves_and_the_rest_does_not():
    image = cine(6, 1, Y, X, 0).image[:, 0]
    change = (image - image[:1]).abs().amax(0)
    near = surroundings(Heart.draw(0), *grid(Y, X))
    assert change[near].max() > 0.3
    outside = change.clone()
    outside[near] = 0
    assert outside.max() == 0
    # Most of the image stays still, even around the heart.
    assert 0.05 < float((change[near] > 0.02).float().mean()) < 0.5


def test_contrast_is_that_of_cine():
    image = cine(1, 1, Y, X, 0).image[0, 0].abs()
    blood, muscle = (
        float(image[pure(tissue, 0.5)].mean()) for tissue in ("left blood", "myocardium")
    )
    assert 2.4 < blood / muscle < 4
    assert image[:, : X // 4].max() == 0
    assert image[:, -X // 4 :].max() == 0


def test_phase_is_smooth_and_the_field_strong_everywhere():
    field = receive_field(*grid(Y, X), seed=1)
    inside = field[:, X // 4 : -X // 4]
    assert inside.abs().min() > 0.4
    for axis in (0, 1):
        size = inside.shape[axis]
        turn = (inside.narrow(axis, 1, size - 1) * inside.narrow(axis, 0, size - 1).conj()).angle()
        assert turn.abs().max() < 0.3
    assert inside.angle().std() > 0.1


def test_slices_lie_between_base_and_apex():
    assert positions(1) == [0.5]
    assert positions(3) == pytest.approx([1 / 6, 1 / 2, 5 / 6])


def test_t1_recovery_gives_the_t1_of_each_tissue():
    image, times, _ = t1map(9, 1, Y, X, 0)
    assert times.shape == (9, 1)
    assert times[:, 0].tolist() == list(INVERSION_TIMES)
    candidates = torch.arange(200.0, 2600.0, 10.0)
    curves = 1 - 2 * torch.exp(-times / candidates)
    curves = curves / curves.norm(dim=0)
    for tissue, t1 in (("left blood", 1800), ("myocardium", 1200)):
        signal = image[:, 0, pure(tissue, 0.5)]
        signal = (signal * signal[-1:].conj()).real
        assert signal.shape[1] > 20
        fitted = candidates[(signal.T @ curves).argmax(1)]
        assert fitted.unique().tolist() == [t1]


def test_t2_decay_gives_the_t2_of_each_tissue():
    image, times, _ = t2map(3, 2, Y, X, 0)
    assert times.shape == (3, 2)
    assert times[:, 1].tolist() == [0, 35, 55]
    for tissue, t2 in (("left blood", 150), ("myocardium", 46)):
        signal = image[:, 1, pure(tissue, positions(2)[1])].abs()
        torch.testing.assert_close(
            -55 / (signal[2] / signal[0]).log(),
            torch.full(signal.shape[1:], float(t2)),
            rtol=1e-3,
            atol=0,
        )


def test_perfusion_lights_up_the_right_heart_before_the_left():
    image = perfusion(20, 1, Y, X, 0).image[:, 0].abs()
    right, left = (image[:, pure(tissue, 0.5)].mean(1) for tissue in ("right blood", "left blood"))
    assert right.argmax() < left.argmax()
    assert right.max() > 5 * right[0]
    assert left.max() > 5 * left[0]


def test_perfusion_shows_the_defect():
    y, x = 204, 448
    image = perfusion(20, 1, y, x, 0).image[:, 0].abs()
    gain = image[10:15].mean(0) - image[0]
    poor = heart_layers(Heart.draw(0), 0.5, torch.tensor([DIASTASIS]), *grid(y, x))[-1].cover[0]
    defect, wall = poor > 0.9, pure("myocardium", 0.5, y, x) & (poor < 0.01)
    assert defect.sum() > 10
    assert gain[defect].mean() < 0.6 * gain[wall].mean()


def test_perfusion_heart_moves_only_a_little():
    rows, _ = grid(204, 448)
    image = perfusion(20, 1, 204, 448, 3).image[15:, 0].abs()
    near = surroundings(Heart.draw(3), *grid(204, 448))
    part = image[:, *near] - image[:, *near].amin((1, 2), keepdim=True)
    centre = (part * rows[near[0]]).sum((1, 2)) / part.sum((1, 2))
    assert 0 < float(centre.max() - centre.min()) < 3


def test_more_frames_than_weightings_is_refused():
    for kind, most in ((t1map, 9), (t2map, 3)):
        with refused("option-value") as error:
            kind(most + 1, 1, 32, 32, 0)
        assert str(most) in error.value.remedy
