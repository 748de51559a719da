"""A small file of every format that is read, with everything that the format can store.

Each function writes a file into a folder and returns its path. `tests/formats/test_catalog.py`
asserts that reading it gives exactly what the format's row in the catalogue states. Formats whose
package is not installed are skipped (`pytest.importorskip`).
"""

from dataclasses import replace

import h5py
import ismrmrd_files
import numpy as np
import pytest
import scipy.io
import torch
import twix_files

from cmrrecon import formats
from cmrrecon.data import Geometry, LineMask, Noise, Scan

FRAMES, SLICES, COILS, Y, X = 2, 2, 3, 16, 12
GEOMETRY = Geometry(
    voxel_mm=(1.5, 2.0, 8.0),
    positions_mm=((0.0, 5.0, 0.0), (0.0, 5.0, 8.0)),
    directions=(((0.0, 1.0, 0.0), (1.0, 0.0, 0.0), (0.0, 0.0, -1.0)),) * SLICES,
    frame_times_ms=(0.0, 40.0),
)
KSPACE = torch.from_numpy(ismrmrd_files.cnormal(FRAMES, SLICES, COILS, Y, X))


def scan():
    """A scan with noise, separate calibration and a geometry."""
    made = Scan.from_kspace(KSPACE, LineMask(torch.ones(1, Y, 1, dtype=torch.bool)))
    noise = Noise(torch.eye(COILS, dtype=torch.complex64), 64)
    separate = KSPACE[0, :, :, 4:12]
    return replace(made, noise=noise, calibration=separate.__getitem__, geometry=GEOMETRY)


def written(name):
    """Return a function that writes a file with our own writer for the suffix of the name."""

    def make(folder):
        formats.write_scan(folder / name, scan())
        return folder / name

    return make


def matlab5(folder):
    """MATLAB shows the axes in reverse."""
    scipy.io.savemat(folder / "cine_sax.mat", {"kspace_full": KSPACE.numpy().transpose()})
    return folder / "cine_sax.mat"


def ismrmrd(folder):
    """Noise readouts, separate calibration lines, and slices that are 10 mm apart."""
    noise = ismrmrd_files.cnormal(COILS, 64, seed=3)
    rows = [ismrmrd_files.readout(noise, flags=ismrmrd_files.NOISE)]
    for slice_ in range(SLICES):
        for line in range(Y):
            at = {"kspace_encode_step_1": line, "slice": slice_}
            lines = KSPACE[:, slice_, :, line].numpy()
            if 4 <= line < 12:
                flags = ismrmrd_files.CALIBRATION
                rows.append(ismrmrd_files.readout(lines[0], flags=flags, **at))
            rows += [
                ismrmrd_files.readout(samples, phase=frame, **at)
                for frame, samples in enumerate(lines)
            ]
    for row in rows:
        head = row["head"]
        head["read_dir"], head["phase_dir"], head["slice_dir"] = np.eye(3)
        head["position"] = (0, 0, 10 * head["idx"]["slice"])
    xml = ismrmrd_files.header(Y, X, Y // 2).replace(
        "</encodingLimits>",
        "</encodingLimits><parallelImaging><accelerationFactor><kspace_encoding_step_1>2"
        "</kspace_encoding_step_1><kspace_encoding_step_2>1</kspace_encoding_step_2>"
        "</accelerationFactor><calibrationMode>separate</calibrationMode></parallelImaging>",
    )
    return ismrmrd_files.write(folder / "raw.h5", rows, xml)


def twix(folder):
    """Two measurements: noise, then lines with separate reference lines."""
    pytest.importorskip("turbotwix")
    noise = ismrmrd_files.cnormal(COILS, 64, seed=3)
    first = twix_files.measurement([twix_files.row(noise, twix_files.NOISE)])
    samples = ismrmrd_files.cnormal(8, COILS, X)
    rows = [twix_files.row(samples[line], Lin=line) for line in range(8)]
    rows += [twix_files.row(samples[line], twix_files.REFERENCE, Lin=line) for line in range(2, 6)]
    return twix_files.write(folder / "meas.dat", first, twix_files.measurement(rows))


def fastmri(folder):
    """(slice, coil, readout, phase encode)."""
    sides = "<minimum>0</minimum><maximum>15</maximum>"
    xml = ismrmrd_files.header(Y, X, Y // 2).replace("<minimum>0</minimum>", sides)
    with h5py.File(folder / "file1.h5", "w") as file:
        file["kspace"] = KSPACE[0].numpy().swapaxes(-1, -2)
        file["ismrmrd_header"] = xml
        file.attrs.update({"acquisition": "AXT2", "max": 1.0})
    return folder / "file1.h5"


def flow4d(folder):
    """Two velocity encodings of one time, with the table beside them."""
    with h5py.File(folder / "kdata_full.mat", "w") as file:
        file["kdata_full"] = KSPACE.numpy()[:, None]  # (velocity, time, coil, SPE, PE, FE)
    table = "resolution,spatial_order,VENC\n8;2;1.5,FE;PE;SPE,150\n"
    (folder / "params.csv").write_text(table)
    return folder / "kdata_full.mat"


SAMPLES = {
    "ISMRMRD": ismrmrd,
    "Siemens twix": twix,
    "fastMRI": fastmri,
    "CMRxRecon .mat (v7.3)": written("cine_sax.mat"),
    "MATLAB 5 .mat": matlab5,
    "cmrrecon .h5": written("scan.h5"),
    "NumPy .npz": written("scan.npz"),
    "NumPy .npy": written("scan.npy"),
    "BART .cfl": written("scan.cfl"),
    "4-D flow": flow4d,
}
