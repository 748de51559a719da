"""A radial scan on the command line: what works with a trajectory, and what is refused."""

import sys
from importlib.util import find_spec

import pytest

from cmrrecon import formats

pytestmark = pytest.mark.skipif(
    find_spec("finufft") is None, reason="needs finufft, the extra nufft"
)
SIZES = ("--frames", 3, "--slices", 2, "--coils", 4, "--size", "48x80", "--spokes", 12)


@pytest.fixture(scope="module")
def folder(tmp_path_factory, run):
    folder = tmp_path_factory.mktemp("radial")
    done = run("simulate", *SIZES, "--out-dir", folder, "--json")
    assert done.code == 0, done.err
    record = done.records[0]
    assert record["shape"] == [3, 2, 4, 12, 80]
    assert record["axes"] == ["frame", "slice", "coil", "spoke", "sample"]
    assert record["matrix"] == [48, 48]
    return folder


@pytest.fixture(scope="module")
def radial(folder):
    path = next(folder.rglob("cine_sax.h5"))
    assert path.parts[-5] == "Radial"
    return path


@pytest.fixture(scope="module")
def truth(radial):
    return radial.with_name("cine_sax_truth.npz")


def test_info_says_spokes_samples_matrix_and_effective_acceleration(run, radial):
    said = run("info", radial).out
    for words in ("spoke 12", "sample 80", "matrix 48 x 48", "radial", "effective R 6.33"):
        assert words in said
    record = run("info", radial, "--json").records[0]
    assert record["axes"][3:] == ["spoke", "sample"]
    assert record["matrix"] == [48, 48]
    assert record["effective_acceleration"] == 6.33  # 76 spokes by Nyquist, ceil(pi / 2 * 48)
    assert record["calibration_lines_found"] is None


def test_truth_fits_the_zero_filled_reconstruction(run, radial, truth, tmp_path):
    assert formats.read_images(truth).shape == (3, 2, 48, 48)
    done = run("reconstruct", radial, "-m", "zero-filled", "-o", tmp_path / "zero.h5")
    assert done.code == 0, done.err
    assert formats.read_images(tmp_path / "zero.h5").shape == (3, 2, 48, 48)
    done = run("evaluate", tmp_path / "zero.h5", "--truth", truth, "--json")
    assert done.code == 0, done.err
    assert done.records[0]["psnr"] > 18


def test_compare_draws_it(run, radial, truth, tmp_path):
    done = run(
        "compare", radial, "-m", "zero-filled", "--truth", truth, "-o", tmp_path / "figure.png"
    )
    assert done.code == 0, done.err
    assert (tmp_path / "figure.png").stat().st_size > 0


def test_it_goes_through_a_pipe(run):
    made = run("simulate", *SIZES, "-o", "-", "--quiet")
    assert made.code == 0, made.err
    (record,) = run("info", "-", "--json", stdin=made.raw).records
    assert (record["input"], record["shape"]) == ("standard input", [3, 2, 4, 12, 80])


def test_what_needs_cartesian_kspace_says_so(run, radial, tmp_path):
    for words in (
        ("undersample", radial, "-R", 2, "--out-dir", tmp_path),
        ("preprocess", radial, "--out-dir", tmp_path / "store"),
    ):
        done = run(*words)
        assert (done.code, done.codes) == (2, ["needs-cartesian"])
    assert not list(tmp_path.rglob("*.h5")) + list(tmp_path.rglob("*.mat"))


def test_radial_kspace_is_no_reference(run, radial, truth):
    done = run("evaluate", truth, "--truth", radial)
    assert (done.code, done.codes) == (3, ["kspace-undersampled"])


def test_names_of_formats_that_cannot_hold_it_are_refused(run, tmp_path):
    done = run("simulate", *SIZES, "-o", tmp_path / "radial.mat")
    assert (done.code, done.codes) == (2, ["output-format"])
    assert not list(tmp_path.iterdir())


def test_without_finufft_the_extra_is_named_and_info_works(run, radial, tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "finufft", None)
    for words in (
        ("simulate", *SIZES, "-o", tmp_path / "new.h5"),
        ("reconstruct", radial, "-m", "zero-filled", "-o", tmp_path / "x.h5"),
    ):
        done = run(*words)
        assert (done.code, done.codes) == (2, ["package-missing"])
        assert "cmrrecon[nufft]" in done.err
        assert not list(tmp_path.iterdir())
    assert run("info", radial).code == 0
