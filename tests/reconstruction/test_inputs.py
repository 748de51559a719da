"""Accepted scans (a path, a `Scan`, an array with its mask) and refused ones."""

import numpy as np
import pytest
import torch
from refusals import refused

from cmrrecon import formats
from cmrrecon.data import LineMask, MaskSource, SampleMask
from cmrrecon.reconstruction.inputs import as_mask, as_scan

FRAMES, SLICES, COILS, Y, X = SHAPE = (3, 2, 4, 8, 6)


@pytest.fixture
def kspace():
    """K-space (frame, slice, coil, y, x), measured on every second line."""
    numbers = np.random.default_rng(0)
    full = numbers.normal(size=SHAPE) + 1j * numbers.normal(size=SHAPE)
    full[..., 1::2, :] = 0
    return full


LINES = np.arange(Y) % 2 == 0


@pytest.mark.parametrize(
    ("mask", "shape"),
    [
        (LINES, (1, Y, 1)),
        (LINES.astype(int), (1, Y, 1)),
        (LINES.astype(float), (1, Y, 1)),
        (np.tile(LINES, (FRAMES, 1)), (1, Y, 1)),
        (np.tile(LINES[:, None], (FRAMES, 1, 1)), (1, Y, 1)),
        (np.tile(LINES[None, :, None], (1, 1, X)), (1, Y, 1)),
        (torch.from_numpy(LINES), (1, Y, 1)),
    ],
)
def test_masks_of_lines_of_any_shape_and_type(kspace, mask, shape):
    scan = as_scan(kspace, mask)
    assert isinstance(scan.mask, LineMask)
    assert scan.mask.samples.shape == shape
    assert scan.mask.source == MaskSource.GIVEN
    assert torch.equal(scan.mask.over(FRAMES)[1, :, 0], torch.from_numpy(LINES))


def test_a_mask_of_samples(kspace):
    samples = np.random.default_rng(1).random((1, Y, X)) < 0.5
    mask = as_scan(kspace * samples, samples).mask
    assert isinstance(mask, SampleMask)
    assert torch.equal(mask.samples, torch.from_numpy(samples))


@pytest.mark.parametrize("kind", [np.complex64, np.complex128, ">c8"])
def test_arrays_of_any_precision_and_byte_order(kspace, kind):
    scan = as_scan(kspace.astype(kind))
    assert scan.shape == SHAPE
    found = scan.series(1)
    assert found.kspace.dtype == torch.complex64
    np.testing.assert_allclose(found.kspace.numpy(), kspace[:, 1], rtol=1e-6)
    assert found.mask.source == MaskSource.NON_ZERO


def test_arrays_with_strides_and_tensors_are_the_same(kspace):
    turned = np.moveaxis(np.ascontiguousarray(np.moveaxis(kspace, 0, -1)), -1, 0)
    first, second = as_scan(turned), as_scan(torch.from_numpy(kspace))
    assert torch.equal(first.series(0).kspace, second.series(0).kspace)


def test_a_scan_is_returned_unchanged(kspace):
    scan = as_scan(kspace)
    assert as_scan(scan) is scan


def test_a_path_is_read(kspace, tmp_path):
    path = tmp_path / "scan.h5"
    formats.write_scan(path, as_scan(kspace))
    for given in (path, str(path)):
        found = as_scan(given)
        assert found.shape == SHAPE
        assert found.path == str(path)


def test_a_mask_is_returned_unchanged():
    mask = LineMask(torch.from_numpy(LINES)[None, :, None])
    assert as_mask(mask) is mask


@pytest.mark.parametrize(
    ("code", "change"),
    [
        ("kspace-axes", lambda kspace: kspace[0]),
        ("kspace-axes", lambda kspace: kspace[None]),
        ("kspace-real", lambda kspace: kspace.real),
        ("kspace-real", lambda kspace: torch.ones(SHAPE)),
        ("array-type", lambda kspace: kspace.tolist()),
        ("array-type", lambda kspace: kspace.astype(str)),
        ("array-type", lambda kspace: kspace.astype(object)),
        ("array-type", lambda kspace: None),
        ("array-type", lambda kspace: 7),
    ],
)
def test_invalid_kspace_is_refused(kspace, code, change):
    with refused(code):
        as_scan(change(kspace))


@pytest.mark.parametrize(
    ("code", "mask"),
    [
        ("mask-shape", LINES[1:]),
        ("mask-shape", np.tile(LINES, (FRAMES + 1, 1))),
        ("mask-shape", np.ones((1, Y, X - 1), bool) & (np.arange(X - 1) > 1)),
        ("mask-shape", np.ones((1, FRAMES, Y, 1), bool)),
        ("mask-shape", np.array(True)),
        ("mask-values", 2 * LINES.astype(int)),
        ("mask-values", LINES + 0.5),
        ("mask-values", np.where(LINES, np.nan, 0)),
        ("mask-values", LINES.astype(complex)),
        ("array-type", LINES.tolist()),
        ("array-type", "mask.mat"),
    ],
)
def test_invalid_masks_are_refused(kspace, code, mask):
    with refused(code):
        as_scan(kspace, mask)


def test_arguments_for_files_are_refused_with_arrays(kspace):
    with refused("options-conflict"):
        as_scan(kspace, axes="x,y,coil")
    with refused("options-conflict"):
        as_scan(as_scan(kspace), LINES)


def test_a_missing_file_is_refused(tmp_path):
    with refused("file-missing") as error:
        as_scan(tmp_path / "none.mat")
    assert "none.mat" in str(error.value)
