import math

import pytest
import torch

from cmrrecon.simulation import random_materials, random_motion, random_scenes
from cmrrecon.simulation.random_materials import Ventricle, fractal, smooth_field
from cmrrecon.simulation.random_motion import beat_displacement, heart_beat, pulse
from cmrrecon.simulation.random_scenes import random_scene
from cmrrecon.simulation.shapes import generator

KINDS = {"static", "aperiodic", "contrast", "tagged", "flow", "black blood"}


@pytest.fixture
def sparse(monkeypatch):
    """Leaves few of the small shapes, which take most of the time."""
    monkeypatch.setattr(random_materials, "LEAVES", (15, 60))
    monkeypatch.setattr(random_materials, "LINES", (2, 8))


@pytest.fixture
def only(sparse, monkeypatch):
    """Gives all scenes the named properties and no others."""

    def choose(*shares):
        for share in (
            "STATIC",
            "APERIODIC",
            "CONTRAST",
            "TAGGED",
            "FLOW",
            "BLACK_BLOOD",
            "SOFT",
            "HAZY",
            "THROUGH",
            "CLIPPED",
            "FOLDED",
        ):
            monkeypatch.setattr(random_scenes, share, float(share in shares))

    return choose


def changing(images):
    """Largest difference of magnitudes (frame, y, x) from those of the first frame."""
    return float((images.abs() - images[0].abs()).abs().max())


def test_a_scene_does_not_depend_on_those_before_it_or_on_the_global_generator():
    torch.manual_seed(1)
    after = [random_scene(4, number, 4, 40, 48) for number in range(3)]
    torch.manual_seed(2)
    alone = random_scene(4, 2, 4, 40, 48)
    assert torch.equal(alone.images, after[2].images)
    assert alone.kinds == after[2].kinds


def test_other_numbers_and_seeds_give_other_scenes():
    first, second, other = (
        random_scene(seed, number, 2, 40, 48).images for seed, number in ((0, 0), (0, 1), (1, 0))
    )
    assert not torch.allclose(first, second, atol=0.1)
    assert not torch.allclose(first, other, atol=0.1)


@pytest.mark.parametrize(("frames", "y", "x"), [(1, 64, 48), (1, 33, 47), (5, 45, 71), (2, 97, 34)])
def test_any_size(frames, y, x):
    for number in range(4):
        images = random_scene(2, number, frames, y, x).images
        assert images.shape == (frames, y, x)
        assert images.dtype == torch.complex64
        assert images.isfinite().all()


def test_brightness_is_about_one():
    many = [random_scene(42, number, 3, 32, 32) for number in range(30)]
    bright = torch.stack([torch.quantile(scene.images.abs(), 0.99) for scene in many])
    torch.testing.assert_close(bright, torch.ones(len(many)), atol=1e-3, rtol=0)
    assert max(float(scene.images.abs().max()) for scene in many) < 3
    assert min(float(scene.images.abs().std()) for scene in many) > 0.05


def test_a_third_of_scenes_moves_aperiodically_and_every_kind_occurs(sparse):
    many = [random_scene(42, number, 3, 32, 32) for number in range(100)]
    assert (1 - random_scenes.STATIC) * random_scenes.APERIODIC > 1 / 3
    aperiodic = [scene for scene in many if "aperiodic" in scene.kinds]
    assert len(aperiodic) >= len(many) / 3
    assert {kind for scene in many for kind in scene.kinds} == KINDS
    assert not any({"static", "aperiodic"} <= set(scene.kinds) for scene in many)


def test_static_scenes_change_in_phase_only(only):
    only("STATIC")
    for number in range(5):
        images = random_scene(0, number, 4, 40, 48).images
        assert changing(images) < 1e-5
        assert not torch.equal(images[0], images[-1])
        assert float((images[0] * images[-1].conj()).angle().abs().max()) < 1.5


def test_a_haze_leaves_no_pixel_dark(only):
    def dark():
        return sum(
            float((random_scene(0, number, 4, 40, 48).images.abs() < 3e-3).float().mean())
            for number in range(6)
        )

    only()
    clear = dark()
    only("HAZY")
    assert clear > 0.01
    assert dark() < 0.1 * clear


@pytest.mark.parametrize(
    "shares", [(), ("APERIODIC",), ("STATIC", "TAGGED"), ("STATIC", "CONTRAST")]
)
def test_all_others_change_in_magnitude(only, shares):
    only(*shares)
    assert min(changing(random_scene(0, number, 6, 40, 48).images) for number in range(5)) > 0.005


def inverted(images):
    """Of the pixels bright in the first and last frame, the fraction whose sign changed."""
    product = images[0] * images[-1].conj()
    bright = torch.minimum(images[0].abs(), images[-1].abs()) > 0.1
    return (
        float((product.real[bright] < -0.8 * product.abs()[bright]).float().mean())
        if bright.any()
        else 0.0
    )


def test_signs_change_in_some_contrast_scenes_and_in_no_others(only):
    only("STATIC", "CONTRAST")
    parts = [inverted(random_scene(0, number, 4, 32, 32).images) for number in range(20)]
    assert 3 <= sum(part > 0.5 for part in parts) <= 17
    only("STATIC")
    assert not any(inverted(random_scene(0, number, 4, 32, 32).images) for number in range(20))


def test_recovery_is_monotonic():
    draws = [random_scenes._contrast(8, 3, generator(0, number)) for number in range(20)]
    recoveries = [weights for weights in draws if (weights < 0).any()]
    assert 3 <= len(recoveries) <= 17
    for weights in recoveries:
        assert (weights.diff(dim=0) > 0).all()
    assert torch.equal(random_scenes._contrast(8, 1, generator(0)), torch.ones(8, 1))


def test_flow_is_a_phase_that_follows_the_beat(only):
    only()
    still = random_scene(0, 3, 6, 40, 48).images
    only("FLOW")
    flowing = random_scene(0, 3, 6, 40, 48).images
    torch.testing.assert_close(flowing.abs(), still.abs(), atol=1e-4, rtol=0)
    turned = (flowing * still.conj()).angle().abs().flatten(1).amax(1)
    assert turned.max() > 0.5
    assert turned.min() < 0.5 * turned.max()


def test_tags_darken_and_fade(only):
    only("STATIC", "TAGGED")
    tags = random_scenes._tags(
        torch.rand((6, 64, 64, 2), generator=generator(0)) * 64, generator(1)
    )
    assert tags.min() >= 0
    assert tags.max() <= 1 + 1e-6
    assert (tags.flatten(1).mean(1).diff() > 0).all()


@pytest.mark.parametrize("stroke", [0.15, 0.4])
def test_a_beating_wall_keeps_its_area_and_the_cavity_shrinks(stroke):
    ventricle = Ventricle((80.3, 79.6), 20.0, 27.0, stroke)
    rows, columns = torch.meshgrid(torch.arange(160.0), torch.arange(160.0), indexing="ij")
    places = torch.stack((rows, columns), -1)[None]
    rest = (places + beat_displacement(places, ventricle, torch.ones(1), 3.0))[0]
    radius = (rest - torch.tensor(ventricle.centre)).norm(dim=-1)
    cavity, wall = int((radius < 20).sum()), int(((radius > 20) & (radius < 27)).sum())
    assert cavity == pytest.approx(math.pi * (20 * (1 - stroke)) ** 2, rel=0.03)
    assert wall == pytest.approx(math.pi * (27**2 - 20**2), rel=0.03)
    # Also locally (determinant of the Jacobian), apart from the slow fading.
    slopes = [torch.gradient(rest[..., axis]) for axis in (0, 1)]
    determinant = slopes[0][0] * slopes[1][1] - slopes[0][1] * slopes[1][0]
    distance = (places[0] - torch.tensor(ventricle.centre)).norm(dim=-1)
    around = (distance > 20 * (1 - stroke) + 2) & (distance < 40)
    torch.testing.assert_close(
        determinant[around], torch.ones(int(around.sum())), atol=0.04, rtol=0
    )


def test_nothing_moves_at_rest_or_far_from_the_heart():
    ventricle = Ventricle((20.0, 20.0), 6.0, 9.0, 0.3)
    places = torch.rand((2, 30, 40, 2), generator=generator(0)) * 40
    assert float(beat_displacement(places, ventricle, torch.zeros(2), 3.0).abs().max()) < 1e-4
    assert float(beat_displacement(places + 110, ventricle, torch.ones(2), 3.0).abs().max()) < 1e-3


def test_pulse_rises_and_falls_back_to_rest():
    beat = pulse(torch.linspace(0, 1, 1001))
    assert beat.min() >= 0
    assert float(beat.max()) == pytest.approx(1, abs=1e-5)
    assert float(beat.diff().abs().max()) < 0.01
    assert float(beat[0]) == pytest.approx(float(beat[-1]), abs=1e-6)
    assert int(beat.argmax()) == 350
    assert float(beat[800:].abs().max()) < 1e-6


def test_periodic_beats_end_where_they_began_and_others_vary_in_length():
    for number in range(5):
        beat = heart_beat(200, generator(0, number), periodic=True)
        assert float((beat - beat.roll(1)).abs().max()) < 0.03
        assert float(beat.max()) == pytest.approx(1, abs=1e-3)
    beat = heart_beat(400, generator(0), periodic=False)
    assert beat.min() >= 0
    assert beat.max() <= 1
    starts = ((beat[1:] > 0.02) & (beat[:-1] <= 0.02)).nonzero().flatten()
    assert len(set(starts.diff().tolist())) > 3


def test_a_smooth_field_is_smoother_with_fewer_cells():
    rough = [
        float(smooth_field((60, 60), cells, generator(0)).diff(dim=0).abs().mean())
        for cells in (2, 8, 24)
    ]
    assert rough[0] < rough[1] < rough[2]
    assert float(
        torch.stack([smooth_field((20, 30), 6, generator(i)) for i in range(30)]).std()
    ) == pytest.approx(1, abs=0.3)


def test_amplitudes_of_a_texture_fall_as_a_power_of_the_frequency():
    for fall in (0.7, 1.5):
        texture = fractal(256, 256, fall, generator(3))
        assert float(texture.std()) == pytest.approx(1, rel=1e-4)
        assert abs(float(texture.mean())) < 1e-4
        power = torch.fft.fft2(texture).abs().square()
        radius = torch.hypot(torch.fft.fftfreq(256)[:, None], torch.fft.fftfreq(256)[None])
        low, high = (float(power[(radius > f) & (radius < 1.3 * f)].mean()) for f in (0.05, 0.3))
        assert math.log(low / high) / math.log(6) == pytest.approx(2 * fall, abs=0.15)


def test_rows_beyond_an_edge_wrap_around_to_the_other():
    tall = torch.arange(9.0)[None, :, None]
    # Rows 0 and 1 lie above the field of view of rows 2 to 6, rows 7 and 8 below it.
    assert random_scenes._wrapped(tall, 5).flatten().tolist() == [2 + 7, 3 + 8, 4, 5 + 0, 6 + 1]
    assert torch.equal(random_scenes._wrapped(tall, 9), tall)
    # The same as sampling every second line of the larger field of view.
    full = torch.randn((1, 8, 3), generator=generator(0))
    direct = torch.fft.ifft(torch.fft.fft(full, dim=1)[:, ::2], dim=1).real
    assert torch.allclose(random_scenes._wrapped(full, 4).roll(-2, 1), direct, atol=1e-6)


def test_folded_scenes_are_brighter_at_both_edges(only):
    def edges():
        images = [random_scene(0, number, 1, 64, 64).images[0].abs() for number in range(30)]
        return sum(float(image[[0, -1]].mean()) for image in images)

    only()
    whole = edges()
    only("FOLDED")
    assert edges() > 1.1 * whole


def test_clipped_scenes_have_many_pixels_of_maximum_brightness(only):
    def share():
        images = [random_scene(0, number, 1, 64, 64).images.abs() for number in range(20)]
        return sum(float((image > 0.999 * image.max()).float().mean()) for image in images) / 20

    only()
    free = share()
    only("CLIPPED")
    assert share() > 5 * free


def test_through_plane_motion_changes_only_the_neighbourhood_of_the_heart(only, monkeypatch):
    heart = [Ventricle((20.0, 20.0), 4.0, 6.0, 0.0)]
    monkeypatch.setattr(random_scenes, "random_ventricles", lambda y, x, draw: heart)
    monkeypatch.setattr(random_motion, "BREATHING", 0.0)
    only("THROUGH")
    changes = [random_scene(0, number, 6, 60, 60).images.abs() for number in range(6)]
    near, far = (
        sum(changing(images[:, :, place]) for images in changes)
        for place in (slice(10, 30), slice(50, 60))
    )
    assert near > 0.2
    assert far < 1e-3
    only()
    assert changing(random_scene(0, 1, 6, 60, 60).images) < 1e-4, (
        "a heart without a stroke stands still"
    )
    assert float(random_scenes._near(heart, 60, 60)[20, 20]) == 1
