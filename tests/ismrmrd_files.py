"""ISMRMRD raw files for tests: readouts in a table, along lines or spokes."""

import h5py
import numpy as np

FLOATS = h5py.vlen_dtype(np.dtype("<f4"))
COUNTERS = (
    "kspace_encode_step_1",
    "kspace_encode_step_2",
    "average",
    "slice",
    "contrast",
    "phase",
    "repetition",
    "set",
    "segment",
)
IDX = np.dtype([(name, "<u2") for name in COUNTERS] + [("user", "<u2", 8)])
HEAD = np.dtype(
    [
        ("version", "<u2"),
        ("flags", "<u8"),
        ("measurement_uid", "<u4"),
        ("scan_counter", "<u4"),
        ("acquisition_time_stamp", "<u4"),
    ]
    + [
        ("physiology_time_stamp", "<u4", 3),
        ("number_of_samples", "<u2"),
        ("available_channels", "<u2"),
        ("active_channels", "<u2"),
    ]
    + [
        ("channel_mask", "<u8", 16),
        ("discard_pre", "<u2"),
        ("discard_post", "<u2"),
        ("center_sample", "<u2"),
    ]
    + [("encoding_space_ref", "<u2"), ("trajectory_dimensions", "<u2"), ("sample_time_us", "<f4")]
    + [
        (name, "<f4", 3)
        for name in ("position", "read_dir", "phase_dir", "slice_dir", "patient_table_position")
    ]
    + [("idx", IDX), ("user_int", "<i4", 8), ("user_float", "<f4", 8)]
)
ACQUISITION = np.dtype([("head", HEAD), ("traj", FLOATS), ("data", FLOATS)])
SIZE = (
    "<matrixSize><x>{}</x><y>{}</y><z>1</z></matrixSize>"
    "<fieldOfView_mm><x>{}</x><y>{}</y><z>8</z></fieldOfView_mm>"
)
HEADER = """<?xml version="1.0" encoding="UTF-8"?>
<ismrmrdHeader xmlns="http://www.ismrm.org/ISMRMRD">{more}<encoding>
<encodedSpace>{encoded}</encodedSpace><reconSpace>{recon}</reconSpace>
<encodingLimits>{limits}</encodingLimits><trajectory>{trajectory}</trajectory>{parallel}</encoding></ismrmrdHeader>"""
NOISE, CALIBRATION, CALIBRATION_AND_IMAGE, REVERSE, NAVIGATOR = (
    1 << flag - 1 for flag in (19, 20, 21, 22, 23)
)


def header(
    y=8,
    x=12,
    centre=4,
    trajectory="cartesian",
    fields=(720, 320, 360, 320),
    calibration=None,
    more="",
):
    """The header with the encoded matrix (y, x) and the fields of view.

    These are encoded x and y, reconstructed x and y; `more` is inserted before the encoding.
    """
    limits = (
        ""
        if centre is None
        else "<kspace_encoding_step_1><minimum>0</minimum>"
        f"<center>{centre}</center></kspace_encoding_step_1>"
    )
    mode = f"<calibrationMode>{calibration}</calibrationMode>"
    encoded, recon = SIZE.format(x, y, *fields[:2]), SIZE.format(x // 2, y, *fields[2:])
    return HEADER.format(
        encoded=encoded,
        recon=recon,
        limits=limits,
        trajectory=trajectory,
        parallel=f"<parallelImaging>{mode}</parallelImaging>" if calibration else "",
        more=more,
    )


def readout(samples, trajectory=None, flags=0, centre=None, before=0, after=0, space=0, **counters):
    """One row: samples (coil, n) complex, trajectory (n, axes)."""
    row = np.zeros(1, ACQUISITION)[0]
    coils, n = samples.shape
    head = row["head"]
    head["flags"], head["number_of_samples"], head["active_channels"] = flags, n, coils
    head["discard_pre"], head["discard_post"], head["encoding_space_ref"] = before, after, space
    head["center_sample"] = n // 2 if centre is None else centre
    head["read_dir"], head["phase_dir"], head["slice_dir"] = np.eye(3)
    head["position"] = (0, 0, 10 * counters.get("slice", 0))
    for name, value in counters.items():
        head["idx"][name] = value
    head["trajectory_dimensions"] = 0 if trajectory is None else trajectory.shape[1]
    row["traj"] = (
        np.zeros(0, "<f4")
        if trajectory is None
        else np.ascontiguousarray(trajectory, "<f4").ravel()
    )
    row["data"] = np.ascontiguousarray(samples, "<c8").view("<f4").ravel()
    return row


def write(path, rows, xml=None, chunks=(1,), group="dataset", mode="w"):
    with h5py.File(path, mode) as file:
        parent = file.create_group(group)
        parent.create_dataset(
            "xml", data=np.array([xml or header()], object), dtype=h5py.string_dtype()
        )
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
    """Radial readouts with their k-space and trajectory.

    The k-space is (frame, slice, coil, spoke, sample), the trajectory (frame, spoke, sample, 2) in
    the order (y, x).
    """
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
