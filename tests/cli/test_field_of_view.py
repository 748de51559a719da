"""The command line and raw data: images are cut to the field of view, and it is reported where they
lie."""

from dataclasses import replace

import pytest
import torch

import cmrrecon
from cmrrecon import formats
from cmrrecon.data import Acquisition, Geometry, Noise
from cmrrecon.operators.coils import rss_images

GEOMETRY = Geometry(
    voxel_mm=(2.0, 1.5, 8.0),
    positions_mm=((0.0, 5.0, 0.0), (0.0, 5.0, 10.0)),
    directions=(((0.0, 1.0, 0.0), (1.0, 0.0, 0.0), (0.0, 0.0, -1.0)),) * 2,
    frame_times_ms=(0.0, 40.0, 80.0),
    field_of_view=(61, 48),
    recon_matrix=(122, 72),
)


@pytest.fixture(scope="module")
def raw(full, tmp_path_factory):
    """A fully sampled scan of 64 x 96 pixels with oversampling, and the same undersampled."""
    folder = tmp_path_factory.mktemp("raw")
    facts = Acquisition("cine_sax", "Cine", field_strength=2.89, sequence="tfi2d1_12")
    scan = replace(formats.read(full), geometry=GEOMETRY, acquisition=facts)
    scan = replace(scan, noise=Noise(torch.eye(4, dtype=torch.complex64), 256))
    formats.write_scan(folder / "cine_sax.h5", scan)
    sampled = cmrrecon.undersample(scan, "uniform", 3, acs=16)
    formats.write_scan(folder / "sampled.h5", sampled)
    return folder


VIEWS = {
    (): (61, 48),
    ("--keep-oversampling",): (64, 96),
    ("--recon-matrix",): (122, 72),
}


@pytest.mark.parametrize(("words", "size"), VIEWS.items())
def test_a_view_and_a_reference_that_shows_the_same(run, raw, words, size, tmp_path):
    target = tmp_path / "a.h5"
    done = run(
        "reconstruct", raw / "sampled.h5", "-m", "zero-filled", *words, "-o", target, "--json"
    )
    assert done.code == 0, done.err
    assert done.records[0]["shape"] == [3, 2, *size]
    assert formats.read_images(target).shape == (3, 2, *size)
    scored = run("evaluate", target, "--truth", raw / "cine_sax.h5", "--json")
    assert scored.code == 0, scored.err
    assert scored.records[0]["psnr"] > 15
    result = cmrrecon.reconstruct(
        raw / "sampled.h5", "zero-filled", **{word[2:].replace("-", "_"): True for word in words}
    )
    assert torch.equal(result.images, formats.read_images(target))
    scores = cmrrecon.evaluate(result, raw / "cine_sax.h5")
    assert scores.psnr == pytest.approx(scored.records[0]["psnr"])
    assert cmrrecon.evaluate(target, raw / "cine_sax.h5").psnr == scores.psnr


def test_the_reference_is_cut_where_the_images_are(run, raw, tmp_path):
    full = formats.read(raw / "cine_sax.h5")
    images = [rss_images(full.read_slice(z))[:, 2:63, 24:72] for z in range(2)]
    formats.write_images(tmp_path / "a.h5", images)
    assert cmrrecon.evaluate(tmp_path / "a.h5", raw / "cine_sax.h5", base="cine_sax").psnr > 100


def test_another_view_is_not_finished(run, raw, tmp_path):
    words = ("reconstruct", raw / "sampled.h5", "-m", "zero-filled", "-o", tmp_path / "a.h5")
    assert run(*words).code == 0
    assert run(*words, "--json").records[0]["status"] == "skipped"
    for view in ("--keep-oversampling", "--recon-matrix"):
        assert run(*words, view).codes == ["output-exists"]


def test_what_excludes_itself_or_is_not_known_is_refused(run, raw, undersampled, tmp_path):
    words = ("-m", "zero-filled", "-o", tmp_path / "a.h5")
    both = run("reconstruct", raw / "sampled.h5", "--keep-oversampling", "--recon-matrix", *words)
    assert (both.code, both.codes) == (2, ["options-conflict"])
    unknown = run("reconstruct", undersampled, "--recon-matrix", *words)
    assert (unknown.code, unknown.codes) == (2, ["recon-matrix-missing"])
    assert not list(tmp_path.iterdir())


def test_a_plan_says_the_size_of_the_images(run, raw):
    done = run("reconstruct", raw / "sampled.h5", "-m", "zero-filled", "--dry-run", "--json")
    assert done.records[0]["shape"] == [3, 2, 61, 48]


def test_methods_are_compared_inside_the_field_of_view(run, raw, tmp_path):
    done = run(
        *("compare", raw / "sampled.h5", "-m", "zero-filled,sense", "-o", tmp_path / "a.png"),
        *("--truth", raw / "cine_sax.h5", "--json"),
    )
    assert done.code == 0, done.err
    assert [record["status"] for record in done.records[:2]] == ["scored"] * 2


def test_info_says_where_a_scan_lies(run, raw):
    done = run("info", raw / "cine_sax.h5", "--json")
    (record,) = done.records
    assert record["geometry"]["voxel_mm"] == [2, 1.5, 8]
    assert record["geometry"]["positions_mm"][1] == [0, 5, 10]
    assert (record["field_strength"], record["sequence"]) == (2.89, "tfi2d1_12")
    assert record["beside"] == ["noise"]
    said = run("info", raw / "cine_sax.h5").out
    for words in (
        "voxel 2 x 1.5 x 8 mm",
        "field of view 122 x 72 mm",
        "61 x 48 of 64 x 96 pixels",
        "matrix 122 x 72",
        "slices span 10 mm",
        "frames 0 to 80 ms",
        "2.89 T",
        "tfi2d1_12",
        "with noise",
    ):
        assert words in said, said


def test_info_says_where_images_lie(run, raw, tmp_path):
    run(
        "reconstruct",
        raw / "sampled.h5",
        "-m",
        "zero-filled",
        "--slices",
        1,
        "-o",
        tmp_path / "a.h5",
    )
    said = run("info", tmp_path / "a.h5").out
    assert "voxel 2 x 1.5 x 8 mm" in said
    assert "field of view 122 x 72 mm" in said
    assert "slices span" not in said


def test_info_of_a_scan_without_a_geometry(run, undersampled):
    (record,) = run("info", undersampled, "--json").records
    assert record["geometry"] is None
    assert record["beside"] == []


def test_a_table_of_settings_is_shown_with_its_scan(run, undersampled, tmp_path):
    (tmp_path / undersampled.name).write_bytes(undersampled.read_bytes())
    (tmp_path / "cine_sax_info.csv").write_text("pixel spacing,1.4,1.5\nslice thickness,8\n")
    done = run("info", tmp_path, "--json")
    assert done.code == 0, done.err
    assert [record["kind"] for record in done.records] == ["scan"]
    assert done.records[0]["geometry"]["voxel_mm"] == [1.4, 1.5, 8]


def test_undersampling_keeps_the_geometry_and_says_what_it_cannot_keep(run, raw, tmp_path):
    words = ("undersample", raw / "cine_sax.h5", "-p", "uniform", "-R", 4, "-o")
    plain = run(*words, tmp_path / "a.h5")
    assert plain.code == 0, plain.err
    assert "warning: " not in plain.err
    assert formats.read(tmp_path / "a.h5").geometry == GEOMETRY
    official = run(*words, tmp_path / "a.mat")
    (warning,) = [line for line in official.err.splitlines() if line.startswith("warning: ")]
    assert "noise" in warning
    assert formats.read(tmp_path / "a.mat").geometry == GEOMETRY


def test_a_store_keeps_the_geometry_but_no_noise_of_other_coils(run, raw, tmp_path):
    words = ("preprocess", raw / "cine_sax.h5", "--quiet", "--out-dir")
    assert run(*words, tmp_path / "same").code == 0
    assert run(*words, tmp_path / "few", "--coils", 2).code == 0
    same, few = (formats.read(tmp_path / name / "cine_sax.h5") for name in ("same", "few"))
    assert same.geometry == few.geometry == GEOMETRY
    assert same.noise is not None
    assert few.noise is None
