"""`cmrrecon.fit`: where images and times come from, and pixels and series that cannot be fitted."""

import numpy as np
import pytest
import torch
from PIL import Image
from refusals import refused
from relaxation_curves import MOLLI_TIMES, PREPARED, recovery

import cmrrecon
from cmrrecon import formats
from cmrrecon.simulation.tissues import TISSUES


def series(t1=1000.0, slices=2, shape=(6, 8)):
    """Images (frame, slice, y, x) of one T1, with a first row of air."""
    curve = recovery(MOLLI_TIMES, torch.tensor([t1], dtype=torch.float64), 1.9)
    images = curve[:, :, None, None].repeat(1, slices, *shape).float()
    images[:, :, 0] = 0.01
    return images


@pytest.fixture(scope="module")
def made():
    return cmrrecon.simulate("t1map", slices=2, coils=1, y=48, x=64, seed=3)


def test_a_simulated_scan_brings_its_times_and_its_model(made):
    found = cmrrecon.fit(made)
    assert (found.parameter, found.model, found.noise_floor) == ("T1", "molli", False)
    assert found.values.shape == found.deviation.shape == found.residual.shape == (2, 48, 64)
    near = (found.values - TISSUES["myocardium"].t1).abs() < 2
    assert int(near.sum()) > 20
    assert found.fitted + found.failed + found.air + found.broken == found.values.numel()
    assert found.fitted == int(found.values.isfinite().sum())
    assert found.segments == ()


def test_arrays_complex_images_and_results_give_the_same_map():
    images = series()
    found = cmrrecon.fit(images, MOLLI_TIMES, model="molli").values
    assert torch.allclose(found[:, 1:], torch.tensor(1000.0), rtol=1e-4)
    assert bool(found[:, 0].isnan().all())
    phase = torch.exp(1j * torch.rand(images.shape, generator=torch.Generator().manual_seed(0)))
    for other, times in (
        (images.numpy(), MOLLI_TIMES.tolist()),
        (images, MOLLI_TIMES[:, None].repeat(1, 2).numpy()),
        (images * phase, MOLLI_TIMES[:, None]),
    ):
        again = cmrrecon.fit(other, times, base="T1map").values
        assert torch.allclose(again, found, rtol=1e-5, equal_nan=True)


def test_files_have_their_times_beside_them_or_in_a_folder(tmp_path):
    images, folder = series(), tmp_path / "P001"
    folder.mkdir()
    formats.write_images(folder / "T1map.h5", images.unbind(1))
    wanted = cmrrecon.fit(images, MOLLI_TIMES, model="molli").values
    with refused("times-missing"):
        cmrrecon.fit(folder / "T1map.h5")
    formats.write_times(folder / "T1map.csv", MOLLI_TIMES[:, None])
    for times in (None, folder / "T1map.csv", tmp_path):
        found = cmrrecon.fit(folder / "T1map.h5", times).values
        assert torch.equal(found.nan_to_num(), wanted.nan_to_num())

    other = tmp_path / "P002"
    other.mkdir()
    formats.write_times(other / "T1map.csv", MOLLI_TIMES[:, None])
    assert cmrrecon.fit(folder / "T1map.h5", tmp_path).fitted > 0
    formats.write_images(tmp_path / "T1map.h5", images.unbind(1))
    with refused("times-ambiguous"):
        cmrrecon.fit(tmp_path / "T1map.h5", tmp_path)
    for place in (tmp_path / "nowhere", other / "empty"):
        (other / "empty").mkdir(exist_ok=True)
        with refused("times-missing"):
            cmrrecon.fit(folder / "T1map.h5", place)


def test_slices_use_their_own_times():
    images, later = series(), MOLLI_TIMES + 50
    curve = recovery(later, torch.tensor([1000.0], dtype=torch.float64), 1.9).float()
    images[:, 1, 1:] = curve[:, :, None]
    times = torch.stack([MOLLI_TIMES, later], 1)
    assert torch.allclose(
        cmrrecon.fit(images, times, model="molli").values[:, 1:], torch.tensor(1000.0), rtol=1e-4
    )
    second = cmrrecon.fit(images[:, 1:], times, model="molli", slices=[1])
    assert torch.allclose(second.values[:, 1:], torch.tensor(1000.0), rtol=1e-4)
    assert torch.equal(second.times[:, 0], later)


def test_air_and_broken_pixels_are_nan_and_counted():
    images = series()
    images[3, 0, 2, 2] = torch.nan
    images[0, 1, 3, 3] = torch.inf
    images[:, 1, 4, 4] = 0.7
    found = cmrrecon.fit(images, MOLLI_TIMES, model="molli")
    assert (found.air, found.broken, found.failed) == (16, 2, 1)
    assert found.fitted == 96 - 19
    for part in (found.values, found.deviation, found.residual):
        assert bool(part[0, 2, 2].isnan() & part[1, 3, 3].isnan() & part[1, 4, 4].isnan())
    assert cmrrecon.fit(images, MOLLI_TIMES, model="molli", threshold=0).air == 0


def test_a_slice_of_air_beside_tissue_is_nan():
    images = series()
    images[:, 0] = 0
    found = cmrrecon.fit(images, MOLLI_TIMES, model="molli")
    assert bool(found.values[0].isnan().all())
    assert found.fitted == 40


@pytest.mark.parametrize(
    ("code", "change"),
    [
        ("images-not-finite", {"images": series() * torch.nan}),
        ("fit-failed", {"images": torch.ones(9, 1, 4, 4)}),
        ("fit-failed", {"images": torch.zeros(9, 1, 4, 4)}),
        ("times-shape", {"times": MOLLI_TIMES[:8]}),
        ("times-shape", {"times": MOLLI_TIMES[:, None].repeat(1, 3)[:5]}),
        ("times-shape", {"slices": [4, 5], "times": MOLLI_TIMES[:, None].repeat(1, 3)}),
        ("times-values", {"times": -MOLLI_TIMES}),
        ("times-values", {"times": MOLLI_TIMES * torch.nan}),
        ("times-too-few", {"times": torch.full((9,), 100.0)}),
        ("times-too-few", {"images": series()[:3], "times": MOLLI_TIMES[:3]}),
        ("times-missing", {"times": None}),
        ("images-axes", {"images": series()[:, 0]}),
        ("array-type", {"images": [[1.0, 2.0]]}),
        ("unknown-model", {"model": "moli"}),
        ("option-needs", {"model": None}),
        ("option-needs", {"levels": ["basal", "mid"]}),
        ("option-needs", {"insertions": [(1, 2, 3, 4)]}),
        ("option-value", {"threshold": 1}),
        ("option-value", {"slices": [0]}),
        ("options-conflict", {"noise_floor": True}),
        ("file-missing", {"images": "nowhere/T1map.h5"}),
        ("file-missing", {"labels": "nowhere/T1map_label.npy"}),
        ("shape-mismatch", {"labels": np.ones((2, 6, 7), int)}),
        ("labels-empty", {"labels": np.ones((2, 6, 8), int)}),
    ],
)
def test_what_cannot_be_fitted_has_a_code(code, change):
    given = {"images": series(), "times": MOLLI_TIMES, "model": "molli"} | change
    with refused(code):
        cmrrecon.fit(given.pop("images"), given.pop("times"), **given)


def test_t2_and_t2star_by_name_with_a_floor_if_there_are_echoes_enough():
    t2 = torch.exp(-PREPARED / 46)[:, None, None, None].expand(-1, 1, 4, 4)
    found = cmrrecon.fit(t2, PREPARED, base="T2map")
    assert (found.model, found.noise_floor) == ("t2", False)
    assert torch.allclose(found.values, torch.tensor(46.0))
    echoes = torch.arange(8) * 2.0 + 1
    star = torch.exp(-echoes / 9)[:, None, None, None].expand(-1, 1, 4, 4) + 0.1
    found = cmrrecon.fit(star, echoes, base="T2smap")
    assert (found.parameter, found.model, found.noise_floor) == ("T2*", "t2star", True)
    assert torch.allclose(found.values, torch.tensor(9.0), rtol=1e-4)
    assert not cmrrecon.fit(star, echoes, base="T2smap", noise_floor=False).noise_floor


@pytest.mark.parametrize("suffix", [".h5", ".npy", ".npz", ".mat", ".png", ".nii.gz", ".dcm"])
def test_maps_are_saved_with_deviation_and_residual_and_no_nan_in_dicom(tmp_path, suffix):
    found = cmrrecon.fit(series(), MOLLI_TIMES, model="molli")
    files = found.save(tmp_path / f"t1{suffix}")
    assert [file.name for file in files] == [f"t1{end}{suffix}" for end in ("", "_sd", "_residual")]
    assert all(file.exists() for file in files)
    if suffix in (".h5", ".npy", ".npz", ".mat"):
        assert torch.equal(formats.read_images(files[0])[0].nan_to_num(), found.values.nan_to_num())
        with refused("variable-kind"):
            cmrrecon.fit(files[0], MOLLI_TIMES, model="molli")
    if suffix == ".nii.gz":
        nibabel = pytest.importorskip("nibabel")
        stored = nibabel.load(files[1]).get_fdata().T
        np.testing.assert_allclose(stored, found.deviation, rtol=1e-6)
    if suffix == ".dcm":
        pydicom = pytest.importorskip("pydicom")
        one = pydicom.dcmread(min(files[0].iterdir()))
        values = one.pixel_array * float(one.RescaleSlope) + float(one.RescaleIntercept)
        assert values[0].tolist() == [0] * 8
        np.testing.assert_allclose(values[1:], 1000, rtol=1e-4)
        heads = [pydicom.dcmread(min(file.iterdir())) for file in files]
        assert len({head.SeriesInstanceUID for head in heads}) == 3
        assert len({head.SOPInstanceUID for head in heads}) == 3
        assert [head.ImageType[2] for head in heads] == ["T1 MAP", "OTHER", "OTHER"]


def test_a_picture_shows_each_value_in_its_colour_and_nan_in_black(tmp_path):
    found = cmrrecon.fit(series(slices=1), MOLLI_TIMES, model="molli")
    first, second = tmp_path / "a.png", tmp_path / "b.png"
    found.write(first, "values", {"config": {}}, window=(0, 2000))
    found.write(second, "values", {"config": {}}, window=(0, 1001))
    middle, top = (np.array(Image.open(file).convert("RGB")) for file in (first, second))
    place = (middle.shape[0] // 2, middle.shape[1] // 3)
    # Viridis is blue-green in its middle and yellow at its top.
    assert np.abs(middle[place].astype(int) - (33, 145, 140)).max() < 5
    assert np.abs(top[place].astype(int) - (253, 231, 37)).max() < 5
    assert (middle == 0).all(-1).sum() > 1000
    assert formats.read_provenance(first)["quantity"] == "T1"


def test_saving_has_coded_refusals(tmp_path):
    found = cmrrecon.fit(series(), MOLLI_TIMES, model="molli")
    for name in ("t1.docx", "t1.gif", "t1"):
        with refused("output-format"):
            found.save(tmp_path / name)
    for window in ((5, 5), (-1, 4), (0, float("inf"))):
        with refused("window-range"):
            found.save(tmp_path / "t1.png", window=window)
    assert not list(tmp_path.iterdir())


def test_a_label_map_gives_segments():
    labels = np.zeros((2, 6, 8), int)
    labels[:, 2:5, 3:7] = 2
    labels[:, 3, 4:6] = 1
    labels[:, 2:5, 2] = 3
    found = cmrrecon.fit(series(), MOLLI_TIMES, model="molli", labels=labels)
    assert sum(segment.pixels for segment in found.segments) == 20
    for segment in found.segments:
        assert segment.mean == pytest.approx(1000, rel=1e-4)
        assert segment.deviation < 1
    chosen = cmrrecon.fit(
        series(), MOLLI_TIMES, model="molli", labels=labels, levels=["-", "apical"]
    )
    assert {segment.number for segment in chosen.segments} <= {13, 14, 15, 16}
    with refused("shape-mismatch"):
        cmrrecon.fit(series(), MOLLI_TIMES, model="molli", labels=np.stack([labels] * 9))
