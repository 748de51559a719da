import numpy as np
import pytest
import torch
from refusals import refused

from cmrrecon.formats.arrays import (
    AXES,
    SliceReader,
    StoredArray,
    default_axes,
    named_axes,
    single_precision,
)


def stored(shape, name="kus", **more):
    array = (np.arange(np.prod(shape)) * (1 - 2j)).astype(np.complex64).reshape(shape)
    return StoredArray(
        name, shape, True, lambda selection: single_precision(array[selection]), **more
    ), array


@pytest.mark.parametrize(
    "order",
    [
        "frame,slice,coil,y,x",
        "x,y,coil,slice,frame",
        "coil,x,frame,y,slice",
        "y,frame,x,slice,coil",
    ],
)
@pytest.mark.parametrize("chunks", [None, 1, 2, 4])
def test_slices_have_our_order_for_any_stored_order(order, chunks):
    length = {"frame": 4, "slice": 3, "coil": 2, "y": 6, "x": 5}
    names = tuple(order.split(","))
    array, values = stored(
        tuple(length[name] for name in names), chunks=None if chunks is None else (chunks,) * 5
    )
    reader = SliceReader(array, names)
    assert reader.shape == (4, 3, 2, 6, 5)
    expected = values.transpose([names.index(axis) for axis in AXES])
    for index in range(3):
        assert torch.equal(reader(index), torch.from_numpy(expected[:, index].copy()))


def test_missing_axes_have_length_1():
    array, values = stored((6, 5))
    reader = SliceReader(array, ("x", "y"))
    assert reader.shape == (1, 1, 1, 5, 6)
    assert torch.equal(reader(0)[0, 0], torch.from_numpy(values.T.copy()))


def test_a_slice_is_read_frame_by_frame_or_chunk_by_chunk():
    for chunks, expected in [
        (None, 4),
        ((1, 1, 1, 6, 5), 4),
        ((3, 1, 1, 6, 5), 2),
        ((4, 3, 2, 6, 5), 1),
    ]:
        array, _ = stored((4, 3, 2, 6, 5), chunks=chunks)
        seen = []
        counted = StoredArray(
            array.name,
            array.shape,
            True,
            lambda s, read=array.read, seen=seen: (seen.append(s), read(s))[1],
            chunks,
        )
        SliceReader(counted, AXES)(2)
        assert len(seen) == expected
        assert all(selection[1] == 2 for selection in seen)


@pytest.mark.parametrize(
    ("shape", "name", "base", "axes", "notes"),
    [
        ((4, 3, 2, 6, 5), "kus", "cine_sax", AXES, 0),
        ((3, 2, 6, 5), "kus", "blackblood", ("slice", "coil", "y", "x"), 0),
        ((3, 2, 6, 5), "kspace", "T1w", ("slice", "coil", "y", "x"), 0),
        ((4, 3, 6, 5), "kspace_single_full", "cine_sax", ("frame", "slice", "y", "x"), 0),
        ((3, 6, 5), "kspace_single_sub04", "cine_sax", ("slice", "y", "x"), 1),
        ((3, 2, 6, 5), "kus", "T1map", ("slice", "coil", "y", "x"), 1),
        ((2, 6, 5), "kus", "T1w", ("coil", "y", "x"), 1),
        ((6, 5), "kspace_full", "cine_sax", ("y", "x"), 1),
        ((4, 3, 2, 6, 5), "kus", "T1w", AXES, 0),
        ((9, 3, 2, 6, 5), "kus", "cine_sax", AXES, 1),
    ],
)
def test_default_axes_by_base_and_variable(shape, name, base, axes, notes):
    found, found_notes = default_axes(stored(shape, name)[0], base, "a.mat")
    assert found == axes
    assert len(found_notes) == notes


def test_more_coils_than_lines_is_refused_with_the_remedy():
    with refused("kspace-axes") as error:
        default_axes(stored((44, 16, 10))[0], "cine_sax", "a.mat")
    assert "--axes" in error.value.remedy


@pytest.mark.parametrize("shape", [(5,), (1, 2, 2, 3, 6, 5)])
def test_wrong_number_of_axes_is_refused(shape):
    with refused("kspace-axes"):
        default_axes(stored(shape)[0], "cine_sax", "a.mat")


def test_named_axes_have_the_order_that_users_see():
    assert named_axes(" x, y ,coil", stored((5, 6, 2))[0], "a.mat") == ("x", "y", "coil")
    assert named_axes("x,y,coil", stored((2, 6, 5), reversed_view=True)[0], "a.mat") == (
        "coil",
        "y",
        "x",
    )


@pytest.mark.parametrize("text", ["", "x,y", "x,y,coil,frame", "x,y,y", "x,y,time", "frame,coil,x"])
def test_invalid_axes_are_refused(text):
    with refused("axes-unknown"):
        named_axes(text, stored((5, 6, 2))[0], "a.mat")


def test_single_precision_of_every_stored_kind():
    values = np.array([1 - 2j, 3e300 + 0j])
    compound = np.zeros(2, [("imag", ">f8"), ("real", ">f8")])
    compound["real"], compound["imag"] = values.real, values.imag
    for given in (values, values.astype(">c16"), compound):
        result = single_precision(given)
        assert result.dtype == np.complex64
        assert result[0] == 1 - 2j
        assert np.isinf(result[1])
    assert single_precision(np.arange(3, dtype=">i2")).dtype == np.int16
