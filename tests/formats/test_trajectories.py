"""Non-Cartesian k-space in our own .h5 and in .npz."""

import random

import h5py
import numpy as np
import pytest
import torch
from refusals import refused

from cmrrecon import formats
from cmrrecon.data import Acquisition, CartesianMask, Scan, SpokeMask, Trajectory, units
from cmrrecon.tools.errors import InputError


@pytest.fixture
def radial():
    """A radial scan with more coils than spokes and one spoke that was not measured.

    A spoke has fewer samples than there are coils and spokes together.
    """
    generator = torch.Generator().manual_seed(1)
    kspace = torch.randn(3, 2, 6, 4, 20, dtype=torch.complex64, generator=generator)
    mask = torch.ones((3, 4, 1), dtype=torch.bool)
    mask[1, 2] = False
    trajectory = (torch.rand(3, 4, 20, 2, generator=generator) - 0.5) * torch.tensor([16.0, 12.0])
    spokes = SpokeMask(mask, trajectory=Trajectory(trajectory, (16, 12)))
    return Scan.from_kspace(
        kspace * mask[:, None, None], spokes, Acquisition("cine_sax", pattern="radial")
    )


def plain(path, radial, **changes):
    """Write a file as another program would; a value of None leaves the array out."""
    kspace = torch.stack([radial.read_slice(z) for z in range(2)], 1).numpy()
    arrays = {
        "kspace": kspace,
        "trajectory": radial.mask.trajectory.positions.numpy(),
        "matrix": np.array([16, 12]),
    } | changes
    arrays = {name: values for name, values in arrays.items() if values is not None}
    if path.suffix == ".npz":
        np.savez(path, **arrays)
        return path
    with h5py.File(path, "w") as file:
        for name, values in arrays.items():
            if name == "matrix":
                file.attrs[name] = values
            else:
                file[name] = values
    return path


@pytest.mark.parametrize("name", ["radial.h5", "radial.npz"])
def test_a_radial_scan_round_trips(tmp_path, radial, stamp, name):
    formats.write_scan(tmp_path / name, radial, stamp)
    assert formats.kind(tmp_path / name) == "scan"
    found = formats.read(tmp_path / name)
    assert found.shape == (3, 2, 6, 4, 20)
    assert found.matrix == (16, 12)
    assert found.notes == ()
    assert found.acquisition.pattern == "radial"
    assert torch.equal(found.mask.trajectory.positions, radial.mask.trajectory.positions)
    assert torch.equal(found.mask.samples, radial.mask.samples)
    for index in (0, 1):
        series = found.series(index)
        assert torch.equal(series.kspace, radial.series(index).kspace)
        assert series.image_shape == (16, 12)
    assert formats.read_provenance(tmp_path / name)["config"]["name"] == "Zoë"


@pytest.mark.parametrize("name", ["scan.h5", "scan.npz"])
def test_cartesian_scans_have_no_trajectory(tmp_path, scan, name):
    formats.write_scan(tmp_path / name, scan)
    found = formats.read(tmp_path / name)
    assert isinstance(found.mask, CartesianMask)
    assert found.matrix is None


@pytest.mark.parametrize("name", ["radial.mat", "radial.npy"])
def test_formats_without_trajectories_are_refused(tmp_path, radial, name):
    with refused("output-format") as error:
        formats.write_scan(tmp_path / name, radial)
    assert ".h5, .npz" in error.value.expected
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("name", ["radial.h5", "radial.npz"])
def test_files_of_other_programs_need_neither_mask_nor_all_axes(tmp_path, radial, name):
    first = radial.read_slice(0)[0].numpy()
    found = formats.read(
        plain(
            tmp_path / name,
            radial,
            kspace=first,
            trajectory=radial.mask.trajectory.positions[0].double().numpy(),
        )
    )
    assert found.shape == (1, 1, 6, 4, 20)
    assert found.mask.samples.all()
    assert found.mask.samples.shape == (1, 4, 1)
    series = found.series(0)
    np.testing.assert_array_equal(series.kspace[0].numpy(), first)
    positions = series.mask.trajectory.positions
    assert positions.dtype == torch.float32
    assert positions.shape == (1, 4, 20, 2)


def test_the_matrix_may_lie_in_an_hdf5_dataset_too(tmp_path, radial):
    path = plain(tmp_path / "radial.h5", radial, matrix=None)
    with h5py.File(path, "a") as file:
        file["matrix"] = [16.0, 12.0]
    assert formats.read(path).matrix == (16, 12)


@pytest.mark.parametrize("name", ["radial.h5", "radial.npz"])
@pytest.mark.parametrize(
    ("changes", "code"),
    [
        ({"matrix": None}, "matrix-missing"),
        ({"matrix": np.array([16, 12, 1])}, "matrix-missing"),
        ({"matrix": np.array([0, 12])}, "matrix-missing"),
        ({"matrix": np.array([16, 2**31])}, "matrix-missing"),
        ({"trajectory": np.zeros((3, 4, 20, 2), np.complex64)}, "trajectory-shape"),
        ({"trajectory": np.zeros((4, 20), np.float32)}, "trajectory-shape"),
        ({"kspace": np.zeros((3, 2, 6, 4, 20), np.float32)}, "kspace-real"),
    ],
)
def test_arrays_that_contradict_their_name_are_refused(tmp_path, radial, name, changes, code):
    path = plain(tmp_path / name, radial, **changes)
    with refused(code):
        formats.read(path)


@pytest.mark.parametrize("name", ["radial.h5", "radial.npz"])
@pytest.mark.parametrize(
    ("changes", "code"),
    [
        ({"matrix": np.array([8, 12])}, "trajectory-units"),
        ({"trajectory": np.full((3, 4, 19, 2), 6, np.float32)}, "trajectory-shape"),
        ({"trajectory": np.full((3, 4, 20, 3), 6, np.float32)}, "trajectory-shape"),
        ({"trajectory": np.full((1, 4, 20, 2), 40, np.float32)}, "trajectory-units"),
        ({"trajectory": np.full((1, 4, 20, 2), np.nan, np.float32)}, "trajectory-units"),
        ({"mask": np.ones((1, 5, 1), np.uint8)}, "mask-shape"),
        ({"mask": np.ones((3, 4, 20), np.uint8) * (np.arange(20) > 3)}, "mask-shape"),
    ],
)
def test_arrays_that_do_not_fit_each_other_are_refused(tmp_path, radial, name, changes, code):
    path = plain(tmp_path / name, radial, **changes)
    with refused(code):
        formats.read(path).series(0)


@pytest.mark.parametrize("name", ["radial.h5", "radial.npz"])
def test_the_matrix_may_be_larger_than_the_trajectory_reaches(tmp_path, radial, name):
    path = plain(tmp_path / name, radial, matrix=np.array([160, 12]))
    assert formats.read(path).series(0).image_shape == (160, 12)


@pytest.mark.parametrize("name", ["radial.h5", "radial.npz"])
@pytest.mark.parametrize("edge", [0.5, np.pi])
def test_fractions_of_kspace_and_radians_become_cycles(tmp_path, radial, name, edge):
    stored = np.full((1, 4, 20, 2), edge, np.float32)
    found = formats.read(plain(tmp_path / name, radial, trajectory=stored))
    positions = found.series(0).mask.trajectory.positions
    np.testing.assert_allclose(positions[0, 0, 0].numpy(), [8, 6], rtol=1e-6)
    assert (units.PARTS if edge == 0.5 else units.RADIANS) in found.notes[-1]


def test_damage_raises_nothing_but_an_input_error(tmp_path, radial):
    path = tmp_path / "radial.h5"
    formats.write_scan(path, radial)
    whole, expected = path.read_bytes(), [radial.series(z) for z in (0, 1)]
    for seed in range(60):
        chance = random.Random(seed)
        content = bytearray(whole)
        start = chance.randrange(len(content))
        content[start : start + 8] = chance.randbytes(len(content[start : start + 8]))
        path.write_bytes(content)
        try:
            scan = formats.read(path)
            found = [scan.series(z) for z in (0, 1)]
        except InputError:
            continue
        for there, here in zip(found, expected, strict=True):
            assert torch.equal(there.kspace, here.kspace)
            assert torch.equal(there.mask.trajectory.positions, here.mask.trajectory.positions)
            assert there.image_shape == here.image_shape
