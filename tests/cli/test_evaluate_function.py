"""`cmrrecon evaluate --segmentation` and `--model` on a simulated cine scan."""

import shutil
import sys

import nibabel
import numpy as np
import pytest

from cmrrecon import formats

FRAMES, SLICES, Y, X = 3, 2, 64, 96
VOXEL = (2.0, 1.5, 8.0)  # mm, (y, x, slice)


def heart(radius):
    """Discs whose radius in pixels differs between the frames, as (frame, slice, y, x)."""
    y, x = np.mgrid[:Y, :X]
    frames = []
    for factor in (1.0, 0.6, 0.8):
        left = np.hypot(y - 32, x - 40)
        labels = np.where(np.hypot(y - 32, x - 66) < factor * radius, 3, 0)
        labels[left < radius + 4] = 2
        labels[left < factor * radius] = 1
        frames.append([labels] * SLICES)
    return np.array(frames, "uint8")


def save_nifti(path, labels, slope=None):
    path.parent.mkdir(parents=True, exist_ok=True)
    image = nibabel.Nifti1Image(labels.T, np.diag([VOXEL[1], VOXEL[0], VOXEL[2], 1]))
    if slope is not None:
        image.header.set_slope_inter(slope, 0)
    nibabel.save(image, path)


@pytest.fixture(scope="module")
def rec(run, undersampled, tmp_path_factory):
    """Images of two methods in the folder of their subject."""
    folder = tmp_path_factory.mktemp("function") / "P001"
    for method in ("zero-filled", "grappa"):
        target = folder / f"cine_sax_{method}.h5"
        assert run("reconstruct", undersampled, "-m", method, "-o", target, "-q").code == 0
    return folder.parent


@pytest.fixture
def maps(tmp_path):
    """Label maps of the reference and of both methods; the second one is smaller."""
    folder = tmp_path / "labels" / "P001"
    save_nifti(folder / "cine_sax_label.nii.gz", heart(12))
    save_nifti(folder / "cine_sax_zero-filled.nii.gz", heart(12))
    save_nifti(folder / "cine_sax_grappa.nii.gz", heart(11))
    return folder


def evaluate(run, rec, truth, *words):
    return run("evaluate", rec, "--truth", truth, "--json", "-q", *words)


def by_method(done):
    return {record["method"]: record for record in done.records if record["status"] == "done"}


def test_function_of_two_methods(run, rec, truth, maps, tmp_path):
    figure = tmp_path / "agreement.png"
    words = ("--segmentation", maps.parent, "--bland-altman", figure)
    done = evaluate(run, rec, truth, *words)
    assert done.code == 0, done.err
    found = by_method(done)

    counts = (heart(12) == 1).sum((1, 2, 3))
    function = found["zero-filled"]["function"]
    voxel = np.prod(VOXEL) / 1000
    assert function["voxel_mm"] == list(VOXEL)
    assert function["volumes_ml"]["reference"]["lv"] == pytest.approx(counts * voxel)
    assert function["reference"]["lv_ef_percent"] == pytest.approx(
        100 * (1 - counts.min() / counts.max())
    )
    assert set(function["error"].values()) == {0}
    assert set(function["dice"].values()) == {1}

    smaller = found["grappa"]["function"]
    wanted = ((heart(11) == 1).sum((1, 2, 3)) - counts)[0] * voxel
    assert smaller["error"]["lv_edv_ml"] == pytest.approx(wanted)
    assert 0.8 < smaller["dice"]["lv"] < 1
    assert 0 < smaller["hausdorff_mm"]["lv"] <= 2 * max(VOXEL[:2])

    summary = [row for row in done.records[-1]["function"] if row["quantity"] == "lv_edv_ml"]
    assert {row["method"]: row["bias"] for row in summary}["grappa"] == pytest.approx(wanted)
    assert figure.stat().st_size > 10_000

    assert evaluate(run, rec, truth, *words).codes == ["output-exists"]


def test_labels_saved_through_a_slope(run, rec, truth, maps):
    plain = by_method(evaluate(run, rec, truth, "--segmentation", maps.parent))
    for path in maps.iterdir():
        labels = np.asarray(nibabel.load(path).dataobj).T
        image = nibabel.Nifti1Image(labels.T.astype("f4") * 1.00002, nibabel.load(path).affine)
        nibabel.save(image, path)
    sloped = by_method(evaluate(run, rec, truth, "--segmentation", maps.parent))
    assert sloped["grappa"]["function"]["error"] == plain["grappa"]["function"]["error"]


def test_labels_of_another_tool(run, rec, truth, maps):
    plain = by_method(evaluate(run, rec, truth, "--segmentation", maps.parent))
    for path in maps.iterdir():
        labels = np.asarray(nibabel.load(path).dataobj).T
        save_nifti(path, np.where(labels > 0, 4 - labels, 0).astype("uint8"))
    words = ("--segmentation", maps.parent, "--labels", "lv=3,myocardium=2,rv=1")
    other = by_method(evaluate(run, rec, truth, *words))
    assert other["grappa"]["function"]["error"] == plain["grappa"]["function"]["error"]


def test_the_voxel_size_of_the_images_and_none(run, rec, truth, maps, tmp_path):
    """Arrays state no voxel size: the geometry of the images does, or nothing."""
    arrays = tmp_path / "arrays" / "P001"
    arrays.mkdir(parents=True)
    for path in maps.iterdir():
        name = path.name.removesuffix(".nii.gz")
        np.save(arrays / f"{name}.npy", np.asarray(nibabel.load(path).dataobj).T)

    copies = shutil.copytree(rec, tmp_path / "rec")
    path = copies / "P001" / "cine_sax_grappa.h5"
    images, stamp = formats.read_images(path), formats.read_provenance(path)
    for geometry, voxel in (({"voxel_mm": list(VOXEL)}, list(VOXEL)), (None, None)):
        formats.write_images(path, list(images.unbind(1)), stamp | {"geometry": geometry})
        done = evaluate(run, path, truth, "--segmentation", arrays.parent)
        function = done.records[0]["function"]
        assert function["voxel_mm"] == voxel
        assert function["reference"]["lv_ef_percent"] > 50
        assert (function["reference"]["lv_edv_ml"] is None) == (voxel is None)
        assert (function["hausdorff_mm"]["lv"] is None) == (voxel is None)


def test_a_voxel_size_that_differs_is_reported(run, rec, truth, maps):
    path = maps / "cine_sax_grappa.nii.gz"
    image = nibabel.load(path)
    nibabel.save(nibabel.Nifti1Image(np.asarray(image.dataobj), np.eye(4)), path)
    done = evaluate(run, rec, truth, "--segmentation", maps.parent)
    assert done.code == 0
    assert by_method(done)["grappa"]["function"]["voxel_mm"] == list(VOXEL)
    assert "different voxel sizes" in done.err


@pytest.mark.parametrize(
    ("fault", "code"),
    [
        ("missing", "labels-missing"),
        ("size", "shape-mismatch"),
        ("frames", "shape-mismatch"),
        ("one frame", "labels-frames"),
        ("empty", "labels-empty"),
        ("others", "labels-empty"),
        ("twice", "labels-ambiguous"),
        ("values", "labels-values"),
        ("damaged", "file-damaged"),
    ],
)
def test_one_faulty_label_map_fails_alone(run, rec, truth, maps, fault, code):
    path, labels = maps / "cine_sax_grappa.nii.gz", heart(12)
    if fault == "missing":
        path.unlink()
    elif fault == "twice":
        save_nifti(maps / "cine_sax_grappa_label.nii.gz", labels)
    elif fault == "damaged":
        path.write_bytes(path.read_bytes()[:200])
    elif fault == "values":
        save_nifti(path, labels * 0.5)
    else:
        changed = {
            "size": labels[..., :-2, :],
            "frames": labels[:2],
            "one frame": labels[:1],
            "empty": 0 * labels,
            "others": 9 * labels,
        }
        save_nifti(path, changed[fault])

    done = evaluate(run, rec, truth, "--segmentation", maps.parent)
    assert done.codes == [code]
    assert done.code == 1
    assert by_method(done)["zero-filled"]["function"]["error"]["lv_edv_ml"] == 0


def test_two_subjects_of_one_name_are_refused(run, rec, truth, maps):
    shutil.copytree(maps, maps.parent / "second" / "P001")
    done = evaluate(run, rec, truth, "--segmentation", maps.parent)
    assert set(done.codes) == {"labels-ambiguous"}


@pytest.mark.parametrize(
    ("words", "code"),
    [
        (("--labels", "lv=3"), "option-needs"),
        (("--bland-altman", "a.png"), "option-needs"),
        (("--segmentation", "{maps}", "--labels", "lv=3"), "option-value"),
        (("--segmentation", "{maps}", "--labels", "heart=1"), "option-value"),
        (("--segmentation", "{maps}", "--bland-altman", "a.txt"), "option-value"),
        (("--segmentation", "{maps}", "--model", "a.onnx"), "options-conflict"),
        (("--segmentation", "{maps}/nowhere"), "file-missing"),
        (("--model", "{maps}/nowhere.onnx"), "file-missing"),
    ],
)
def test_refused_options(run, rec, truth, maps, words, code):
    words = [word.format(maps=maps) for word in words]
    assert evaluate(run, rec, truth, *words).codes == [code]


def test_a_model_of_the_user(run, rec, truth, tmp_path):
    """The model labels pixels above the mean as 1, and far above it as 2."""
    onnx = pytest.importorskip("onnx")
    pytest.importorskip("onnxruntime")
    helper = onnx.helper
    nodes, casts = [], []
    for name in ("low", "high"):
        nodes.append(helper.make_node("Greater", ["image", name], [f"over_{name}"]))
        nodes.append(helper.make_node("Cast", [f"over_{name}"], [f"is_{name}"], to=7))
        casts.append(f"is_{name}")
    nodes.append(helper.make_node("Add", casts, ["out"]))
    graph = helper.make_graph(
        nodes,
        "threshold",
        [helper.make_tensor_value_info("image", 1, ("n", 1, "y", "x"))],
        [helper.make_tensor_value_info("out", 7, None)],
        [helper.make_tensor(n, 1, (), [v]) for n, v in (("low", 0.0), ("high", 2.0))],
    )
    path = tmp_path / "model.onnx"
    onnx.save(
        helper.make_model(graph, opset_imports=[helper.make_opsetid("", 13)], ir_version=8), path
    )
    done = evaluate(run, rec, truth, "--model", path)
    assert done.code == 0, done.err
    function = by_method(done)["grappa"]["function"]
    assert function["model"] == "model.onnx"
    assert function["dice"]["lv"] > 0.5
    assert function["dice"]["rv"] is None


def test_a_missing_package_names_its_extra(run, rec, truth, tmp_path, monkeypatch):
    path = tmp_path / "model.onnx"
    path.write_bytes(b"x")
    monkeypatch.setitem(sys.modules, "onnxruntime", None)
    done = evaluate(run, rec, truth, "--model", path)
    assert done.codes == ["package-missing"]
    assert "cmrrecon[segmentation]" in done.err
