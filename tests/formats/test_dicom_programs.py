"""DICOM and NIfTI files as other programs see them: dcm2niix, dciodvfy and dcmtk.

Tests of a program that is not installed are skipped.
"""

import shutil
import subprocess
from dataclasses import replace

import numpy as np
import pytest
import torch
from placed_images import X, Y, geometry, result_of, turned

from cmrrecon.formats import Export

pydicom = pytest.importorskip("pydicom", reason="the extra dicom is not installed")
nibabel = pytest.importorskip("nibabel", reason="the extra nifti is not installed")


def program(name):
    """Return the path of a program; skip the test where it is absent."""
    path = shutil.which(name)
    if path is None:
        pytest.skip(f"{name} is not installed")
    return path


def called(*words):
    """Run a program; return what it printed."""
    done = subprocess.run([str(word) for word in words], capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout + done.stderr


def converted(path, folder):
    """The one NIfTI file that dcm2niix makes of a DICOM file or folder."""
    (folder / "made").mkdir(parents=True)
    (folder / "from").mkdir()
    (shutil.copytree if path.is_dir() else shutil.copy)(path, folder / "from" / path.name)
    called(program("dcm2niix"), "-z", "n", "-f", "made", "-o", folder / "made", folder / "from")
    (made,) = (folder / "made").glob("*.nii")
    return nibabel.load(made)


def canonical(image):
    """Values and affine with the axes to the right, front and head."""
    turned_image = nibabel.as_closest_canonical(image)
    return np.asarray(turned_image.dataobj, float), turned_image.affine


def cases():
    """Results with every kind of geometry, by name."""
    axes = turned()
    left = axes * [1, 1, -1]
    made = {
        "slices and frames": geometry(2, 3, axes),
        "left-handed": geometry(2, 3, left),
        "interleaved": geometry(2, 4, axes, (0, 2, 1, 3)),
        "along the scanner": geometry(2, 3, np.eye(3)),
        "from the left": geometry(1, 3, [[0, 0, 1.0], [1, 0, 0], [0, 1, 0]]),
        "one frame": geometry(1, 3, axes),
        "one slice": geometry(3, 1, axes),
        "one image": geometry(1, 1, axes),
    }
    return {name: result_of(known) for name, known in made.items()}


@pytest.mark.parametrize("enhanced", [False, True], ids=["classic", "enhanced"])
@pytest.mark.parametrize("name", cases())
def test_dcm2niix_makes_of_our_dicom_what_our_nifti_says(name, enhanced, tmp_path):
    result = cases()[name]
    (ours,) = result.save(tmp_path / "a.nii.gz")
    (path,) = result.save(tmp_path / "a.dcm", enhanced=enhanced)
    theirs = converted(path, tmp_path)
    values, affine = canonical(nibabel.load(ours))

    if enhanced and name == "one slice":
        # dcm2niix 1.0.20220720 of Debian 12 takes the frames of a single slice in one file for
        # slices; 1.0.20260724 does not.
        assert theirs.shape == (X, Y, 3)
        found = np.asarray(theirs.dataobj)[:, ::-1, None, :]
        values = np.asarray(nibabel.load(ours).dataobj)
    else:
        found, place = canonical(theirs)
        assert np.allclose(place, affine, atol=2e-3)
    assert found.shape == values.shape
    # Rounding, and the slope in single precision.
    assert np.abs(found - values).max() <= 0.51 * values.max() / 65535


def test_dcm2niix_knows_the_phase(tmp_path):
    images = [torch.randn(2, Y, X, dtype=torch.complex64) for _ in range(3)]
    result = result_of(geometry(2, 3, turned()), images)
    _, phase = result.save(tmp_path / "a.dcm", also="phase")
    _, ours = result.save(tmp_path / "a.nii", also="phase")
    theirs = converted(phase, tmp_path)
    assert theirs.get_filename().endswith("_ph.nii")
    difference = np.abs(canonical(theirs)[0] - canonical(nibabel.load(ours))[0])
    assert difference.max() <= 0.51 * 2 * np.pi / 65535


@pytest.mark.parametrize("enhanced", [False, True], ids=["classic", "enhanced"])
@pytest.mark.parametrize("known", ["all", "nothing", "phase and patient"])
def test_dciodvfy_finds_no_error(enhanced, known, tmp_path):
    images = [torch.randn(2, Y, X, dtype=torch.complex64) for _ in range(3)]
    result = result_of(geometry(2, 3, turned()), images)
    options = {}
    if known == "nothing":
        result = replace(result, geometry=None, provenance={"config": {}})
    if known == "phase and patient":
        options = {"also": "phase", "patient_id": "P001"}
    written = result.write(tmp_path / "a.dcm", Export(enhanced=enhanced, **options))

    for path in written:
        for file in [path] if enhanced else sorted(path.iterdir())[:4:3]:
            done = subprocess.run([program("dciodvfy"), file], capture_output=True, text=True)
            lines = (done.stdout + done.stderr).splitlines()
            assert lines
            assert not [line for line in lines if line.startswith("Error")]


@pytest.mark.parametrize("enhanced", [False, True], ids=["classic", "enhanced"])
def test_dcmtk_reads_every_element(enhanced, tmp_path):
    (path,) = result_of(geometry(2, 2, turned())).save(tmp_path / "a.dcm", enhanced=enhanced)
    file = path if enhanced else sorted(path.iterdir())[1]
    printed = called(program("dcmdump"), "-q", file)
    assert "Warning" not in printed
    assert f"[{pydicom.dcmread(file).SOPInstanceUID}]" in printed
    assert "CMRRECON" in printed
