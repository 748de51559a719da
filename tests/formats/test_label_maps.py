"""Label maps: all formats give the same labels, arranged like the images; others are refused."""

import sys
from pathlib import Path

import h5py
import numpy as np
import pytest
import scipy.io
import torch
from PIL import Image
from refusals import refused

from cmrrecon.formats.label_maps import is_label_map, lay_over, read_label_map, scan_of

LABELS = np.random.default_rng(0).integers(0, 4, (3, 5, 7)).astype("uint8")


def store(path):
    """The labels (slice, y, x), in files of MATLAB and NIfTI as (x, y, slice)."""
    if path.suffix == ".npy":
        np.save(path, LABELS)
    elif path.suffix == ".npz":
        np.savez(path, label=LABELS, other=np.zeros(4))
    elif path.name == "v5.mat":
        scipy.io.savemat(path, {"label": LABELS.T})
    else:
        with h5py.File(path, "w") as file:  # h5py shows the axes of a MATLAB file in reverse
            file["anything"] = LABELS.astype("float64")
    return path


@pytest.mark.parametrize("name", ["a.npy", "a.npz", "v5.mat", "v73.mat"])
def test_files_of_arrays_give_slice_y_x(tmp_path, name):
    assert torch.equal(
        read_label_map(store(tmp_path / name)), torch.from_numpy(LABELS.astype("int64"))
    )


@pytest.mark.parametrize("mode", ["L", "P", "I;16"])
def test_pictures_give_rows_and_columns(tmp_path, mode):
    picture = (
        Image.fromarray(LABELS[0].astype("uint16"))
        if mode == "I;16"
        else Image.fromarray(LABELS[0])
    )
    if mode == "P":
        picture.putpalette([9, 9, 9, 200, 0, 0, 0, 200, 0, 0, 0, 200])
    picture.save(tmp_path / "a.png")
    assert torch.equal(
        read_label_map(tmp_path / "a.png"), torch.from_numpy(LABELS[0].astype("int64"))
    )


@pytest.mark.parametrize("name", ["T1map_label.nii.gz", "T1map_label.nii"])
def test_nifti_gives_slice_y_x(tmp_path, name):
    nibabel = pytest.importorskip("nibabel", reason="the extra nifti is not installed")
    nibabel.save(nibabel.Nifti1Image(LABELS.T, np.diag([-2.0, 2, 8, 1])), tmp_path / name)
    assert torch.equal(read_label_map(tmp_path / name), torch.from_numpy(LABELS.astype("int64")))
    (tmp_path / name).write_bytes((tmp_path / name).read_bytes()[:100])
    with refused("file-damaged"):
        read_label_map(tmp_path / name)
    (tmp_path / name).unlink()
    with refused("file-missing"):
        read_label_map(tmp_path / name)


def test_nifti_labels_behind_a_header_slope_are_rounded(tmp_path):
    nibabel = pytest.importorskip("nibabel", reason="the extra nifti is not installed")
    image = nibabel.Nifti1Image(LABELS.T.astype("f8"), np.eye(4))
    image.set_data_dtype(np.int16)
    nibabel.save(image, tmp_path / "a_label.nii.gz")
    stored = np.asarray(nibabel.load(tmp_path / "a_label.nii.gz").dataobj)
    assert not np.array_equal(stored, np.rint(stored))
    labels = read_label_map(tmp_path / "a_label.nii.gz")
    assert torch.equal(labels, torch.from_numpy(LABELS.astype("int64")))


@pytest.mark.parametrize("wrong", [0.01, 0.5, np.nan, np.inf])
def test_nifti_of_other_than_whole_numbers_is_refused(tmp_path, wrong):
    nibabel = pytest.importorskip("nibabel", reason="the extra nifti is not installed")
    values = LABELS.T.astype("f8")
    values[0, 0, 0] += wrong
    nibabel.save(nibabel.Nifti1Image(values, np.eye(4)), tmp_path / "a_label.nii")
    with refused("labels-values"):
        read_label_map(tmp_path / "a_label.nii")


def test_nifti_without_nibabel_says_what_to_install(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "nibabel", None)
    with refused("package-missing") as error:
        read_label_map(tmp_path / "a.nii.gz")
    assert "cmrrecon[nifti]" in error.value.remedy


@pytest.mark.parametrize(
    "values",
    [
        np.array([[0.5, 1]]),
        np.array([[0, -1]]),
        np.array([[0, 70_000]]),
        np.array([[0.0, np.nan]]),
        np.array([[0.0, np.inf]]),
        np.array([0, 1, 2]),
        np.zeros((1, 1, 1, 2, 2), "uint8"),
        np.ones((2, 2), "complex64"),
    ],
    ids=["halves", "negative", "huge", "nan", "infinite", "one axis", "five axes", "complex"],
)
def test_arrays_that_are_not_label_maps_are_refused(tmp_path, values):
    np.save(tmp_path / "a.npy", values)
    with refused("labels-values"):
        read_label_map(tmp_path / "a.npy")


def test_files_that_hold_something_else_are_refused(tmp_path):
    Image.fromarray(np.zeros((4, 4, 3), "uint8")).save(tmp_path / "colours.png")
    with refused("labels-values"):
        read_label_map(tmp_path / "colours.png")
    (tmp_path / "text.npy").write_text("no array")
    with refused("file-format"):
        read_label_map(tmp_path / "text.npy")
    with refused("file-missing"):
        read_label_map(tmp_path / "absent.npy")
    np.savez(tmp_path / "scan.npz", kspace=np.zeros((2, 2), "complex64"))
    with refused("variable-kind"):
        read_label_map(tmp_path / "scan.npz")
    whole = store(tmp_path / "cut.npy").read_bytes()
    (tmp_path / "cut.npy").write_bytes(whole[:-3])
    with refused("file-damaged"):
        read_label_map(tmp_path / "cut.npy")


def test_labels_are_arranged_like_the_reconstructed_slices():
    labels = torch.from_numpy(LABELS.astype("int64"))
    assert torch.equal(lay_over(labels, (4, 3, 5, 7), [0, 1, 2], [0, 1, 2], ""), labels[None])
    assert torch.equal(lay_over(labels, (4, 1, 5, 7), [2], [0, 1, 2], ""), labels[None, 2:])
    assert torch.equal(
        lay_over(labels[1:], (4, 2, 5, 7), [1, 2], [0, 1, 2, 3], ""), labels[None, 1:]
    )
    assert torch.equal(
        lay_over(labels[0], (4, 3, 5, 7), [0, 1, 2], [0, 1, 2], ""), labels[:1].expand(1, 3, 5, 7)
    )
    assert torch.equal(lay_over(labels[None], (4, 1, 5, 7), [1], [0, 1, 2], ""), labels[None, 1:2])


def test_labels_may_change_from_frame_to_frame():
    labels = torch.from_numpy(LABELS.astype("int64"))
    over_time = lay_over(labels, (3, 1, 5, 7), [4], [4], "")
    assert torch.equal(over_time, labels[:, None])
    assert torch.equal(lay_over(labels[:, None], (3, 1, 5, 7), [4], [4], ""), labels[:, None])
    # If the scan has as many slices as frames, the axis counts slices.
    assert torch.equal(lay_over(labels, (3, 1, 5, 7), [1], [0, 1, 2], ""), labels[None, 1:2])


@pytest.mark.parametrize(
    ("shape", "word"),
    [
        ((3, 7, 5), "transposed"),
        ((3, 6, 7), "matrix"),
        ((2, 5, 7), "slices"),
        ((2, 3, 5, 7), "frames"),
    ],
)
def test_labels_of_another_shape_are_refused(shape, word):
    with refused("shape-mismatch") as error:
        lay_over(torch.ones(shape, dtype=torch.int64), (4, 3, 5, 7), [0, 1, 2], range(6), "a.npy")
    assert all(text in str(error.value) for text in (str(shape), "(4, 3, 5, 7)", word))


def test_labels_without_any_in_the_slices_are_refused():
    labels = torch.zeros((3, 5, 7), dtype=torch.int64)
    labels[0] = 1
    with refused("labels-empty"):
        lay_over(labels, (4, 1, 5, 7), [2], [0, 1, 2], "a.npy")


def test_the_name_of_a_label_map_identifies_its_scan(tmp_path):
    path = tmp_path / "SingleCoil/Mapping/TrainingSet/SegmentROI/P003/T1map_label.nii.gz"
    facts = scan_of(path)
    assert (facts.base, facts.subject, facts.split, facts.coil) == (
        "T1map",
        "P003",
        "TrainingSet",
        None,
    )
    assert not is_label_map(path)
    path.parent.mkdir(parents=True)
    path.touch()
    assert is_label_map(path)
    for other in ("T1map.nii.gz", "T1map_forlabel.nii.gz", "T1map_label.csv"):
        path.with_name(other).touch()
        assert not is_label_map(path.with_name(other))
    assert scan_of(Path("mine.npy")).base == "mine"
