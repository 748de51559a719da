"""ISMRMRD files from a scanner and from other programs."""

import shutil
import subprocess

import numpy as np
import pytest

import cmrrecon
from cmrrecon.operators.fourier import ifftc

GENERATOR = "ismrmrd_generate_cartesian_shepp_logan"


@pytest.fixture
def shepp_logan(tmp_path):
    """Runs Debian's generator of a phantom; skips where it is absent."""
    if shutil.which(GENERATOR) is None:
        pytest.skip(f"{GENERATOR} (Debian's ismrmrd-tools) is not installed")

    def make(*words, side=48):
        path = tmp_path / "phantom.h5"
        command = [GENERATOR, "-m", str(side), "-c", "4", "-o", str(path), *words]
        subprocess.run(command, check=True, capture_output=True)
        return path

    return make


@pytest.mark.parametrize(
    ("words", "shape", "acceleration"),
    [
        (["-a", "2", "-w", "16"], (2, 1, 4, 48, 96), 48 / 32),
        (["-a", "4", "-r", "3"], (12, 1, 4, 48, 96), 4),
        (["-C"], (1, 1, 4, 48, 96), 1),
        (["-k"], (1, 1, 4, 48, 96), 1),
        (["-O", "1"], (1, 1, 4, 48, 48), 1),
        (["-O", "2"], (1, 1, 4, 48, 96), 1),
    ],
)
def test_the_phantom_of_the_ismrmrd_tools_is_read(shepp_logan, words, shape, acceleration):
    scan = cmrrecon.read(shepp_logan(*words))
    assert scan.shape == shape
    mask = scan.series(0).mask
    assert mask.effective_acceleration() == pytest.approx(acceleration)
    assert mask.varies == (shape[0] > 1)
    assert (scan.noise is not None) == ("-C" in words)


def test_the_noise_readouts_of_the_phantom_are_the_noise_of_its_image(shepp_logan):
    scan = cmrrecon.read(shepp_logan("-C", "-n", "0.03", side=128))
    outside = ifftc(scan.series(0).kspace[0], -1)[..., :16]
    measured = (outside.abs() ** 2).mean((1, 2)).numpy()
    estimated = scan.noise.covariance.diagonal().real.numpy()
    np.testing.assert_allclose(measured, 2 * 0.03**2, rtol=0.1)
    np.testing.assert_allclose(estimated.mean(), measured.mean(), rtol=0.15)


@pytest.fixture
def skyra(real_data):
    return cmrrecon.read(real_data / "scanner-files/meas_MID00349_FID09273_SNR_R3.h5")


def test_the_skyra_file_has_its_embedded_lines_noise_and_geometry(skyra):
    assert skyra.shape == (1, 1, 14, 144, 384)
    lines = skyra.mask.samples[0, :, 0].nonzero().flatten() - 18
    assert lines.tolist() == sorted({*range(0, 106, 3), *range(30, 78)})
    assert skyra.mask.centre is None
    assert skyra.calibration is None
    assert skyra.noise.samples == 384
    assert skyra.geometry.voxel_mm == pytest.approx((210 / 144, 560 / 384, 8.0))
    assert skyra.geometry.field_of_view == (144, 192)
    assert skyra.geometry.recon_matrix == (144, 192)
    y, x, across = skyra.geometry.directions[0]
    np.testing.assert_allclose((y, x, across), [(0, -1, 0), (1, 0, 0), (0, 0, 1)], atol=1e-6)
    assert skyra.acquisition.field_strength == pytest.approx(2.8936, abs=1e-4)
    assert skyra.acquisition.sequence == "SSFP"


def test_the_skyra_noise_is_that_of_its_image_beside_the_object(skyra):
    """The noise is compared just outside the object, in the outer lines.

    There the receiver's filter is still nearly flat.
    """
    columns = ifftc(skyra.series(0).kspace[0], -1)
    measured = skyra.mask.samples[0, :, 0].nonzero().flatten()
    outer = columns[:, measured[(measured - 72).abs() > 40]]
    beside = [outer[..., 60:80], outer[..., 304:324]]
    variance = np.mean([(part.abs() ** 2).mean((1, 2)).numpy() for part in beside], 0)
    ratio = variance / skyra.noise.covariance.diagonal().real.numpy()
    assert np.median(ratio) == pytest.approx(1, abs=0.15)


@pytest.mark.parametrize("method", ["zero-filled", "sense"])
def test_the_skyra_file_gives_an_image(skyra, method):
    result = cmrrecon.reconstruct(skyra, method)
    images = result.images.abs()
    assert images.shape[:2] == (1, 1)
    assert bool(images.isfinite().all())
    assert float(images.max()) > 10 * float(images.median())


def test_a_cartesian_file_with_stored_coordinates_is_read_by_its_header(real_data):
    scan = cmrrecon.read(real_data / "scanner-files/acqDataBrainSim100.h5")
    assert scan.shape == (1, 1, 1, 256, 256)
    assert scan.mask.complete
    assert scan.acquisition.field_strength is None
    assert scan.geometry.voxel_mm is None
