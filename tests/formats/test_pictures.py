import numpy as np
import pytest
import torch
from PIL import Image
from refusals import refused

from cmrrecon.formats import read_provenance, write_images

IMAGES = torch.arange(2 * 3 * 4 * 6, dtype=torch.float32).reshape(2, 3, 4, 6)  # slice, frame, y, x
STAMP = {"config": {"method": "sense"}, "notice": "x" * 1000}


def test_png_is_a_montage_of_frames_in_columns_and_slices_in_rows(tmp_path):
    write_images(tmp_path / "a.png", IMAGES, STAMP)
    picture = np.array(Image.open(tmp_path / "a.png"))
    assert picture.shape == (2 * 4, 3 * 6)
    top = np.percentile(IMAGES.numpy(), 99.5)
    expected = np.clip(IMAGES[1, 2].numpy() / top, 0, 1) * 255
    np.testing.assert_allclose(picture[4:, 12:], expected, atol=0.5)
    assert read_provenance(tmp_path / "a.png") == STAMP


def test_png_of_one_slice_continues_in_rows(tmp_path):
    frames = torch.rand(1, 5, 4, 6)
    write_images(tmp_path / "a.png", frames)
    picture = np.array(Image.open(tmp_path / "a.png"))
    assert picture.shape == (3 * 4, 2 * 6)
    top = np.percentile(frames.numpy(), 99.5)
    np.testing.assert_allclose(
        picture[4:8, 6:], np.clip(frames[0, 3].numpy() / top, 0, 1) * 255, atol=0.5
    )
    assert not picture[8:, 6:].any()


def test_gif_is_an_endless_movie_with_slices_side_by_side(tmp_path):
    write_images(tmp_path / "a.gif", IMAGES * torch.tensor(1j), STAMP)
    movie = Image.open(tmp_path / "a.gif")
    assert movie.size == (2 * 6, 4)
    assert movie.n_frames == 3
    assert movie.info["duration"] == 80
    assert movie.info["loop"] == 0
    movie.seek(2)
    np.testing.assert_allclose(
        np.array(movie.convert("L"))[:, 6:],
        np.clip(IMAGES[1, 2].numpy() / np.percentile(IMAGES.numpy(), 99.5), 0, 1) * 255,
        atol=1,
    )
    assert read_provenance(tmp_path / "a.gif") == STAMP


@pytest.mark.parametrize("suffix", [".png", ".gif"])
def test_black_images_and_single_frames_are_fine(tmp_path, suffix):
    path = tmp_path / f"a{suffix}"
    write_images(path, torch.zeros(1, 1, 4, 6))
    assert not np.array(Image.open(path).convert("L")).any()
    assert read_provenance(path) is None


def test_damaged_pictures_are_refused(tmp_path):
    for head in (b"\x89PNG\r\n\x1a\n", b"GIF89a"):
        (tmp_path / "a.png").write_bytes(head + b"\x01" * 20)
        with refused("file-damaged"):
            read_provenance(tmp_path / "a.png")
