"""NIfTI files of images, read back with nibabel."""

import gzip

import numpy as np
import pytest
import torch
from placed_images import Y, geometry, result_of, standard, turned, value_at
from refusals import refused

from cmrrecon import formats
from cmrrecon.reconstruction.result import Result

nibabel = pytest.importorskip("nibabel", reason="the extra nifti is not installed")


def places(affine, shape):
    """The place of every voxel in LPS mm."""
    indices = np.stack(np.meshgrid(*map(np.arange, shape), indexing="ij"), -1)
    return (indices @ affine[:3, :3].T + affine[:3, 3]) * [-1, -1, 1]


@pytest.mark.parametrize("mirrored", [False, True])
@pytest.mark.parametrize("suffix", [".nii", ".nii.gz"])
def test_every_voxel_is_at_its_place_in_the_patient(mirrored, suffix, tmp_path):
    axes = turned() * [1, 1, -1] if mirrored else turned()
    result_of(geometry(2, 3, axes)).save(tmp_path / f"a{suffix}")
    image = nibabel.load(tmp_path / f"a{suffix}")
    assert image.shape == (10, 12, 3, 2)
    for frame in range(2):
        expected = value_at(places(image.affine, image.shape[:3]), frame)
        assert np.allclose(image.get_fdata()[..., frame], expected, atol=1e-9)


def test_the_header_states_sizes_times_and_coordinates(tmp_path):
    standard().save(tmp_path / "a.nii.gz")
    header = nibabel.load(tmp_path / "a.nii.gz").header
    assert header.get_xyzt_units() == ("mm", "sec")
    assert header["pixdim"][1:5] == pytest.approx([2.0, 1.5, 8.0, 0.04])
    assert (header["sform_code"], header["qform_code"]) == (1, 1)
    assert np.allclose(header.get_qform(), header.get_sform(), atol=1e-4)
    assert b"not for diagnosis" in header["descrip"].item()


def test_unknown_times_and_places_are_marked(tmp_path):
    made = Result([torch.rand(2, 8, 6)] * 2, (0, 1), provenance=standard().provenance)
    formats.write_images(tmp_path / "a.nii", made.slices)
    header = nibabel.load(tmp_path / "a.nii").header
    assert header.get_xyzt_units() == ("mm", "unknown")
    assert header["pixdim"][1:5] == pytest.approx([1, 1, 1, 0])
    assert (header["sform_code"], header["qform_code"]) == (2, 2)


def test_a_single_frame_has_no_time_axis(tmp_path):
    standard(frames=1).save(tmp_path / "a.nii")
    assert nibabel.load(tmp_path / "a.nii").shape == (10, 12, 3)


def test_a_sheared_stack_has_no_quaternion(tmp_path):
    known = geometry(1, 3, np.eye(3))
    shifted = tuple((x + 2 * z / 8, y, z) for x, y, z in known.positions_mm)
    sheared = result_of(type(known)(known.voxel_mm, shifted, known.directions, (0.0,)))
    sheared.save(tmp_path / "a.nii")
    header = nibabel.load(tmp_path / "a.nii").header
    assert (header["sform_code"], header["qform_code"]) == (1, 0)
    assert header.get_sform()[:3, 2] == pytest.approx([-2, 0, 8])


@pytest.mark.parametrize("also", ["phase", "complex"])
def test_phase_or_complex_images_are_beside_the_magnitude(also, tmp_path):
    known = geometry(2, 3, turned())
    images = [torch.randn(2, Y, 10, dtype=torch.complex64) for _ in range(3)]
    images[0][0, 0, 0] = 0
    main, beside = result_of(known, images).save(tmp_path / "a.nii.gz", also=also)
    assert beside == tmp_path / f"a_{also}.nii.gz"
    stack = torch.stack(images, 1).numpy().transpose()
    assert np.allclose(nibabel.load(main).dataobj, np.abs(stack))
    expected = np.angle(stack) if also == "phase" else stack
    assert np.allclose(nibabel.load(beside).dataobj, expected)
    assert formats.read_provenance(main)["export"] == {"also": also}


def test_real_images_have_no_phase(tmp_path):
    with refused("phase-missing"):
        standard().save(tmp_path / "a.nii", also="phase")
    assert not list(tmp_path.iterdir())


def test_slices_that_are_no_stack_are_refused(tmp_path):
    with refused("slices-not-stacked"):
        result_of(geometry(1, 3, turned(), (0, 1, 3))).save(tmp_path / "a.nii")
    assert not list(tmp_path.iterdir())


def test_an_assumed_voxel_size_is_a_warning(tmp_path):
    made = result_of(None, [torch.rand(2, 8, 6)])
    with pytest.warns(UserWarning, match="voxel size|orientation") as noted:
        made.save(tmp_path / "a.nii")
    assert len(noted) == 2
    with pytest.warns(UserWarning, match="orientation"):
        made.save(tmp_path / "b.nii", voxel_mm=(1.5, 2.0, 8.0))
    assert nibabel.load(tmp_path / "b.nii").header["pixdim"][1:4] == pytest.approx([2, 1.5, 8])


def test_provenance_and_geometry_are_read_back(tmp_path):
    made = standard()
    made.save(tmp_path / "a.nii.gz")
    assert formats.read_provenance(tmp_path / "a.nii.gz") == made.provenance
    assert formats.read_geometry(tmp_path / "a.nii.gz") == made.geometry


def test_a_file_of_another_program_has_no_provenance(tmp_path):
    nibabel.save(nibabel.Nifti1Image(np.zeros((3, 3, 3), np.int16), np.eye(4)), tmp_path / "a.nii")
    assert formats.read_provenance(tmp_path / "a.nii") is None


def test_damaged_files_are_refused(tmp_path):
    standard().save(tmp_path / "a.nii.gz")
    whole = gzip.decompress((tmp_path / "a.nii.gz").read_bytes())
    # The number of a type that does not exist, and a header extension that is cut off.
    for number, content in enumerate((whole[:70] + b"\xff\xff" + whole[72:], whole[:400])):
        path = tmp_path / f"damaged{number}.nii"
        path.write_bytes(content)
        with refused("file-damaged"):
            formats.read_provenance(path)
    (tmp_path / "cut.nii.gz").write_bytes((tmp_path / "a.nii.gz").read_bytes()[:400])
    with refused("file-damaged"):
        formats.read_provenance(tmp_path / "cut.nii.gz")
