"""`cmrrecon compare` with images from files, and how its figures look."""

import json
from dataclasses import replace
from xml.etree import ElementTree

import numpy as np
import pytest
import torch
from matplotlib.image import imread

import cmrrecon
from cmrrecon import formats
from cmrrecon.evaluation.protocols import score

TEXT = "{http://www.w3.org/2000/svg}text"


@pytest.fixture(scope="module")
def made(run, undersampled, tmp_path_factory):
    """SENSE images of the simulated scan, 3 frames, 2 slices, 64 x 96."""
    path = tmp_path_factory.mktemp("made") / "sense.h5"
    assert run("reconstruct", undersampled, "-m", "sense", "-o", path, "-q").code == 0
    return path


def words_of(svg):
    return [" ".join(text.itertext()) for text in ElementTree.parse(svg).iter(TEXT)]


def config_of(path):
    return formats.read_provenance(path)["config"]


def test_images_from_files_are_scored_and_labelled_like_methods(
    run, undersampled, truth, made, tmp_path
):
    images = formats.read_images(made)
    np.save(tmp_path / "all.npy", images.numpy())
    np.savez(tmp_path / "one.npz", image=images[:, 1].numpy())
    formats.write_images(tmp_path / "ours.mat", images.unbind(1))
    formats.write_images(tmp_path / "bart.cfl", images.unbind(1))
    names = {
        "stored": made,
        "npy": "all.npy",
        "npz": "one.npz",
        "matlab": "ours.mat",
        "bart": "bart.cfl",
    }
    given = [f"{name}={tmp_path / file}" for name, file in names.items()]
    files = [word for text in given for word in ("--images", text)]
    figure = tmp_path / "f.svg"
    words = ("compare", undersampled, "-m", "sense", *files, "--truth", truth, "-o", figure)
    done = run(*words, "--json")
    assert done.code == 0, done.err
    *records, summary = done.records
    assert [record["method"] for record in records] == ["sense", *names]
    assert summary["images"] == list(names)
    assert summary["methods"] == ["sense"]
    assert {record["status"] for record in records} == {"scored"}
    assert records[1]["file"] == str(made)
    assert ["seconds" in record for record in records] == [True, *5 * [False]]
    for record in records[1:]:
        assert record["psnr"] == pytest.approx(records[0]["psnr"], abs=1e-3)
    assert set(names) <= set(words_of(figure))
    picture = (*words[:-1], tmp_path / "f.png", "--json")
    assert [run(*picture).records[-1]["status"] for _ in range(2)] == ["done", "skipped"]


def test_images_alone_are_compared_on_full_kspace_too(run, full, truth, made, tmp_path):
    words = ("compare", full, "--images", f"a={made}", "--truth", truth, "-o", tmp_path / "f.png")
    done = run(*words, "--slices", 0, "--json")
    assert done.code == 0, done.err
    record, summary = done.records
    assert (record["method"], summary["methods"], summary["slice"]) == ("a", [], 0)
    expected = score(
        formats.read_images(made)[:, :1], formats.read_images(truth)[:, :1], protocol="fullfov"
    )
    assert record["psnr"] == pytest.approx(expected.psnr)


def test_images_of_some_slices_are_found_by_their_numbers(run, undersampled, tmp_path):
    run("reconstruct", undersampled, "-m", "zero-filled", "--slices", 0, "-o", tmp_path / "a.h5")
    words = ("compare", undersampled, "--images", f"a={tmp_path / 'a.h5'}")
    assert run(*words, "--slices", 0, "-o", tmp_path / "0.png").code == 0
    done = run(*words, "--slices", 1, "-o", tmp_path / "1.png")
    assert (done.code, done.codes) == (3, ["slice-missing"])


def test_the_body_is_scored_and_named(run, undersampled, truth, made, tmp_path):
    figure = tmp_path / "f.svg"
    words = ("compare", undersampled, "--images", f"a={made}", "--truth", truth)
    done = run(*words, "--protocol", "body", "-o", figure, "--json")
    record, _ = done.records
    expected = cmrrecon.evaluate(
        formats.read_images(made)[:, 1:], formats.read_images(truth)[:, 1:], protocol="body"
    )
    assert record["psnr"] == pytest.approx(expected.psnr)
    assert record["body_fraction"] == pytest.approx(expected.body_fraction)
    assert any("protocol body" in text for text in words_of(figure))


def test_methods_may_be_repeated_or_separated_by_commas(run, undersampled, tmp_path):
    chosen = ("-m", "sense", "--method", "zero-filled,tv", "--methods", "sense")
    done = run("compare", undersampled, *chosen, "-o", tmp_path / "f.png", "--dry-run", "--json")
    assert done.records[-1]["methods"] == ["sense", "zero-filled", "tv"]


def test_the_figure_goes_to_the_folder(run, undersampled, made, tmp_path):
    words = ("compare", undersampled, "--images", f"a={made}", "--out-dir", tmp_path / "figures")
    done = run(*words)
    assert done.code == 0, done.err
    assert done.out.strip() == str(tmp_path / "figures" / f"{undersampled.stem}_compare.png")
    assert run(*words, "-o", tmp_path / "a.png").codes == ["options-conflict"]


def test_the_window_zoom_and_aspect_are_drawn_and_kept_in_the_provenance(
    run, undersampled, truth, made, tmp_path
):
    figure = tmp_path / "f.svg"
    words = ("compare", undersampled, "--images", f"a={made}", "--truth", truth, "-o", figure)
    view = ("--window", "0,0.6", "--zoom", "16,48,20,70", "--aspect", "1.4")
    assert run(*words, *view).code == 0
    texts = words_of(figure)
    assert any("Grey window: 0 to 0.6." in text for text in texts)
    assert {"zoom", "signal", "|error|"} <= set(texts)
    done = run(*words)
    assert (done.code, done.codes) == (1, ["output-exists"])


def test_aspect_and_times_come_from_the_scan(run, undersampled, tmp_path):
    scan = formats.read(undersampled)
    geometry = cmrrecon.Geometry(voxel_mm=(3.0, 1.5, 8.0), frame_times_ms=(0.0, 40.0, 80.0))
    kspace = torch.stack([scan.read_slice(z) for z in range(2)], 1)
    path = tmp_path / "scan.h5"
    moved = replace(cmrrecon.Scan.from_kspace(kspace, scan.mask), geometry=geometry)
    formats.write_scan(path, moved)
    done = run("compare", path, "-m", "zero-filled", "-o", tmp_path / "f.svg")
    assert done.code == 0, done.err
    texts = words_of(tmp_path / "f.svg")
    assert {"time (ms)", "40", "80"} <= set(texts)
    images = ElementTree.parse(tmp_path / "f.svg").iter("{http://www.w3.org/2000/svg}image")
    sizes = [(float(image.get("height")), float(image.get("width"))) for image in images]
    assert sizes[0][0] / sizes[0][1] == pytest.approx(2 * 64 / 96, rel=0.1)


def test_type_is_text_in_svg_and_truetype_in_pdf(run, undersampled, made, tmp_path):
    for kind in ("svg", "pdf"):
        words = ("compare", undersampled, "--images", f"ours={made}", "-o", tmp_path / f"f.{kind}")
        assert run(*words).code == 0
    assert "ours" in words_of(tmp_path / "f.svg")
    pdf = (tmp_path / "f.pdf").read_bytes()
    assert b"/FontFile2" in pdf
    assert b"/Type3" not in pdf


def test_the_resolution_is_that_of_the_option(run, undersampled, made, tmp_path):
    sizes = []
    for dpi in (100, 200):
        path = tmp_path / f"{dpi}.png"
        words = ("compare", undersampled, "--images", f"a={made}", "--dpi", dpi, "-o", path)
        assert run(*words).code == 0
        sizes.append(imread(path).shape[1])
    assert sizes[1] / sizes[0] == pytest.approx(2, rel=0.01)


def test_what_cannot_be_shown_is_refused_before_anything_is_done(run, undersampled, made, tmp_path):
    images = formats.read_images(made)
    files = {
        "frames.npy": images[:2],
        "pixels.npy": images[..., :90],
        "slices.npy": images.repeat(1, 2, 1, 1)[:, :3],
        "nan.npy": images / 0 * 0,
        "zero.npy": 0 * images,
    }
    for name, values in files.items():
        np.save(tmp_path / name, values.numpy())
    stamp = {"acquisition": {"base": "cine_sax", "subject": "P099"}, "config": {"slices": [0, 1]}}
    formats.write_images(tmp_path / "other.h5", images.unbind(1), stamp)
    spread = {**stamp, "quantity": "standard deviation"}
    formats.write_images(tmp_path / "spread.h5", images.unbind(1), spread)
    (tmp_path / "text.npy").write_text("nothing")
    before = sorted(tmp_path.iterdir())
    for words, exit_code, code in (
        (("--images", "no-file"), 2, "option-value"),
        (("--images", "=a.npy"), 2, "option-value"),
        (("--images", "a="), 2, "option-value"),
        (("--images", "a={}/absent.npy"), 3, "file-missing"),
        (("--images", "a={}/zero.npy", "--images", "a={}/nan.npy"), 2, "name-repeated"),
        (("-m", "sense", "--images", "sense={}/zero.npy"), 2, "name-repeated"),
        (("--images", "reference={}/zero.npy"), 2, "name-repeated"),
        (("--images", "a={}/frames.npy"), 3, "shape-mismatch"),
        (("--images", "a={}/pixels.npy"), 3, "shape-mismatch"),
        (("--images", "a={}/slices.npy"), 3, "shape-mismatch"),
        (("--images", "a={}/nan.npy"), 3, "images-not-finite"),
        (("--images", "a={}/zero.npy"), 3, "images-flat"),
        (("--images", "a={}/other.h5"), 3, "images-mismatch"),
        (("--images", "a={}/spread.h5"), 3, "variable-kind"),
        (("--images", "a={}/text.npy"), 3, "file-format"),
        (("--window", "0.6,0.1"), 2, "window-range"),
        (("--window", "0,2"), 2, "window-range"),
        (("--window", "0"), 2, "option-value"),
        (("--window", "a,b"), 2, "option-value"),
        (("--window", "nan,1"), 2, "option-value"),
        (("--zoom", "0,65,0,96"), 2, "box-outside"),
        (("--zoom", "9,3,0,96"), 2, "box-outside"),
        (("--zoom", "1,2,3"), 2, "option-value"),
        (("--aspect", "0"), 2, "option-value"),
        (("--aspect", "-1"), 2, "option-value"),
        (("--dpi", "0"), 2, "option-value"),
        (("--protocol", "cmrxrecon2025"), 2, "unknown-protocol"),
        (("--slices", "0,1"), 2, "option-value"),
        (("--slices", "2"), 2, "slice-missing"),
    ):
        given = [word.format(tmp_path) for word in words]
        done = run("compare", undersampled, *given, "-o", tmp_path / "f.png")
        assert (done.code, done.codes) == (exit_code, [code]), (words, done.err)
    assert sorted(tmp_path.iterdir()) == before


def test_provenance_names_no_folders(run, undersampled, made, tmp_path):
    words = ("compare", undersampled, "--images", f"a={made}", "-o", tmp_path / "f.png")
    assert run(*words).code == 0
    assert str(made.parent) not in json.dumps(formats.read_provenance(tmp_path / "f.png"))
    assert config_of(tmp_path / "f.png")["images"] == {"a": "sense.h5"}
