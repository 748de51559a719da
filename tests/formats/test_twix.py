"""Siemens twix files: the purpose, place and samples of each readout."""

import numpy as np
import pytest
import torch
from ismrmrd_files import cnormal
from twix_files import (
    FEEDBACK,
    NOISE,
    PATIENT,
    REFERENCE,
    REFERENCE_AND_IMAGE,
    REVERSE,
    measurement,
    protocol,
    row,
    write,
)

from cmrrecon import formats
from cmrrecon.data import LineMask, SampleMask
from cmrrecon.operators.coils import rss_images

pytest.importorskip("turbotwix", reason="needs turbotwix, the extra twix")

FRAMES, SLICES, COILS, Y, X = 3, 2, 2, 8, 12
KSPACE = cnormal(FRAMES, SLICES, COILS, Y, X)


def rows(lines=range(Y), vb=False, kspace=KSPACE, **facts):
    return [
        row(kspace[t, z, :, y], vb=vb, Lin=y, Sli=z, Phs=t, **({"position": (0, 0, 8 * z)} | facts))
        for t in range(len(kspace))
        for z in range(kspace.shape[1])
        for y in lines
    ]


def loaded(scan):
    return torch.stack([scan.series(z).kspace for z in range(scan.shape[1])], 1).numpy()


def measured(scan):
    return scan.mask.samples[0, :, 0].nonzero().flatten().tolist()


@pytest.mark.parametrize("vb", [False, True])
def test_lines_are_placed(tmp_path, vb):
    path = write(tmp_path / "meas.dat", measurement(rows(vb=vb), vb=vb), vb=vb)
    assert formats.kind(path) == "scan"
    assert formats.is_scan(path)
    scan = formats.read(path)
    assert scan.shape == (FRAMES, SLICES, COILS, Y, X)
    assert scan.notes == ()
    assert scan.mask.complete
    np.testing.assert_array_equal(loaded(scan), KSPACE)


def test_the_order_of_lines_does_not_matter_and_blocks_of_other_data_are_skipped(tmp_path, capfd):
    shuffled = rows()
    np.random.default_rng(0).shuffle(shuffled)
    pulse = bytearray(row(np.zeros((1, 4)), mask=1 << 5))
    shuffled.insert(7, bytes(pulse))
    shuffled.append(bytes(pulse))
    shuffled.append(row(KSPACE[0, 0, :, 0] * 9, mask=FEEDBACK))
    scan = formats.read(write(tmp_path / "a.dat", measurement(shuffled)))
    np.testing.assert_array_equal(loaded(scan), KSPACE)
    assert capfd.readouterr() == ("", "")


def test_the_last_measurement_is_read(tmp_path):
    other = measurement([row(cnormal(3, 5))])
    scan = formats.read(write(tmp_path / "a.dat", other, measurement(rows())))
    np.testing.assert_array_equal(loaded(scan), KSPACE)


def test_facts_of_the_scan_exclude_the_patient(tmp_path):
    scan = formats.read(write(tmp_path / "a.dat", measurement(rows())))
    assert scan.acquisition.sequence == "trufi"
    assert scan.acquisition.field_strength == pytest.approx(1.494)
    assert PATIENT not in repr(vars(scan))


def test_geometry(tmp_path):
    geometry = formats.read(write(tmp_path / "a.dat", measurement(rows()))).geometry
    assert geometry.voxel_mm == pytest.approx((160 / Y, 2 * 120 / X, 8))
    assert geometry.field_of_view == (Y, X // 2)
    assert geometry.recon_matrix == (8, 6)
    assert geometry.positions_mm == ((0, 0, 0), (0, 0, 8))
    # The gradients point to the back and to the right; pixels are counted the other way.
    y, x, across = np.array(geometry.directions[0])
    np.testing.assert_allclose([y, x, across], [(0, -1, 0), (1, 0, 0), (0, 0, 1)], atol=1e-6)


def test_directions_are_rotations_for_any_quaternion(tmp_path):
    for seed in range(4):
        q = np.random.default_rng(seed).standard_normal(4)
        lines = rows(kspace=KSPACE[:1, :1], quaternion=q / np.linalg.norm(q))
        found = formats.read(write(tmp_path / "a.dat", measurement(lines))).geometry.directions[0]
        y, x, across = np.array(found)
        np.testing.assert_allclose(np.stack(found) @ np.stack(found).T, np.eye(3), atol=1e-6)
        np.testing.assert_allclose(np.cross(y, x), across, atol=1e-6)


def test_directions_that_are_no_rotation_are_left_out(tmp_path):
    lines = rows(quaternion=(0, 0, 0, 0))
    scan = formats.read(write(tmp_path / "a.dat", measurement(lines)))
    assert scan.geometry.directions is None
    np.testing.assert_array_equal(loaded(scan), KSPACE)


def test_interleaved_slices_lie_in_anatomical_order(tmp_path):
    place = [2, 0, 3, 1]  # of the slice measured first, second, ...
    kspace = cnormal(1, 4, COILS, Y, X)
    lines = [
        row(kspace[0, z, :, y], Lin=y, Sli=z, position=(0, 0, 10 * place[z]))
        for z in range(4)
        for y in range(Y)
    ]
    scan = formats.read(write(tmp_path / "a.dat", measurement(lines)))
    assert [position[2] for position in scan.geometry.positions_mm] == [0, 10, 20, 30]
    np.testing.assert_array_equal(loaded(scan)[:, place], kspace)


def test_slices_that_are_not_parallel_keep_the_order_of_measurement(tmp_path):
    turns = [(1, 0, 0, 0), (0.70710678, 0.70710678, 0, 0)]
    lines = [
        row(KSPACE[0, z, :, y], Lin=y, Sli=z, quaternion=turns[z], position=(0, 0, -z))
        for z in range(2)
        for y in range(Y)
    ]
    scan = formats.read(write(tmp_path / "a.dat", measurement(lines)))
    np.testing.assert_array_equal(loaded(scan)[0], KSPACE[0])


def test_frames_are_timed_after_the_trigger_where_there_was_one(tmp_path):
    lines = [
        row(KSPACE[t, 0, :, y], Lin=y, Phs=t, trigger=4 + 20 * t, time=1000 + y)
        for t in range(FRAMES)
        for y in range(Y)
    ]
    scan = formats.read(write(tmp_path / "a.dat", measurement(lines)))
    assert scan.geometry.frame_times_ms == (10, 60, 110)
    text = protocol({"sPhysioImaging.lSignal1": "0x1"})
    assert (
        formats.read(write(tmp_path / "b.dat", measurement(lines, text))).geometry.frame_times_ms
        is None
    )


def test_repetitions_are_frames_and_segments_are_one(tmp_path):
    lines = [
        row(KSPACE[t, 0, :, y], Lin=y, Rep=t, Seg=y % 2) for t in range(FRAMES) for y in range(Y)
    ]
    np.testing.assert_array_equal(
        loaded(formats.read(write(tmp_path / "a.dat", measurement(lines))))[:, 0], KSPACE[:, 0]
    )


def test_averages_become_their_mean_and_are_counted(tmp_path):
    kspace = cnormal(4, COILS, Y, X)
    lines = [
        row(kspace[n, :, y], Lin=y, Ave=n) for n in range(4) for y in range(Y) if n < 1 + y % 4
    ]
    scan = formats.read(write(tmp_path / "a.dat", measurement(lines)))
    assert scan.mask.averages[0, :, 0].tolist() == [1, 2, 3, 4, 1, 2, 3, 4]
    expected = [kspace[: 1 + y % 4, :, y].mean(0) for y in range(Y)]
    np.testing.assert_allclose(loaded(scan)[0, 0], np.stack(expected, 1), atol=1e-6)


def test_partial_fourier_and_asymmetric_echoes(tmp_path):
    # Lines from 3 on, with the centre at counter 1. Three samples are missing at the start, and one
    # more is discarded.
    part = KSPACE[0, 0, :, :, 3:]
    lines = [row(part[:, y], Lin=y - 3, line=1, column=3, cut=(1, 0)) for y in range(3, Y)]
    scan = formats.read(write(tmp_path / "a.dat", measurement(lines)))
    assert scan.shape[3:] == (Y, X)
    assert isinstance(scan.mask, SampleMask)
    expected = np.zeros((Y, X), bool)
    expected[3:, 4:] = True
    np.testing.assert_array_equal(scan.mask.samples[0].numpy(), expected)
    np.testing.assert_array_equal(loaded(scan)[0, 0], KSPACE[0, 0] * expected)


def test_the_matrix_grows_with_lines_missing_from_the_protocol(tmp_path):
    text = protocol({"sKSpace.lPhaseEncodingLines": None, "sKSpace.lBaseResolution": "x"})
    scan = formats.read(write(tmp_path / "a.dat", measurement(rows(), text)))
    np.testing.assert_array_equal(loaded(scan), KSPACE)


def test_phase_oversampling_is_outside_the_field_of_view(tmp_path):
    text = protocol(
        {"sKSpace.dPhaseOversamplingForDialog": 0.6, "sSliceArray.asSlice[0].dPhaseFOV": 100}
    )
    geometry = formats.read(write(tmp_path / "a.dat", measurement(rows(), text))).geometry
    assert geometry.field_of_view == (5, 6)
    assert geometry.voxel_mm == pytest.approx((20, 20, 8))


@pytest.mark.parametrize(
    ("mode", "flag", "image", "separate"),
    [
        ("0x4", REFERENCE, [0, 2, 4, 6], 4),
        ("0x2", REFERENCE, [0, 2, 3, 4, 5, 6], 0),
        ("0x2", REFERENCE | REFERENCE_AND_IMAGE, [0, 2, 3, 4, 5, 6], 0),
    ],
)
def test_reference_lines(tmp_path, mode, flag, image, separate):
    again = range(3, 7) if separate else (3, 5)
    lines = rows(range(0, Y, 2)) + rows(again, mask=flag)
    text = protocol({"sPat.ucRefScanMode": mode})
    scan = formats.read(write(tmp_path / "a.dat", measurement(lines, text)))
    assert isinstance(scan.mask, LineMask)
    assert measured(scan) == image
    assert (scan.calibration is not None) == bool(separate)
    if separate:
        found = scan.calibration(1).numpy()
        assert found.shape == (COILS, 4, X)
        np.testing.assert_allclose(found, KSPACE[:, 1, :, 3:7].mean(0), atol=1e-6)


def noise_readouts(count=40, n=64):
    mixing = np.array([[2, 0], [1j, 1]])
    return [row(mixing @ cnormal(COILS, n, seed=seed), mask=NOISE) for seed in range(count)], mixing


def expected_covariance(mixing, ratio):
    """cnormal has variance 2; the receiver's noise bandwidth is 0.793."""
    return 2 * mixing @ mixing.conj().T * ratio / 0.793


def test_noise_of_an_earlier_measurement_is_scaled_by_the_dwell_times(tmp_path):
    noise, mixing = noise_readouts()
    earlier = measurement(noise, protocol({"sRXSPEC.alDwellTime[0]": 20000}))
    scan = formats.read(write(tmp_path / "a.dat", earlier, measurement(rows())))
    assert scan.noise.samples == 40 * 64
    np.testing.assert_allclose(
        scan.noise.covariance.numpy(), expected_covariance(mixing, 4), atol=0.1 * 4 * 10
    )


def test_noise_of_other_coils_is_not_used(tmp_path):
    names = {
        f"sCoilSelectMeas.aRxCoilSelectData[0].asList[{n}].{key}": value
        for n, element in enumerate(("A", "B"))
        for key, value in (
            ("sCoilElementID.tElement", f'"{element}"'),
            ("lADCChannelConnected", n + 1),
        )
    }
    other = {key: value if "tElement" in key else 3 - value for key, value in names.items()}
    noise, _ = noise_readouts()
    for coils, used in ((names, True), (other, False)):
        earlier = measurement(noise, protocol(coils))
        scan = write(tmp_path / "a.dat", earlier, measurement(rows(), protocol(names)))
        assert (formats.read(scan).noise is not None) == used


def test_an_earlier_measurement_need_not_be_readable(tmp_path):
    noise, _ = noise_readouts()
    spiral = measurement([*noise, row(cnormal(3, 99))], protocol({"sKSpace.ucTrajectory": 4}))
    assert formats.read(write(tmp_path / "a.dat", spiral, measurement(rows()))).noise is not None


def test_noise_within_the_scan_has_its_own_dwell_time(tmp_path):
    noise, mixing = noise_readouts()
    scan = formats.read(write(tmp_path / "a.dat", measurement(noise + rows())))
    ratio = 7680 / 64 / 5
    np.testing.assert_allclose(
        scan.noise.covariance.numpy() / ratio, expected_covariance(mixing, 1), atol=1
    )
    np.testing.assert_array_equal(loaded(scan), KSPACE)


def test_noise_readouts_need_the_coils_of_the_scan(tmp_path):
    other = measurement([row(cnormal(3, 64), mask=NOISE)])
    assert formats.read(write(tmp_path / "a.dat", other, measurement(rows()))).noise is None


def test_readouts_that_run_backwards_are_turned(tmp_path):
    lines = [
        row(KSPACE[0, 0, :, y, :: -1 if y % 2 else 1], Lin=y, mask=REVERSE * (y % 2))
        for y in range(Y)
    ]
    scan = formats.read(write(tmp_path / "a.dat", measurement(lines)))
    np.testing.assert_array_equal(loaded(scan)[0, 0], KSPACE[0, 0])
    assert len(scan.notes) == 1  # the phase between the two directions is not known


def rss(kspace):
    return rss_images(torch.from_numpy(kspace))


def test_gre_of_a_scanner_is_what_twixtools_reads(real_data):
    twixtools = pytest.importorskip("twixtools", reason="needs twixtools, for comparison only")
    path = real_data / "scanner-files" / "gre.dat"
    scan = formats.read(path)
    assert scan.shape == (1, 1, 2, 160, 320)
    assert scan.notes == ()
    image = twixtools.map_twix(twixtools.read_twix(str(path), verbose=False))[-1]["image"]
    image.flags["remove_os"] = False
    theirs = image[:].squeeze().transpose(1, 0, 2)[None].astype(np.complex64)
    expected, found = rss(theirs), rss(scan.series(0).kspace.numpy())
    assert float((found - expected).norm() / expected.norm()) < 1e-5


def test_gre_of_a_scanner(real_data):
    scan = formats.read(real_data / "scanner-files" / "gre.dat")
    assert scan.geometry.field_of_view == (160, 160)
    assert scan.geometry.voxel_mm == pytest.approx((1.25, 1.25, 4))
    y, x, _ = scan.geometry.directions[0]
    np.testing.assert_allclose([y, x], [(0, -0.9993, 0.0384), (1, 0, 0)], atol=1e-3)
    assert scan.acquisition.sequence == "gre"
    assert scan.acquisition.field_strength == pytest.approx(2.894, abs=1e-3)
    image = rss(scan.series(0).kspace.numpy())[0, :, 80:240]
    assert 0.5 < float((image > 0.3 * image.quantile(0.95)).float().mean()) < 0.8
