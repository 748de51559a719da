import numpy as np
import pytest
import torch
from ismrmrd_files import (
    CALIBRATION,
    CALIBRATION_AND_IMAGE,
    COILS,
    FRAMES,
    KSPACE,
    NAVIGATOR,
    REVERSE,
    SLICES,
    X,
    Y,
    cartesian,
    cnormal,
    header,
    readout,
    spokes,
    write,
)
from refusals import refused

from cmrrecon import formats


def loaded(scan):
    return torch.stack([scan.series(z).kspace for z in range(scan.shape[1])], 1).numpy()


@pytest.mark.parametrize("chunks", [(1,), (7,), None])
@pytest.mark.parametrize("group", ["dataset", "other"])
def test_cartesian_lines_are_placed(tmp_path, chunks, group):
    path = write(tmp_path / "raw.h5", cartesian(), chunks=chunks, group=group)
    assert formats.kind(path) == "scan"
    assert formats.is_scan(path)
    scan = formats.read(path)
    assert scan.shape == (FRAMES, SLICES, COILS, Y, X)
    assert scan.axes == ("frame", "slice", "coil", "y", "x")
    assert scan.mask.complete
    assert scan.notes == ()
    np.testing.assert_array_equal(loaded(scan), KSPACE)
    assert formats.read_provenance(path) is None


def test_lines_that_were_not_measured_are_zero_and_masked(tmp_path):
    lines = [0, 3, 4, 6]
    scan = formats.read(write(tmp_path / "raw.h5", cartesian(lines)))
    assert scan.mask.samples.shape == (1, Y, 1)
    assert scan.mask.samples.flatten().nonzero().flatten().tolist() == lines
    np.testing.assert_array_equal(loaded(scan), KSPACE * scan.mask.samples.numpy()[0])


def test_masks_may_change_from_frame_to_frame_and_are_found_if_they_change_from_slice_to_slice(
    tmp_path,
):
    rows = [
        row
        for row in cartesian()
        if (row["head"]["idx"]["kspace_encode_step_1"] + row["head"]["idx"]["phase"]) % 2 == 0
    ]
    scan = formats.read(write(tmp_path / "frames.h5", rows))
    assert scan.mask.samples.shape == (FRAMES, Y, 1)
    assert torch.equal(scan.series(1).mask.samples, scan.mask.samples)
    rows = [
        row
        for row in cartesian()
        if (row["head"]["idx"]["kspace_encode_step_1"] + row["head"]["idx"]["slice"]) % 2 == 0
    ]
    scan = formats.read(write(tmp_path / "slices.h5", rows))
    assert scan.mask is None
    assert [scan.series(z).mask.samples.flatten().nonzero().flatten().tolist() for z in (0, 1)] == [
        [0, 2, 4, 6],
        [1, 3, 5, 7],
    ]


def test_partial_fourier_and_asymmetric_echoes_are_placed_by_their_centre(tmp_path):
    rows = [
        readout(
            KSPACE[t, z, :, y + 2, 3:], kspace_encode_step_1=y, slice=z, phase=t, centre=X // 2 - 3
        )
        for t in range(FRAMES)
        for z in range(SLICES)
        for y in range(Y - 2)
    ]
    scan = formats.read(write(tmp_path / "raw.h5", rows, header(centre=2)))
    expected = KSPACE.copy()
    expected[..., :2, :], expected[..., :3] = 0, 0
    np.testing.assert_array_equal(loaded(scan), expected)
    assert scan.mask.samples.shape == (1, Y, X)
    assert torch.equal(scan.mask.samples[0], torch.from_numpy(expected[0, 0, 0] != 0))


def test_discarded_samples_are_left_out_and_reversed_readouts_turned(tmp_path):
    wider = np.pad(KSPACE, [(0, 0)] * 4 + [(2, 1)], constant_values=99)
    rows = [
        readout(
            wider[t, z, :, y, :: -1 if y % 2 else 1],
            kspace_encode_step_1=y,
            slice=z,
            phase=t,
            before=2 - y % 2,
            after=1 + y % 2,
            flags=REVERSE if y % 2 else 0,
        )
        for t in range(FRAMES)
        for z in range(SLICES)
        for y in range(Y)
    ]
    scan = formats.read(write(tmp_path / "odd.h5", rows))
    np.testing.assert_array_equal(loaded(scan), KSPACE)
    assert scan.mask.centre is None
    rows = [
        readout(wider[t, z, :, y], kspace_encode_step_1=y, slice=z, phase=t, before=2, after=1)
        for t in range(FRAMES)
        for z in range(SLICES)
        for y in range(Y)
    ]
    np.testing.assert_array_equal(loaded(formats.read(write(tmp_path / "raw.h5", rows))), KSPACE)
    rows = cartesian(flags=REVERSE)
    np.testing.assert_array_equal(
        loaded(formats.read(write(tmp_path / "reverse.h5", rows))), KSPACE[..., ::-1]
    )


def test_readouts_other_than_image_data_are_left_out(tmp_path):
    strange = cnormal(COILS, 30, seed=5)
    extra = [
        readout(strange, flags=NAVIGATOR | 1),
        *(readout(strange, flags=1 << flag) for flag in (23, 25, 26, 27, 28, 29, 30)),
    ]
    rows = extra + cartesian(flags=CALIBRATION_AND_IMAGE | CALIBRATION) + extra
    np.testing.assert_array_equal(loaded(formats.read(write(tmp_path / "raw.h5", rows))), KSPACE)
    with refused("readouts-missing"):
        formats.read(write(tmp_path / "none.h5", extra))


@pytest.mark.parametrize("counter", ["contrast", "set", "repetition"])
def test_the_first_value_of_other_counters_is_read_with_a_note(tmp_path, counter):
    others = [readout(cnormal(COILS, X, seed=9), **{counter: 2}) for _ in range(3)]
    scan = formats.read(write(tmp_path / "raw.h5", others + cartesian()))
    np.testing.assert_array_equal(loaded(scan), KSPACE)
    assert f"2 values of the counter {counter}" in scan.notes[0]


def test_repetitions_are_frames_if_there_is_only_one_phase(tmp_path):
    rows = cartesian()
    for row in rows:
        row["head"]["idx"]["repetition"], row["head"]["idx"]["phase"] = (
            row["head"]["idx"]["phase"] + 5,
            1,
        )
    scan = formats.read(write(tmp_path / "raw.h5", rows))
    np.testing.assert_array_equal(loaded(scan), KSPACE)
    assert "repetitions became the frames" in scan.notes[0]


@pytest.mark.parametrize("counter", ["contrast", "set"])
def test_contrasts_and_sets_are_frames_if_nothing_else_varies(tmp_path, counter):
    rows = cartesian()
    for row in rows:
        row["head"]["idx"][counter] = row["head"]["idx"]["phase"]
        row["head"]["idx"]["phase"] = 0
    scan = formats.read(write(tmp_path / "raw.h5", rows))
    np.testing.assert_array_equal(loaded(scan), KSPACE)
    assert f"{counter}s became the frames" in scan.notes[0]


@pytest.mark.parametrize(
    ("scale", "unit"),
    [
        (1 / 8, "from -0.5 to 0.5"),
        (1.0, "cycles per field of view"),
        (2 * np.pi / 8, "radians"),
    ],
)
def test_a_trajectory_in_any_known_unit_makes_a_radial_scan(tmp_path, scale, unit):
    rows, kspace, trajectory = spokes(scale=scale)
    scan = formats.read(
        write(
            tmp_path / "raw.h5",
            rows,
            header(y=8, x=16, trajectory="goldenangle", fields=(720, 360, 360, 360)),
        )
    )
    assert scan.axes == ("frame", "slice", "coil", "spoke", "sample")
    assert scan.matrix == (8, 8)
    assert scan.acquisition.pattern == "radial"
    assert scan.mask.samples.all()
    assert scan.mask.samples.shape == (1, 5, 1)
    assert unit in scan.notes[-1]
    np.testing.assert_array_equal(loaded(scan), kspace)
    np.testing.assert_allclose(scan.mask.trajectory.positions.numpy(), trajectory, atol=1e-6)


@pytest.mark.parametrize("kind", ["radial", "goldenangle", "spiral"])
def test_a_trajectory_named_in_the_header_must_be_stored(tmp_path, kind):
    with refused("trajectory-missing"):
        formats.read(write(tmp_path / "raw.h5", cartesian(), header(trajectory=kind)))


def test_data_called_cartesian_in_the_header_are_placed_by_their_lines(tmp_path):
    positions = np.stack([np.linspace(-0.5, 0.5, X), np.zeros(X)], 1)
    rows = cartesian(trajectory=positions)
    scan = formats.read(write(tmp_path / "raw.h5", rows, header(trajectory="Cartesian")))
    assert scan.axes[-2:] == ("y", "x")
    np.testing.assert_array_equal(loaded(scan), KSPACE)


def test_a_reversed_readout_with_a_trajectory_is_not_turned(tmp_path):
    """The trajectory gives the position of each sample in the order of measurement."""
    rows, kspace, trajectory = spokes()
    for row in rows:
        row["head"]["flags"] = REVERSE
    scan = formats.read(
        write(
            tmp_path / "raw.h5",
            rows,
            header(y=8, x=16, trajectory="goldenangle", fields=(720, 360, 360, 360)),
        )
    )
    np.testing.assert_array_equal(loaded(scan), kspace)
    np.testing.assert_allclose(scan.mask.trajectory.positions.numpy(), trajectory, atol=1e-6)


def test_a_trajectory_shared_by_all_frames_is_kept_once_without_its_third_axis(tmp_path):
    rows, _, trajectory = spokes(frames=1, slices=2)
    both = []
    for t in range(2):
        for row in rows:
            positions = np.concatenate([row["traj"].reshape(-1, 2), np.full((16, 1), 7)], 1)
            samples = row["data"].view("c8").reshape(COILS, 16)
            both.append(readout(samples, positions, slice=row["head"]["idx"]["slice"], phase=t))
    scan = formats.read(write(tmp_path / "raw.h5", both, header(y=8, x=16, trajectory="radial")))
    assert scan.shape[0] == 2
    np.testing.assert_allclose(scan.mask.trajectory.positions.numpy(), trajectory, atol=1e-6)


def test_a_frame_with_fewer_spokes_has_them_masked(tmp_path):
    rows, kspace, _ = spokes(slices=1)
    scan = formats.read(
        write(tmp_path / "raw.h5", rows[:-2], header(y=8, x=16, trajectory="radial"))
    )
    assert scan.shape == (FRAMES, 1, COILS, 5, 16)
    assert scan.mask.samples.sum(1).flatten().tolist() == [5, 5, 3]
    np.testing.assert_array_equal(loaded(scan), kspace * scan.mask.samples.numpy()[:, None, None])


def test_slices_with_different_trajectories_are_refused(tmp_path):
    rows, *_ = spokes()
    rows[-1]["traj"] = rows[0]["traj"]
    with refused("trajectory-differs"):
        formats.read(write(tmp_path / "raw.h5", rows, header(y=8, x=16, trajectory="radial")))


@pytest.mark.parametrize("reach", [100.0, float("nan"), float("inf")])
def test_a_trajectory_in_another_unit_is_refused(tmp_path, reach):
    rows, *_ = spokes()
    with np.errstate(invalid="ignore"):
        for row in rows:
            row["traj"] = row["traj"] * np.float32(reach)
    with refused("trajectory-units"):
        formats.read(write(tmp_path / "raw.h5", rows, header(y=8, x=16, trajectory="radial")))


def test_a_mask_may_be_given_but_axes_may_not(tmp_path):
    path = write(tmp_path / "raw.h5", cartesian([0, 3, 4, 6]))
    mask = torch.ones((1, Y, 1), dtype=torch.bool)
    formats.write_mask(tmp_path / "mask.mat", mask, x=X)
    given = formats.read(path, mask=tmp_path / "mask.mat")
    assert torch.equal(given.mask.samples, mask)
    assert given.mask_path.endswith("mask.mat")
    with refused("axes-fixed"):
        formats.read(path, axes="y,x")
