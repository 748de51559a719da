import shutil
import subprocess

import numpy as np
import pytest
import torch
from refusals import refused

from cmrrecon import formats
from cmrrecon.data import Acquisition, LineMask, MaskSource, SampleMask, Scan
from cmrrecon.operators import fourier

BART = shutil.which("bart")
needs_bart = pytest.mark.skipif(BART is None, reason="bart is not installed")


def bart(folder, *words):
    subprocess.run([BART, *words], cwd=folder, check=True, capture_output=True)


def put(folder, name, dims, values=None, header=None):
    """Write a pair of files by hand."""
    count = int(np.prod(dims))
    values = np.arange(count) * (1 + 2j) if values is None else values
    (folder / f"{name}.cfl").write_bytes(np.asarray(values, "<c8").tobytes())
    text = "# Dimensions\n" + " ".join(map(str, dims)) + " \n" if header is None else header
    (folder / f"{name}.hdr").write_text(text)
    return folder / f"{name}.cfl"


def test_kspace_and_acquisition_round_trip(tmp_path, scan, stamp):
    formats.write_scan(tmp_path / "a.cfl", scan, stamp)
    formats.write_mask(tmp_path / "a_mask.cfl", scan.mask.samples, scan.shape[4])
    for name in ("a.cfl", "a.hdr"):
        back = formats.read(tmp_path / name)
        assert back.shape == scan.shape
        assert back.acquisition == scan.acquisition
        assert back.mask_path == str(tmp_path / "a_mask.cfl")
        assert isinstance(back.mask, LineMask)
        assert torch.equal(back.mask.samples, scan.mask.samples)
        for index in range(2):
            assert torch.equal(back.series(index).kspace, scan.series(index).kspace)
    assert formats.read_provenance(tmp_path / "a.hdr") == stamp
    assert formats.kind(tmp_path / "a.cfl") == "scan"
    assert formats.kind(tmp_path / "a_mask.cfl") == "mask"


def test_dimensions_are_those_of_bart(tmp_path, scan):
    formats.write_scan(tmp_path / "a.cfl", scan)
    words = (tmp_path / "a.hdr").read_text().splitlines()
    assert words[:2] == ["# Dimensions", "12 10 1 4 1 1 1 1 1 1 3 1 1 2 1 1 "]
    stored = np.fromfile(tmp_path / "a.cfl", "<c8").reshape([12, 10, 4, 3, 2], order="F")
    assert stored[5, 3, 2, 1, 1] == scan.read_slice(1)[1, 2, 3, 5].item()


def test_images_masks_and_maps(tmp_path, images, stamp):
    formats.write_images(tmp_path / "i.cfl", images, stamp)
    assert torch.equal(formats.read_images(tmp_path / "i.cfl"), images.transpose(0, 1))
    assert formats.kind(tmp_path / "i.cfl") == "images"
    samples = torch.rand(3, 10, 12) > 0.5
    formats.write_mask(tmp_path / "m.cfl", samples, 12)
    mask = formats.read_mask(tmp_path / "m.cfl")
    assert isinstance(mask, SampleMask)
    assert mask.source is MaskSource.FILE
    assert torch.equal(mask.samples, samples)
    formats.write_maps(tmp_path / "s.cfl", images)  # (slice, coil, y, x)
    assert torch.equal(formats.read_maps(tmp_path / "s.cfl"), images)


def test_a_single_coil_is_kspace_when_read_as_kspace(tmp_path):
    path = put(tmp_path, "one", [6, 4, 1, 1])
    assert formats.kind(path) == "images"
    assert formats.read(path).shape == (1, 1, 1, 4, 6)
    assert formats.read_images(path).shape == (1, 1, 4, 6)
    with refused("mask-values"):
        formats.read_mask(path)


@pytest.mark.parametrize("dim", [5, 10, 11])
def test_frames_may_be_in_one_of_three_dimensions(tmp_path, dim):
    dims = [6, 4, 1, 2] + [1] * 12
    dims[dim] = 3
    path = put(tmp_path, "a", dims)
    kspace = formats.read(path).read_slice(0)
    expected = (np.arange(144) * (1 + 2j)).astype(np.complex64).reshape(3, 2, 4, 6)
    np.testing.assert_array_equal(kspace.numpy(), expected)


def test_unused_dimensions_are_refused(tmp_path):
    for dims in ([6, 4, 2, 2], [6, 4, 1, 2, 2], [6, 4, 1, 2, 1, 2, 1, 1, 1, 1, 2]):
        with refused("cfl-dims"):
            formats.read(put(tmp_path, "a", dims))
    with refused("cfl-dims"):
        formats.read_images(put(tmp_path, "a", [6, 4, 1, 2]))
    with refused("cfl-dims"):
        formats.read_maps(put(tmp_path, "a", [6, 4, 1, 2, 2]))


@pytest.mark.parametrize(
    ("header", "code"),
    [
        ("# Dimensions\n6 4 1 3 \n", "cfl-size"),
        ("# Dimensions\n6 4 1 1 \n", "cfl-size"),
        ("# Dimensions\n999999999999 999999999999 1 2\n", "cfl-size"),
        ("# Dimensions\n6 -4 1 2\n", "cfl-header"),
        ("# Dimensions\n6 4 0 2\n", "cfl-header"),
        ("# Dimensions\nsix 4 1 2\n", "cfl-header"),
        ("# Dimensions\n6 4.0 1 2\n", "cfl-header"),
        ("# Dimensions\n" + "9" * 5000 + " 4\n", "cfl-header"),
        ("# Dimensions\n" + "1 " * 17 + "\n", "cfl-header"),
        ("# Dimensions", "cfl-header"),
        ("6 4 1 2\n", "cfl-header"),
        ("", "file-empty"),
    ],
)
def test_wrong_headers_are_refused(tmp_path, header, code):
    path = put(tmp_path, "a", [6, 4, 1, 2], header=header)
    for read in (formats.read, formats.read_mask, formats.read_images, formats.kind):
        with refused(code):
            read(path)
    assert formats.is_scan(path)  # so that it is reported


def test_half_a_pair_is_refused(tmp_path):
    path = put(tmp_path, "a", [6, 4, 1, 2])
    (tmp_path / "a.hdr").rename(tmp_path / "b.hdr")
    for name in (path, tmp_path / "b.hdr", tmp_path / "c.cfl"):
        with refused("file-missing"):
            formats.read(name)


def test_a_failed_write_leaves_no_files(tmp_path, images):
    class Broken:
        def __len__(self):
            return 2

        def __getitem__(self, index):
            if index:
                raise RuntimeError("the second slice fails")
            return images[0]

    with pytest.raises(RuntimeError):
        formats.write_images(tmp_path / "a.cfl", Broken())
    assert list(tmp_path.iterdir()) == []


@pytest.fixture
def phantom():
    """A smooth object seen by four coils, in two frames: (2, 1, 4, 32, 48)."""
    y, x = torch.meshgrid(torch.arange(32) - 16, torch.arange(48) - 24, indexing="ij")
    body = ((y / 11) ** 2 + (x / 17) ** 2 < 1).float() + ((y - 3) ** 2 + x**2 < 20).float()
    coils = torch.stack(
        [
            torch.exp(-((y - a) ** 2 + (x - b) ** 2) / 900 + 1j * (y * a + x * b) / 900)
            for a, b in ((-16, -20), (-16, 20), (16, -20), (16, 20))
        ]
    )
    images = torch.stack([body, 0.7 * body.roll(1, 0)])[:, None, None] * coils
    return Scan.from_kspace(fourier.fft2c(images).to(torch.complex64), None, Acquisition("cine"))


@needs_bart
def test_the_transform_of_bart_equals_ours(tmp_path, phantom):
    formats.write_scan(tmp_path / "k.cfl", phantom, {"config": {"text": "x" * 9000}})
    bart(tmp_path, "fft", "-u", "-i", "3", "k", "coils")
    bart(tmp_path, "rss", "8", "coils", "image")
    theirs = formats.read_images(tmp_path / "image.cfl").abs()[:, 0]
    ours = fourier.ifft2c(phantom.read_slice(0)).abs().square().sum(1).sqrt()
    assert torch.linalg.norm(theirs - ours) < 1e-5 * torch.linalg.norm(ours)


@needs_bart
def test_bart_reconstructs_our_kspace_and_we_read_its_maps(tmp_path, phantom):
    lines = torch.zeros(1, 32, 1, dtype=torch.bool)
    lines[:, ::2] = lines[:, 10:22] = True
    kspace = phantom.read_slice(0)[:1, None] * lines
    formats.write_scan(tmp_path / "k.cfl", Scan.from_kspace(kspace, lines))
    bart(tmp_path, "ecalib", "-m", "1", "-r", "12", "k", "maps")
    bart(tmp_path, "pics", "-S", "-r", "0.0001", "-i", "50", "k", "maps", "image")
    maps = formats.read_maps(tmp_path / "maps.cfl")
    assert maps.shape == (1, 4, 32, 48)
    image = formats.read_images(tmp_path / "image.cfl")[0, 0].abs()
    truth = fourier.ifft2c(phantom.read_slice(0)[0]).abs().square().sum(0).sqrt()
    inside = truth > 0.2 * truth.max()
    similar = torch.corrcoef(torch.stack([image[inside], truth[inside]]))[0, 1]
    assert similar > 0.99


@needs_bart
def test_bart_reconstructs_several_frames_and_slices(tmp_path, phantom):
    lines = torch.zeros(1, 32, 1, dtype=torch.bool)
    lines[:, ::2] = lines[:, 10:22] = True
    kspace = torch.stack([phantom.read_slice(0)] * 3, 1) * lines
    formats.write_scan(tmp_path / "low.cfl", Scan.from_kspace(kspace, lines))
    bart(tmp_path, "ecalib", "-m", "1", "low", "maps")
    bart(tmp_path, "pics", "-S", "low", "maps", "image")
    image = formats.read_images(tmp_path / "image.cfl")
    assert image.shape == (2, 3, 32, 48)
    truth = fourier.ifft2c(phantom.read_slice(0)).abs().square().sum(1).sqrt()
    assert (
        torch.corrcoef(torch.stack([image[1, 2].abs().flatten(), truth[1].flatten()]))[0, 1] > 0.95
    )


@needs_bart
def test_kspace_and_pattern_from_bart_are_read(tmp_path):
    bart(tmp_path, "phantom", "-k", "-s", "4", "-x", "32", "k")
    scan = formats.read(tmp_path / "k.hdr")
    assert scan.shape == (1, 1, 4, 32, 32)
    image = fourier.ifft2c(scan.read_slice(0)[0]).abs().square().sum(0).sqrt()
    bart(tmp_path, "fft", "-u", "-i", "3", "k", "coils")
    bart(tmp_path, "rss", "8", "coils", "image")
    theirs = formats.read_images(tmp_path / "image.cfl").abs()[0, 0]
    assert torch.linalg.norm(theirs - image) < 1e-5 * torch.linalg.norm(image)
    bart(tmp_path, "upat", "-Y", "32", "-Z", "1", "-y", "2", "-z", "1", "-c", "8", "p")
    bart(tmp_path, "pattern", "k", "full")
    assert formats.read_mask(tmp_path / "full.cfl").complete
    given = formats.read(tmp_path / "k.cfl", mask=tmp_path / "p.cfl")
    assert 16 <= given.mask.samples.sum() < 32


def test_supplied_maps_travel_with_the_scan(tmp_path, scan):
    formats.write_scan(tmp_path / "k.h5", scan)
    maps = torch.randn(2, 4, 10, 12, dtype=torch.complex64)
    for given in (maps, maps[:1]):
        formats.write_maps(tmp_path / "maps.cfl", given)
        read = formats.read(tmp_path / "k.h5", maps=tmp_path / "maps.cfl")
        assert torch.equal(read.series(1).maps, given[-1])
        assert read.maps_path == str(tmp_path / "maps.cfl")
    for wrong in (torch.nan, torch.inf, 0):
        formats.write_maps(tmp_path / "maps.cfl", maps * wrong)
        with refused("maps-values"):
            formats.read(tmp_path / "k.h5", maps=tmp_path / "maps.cfl")
    formats.write_maps(tmp_path / "maps.cfl", maps[:, :3])
    with refused("maps-axes"):
        formats.read(tmp_path / "k.h5", maps=tmp_path / "maps.cfl")
