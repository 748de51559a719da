"""fastMRI files in the published layout: (slice, coil, readout, phase encode), zero-padded."""

import h5py
import numpy as np
import pytest
import torch
from ismrmrd_files import cnormal
from ismrmrd_files import header as xml
from refusals import refused

from cmrrecon import formats
from cmrrecon.data import MaskSource

SLICES, COILS, Y, X = 3, 2, 10, 16
# Lines 0 to 6 of the encoding, line 3 at the centre of k-space: 2 to 8 of the ten.
FIRST, LAST = 2, 8
LIMITS = "<minimum>0</minimum><maximum>6</maximum>"
FIELDS = (320, 200, 160, 160)  # mm: encoded x and y, reconstructed x and y
KSPACE = cnormal(SLICES, COILS, Y, X)
KSPACE[:, :, :FIRST] = KSPACE[:, :, LAST + 1 :] = 0


def header(y=Y, x=X, centre=3, limits=LIMITS):
    return xml(y, x, centre, fields=FIELDS).replace("<minimum>0</minimum>", limits)


def write(path, kspace=KSPACE, document=None, mask=None, **attributes):
    """A file; `kspace` (slice, [coil,] y, x) is stored as (slice, [coil,] x, y)."""
    with h5py.File(path, "w") as file:
        file["kspace"] = np.swapaxes(kspace, -1, -2)
        file["reconstruction_rss"] = np.ones((SLICES, 8, 8), "f4")
        if document != "none":
            file["ismrmrd_header"] = document or header()
        if mask is not None:
            file["mask"] = mask
        file.attrs.update({"acquisition": "AXT2", "max": 1.0, **attributes})
    return path


def loaded(scan):
    return torch.stack([scan.series(z).kspace for z in range(scan.shape[1])], 1).numpy()


def measured(scan):
    return scan.mask.samples[0].flatten().nonzero().flatten().tolist()


def test_the_readout_becomes_x_and_padding_is_not_measured(tmp_path):
    path = write(tmp_path / "file_brain_AXT2_1.h5")
    assert formats.kind(path) == "scan"
    scan = formats.read(path)
    assert scan.shape == (1, SLICES, COILS, Y, X)
    np.testing.assert_array_equal(loaded(scan)[0], KSPACE)
    assert measured(scan) == list(range(FIRST, LAST + 1))
    assert scan.mask.source is MaskSource.HEADER
    assert scan.notes == ()


def test_lines_inside_the_limits_count_as_measured_even_if_one_is_zero(tmp_path):
    kspace = KSPACE.copy()
    kspace[:, :, LAST] = 0
    scan = formats.read(write(tmp_path / "a.h5", kspace))
    assert measured(scan) == list(range(FIRST, LAST + 1))


def test_a_single_coil_has_no_axis(tmp_path):
    scan = formats.read(write(tmp_path / "a.h5", KSPACE[:, 0]))
    assert scan.shape == (1, SLICES, 1, Y, X)
    np.testing.assert_array_equal(loaded(scan)[0, :, 0], KSPACE[:, 0])


@pytest.mark.parametrize("kind", [bool, "f4", "u1"])
def test_the_mask_of_test_files_without_the_padding(tmp_path, kind):
    mask = np.zeros(Y, kind)
    mask[[0, 2, 4, 5, 8, 9]] = 1
    path = write(
        tmp_path / "a.h5", KSPACE * mask[:, None], mask=mask, acceleration=4, num_low_frequency=2
    )
    scan = formats.read(path)
    assert measured(scan) == [2, 4, 5, 8]
    assert scan.mask.source is MaskSource.FILE
    assert (scan.acquisition.acceleration, scan.acquisition.acs) == (4, 2)
    np.testing.assert_array_equal(loaded(scan)[0], KSPACE * mask.astype("f4")[:, None])


@pytest.mark.parametrize("document", [header(limits=""), header(y=Y + 4)])
def test_without_limits_that_fit_the_padding_is_what_is_zero(tmp_path, document):
    assert measured(formats.read(write(tmp_path / "a.h5", document=document))) == list(
        range(FIRST, LAST + 1)
    )


def test_limits_that_contradict_the_data_are_ignored_with_a_note(tmp_path):
    scan = formats.read(write(tmp_path / "a.h5", document=header(centre=4)))
    assert measured(scan) == list(range(FIRST, LAST + 1))
    assert len(scan.notes) == 1


def test_headers_of_fixed_length(tmp_path):
    path = write(tmp_path / "a.h5", document=np.bytes_(header().encode()))
    assert measured(formats.read(path)) == list(range(FIRST, LAST + 1))


def linked(path):
    write(path, document="none")
    with h5py.File(path, "a") as file:
        file["ismrmrd_header"] = h5py.ExternalLink("other.h5", "x")


def empty_header(path):
    write(path, document="none")
    with h5py.File(path, "a") as file:
        file.create_dataset("ismrmrd_header", (), h5py.string_dtype())


def cut(path):
    write(path)
    path.write_bytes(path.read_bytes()[:3000])


@pytest.mark.parametrize(
    ("make", "code"),
    [
        (lambda path: write(path, document="none"), "header-missing"),
        (empty_header, "file-damaged"),
        (linked, "storage-foreign"),
        (cut, "file-damaged"),
        (lambda path: write(path, document="<a"), "header-damaged"),
        (lambda path: write(path, mask=np.ones(Y - 1)), "mask-shape"),
        (lambda path: write(path, mask=np.ones((Y, 1))), "mask-shape"),
        (lambda path: write(path, mask=np.full(Y, 0.5)), "mask-values"),
        (lambda path: write(path, mask=np.zeros(Y)), "mask-values"),
        (lambda path: write(path, np.abs(KSPACE)), "kspace-axes"),
        (lambda path: write(path, KSPACE[None]), "kspace-axes"),
        (lambda path: write(path, document=header(y=X, x=Y)), "shape-mismatch"),
    ],
)
def test_files_that_cannot_be_read(tmp_path, make, code):
    make(tmp_path / "a.h5")
    with refused(code):
        formats.read(tmp_path / "a.h5")


def test_neither_axes_nor_a_data_set_can_be_named(tmp_path):
    path = write(tmp_path / "a.h5")
    with refused("axes-fixed"):
        formats.read(path, axes="slice,coil,y,x")
    with refused("dataset-fixed"):
        formats.read(path, dataset="other")
