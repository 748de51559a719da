import h5py
import numpy as np
import pytest
import torch
from refusals import refused

import cmrrecon
from cmrrecon import formats
from cmrrecon.data import Geometry, SampleMask
from cmrrecon.formats import flow4d
from cmrrecon.operators import fourier

V, T, C, S, P, F = 2, 3, 4, 10, 12, 8
COMPLEX = np.dtype([("real", "<f4"), ("imag", "<f4")])


def store(path, name, values, **options):
    values = np.ascontiguousarray(values)
    with h5py.File(path, "w", userblock_size=512) as file:
        stored = values.view(COMPLEX) if values.dtype.kind == "c" else values
        file.create_dataset(name, data=stored, **options)
    return path


@pytest.fixture
def truth():
    """Images (velocity, time, SPE, PE, FE) and unit maps (coil, SPE, PE, FE)."""
    z, y, x = torch.meshgrid(*(torch.linspace(-1, 1, n) for n in (S, P, F)), indexing="ij")
    body = (z**2 + y**2 + x**2 < 0.9).float() * (1 + 0.3 * torch.cos(4 * y))
    size = torch.tensor([1, 0.9, 0.8])[None, :, None, None, None]
    phase = torch.exp(1j * torch.tensor([0, 0.6]))[:, None, None, None, None]
    coils = torch.stack(
        [torch.exp(-((z - a) ** 2 + (y - b) ** 2) / 3 + 0.5j * (a * x + b * z)) for a, b in CORNERS]
    )
    coils = coils / coils.abs().square().sum(0).sqrt()
    return (body * size * phase).to(torch.complex64), coils.to(torch.complex64)


CORNERS = ((-1, -1), (-1, 1), (1, -1), (1, 1))


@pytest.fixture
def kdata(truth):
    images, coils = truth
    return fourier.fftc(images[:, :, None] * coils, (-3, -2, -1)).numpy()


def test_slices_across_the_frequency_encode_are_images_of_two_phase_encodes(tmp_path, truth, kdata):
    path = store(tmp_path / "kdata_full.mat", "kdata_full", kdata)
    scan = formats.read(path)
    assert formats.kind(path) == "scan"
    assert scan.shape == (V * T, F, C, S, P)
    assert scan.mask.complete
    images, _ = truth
    for index in (4, 0, 7):
        combined = fourier.ifft2c(scan.series(index).kspace).abs().square().sum(1).sqrt()
        expected = images.abs()[..., index].reshape(V * T, S, P)
        torch.testing.assert_close(combined, expected, atol=1e-5, rtol=0)


def test_mask_maps_and_table_beside_it(tmp_path, truth, kdata):
    mask = np.random.default_rng(1).random((1, T, 1, S, P, 1)) < 0.4
    path = store(
        tmp_path / "kdata_ktGaussian10.mat", "kdata_ktGaussian", (kdata * mask).astype("c8")
    )
    # MATLAB drops trailing axes of length 1, which come first here.
    store(tmp_path / "usmask_ktGaussian10.mat", "usmask_ktGaussian", mask[0].astype("f4"))
    store(tmp_path / "coilmap.mat", "coilmap", 3 * truth[1].numpy())
    (tmp_path / "params.csv").write_text(
        "resolution,VENC,spatial_order,RR,field_strength\n2.5;2;3,150,FE;PE;SPE,800,3\n"
    )
    scan = formats.read(path)
    assert scan.acquisition.venc == (0, 150)
    assert scan.acquisition.field_strength == 3
    assert (scan.acquisition.pattern, scan.acquisition.acceleration) == ("kt-gaussian", 10)
    assert scan.geometry == Geometry(voxel_mm=(3, 2, 2.5))
    series = scan.series(5)
    assert isinstance(series.mask, SampleMask)
    expected = torch.from_numpy(mask[0, :, 0, :, :, 0])
    assert torch.equal(series.mask.samples, torch.cat([expected] * V))
    torch.testing.assert_close(series.maps, truth[1][..., 5])
    given = formats.read(path, mask=tmp_path / "usmask_ktGaussian10.mat")
    assert torch.equal(given.mask.samples, series.mask.samples)
    assert formats.kind(tmp_path / "usmask_ktGaussian10.mat") == "mask"
    given = formats.read(path, maps=tmp_path / "coilmap.mat")
    torch.testing.assert_close(given.series(5).maps, 3 * truth[1][..., 5])


def test_the_file_is_read_once_for_neighbouring_slices(tmp_path, kdata, monkeypatch):
    path = store(
        tmp_path / "kdata_full.mat",
        "kdata_full",
        kdata,
        chunks=(1, 2, C, S, P, F),
        compression="gzip",
        shuffle=True,
    )
    whole = formats.read(path)
    expected = [whole.read_slice(index) for index in range(F)]
    monkeypatch.setattr(flow4d, "BLOCK", 3 * V * T * C * S * P * 8)
    read = []
    inner = flow4d.FlowReader._pieces

    def counted(self):
        read.append(1)
        yield from inner(self)

    monkeypatch.setattr(flow4d.FlowReader, "_pieces", counted)
    scan = formats.read(path)
    for index in range(F):
        assert torch.equal(scan.read_slice(index), expected[index])
    assert len(read) == 3  # blocks of 3, 3 and 2 slices


def test_a_single_velocity_loses_its_axis(tmp_path, kdata):
    path = store(tmp_path / "kdata_full.mat", "kdata_full", kdata[0])
    scan = formats.read(path)
    assert scan.shape == (T, F, C, S, P)
    assert scan.acquisition.venc is None


def test_files_that_do_not_fit_are_refused(tmp_path, kdata):
    path = store(tmp_path / "kdata_full.mat", "kdata_full", kdata.real)
    with refused("kspace-real"):
        formats.read(path)
    path = store(tmp_path / "kdata_full.mat", "kdata_full", kdata[0, 0, 0])
    with refused("kspace-axes"):
        formats.read(path)
    path = store(tmp_path / "kdata_full.mat", "kdata_full", kdata)
    with refused("dataset-fixed"):
        formats.read(path, dataset="a")
    with refused("axes-fixed"):
        formats.read(path, axes="y,x")
    for table in (b"", b"\xff\xfe\x00", b"VENC\n", b"VENC\n1;2;nan\n", b"a,b\n1\n"):
        (tmp_path / "params.csv").write_bytes(table)
        assert formats.read(path).acquisition.venc is None
    store(tmp_path / "coilmap.mat", "coilmap", kdata[0, 0, :, :, :, 1:])
    with refused("maps-axes"):
        formats.read(path).series(0)
    store(tmp_path / "segmask.mat", "segmask", kdata.real[0, 0, 0])
    for read in (formats.read, formats.read_mask, formats.read_images):
        with refused("variable-kind"):
            read(tmp_path / "segmask.mat")
    path = store(tmp_path / "kdata_ktGaussian10.mat", "kdata_ktGaussian", kdata)
    store(tmp_path / "usmask_ktGaussian10.mat", "usmask_ktGaussian", kdata.real[:, :, :1])
    with refused("mask-shape"):
        formats.read(path)


def test_patterns_of_lines_are_refused(tmp_path, kdata):
    path = store(tmp_path / "kdata_full.mat", "kdata_full", kdata)
    with refused("kspace-4d-flow"):
        cmrrecon.undersample(path, "kt-gaussian", 4)


@pytest.mark.parametrize("method", ["zero-filled", "sense", "llr"])
def test_full_data_give_the_combined_inverse_transform(tmp_path, truth, kdata, method):
    path = store(tmp_path / "kdata_full.mat", "kdata_full", kdata)
    store(tmp_path / "coilmap.mat", "coilmap", truth[1].numpy())
    images = cmrrecon.reconstruct(path, method, slices=[3, 4]).images.abs()
    expected = truth[0].abs()[..., 3:5].reshape(V * T, S, P, 2).movedim(-1, 1)
    assert torch.linalg.norm(images - expected) < 0.02 * torch.linalg.norm(expected)


def test_supplied_maps_replace_calibration(tmp_path, truth, kdata):
    mask = torch.rand(1, T, 1, S, P, 1, generator=torch.Generator().manual_seed(3)) < 0.6
    mask[:, :, :, S // 2, P // 2] = True
    name = "kdata_ktGaussian2.mat"
    path = store(tmp_path / name, "kdata_ktGaussian", kdata * mask.numpy())
    store(tmp_path / "usmask_ktGaussian2.mat", "usmask_ktGaussian", mask.numpy().astype("f4"))
    store(tmp_path / "coilmap.mat", "coilmap", truth[1].numpy())
    expected = truth[0].abs()[..., 4].reshape(V * T, S, P)
    error = {}
    for method in ("zero-filled", "sense"):
        images = cmrrecon.reconstruct(path, method, slices=[4]).images[:, 0].abs()
        error[method] = torch.linalg.norm(images - expected) / torch.linalg.norm(expected)
    assert error["sense"] < 0.1 < error["zero-filled"]


def test_golden_file_of_the_challenge(all_golden):
    folder = all_golden / "matfiles/CMRx4DFlow2026/ChallengeData/TaskR1R2/TrainSet/Aorta/Center012"
    folder = folder / "Philips_30T_Ingenia/P005"
    scan = formats.read(folder / "kdata_full.mat")
    with h5py.File(folder / "kdata_full.mat") as file:
        stored = file["kdata_full"][()].view("c8")
    coils = fourier.ifftc(torch.from_numpy(stored), (-3, -2, -1)).abs().square()
    expected = coils.sum(2).sqrt().flatten(0, 1)
    for index in (0, 6, 11):
        image = fourier.ifft2c(scan.read_slice(index)).abs().square().sum(1).sqrt()
        torch.testing.assert_close(image, expected[..., index], atol=1e-6, rtol=1e-5)
    assert scan.maps(6).abs().square().sum(0).max() < 1.0001
