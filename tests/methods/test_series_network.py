"""Networks for whole series as methods."""

import pytest
import torch
from refusals import refused

from cmrrecon.classical.prepared import PreparedSeries
from cmrrecon.classical.refined_maps import refined
from cmrrecon.classical.still import started
from cmrrecon.methods.base import Weights
from cmrrecon.methods.network import NetworkOptions
from cmrrecon.methods.series_network import ProblemNetworkMethod
from cmrrecon.operators.coils import rss
from cmrrecon.simulation import simulate

SMALL = {"frames": 4, "y": 48, "x": 48}


@pytest.fixture(scope="module")
def method(small_network):
    return ProblemNetworkMethod("tiny", "a test", small_network(0.02), Weights("digest"))


def test_images_are_those_of_the_network_with_refined_maps(prepared, method):
    series = prepared(**SMALL)
    outcome = method.reconstruct(series, NetworkOptions())
    coils = refined(series, series.coils())
    problem = started(series, coils)
    expected = problem.whole(method.trained.solve(problem).x) * series.scale
    inside = rss(coils.measured) > 0
    torch.testing.assert_close(outcome.images[:, inside], expected[:, inside])
    torch.testing.assert_close(outcome.maps, coils.measured)
    assert outcome.images.dtype == torch.complex64
    assert outcome.fit is not None


@pytest.mark.parametrize("scale", [1e-9, 1e7])
def test_images_scale_with_kspace(prepared, method, scale):
    series = prepared(**SMALL)
    images = method.reconstruct(series, NetworkOptions()).images
    scaled = method(series.series.scaled(scale)) / scale
    assert float((scaled - images).norm()) < 1e-3 * float(images.norm())


def test_nothing_is_decided(prepared, method):
    assert not method.decides
    assert method.decide(prepared(**SMALL), NetworkOptions()) is None


def test_a_given_number_of_calibration_lines_is_refused(prepared, method):
    with refused("option-value"):
        method.reconstruct(prepared(**SMALL), NetworkOptions(acs=8))


def test_cutting_the_oversampling_leaves_the_middle(prepared, method):
    series = prepared(**SMALL)
    outcome = method.reconstruct(series, NetworkOptions(oversampling=2))
    images = outcome.images
    assert images.shape == (4, 48, 48)
    assert not images[..., :12].any()
    assert not images[..., 36:].any()
    assert images[..., 12:36].any()
    # Its maps and its term have another width than the series.
    assert (outcome.maps, outcome.fit) == (None, None)


def test_cutting_the_oversampling_of_sample_masks_is_refused(prepared, method):
    with refused("needs-lines"):
        method.reconstruct(prepared("kt-radial", **SMALL), NetworkOptions(oversampling=2))


def test_trajectories_are_refused(method):
    pytest.importorskip("finufft")
    made = simulate("cine", frames=3, slices=1, coils=3, y=32, x=32, spokes=9)
    with refused("needs-cartesian"):
        method(made.scan.series(0))


def test_low_precision_is_close(prepared, method):
    series = prepared(**SMALL)
    fine = method.reconstruct(series, NetworkOptions()).images
    coarse = method.reconstruct(series, NetworkOptions(precision="bf16")).images
    assert coarse.dtype == torch.complex64
    assert not torch.equal(fine, coarse)
    assert float((coarse - fine).norm()) < 0.05 * float(fine.norm())
    assert next(method.trained.parameters()).dtype == torch.float32


def test_a_prediction_grows_with_the_series(prepared, method):
    series = prepared(**SMALL).series
    cost = method.predict(series, NetworkOptions())
    longer = method.predict(prepared(frames=8, y=48, x=48).series, NetworkOptions())
    assert longer.flops == pytest.approx(2 * cost.flops, rel=0.05)
    assert cost.seconds > 0
    assert cost.nbytes > series.kspace.nbytes
    narrow = method.predict(series, NetworkOptions(oversampling=2))
    assert narrow.flops < 0.6 * cost.flops


def test_running_out_of_memory_is_reported(prepared, method, monkeypatch):
    def short_of_memory(*arguments, **more):
        raise MemoryError

    monkeypatch.setattr(type(method.trained), "solve", short_of_memory)
    with refused("memory-shortage"):
        method.reconstruct(PreparedSeries(prepared(**SMALL).series), NetworkOptions())
