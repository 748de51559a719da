"""Noise readouts give the covariance of the coils for a sample of the image."""

import numpy as np
import pytest
import torch
from readout_tables import COILS, X, Y, cnormal, lines, raw, readout

from cmrrecon.formats.readouts_scan import assemble

KSPACE = cnormal(COILS, Y, X)
MIX = np.array([[1, 0.5j, 0], [0, 2, 0.3], [0.2, 0, 0.1]], "c8")
COVARIANCE = 2 * MIX @ MIX.conj().T  # cnormal has E|n|^2 = 2


def noise(readouts=40, samples=500, mix=MIX, **columns):
    return [
        readout((mix @ cnormal(COILS, samples, seed=seed)).astype("c8"), "noise", **columns)
        for seed in range(readouts)
    ]


def found(readouts, **more):
    return assemble(raw([*readouts, *lines(KSPACE)], **more))


def near(covariance, expected):
    scale = np.sqrt(np.outer(np.diag(expected), np.diag(expected)).real)
    return np.abs((covariance.numpy() - expected) / scale).max() < 0.04


def test_the_covariance_is_the_mean_of_n_times_its_conjugate_transpose():
    scan = found(noise())
    assert near(scan.noise.covariance, COVARIANCE)
    assert scan.noise.samples == 40 * 500
    assert scan.noise.covariance.dtype == torch.complex64
    torch.testing.assert_close(scan.noise.covariance, scan.noise.covariance.mH)
    assert scan.notes == ()


def test_the_covariance_grows_with_the_bandwidth_of_the_image():
    """Noise readouts ten times as slow have a tenth of the variance."""
    scan = found(noise(dwell_us=20.0))
    assert near(scan.noise.covariance, 10 * COVARIANCE)


def test_noise_readouts_of_each_bandwidth_are_scaled():
    slow = noise(mix=MIX / np.sqrt(10).astype("f4"), dwell_us=20.0)
    assert near(found([*noise(), *slow]).noise.covariance, COVARIANCE)


def test_attenuation_at_the_edges_of_the_band_is_corrected():
    scan = found(noise(), noise_bandwidth=0.8)
    assert near(scan.noise.covariance, COVARIANCE / 0.8)


def test_without_dwell_times_the_covariance_is_not_scaled():
    scan = found(noise(dwell_us=0.0))
    assert near(scan.noise.covariance, COVARIANCE)
    assert "dwell times are missing" in scan.notes[0]


def test_discarded_samples_are_not_noise():
    rows = noise()
    for row in rows:
        row["given"][:, :50] = 1000
    scan = found([row | {"before": 50} for row in rows])
    assert near(scan.noise.covariance, COVARIANCE)
    assert scan.noise.samples == 40 * 450


def test_noise_of_another_measurement_is_used():
    source = raw(noise(dwell_us=20.0), noise_bandwidth=0.8)
    scan = assemble(raw(lines(KSPACE)), source)
    assert near(scan.noise.covariance, 10 / 0.8 * COVARIANCE)


def test_noise_is_neither_image_nor_calibration():
    scan = found(noise(2))
    np.testing.assert_array_equal(scan.series(0).kspace[0].numpy(), KSPACE)
    assert scan.calibration is None


@pytest.mark.parametrize(
    ("readouts", "words"),
    [
        (noise(1, 2), "fewer samples (2) than coils (3)"),
        (noise(mix=np.diag([1, 0, 1])), "1 coils have no noise"),
        (noise(mix=np.ones((3, 3))), "singular"),
        ([readout(np.full((COILS, 9), np.nan, "c8"), "noise")], "NaN or infinity"),
        ([readout(np.full((COILS, 9), 1e30, "c8"), "noise")], "NaN or infinity"),
        ([readout(cnormal(2, 900), "noise")], "other coils"),
    ],
)
def test_unusable_noise_is_left_out_with_a_note(readouts, words):
    scan = found(readouts)
    assert scan.noise is None
    assert words in scan.notes[0]


def test_very_unequal_coils_are_not_singular():
    assert found(noise(mix=np.diag([1e-4, 1, 1e3]))).noise is not None


def test_noise_too_small_for_single_precision_is_not_used():
    scan = found(noise(mix=MIX * np.float32(1e-25)))
    assert scan.noise is None
    assert "3 coils have no noise" in scan.notes[0]
