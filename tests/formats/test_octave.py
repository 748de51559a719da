"""Octave loads the complex numbers of our `.h5`; files with h5py's own fields can still be read."""

import shutil
import subprocess

import h5py
import numpy as np
import pytest
import torch

from cmrrecon import formats

OCTAVE = shutil.which("octave")
needs_octave = pytest.mark.skipif(OCTAVE is None, reason="octave is not installed")


def loaded(folder, text):
    """What Octave prints, as complex numbers."""
    done = subprocess.run(
        [OCTAVE, "--no-gui", "--norc", "--quiet", "--eval", text],
        cwd=folder,
        check=True,
        capture_output=True,
        text=True,
    )
    return [complex(*map(float, line.split())) for line in done.stdout.split("\n") if line]


@needs_octave
def test_octave_loads_our_h5(tmp_path, scan, images):
    formats.write_scan(tmp_path / "a.h5", scan, {"config": {}}, images=images)
    found = loaded(
        tmp_path,
        # Octave counts from one and shows the axes in reverse.
        'f = load("a.h5"); k = f.kspace(6, 5, 3, 2, 1); p = f.image(4, 3, 2, 3);'
        ' printf("%.9g %.9g\\n", real(k), imag(k), real(p), imag(p), size(f.kspace)(1:2))',
    )
    expected = [scan.read_slice(1)[0, 2, 4, 5], images[1, 2, 2, 3], 12 + 10j]
    np.testing.assert_allclose(found, np.array(expected), rtol=1e-6)
    assert abs(found[0]) > 0


def test_files_with_the_fields_of_h5py_are_read(tmp_path, scan, images):
    with h5py.File(tmp_path / "old.h5", "w", libver=("v110", "v110")) as file:
        file.attrs["cmrrecon_format"] = 1
        stored = torch.stack([scan.read_slice(i) for i in range(2)], 1).numpy()
        chunks = (1, 1, *stored.shape[2:])
        file.create_dataset("kspace", data=stored, chunks=chunks, fletcher32=True)
        file.create_dataset("image", data=images.transpose(0, 1).numpy())
    with h5py.File(tmp_path / "old.h5") as file:
        assert file["kspace"].id.get_type().get_member_name(0) == b"r"
    back = formats.read(tmp_path / "old.h5")
    assert torch.equal(back.read_slice(1), scan.read_slice(1))
    assert torch.equal(formats.read_images(tmp_path / "old.h5"), images.transpose(0, 1))


def test_fields_are_real_and_imag(tmp_path, scan, images):
    formats.write_scan(tmp_path / "a.h5", scan, images=images)
    with h5py.File(tmp_path / "a.h5") as file:
        assert all(file[name].dtype.names == ("real", "imag") for name in ("kspace", "image"))
    assert torch.equal(formats.read(tmp_path / "a.h5").read_slice(1), scan.read_slice(1))
    assert torch.equal(formats.read_images(tmp_path / "a.h5"), images.transpose(0, 1))
