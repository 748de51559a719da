"""ISMRMRD files with several groups, noise and reference readouts; the meaning of their flags."""

import re

import numpy as np
import pytest
from ismrmrd_files import (
    CALIBRATION,
    CALIBRATION_AND_IMAGE,
    COILS,
    KSPACE,
    NOISE,
    X,
    Y,
    cartesian,
    cnormal,
    header,
    readout,
    write,
)
from refusals import refused

from cmrrecon import formats

SYSTEM = (
    "<acquisitionSystemInformation><relativeReceiverNoiseBandwidth>0.8"
    "</relativeReceiverNoiseBandwidth></acquisitionSystemInformation>"
)


def noise(dwell=20.0):
    rows = [readout(cnormal(COILS, 500, seed=seed), flags=NOISE) for seed in range(10)]
    for row in rows:
        row["head"]["sample_time_us"] = dwell
    return rows


def image(**how):
    rows = cartesian(**how)
    for row in rows:
        row["head"]["sample_time_us"] = 2.0
    return rows


def level(scan):
    return scan.noise.covariance.diagonal().real.mean().item()


def test_noise_readouts_give_the_noise_at_the_bandwidth_of_the_image(tmp_path):
    scan = formats.read(write(tmp_path / "raw.h5", noise() + image(), header(more=SYSTEM)))
    assert level(scan) == pytest.approx(2 * 10 / 0.8, rel=0.05)
    assert scan.noise.samples == 5000
    np.testing.assert_array_equal(scan.series(0).kspace.numpy(), KSPACE[:, 0])


def test_a_first_group_with_only_noise_supplies_the_noise(tmp_path):
    path = write(tmp_path / "raw.h5", noise(), header(more=SYSTEM), group="a_noise")
    write(path, image(), group="b_image", mode="a")
    scan = formats.read(path)
    np.testing.assert_array_equal(scan.series(0).kspace.numpy(), KSPACE[:, 0])
    assert level(scan) == pytest.approx(2 * 10 / 0.8, rel=0.05)
    assert scan.notes == ()


def test_the_first_or_the_named_group_is_read(tmp_path):
    path = write(tmp_path / "raw.h5", image(), group="one")
    write(path, image(lines=[2, 3]), group="two", mode="a")
    first = formats.read(path)
    assert first.mask.complete
    assert re.search(r"\bone\b.*\btwo\b", first.notes[0])
    second = formats.read(path, dataset="two")
    assert second.mask.samples.sum() == 2
    assert second.notes == ()
    with refused("dataset-unknown") as error:
        formats.read(path, dataset="tow")
    assert "two" in error.value.remedy


def test_a_named_group_must_hold_an_image(tmp_path):
    path = write(tmp_path / "raw.h5", noise(), group="one")
    write(path, image(), group="two", mode="a")
    with refused("readouts-missing"):
        formats.read(path, dataset="one")


@pytest.mark.parametrize(("mode", "embedded"), [("embedded", True), ("separate", False)])
def test_the_header_decides_on_the_flags_of_references(tmp_path, mode, embedded):
    rows = cartesian([0, 6]) + cartesian([3], flags=CALIBRATION_AND_IMAGE)
    rows += cartesian([2, 4, 5] if embedded else [2, 3, 4, 5], flags=CALIBRATION)
    scan = formats.read(write(tmp_path / "raw.h5", rows, header(calibration=mode)))
    measured = scan.mask.samples[0, :, 0].nonzero().flatten().tolist()
    assert measured == ([0, 2, 3, 4, 5, 6] if embedded else [0, 3, 6])
    assert (scan.calibration is None) == embedded
    if not embedded:
        np.testing.assert_allclose(
            scan.series(1).calibration.numpy(), KSPACE[:, 1, :, 2:6].mean(0), rtol=1e-5
        )


def test_clocks_tick_every_two_and_a_half_ms(tmp_path):
    rows = image()
    for row in rows:
        row["head"]["physiology_time_stamp"][0] = 8 + 16 * row["head"]["idx"]["phase"]
    scan = formats.read(write(tmp_path / "raw.h5", rows))
    assert scan.geometry.frame_times_ms == (20.0, 60.0, 100.0)
    assert scan.geometry.positions_mm == ((0, 0, 0), (0, 0, 10))
    assert scan.geometry.voxel_mm == (40.0, 60.0, 10.0)
    assert scan.geometry.field_of_view == (Y, X // 2)
    assert scan.geometry.directions[1] == ((0, 1, 0), (1, 0, 0), (0, 0, 1))
