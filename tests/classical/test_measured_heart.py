"""Every method against pictures of the fully sampled scan: the right slice and frame must win."""

import matplotlib.image
import numpy as np
import pytest

from cmrrecon.classical.prepared import PreparedSeries
from cmrrecon.methods.registry import DEFAULT_METHOD, METHODS, find_method

# One worker runs all methods, so that they share the pictures and the coil maps.
pytestmark = pytest.mark.xdist_group("measured heart")

HEART = (slice(40, 125), slice(150, 280))


@pytest.fixture(scope="module")
def pictures():
    return {}


@pytest.fixture(scope="module")
def known():
    """The series, prepared once for all methods."""
    return {}


@pytest.fixture
def correlations(measured_heart, real_data, pictures, known):
    """Correlation of a method's magnitude with each of the 168 pictures.

    Only unsaturated pixels in the heart count.
    """
    folder = real_data / "CMRxRecon2025-P003-pair/reference_png"
    if not pictures:
        for z in range(1, 15):
            for t in range(1, 13):
                picture = matplotlib.image.imread(folder / f"cine_sax_slice{z}_time{t}_mag.png")
                pictures[z, t] = np.round(255 * picture.reshape(*picture.shape[:2], -1)[..., 0]).T[
                    HEART
                ]

    def correlate(name):
        prepared = known.setdefault("prepared", PreparedSeries(measured_heart))
        method = find_method(name)
        decision = method.decide(prepared, method.options())
        found = method.reconstruct(prepared, method.options(), decision)
        image = found.images[0].abs().numpy()[HEART]
        return {key: np.corrcoef(image[p < 253], p[p < 253])[0, 1] for key, p in pictures.items()}

    return correlate


LEAST = {
    "auto": 0.967,
    "zero-filled": 0.90,
    "grappa": 0.94,
    "sense": 0.95,
    "l1-wavelet": 0.965,
    "tv": 0.96,
    "kt-wavelet": 0.967,
    "temporal-tv": 0.96,
    "temporal-fourier": 0.967,
    "llr": 0.967,
    "low-rank-sparse": 0.967,
    "sigpy-sense": 0.95,
    "sigpy-jsense": 0.92,
    "sigpy-l1-wavelet": 0.95,
    "sigpy-tv": 0.97,
}


@pytest.mark.parametrize("name", METHODS)
def test_right_slice_and_frame_win(correlations, name):
    found = correlations(name)
    assert len(found) == 168
    assert max(found, key=found.get) == (6, 1)
    assert found[6, 1] >= LEAST[name]


def test_default_method_is_held_to_the_highest_standard():
    assert LEAST[DEFAULT_METHOD] >= 0.95
