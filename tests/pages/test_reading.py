"""The reading page hides the methods and shows all of them alike."""

import base64
import io
import json
import re
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from cmrrecon.data import Acquisition
from cmrrecon.evaluation.reader_design import design
from cmrrecon.evaluation.reader_images import GreyScan, grey_scan
from cmrrecon.evaluation.reader_scans import ImageFile
from cmrrecon.pages.reading import page_data, reading_page
from cmrrecon.tools.errors import InputError

METHODS = ("smooth", "noisy")


def grey(seed):
    rng = np.random.default_rng(seed)
    noisy = rng.integers(0, 256, (5, 6, 8), dtype=np.uint8)
    return GreyScan({"smooth": np.full((5, 6, 8), seed, np.uint8), "noisy": noisy}, 1.5, 40.0, 0)


@pytest.fixture(scope="module")
def data():
    scans = [grey(seed) for seed in range(3)]
    drawn = design(3, 2, pairs=False, repeats=1, readers=2, seed="s")
    return page_data(drawn, scans, ("Sharpness", "<b>"), pairs=False) | {"design": drawn}


def content_of(image):
    return base64.b64decode(image["png"].removeprefix("data:image/png;base64,"))


def test_frames_are_drawn_unchanged_in_a_grid(data):
    scan, method = data["design"].images[0]
    image = data["images"][0]
    pixels = np.asarray(Image.open(io.BytesIO(content_of(image))))
    expected = grey(scan).images[METHODS[method]]
    assert (image["frames"], image["columns"], image["size"]) == (5, 3, [6, 8])
    for frame in range(5):
        y, x = 6 * (frame // 3), 8 * (frame % 3)
        np.testing.assert_array_equal(pixels[y : y + 6, x : x + 8], expected[frame])


def test_images_of_a_scan_do_not_differ_in_anything_but_their_pixels(data):
    facts = {}
    for image, (scan, _) in zip(data["images"], data["design"].images, strict=True):
        content = content_of(image)
        chunks = re.findall(rb"IHDR|IDAT|IEND|tEXt|iTXt|zTXt|tIME|pHYs|eXIf", content)
        assert set(chunks) == {b"IHDR", b"IDAT", b"IEND"}
        others = {name: value for name, value in image.items() if name != "png"}
        facts.setdefault(scan, set()).add((len(image["png"]), json.dumps(others)))
    assert [len(found) for found in facts.values()] == [1, 1, 1]


def test_the_page_names_no_method_and_escapes_criteria(data):
    text = reading_page({name: value for name, value in data.items() if name != "design"})
    assert "<b>" not in text
    visible = re.sub(r"base64,[A-Za-z0-9+/=]*", "", text)
    for method in METHODS:
        assert method not in visible.lower()
    # Every name in the data is a fixed one, so no other can be hidden there.
    island = json.loads(re.search(r'id="study">(.*?)</script>', text)[1])
    assert set(island) == {"study", "schema", "kind", "pairs", "criteria", "images", "orders"}
    assert {name for image in island["images"] for name in image} == {
        *("png", "frames", "columns", "size", "aspect", "ms")
    }


def files_of(folder, **images):
    found = {}
    for name, values in images.items():
        path = folder / f"{name}.npz"
        np.savez(path, image=np.asarray(values, np.float32))
        found[name] = ImageFile(path, Path(), name, f"file of {name}", Acquisition(), None)
    return found


def test_all_methods_share_one_window_and_lose_their_scale(tmp_path):
    rng = np.random.default_rng(0)
    images = rng.random((4, 1, 6, 8))
    scan = grey_scan(files_of(tmp_path, a=images, b=1e-6 * images, c=images**2), None)
    np.testing.assert_array_equal(scan.images["a"], scan.images["b"])
    factor = (images * images**2).sum() / (images**4).sum()
    everything = np.stack([images, images, factor * images**2])
    top = np.percentile(everything, 99.5)
    expected = np.clip(everything[2, :, 0] / top, 0, 1) * 255
    assert np.abs(scan.images["c"] - expected).max() <= 0.51


def test_the_middle_slice_is_shown_unless_another_is_wanted(tmp_path):
    values = np.arange(1, 6)[None, :, None, None] * np.ones((2, 5, 3, 4))
    files = files_of(tmp_path, a=values, b=values)
    assert grey_scan(files, None).slice_ == 2
    assert grey_scan(files, 4).slice_ == 4
    with pytest.raises(InputError) as error:
        grey_scan(files, 5)
    assert error.value.code == "slice-missing"


@pytest.mark.parametrize(
    ("change", "code"),
    [
        (lambda v: v * np.nan, "images-not-finite"),
        (lambda v: v * 0, "images-flat"),
        (lambda v: v[:3], "shape-mismatch"),
        (lambda v: v[..., :5], "shape-mismatch"),
    ],
)
def test_images_that_cannot_be_shown_are_refused_without_naming_their_path(tmp_path, change, code):
    folder = tmp_path / "DOE^JANE"
    folder.mkdir()
    values = np.ones((4, 1, 6, 8))
    with pytest.raises(InputError) as error:
        grey_scan(files_of(folder, a=values, b=change(values)), None)
    assert error.value.code == code
    assert "DOE" not in str(error.value)
