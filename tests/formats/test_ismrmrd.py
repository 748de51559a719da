import random

import h5py
import numpy as np
import pytest
import torch
from refusals import refused

from cmrrecon import formats
from cmrrecon.formats.hdf5_heap import REFERENCE, Heap
from cmrrecon.tools.errors import InputError

FLOATS = h5py.vlen_dtype(np.dtype("<f4"))
COUNTERS = ("kspace_encode_step_1", "kspace_encode_step_2", "average", "slice", "contrast", "phase", "repetition", "set", "segment")
IDX = np.dtype([(name, "<u2") for name in COUNTERS] + [("user", "<u2", 8)])
HEAD = np.dtype(
    [("version", "<u2"), ("flags", "<u8"), ("measurement_uid", "<u4"), ("scan_counter", "<u4"), ("acquisition_time_stamp", "<u4")]
    + [("physiology_time_stamp", "<u4", 3), ("number_of_samples", "<u2"), ("available_channels", "<u2"), ("active_channels", "<u2")]
    + [("channel_mask", "<u8", 16), ("discard_pre", "<u2"), ("discard_post", "<u2"), ("center_sample", "<u2")]
    + [("encoding_space_ref", "<u2"), ("trajectory_dimensions", "<u2"), ("sample_time_us", "<f4")]
    + [(name, "<f4", 3) for name in ("position", "read_dir", "phase_dir", "slice_dir", "patient_table_position")]
    + [("idx", IDX), ("user_int", "<i4", 8), ("user_float", "<f4", 8)]
)
ACQUISITION = np.dtype([("head", HEAD), ("traj", FLOATS), ("data", FLOATS)])
SIZE = "<matrixSize><x>{}</x><y>{}</y><z>1</z></matrixSize><fieldOfView_mm><x>{}</x><y>{}</y><z>8</z></fieldOfView_mm>"
HEADER = """<?xml version="1.0" encoding="UTF-8"?>
<ismrmrdHeader xmlns="http://www.ismrm.org/ISMRMRD"><encoding>
<encodedSpace>{encoded}</encodedSpace><reconSpace>{recon}</reconSpace>
<encodingLimits>{limits}</encodingLimits><trajectory>{trajectory}</trajectory></encoding></ismrmrdHeader>"""
NOISE, CALIBRATION, CALIBRATION_AND_IMAGE, REVERSE, NAVIGATOR = (1 << flag - 1 for flag in (19, 20, 21, 22, 23))


def header(y=8, x=12, centre=4, trajectory="cartesian", fields=(720, 320, 360, 320)):
    """The encoded matrix (y, x), and the fields of view: encoded x and y, reconstructed x and y."""
    limits = "" if centre is None else f"<kspace_encoding_step_1><minimum>0</minimum><center>{centre}</center></kspace_encoding_step_1>"
    encoded, recon = SIZE.format(x, y, *fields[:2]), SIZE.format(x // 2, y, *fields[2:])
    return HEADER.format(encoded=encoded, recon=recon, limits=limits, trajectory=trajectory)


def readout(samples, trajectory=None, flags=0, centre=None, before=0, after=0, space=0, **counters):
    """One row: samples (coil, n) complex, trajectory (n, axes)."""
    row = np.zeros(1, ACQUISITION)[0]
    coils, n = samples.shape
    head = row["head"]
    head["flags"], head["number_of_samples"], head["active_channels"] = flags, n, coils
    head["discard_pre"], head["discard_post"], head["encoding_space_ref"] = before, after, space
    head["center_sample"] = n // 2 if centre is None else centre
    for name, value in counters.items():
        head["idx"][name] = value
    head["trajectory_dimensions"] = 0 if trajectory is None else trajectory.shape[1]
    row["traj"] = np.zeros(0, "<f4") if trajectory is None else np.ascontiguousarray(trajectory, "<f4").ravel()
    row["data"] = np.ascontiguousarray(samples, "<c8").view("<f4").ravel()
    return row


def write(path, rows, xml=None, chunks=(1,), group="dataset"):
    with h5py.File(path, "w") as file:
        parent = file.create_group(group)
        parent.create_dataset("xml", data=np.array([xml or header()], object), dtype=h5py.string_dtype())
        more = {} if chunks is None else {"chunks": chunks, "maxshape": (None,)}
        table = parent.create_dataset("data", (len(rows),), ACQUISITION, **more)
        for index, row in enumerate(rows):
            table[index] = row
    return path


def cnormal(*shape, seed=0):
    rng = np.random.default_rng(seed)
    return (rng.standard_normal(shape) + 1j * rng.standard_normal(shape)).astype("c8")


FRAMES, SLICES, COILS, Y, X = 3, 2, 4, 8, 12
KSPACE = cnormal(FRAMES, SLICES, COILS, Y, X)


def cartesian(lines=range(Y), **how):
    return [
        readout(KSPACE[t, z, :, y], kspace_encode_step_1=y, slice=z, phase=t, **how)
        for t in range(FRAMES)
        for z in range(SLICES)
        for y in lines
    ]


def spokes(count=5, n=8, samples=16, scale=1.0, frames=FRAMES, slices=SLICES):
    """Radial readouts with their k-space (frame, slice, coil, spoke, sample) and trajectory (frame, spoke, sample, 2), (y, x)."""
    kspace = cnormal(frames, slices, COILS, count, samples)
    angle = np.arange(frames * count).reshape(frames, count, 1) * 1.94
    radius = (np.arange(samples) - samples // 2) * (n / samples)
    trajectory = np.stack([np.sin(angle) * radius, np.cos(angle) * radius], -1).astype("f4")
    rows = [
        readout(kspace[t, z, :, j], trajectory[t, j, :, ::-1] * scale, slice=z, phase=t)
        for t in range(frames)
        for z in range(slices)
        for j in range(count)
    ]
    return rows, kspace, trajectory


def loaded(scan):
    return torch.stack([scan.series(z).kspace for z in range(scan.shape[1])], 1).numpy()


@pytest.mark.parametrize("chunks", [(1,), (7,), None])
@pytest.mark.parametrize("group", ["dataset", "other"])
def test_cartesian_lines_are_put_in_place(tmp_path, chunks, group):
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


def test_masks_may_change_from_frame_to_frame_and_are_found_if_they_change_from_slice_to_slice(tmp_path):
    rows = [row for row in cartesian() if (row["head"]["idx"]["kspace_encode_step_1"] + row["head"]["idx"]["phase"]) % 2 == 0]
    scan = formats.read(write(tmp_path / "frames.h5", rows))
    assert scan.mask.samples.shape == (FRAMES, Y, 1)
    assert torch.equal(scan.series(1).mask.samples, scan.mask.samples)
    rows = [row for row in cartesian() if (row["head"]["idx"]["kspace_encode_step_1"] + row["head"]["idx"]["slice"]) % 2 == 0]
    scan = formats.read(write(tmp_path / "slices.h5", rows))
    assert scan.mask is None
    assert [scan.series(z).mask.samples.flatten().nonzero().flatten().tolist() for z in (0, 1)] == [[0, 2, 4, 6], [1, 3, 5, 7]]


def test_the_centre_of_partial_fourier_and_of_an_asymmetric_echo_is_put_at_the_centre(tmp_path):
    rows = [
        readout(KSPACE[t, z, :, y + 2, 3:], kspace_encode_step_1=y, slice=z, phase=t, centre=X // 2 - 3)
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


def test_samples_to_discard_are_left_out_and_reversed_readouts_turned(tmp_path):
    wider = np.pad(KSPACE, [(0, 0)] * 4 + [(2, 1)], constant_values=99)
    rows = [
        readout(wider[t, z, :, y, :: -1 if y % 2 else 1], kspace_encode_step_1=y, slice=z, phase=t, before=2 - y % 2, after=1 + y % 2)
        for t in range(FRAMES)
        for z in range(SLICES)
        for y in range(Y)
    ]
    with refused("readouts-differ"):
        formats.read(write(tmp_path / "odd.h5", rows))
    rows = [
        readout(wider[t, z, :, y], kspace_encode_step_1=y, slice=z, phase=t, before=2, after=1)
        for t in range(FRAMES)
        for z in range(SLICES)
        for y in range(Y)
    ]
    np.testing.assert_array_equal(loaded(formats.read(write(tmp_path / "raw.h5", rows))), KSPACE)
    rows = cartesian(flags=REVERSE)
    np.testing.assert_array_equal(loaded(formats.read(write(tmp_path / "reverse.h5", rows))), KSPACE[..., ::-1])


def test_what_is_no_image_data_is_left_out(tmp_path):
    strange = cnormal(COILS, 30, seed=5)
    extra = [
        readout(strange, flags=NOISE),
        readout(strange, flags=NAVIGATOR | 1),
        readout(strange, flags=CALIBRATION, kspace_encode_step_1=3),
        readout(strange, space=1),
    ]
    rows = extra + cartesian(flags=CALIBRATION_AND_IMAGE | CALIBRATION) + extra
    np.testing.assert_array_equal(loaded(formats.read(write(tmp_path / "raw.h5", rows))), KSPACE)
    with refused("readouts-missing"):
        formats.read(write(tmp_path / "none.h5", extra))


@pytest.mark.parametrize("counter", ["contrast", "set", "average", "repetition"])
def test_of_other_counters_the_first_value_is_read_and_said(tmp_path, counter):
    others = [readout(cnormal(COILS, X, seed=9), **{counter: 2}) for _ in range(3)]
    scan = formats.read(write(tmp_path / "raw.h5", others + cartesian()))
    np.testing.assert_array_equal(loaded(scan), KSPACE)
    assert f"2 values of the counter {counter}" in scan.notes[0]


def test_repetitions_are_frames_where_there_is_one_phase(tmp_path):
    rows = cartesian()
    for row in rows:
        row["head"]["idx"]["repetition"], row["head"]["idx"]["phase"] = row["head"]["idx"]["phase"] + 5, 1
    scan = formats.read(write(tmp_path / "raw.h5", rows))
    np.testing.assert_array_equal(loaded(scan), KSPACE)
    assert "repetitions were taken as frames" in scan.notes[0]


def test_of_repeated_lines_the_first_is_read(tmp_path):
    again = readout(cnormal(COILS, X, seed=9), kspace_encode_step_1=2)
    np.testing.assert_array_equal(loaded(formats.read(write(tmp_path / "raw.h5", [*cartesian(), again]))), KSPACE)


@pytest.mark.parametrize(("scale", "unit"), [(1 / 8, "from -0.5 to 0.5"), (1.0, "cycles per field of view")])
def test_a_trajectory_makes_a_radial_scan_whatever_its_unit(tmp_path, scale, unit):
    rows, kspace, trajectory = spokes(scale=scale)
    scan = formats.read(write(tmp_path / "raw.h5", rows, header(y=8, x=16, trajectory="goldenangle", fields=(720, 360, 360, 360))))
    assert scan.axes == ("frame", "slice", "coil", "spoke", "sample")
    assert scan.matrix == (8, 8)
    assert scan.acquisition.pattern == "radial"
    assert scan.mask.samples.all()
    assert scan.mask.samples.shape == (1, 5, 1)
    assert unit in scan.notes[-1]
    np.testing.assert_array_equal(loaded(scan), kspace)
    np.testing.assert_allclose(scan.mask.trajectory.positions.numpy(), trajectory, atol=1e-6)


def test_a_reversed_readout_with_a_trajectory_stays_as_it_was_measured(tmp_path):
    """The trajectory says where each sample lies; turning the samples alone would tear them from it."""
    rows, kspace, trajectory = spokes()
    for row in rows:
        row["head"]["flags"] = REVERSE
    scan = formats.read(write(tmp_path / "raw.h5", rows, header(y=8, x=16, trajectory="goldenangle", fields=(720, 360, 360, 360))))
    np.testing.assert_array_equal(loaded(scan), kspace)
    np.testing.assert_allclose(scan.mask.trajectory.positions.numpy(), trajectory, atol=1e-6)


def test_a_trajectory_that_frames_share_is_kept_once_and_a_third_axis_is_ignored(tmp_path):
    rows, _, trajectory = spokes(frames=1, slices=2)
    both = []
    for t in range(2):
        for row in rows:
            positions = np.concatenate([row["traj"].reshape(-1, 2), np.full((16, 1), 7)], 1)
            samples = row["data"].view("c8").reshape(COILS, 16)
            both.append(readout(samples, positions, slice=row["head"]["idx"]["slice"], phase=t))
    scan = formats.read(write(tmp_path / "raw.h5", both, header(y=8, x=16)))
    assert scan.shape[0] == 2
    np.testing.assert_allclose(scan.mask.trajectory.positions.numpy(), trajectory, atol=1e-6)


def test_a_frame_with_fewer_spokes_has_them_masked(tmp_path):
    rows, kspace, _ = spokes(slices=1)
    scan = formats.read(write(tmp_path / "raw.h5", rows[:-2], header(y=8, x=16)))
    assert scan.shape == (FRAMES, 1, COILS, 5, 16)
    assert scan.mask.samples.sum(1).flatten().tolist() == [5, 5, 3]
    np.testing.assert_array_equal(loaded(scan), kspace * scan.mask.samples.numpy()[:, None, None])


def test_slices_with_trajectories_of_their_own_are_refused(tmp_path):
    rows, *_ = spokes()
    rows[-1]["traj"] = rows[0]["traj"]
    with refused("trajectory-differs"):
        formats.read(write(tmp_path / "raw.h5", rows, header(y=8, x=16)))


@pytest.mark.parametrize("reach", [100.0, float("nan"), float("inf")])
def test_a_trajectory_in_another_unit_is_refused(tmp_path, reach):
    rows, *_ = spokes()
    with np.errstate(invalid="ignore"):
        for row in rows:
            row["traj"] = row["traj"] * np.float32(reach)
    with refused("trajectory-units"):
        formats.read(write(tmp_path / "raw.h5", rows, header(y=8, x=16)))


def test_the_mask_may_be_given_and_axes_not(tmp_path):
    path = write(tmp_path / "raw.h5", cartesian([0, 3, 4, 6]))
    mask = torch.ones((1, Y, 1), dtype=torch.bool)
    formats.write_mask(tmp_path / "mask.mat", mask, x=X)
    given = formats.read(path, mask=tmp_path / "mask.mat")
    assert torch.equal(given.mask.samples, mask)
    assert given.mask_path.endswith("mask.mat")
    with refused("axes-fixed"):
        formats.read(path, axes="y,x")


def entities(path):
    bomb = '<!DOCTYPE a [<!ENTITY b "bbbb"><!ENTITY c "&b;&b;&b;">]>' + header().split("?>")[1].replace("cartesian", "&c;")
    write(path, cartesian(), bomb)


def external(path):
    write(path, cartesian(), '<!DOCTYPE a SYSTEM "file:///etc/passwd">' + header().split("?>")[1])


def broken_header(path):
    write(path, cartesian(), header()[:200])


def huge_header(path):
    write(path, cartesian(), header() + " " * 2**22)


def no_matrix(path):
    write(path, cartesian(), header().replace("matrixSize", "size"))


def infinite_matrix(path):
    write(path, cartesian(), header().replace("<x>12</x>", "<x>1e999</x>"))


def negative_matrix(path):
    write(path, cartesian(), header().replace("<y>8</y>", "<y>-8</y>"))


def too_many_lines(path):
    write(path, [*cartesian(), readout(KSPACE[0, 0, :, 0], kspace_encode_step_1=60000)])


def too_many_samples(path):
    write(path, [readout(cnormal(2, 40), kspace_encode_step_1=y) for y in range(8)])


def centre_outside(path):
    write(path, [readout(cnormal(2, 9), kspace_encode_step_1=y, centre=60) for y in range(8)])


def discards_everything(path):
    write(path, cartesian(before=10, after=10))


def coils_differ(path):
    write(path, [*cartesian(), readout(cnormal(2, X))])


def frame_missing_in_a_slice(path):
    write(path, [row for row in cartesian() if (row["head"]["idx"]["phase"], row["head"]["idx"]["slice"]) != (2, 1)])


def far_frame_and_slice(path):
    write(path, [*cartesian(), readout(KSPACE[0, 0, :, 0], slice=65535, phase=65535)])


def three_dimensional(path):
    write(path, [*cartesian(), readout(KSPACE[0, 0, :, 0], kspace_encode_step_2=1)])


def data_too_short(path):
    rows = cartesian()
    for row in rows:
        row["data"] = row["data"][:-2]
    write(path, rows)


def some_without_trajectory(path):
    write(path, cartesian() + spokes()[0])


def one_axis(path):
    write(path, [readout(cnormal(2, 16), np.linspace(-0.5, 0.5, 16)[:, None]) for _ in range(4)])


def no_rows(path):
    write(path, [])


def other_columns(path):
    with h5py.File(path, "w") as file:
        file["dataset/xml"] = header()
        file["dataset/data"] = np.zeros(3, [("head", "f4"), ("traj", "f4"), ("data", "f4")])


def groups_in_place_of_tables(path):
    with h5py.File(path, "w") as file:
        file.create_group("dataset/data")
        file.create_group("dataset/xml")
        file["text"] = "words"
        file.create_group("links")["data"] = h5py.SoftLink("/nowhere")


def packed_rows(path):
    with h5py.File(path, "w") as file:
        file.create_dataset("dataset/xml", data=np.array([header()], object), dtype=h5py.string_dtype())
        table = file.create_dataset("dataset/data", (1,), ACQUISITION, chunks=(1,), compression="gzip")
        table[0] = cartesian()[0]


def rows_never_written(path):
    with h5py.File(path, "w") as file:
        file.create_dataset("dataset/xml", data=np.array([header()], object), dtype=h5py.string_dtype())
        file.create_dataset("dataset/data", (2**40,), ACQUISITION, chunks=(1,))


@pytest.mark.parametrize(
    "make",
    [
        entities,
        external,
        broken_header,
        huge_header,
        no_matrix,
        infinite_matrix,
        negative_matrix,
        too_many_lines,
        too_many_samples,
        centre_outside,
        discards_everything,
        coils_differ,
        frame_missing_in_a_slice,
        far_frame_and_slice,
        three_dimensional,
        data_too_short,
        some_without_trajectory,
        one_axis,
        no_rows,
        other_columns,
        groups_in_place_of_tables,
        packed_rows,
        rows_never_written,
    ],
)
def test_files_that_cannot_be_used_end_in_an_input_error(tmp_path, make):
    path = tmp_path / "raw.h5"
    make(path)
    with pytest.raises(InputError):
        formats.read(path).series(0)


def references(path):
    """Where the references to the samples of each row lie in a file, and the file."""
    content = bytearray(path.read_bytes())
    with h5py.File(path) as file:
        table = file["dataset/data"]
        rows = [table.id.get_chunk_info(index) for index in range(table.id.get_num_chunks())]
        offset = table.id.get_type().get_member_offset(2)
    return content, [row.byte_offset + offset for row in rows]


@pytest.mark.parametrize(
    "change", [{"length": 2**32 - 1}, {"length": 2**31}, {"address": 2**63}, {"address": 8}, {"index": 77}, {"length": 1}]
)
def test_references_to_absurd_places_and_sizes_are_refused(tmp_path, change):
    path = write(tmp_path / "raw.h5", cartesian())
    content, places = references(path)
    reference = np.frombuffer(content, REFERENCE, 1, places[4])[0].copy()
    for name, value in change.items():
        reference[name] = value
    content[places[4] : places[4] + REFERENCE.itemsize] = reference.tobytes()
    path.write_bytes(content)
    with refused("file-damaged"):
        formats.read(path).series(0)


def test_a_heap_that_points_at_itself_is_searched_once(tmp_path):
    """Objects of no size, and collections inside one another: HDF5's own code searches such for ever, or very long."""
    path = tmp_path / "heap"
    path.write_bytes(b"".join(b"GCOL\1\0\0\0" + (16000 - 16 * i).to_bytes(8, "little") for i in range(1000)))
    reference = np.zeros(1, REFERENCE)[0]
    reference["length"] = 4
    with open(path, "rb") as handle:
        heap = Heap(handle, 0)
        for address in range(0, 16000, 16):
            reference["address"] = address
            with pytest.raises(ValueError, match=r"not where it should be|is damaged"):
                heap.read(reference, 4)
        assert heap._searched > 16000
        assert sum(map(len, heap._found.values())) <= 1000


@pytest.mark.parametrize("radial", [False, True])
def test_damaged_files_end_in_an_input_error_or_are_read(tmp_path, radial):
    path = tmp_path / "raw.h5"
    write(path, spokes()[0], header(y=8, x=16)) if radial else write(path, cartesian())
    whole = path.read_bytes()
    heaps = [start for start in range(len(whole)) if whole.startswith(b"GCOL", start)]
    for seed in range(80):
        chance = random.Random(seed)
        content = bytearray(whole)
        start = chance.choice(heaps) + chance.randrange(200) if seed % 2 else chance.randrange(len(content))
        block = content[start : start + chance.choice([1, 2, 8, 64])]
        content[start : start + len(block)] = chance.choice([chance.randbytes(len(block)), bytes(len(block)), b"\xff" * len(block)])
        path.write_bytes(content)
        try:
            scan = formats.read(path)
            for index in range(scan.shape[1]):
                scan.series(index)
        except InputError:
            continue
        assert scan.shape[2] == COILS


def test_files_cut_off_anywhere_are_refused(tmp_path):
    path = write(tmp_path / "raw.h5", cartesian())
    whole = path.read_bytes()
    for part in range(40):
        path.write_bytes(whole[: len(whole) * part // 40])
        with pytest.raises(InputError):
            formats.read(path)
