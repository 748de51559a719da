"""`cmrrecon fit`: from a simulated scan to maps, and what is refused."""

import numpy as np
import pytest
import torch

import cmrrecon
from cmrrecon import formats
from cmrrecon.simulation.tissues import TISSUES

SCAN = (
    "--slice-count",
    2,
    "--coils",
    2,
    "--size",
    "48x64",
    "--snr",
    "40",
    "--quiet",
)


@pytest.fixture(scope="module")
def scans(run, tmp_path_factory):
    """A folder of simulated scans, and one of their reconstructions."""
    data = tmp_path_factory.mktemp("mapping")
    for kind in ("t1map", "t2map", "cine"):
        words = ("--frames", 2) if kind == "cine" else ()
        assert run("simulate", "--kind", kind, *SCAN, *words, "--out-dir", data / "sim").code == 0
    words = ("--method", "zero-filled", "--out-dir", data / "rec", "--quiet")
    assert run("reconstruct", data / "sim", *words).code == 0
    return data


@pytest.fixture(scope="module")
def series(scans):
    return next(scans.rglob("T1map_zero-filled.h5"))


@pytest.fixture(scope="module")
def table(scans):
    return next(scans.rglob("T1map.csv"))


def test_a_folder_of_reconstructions_becomes_maps_and_a_second_run_skips_them(run, scans, tmp_path):
    words = ("fit", scans / "rec", "--times", scans / "sim", "--out-dir", tmp_path, "--json")
    done = run(*words)
    assert done.code == 0, done.err
    found = {record["parameter"]: record for record in done.records}
    assert list(found) == ["T1", "T2"]  # a cine is no mapping series
    for parameter, model in (("T1", "molli"), ("T2", "t2")):
        record = found[parameter]
        assert (record["status"], record["model"], record["segments"]) == ("done", model, [])
        values = formats.read_images(record["output"])[0]
        truth = getattr(TISSUES["myocardium"], parameter.lower())
        assert int(((values / truth - 1).abs() < 0.03).sum()) > 20
        assert record["fitted"] == int(values.isfinite().sum())
        assert record["fitted"] + record["failed"] + record["air"] == values.numel()
        assert formats.read_images(record["deviation"]).shape == (1, 2, 48, 64)
        stamp = formats.read_provenance(record["residual"])
        assert stamp["quantity"] == f"residual of the {parameter} fit"
        assert stamp["acquisition"]["subject"] == "P001"
        assert len(stamp["inputs"]) == 2
    assert found["T1"]["times_ms"] == formats.read_times(next(scans.rglob("T1map.csv"))).T.tolist()

    assert [record["status"] for record in run(*words).records] == ["skipped", "skipped"]
    other = run(*words, "--threshold", 0.1)
    assert (other.code, other.codes) == (1, ["output-exists", "output-exists"])


def test_the_command_and_the_function_fit_the_same(run, series, table, tmp_path):
    done = run("fit", series, "--times", table, "-o", tmp_path / "t1.npy", "--json")
    assert done.code == 0, done.err
    wanted = cmrrecon.fit(series, table)
    for name in ("t1", "t1_sd", "t1_residual"):
        assert (tmp_path / f"{name}.npy").exists()
    assert torch.equal(
        formats.read_images(tmp_path / "t1.npy")[0].nan_to_num(), wanted.values.nan_to_num()
    )
    record = done.records[0]
    assert record["median_ms"] == pytest.approx(float(wanted.values.nanmedian()))
    assert record["median_deviation_ms"] == pytest.approx(float(wanted.deviation.nanmedian()))


def test_a_label_map_gives_a_table_of_segments(run, series, table, tmp_path):
    labels = np.zeros((2, 48, 64), "u1")
    labels[:, 18:28, 26:38] = 2
    labels[:, 21:25, 30:34] = 1
    labels[:, 19:27, 22:26] = 3
    np.save(tmp_path / "T1map_label.npy", labels)
    words = ("fit", series, "--times", table, "--labels")
    done = run(*words, tmp_path, "-o", tmp_path / "a.h5", "--json")
    assert done.code == 0, done.err
    rows = done.records[0]["segments"]
    assert [row["number"] for row in rows] == list(range(1, 13))  # two slices: basal and mid
    assert sum(row["pixels"] + row["failed"] for row in rows) == (labels == 2).sum()
    assert "anteroseptal" in done.err

    levels = run(
        *words,
        tmp_path / "T1map_label.npy",
        "--levels",
        "-,apical",
        "--insertion",
        "17,26,29,26",
        "-o",
        tmp_path / "b.h5",
        "--json",
    )
    assert [row["number"] for row in levels.records[0]["segments"]] == [13, 14, 15, 16]


def test_nifti_and_dicom_have_the_options_of_reconstruct(run, series, table, tmp_path):
    nibabel, pydicom = pytest.importorskip("nibabel"), pytest.importorskip("pydicom")
    words = ("fit", series, "--times", table, "--voxel-size", "2,1.5,8", "--json", "-o")
    assert run(*words, tmp_path / "a.nii.gz").code == 0
    image = nibabel.load(tmp_path / "a_sd.nii.gz")
    assert image.header.get_zooms() == (1.5, 2, 8)
    values = cmrrecon.fit(series, table).deviation
    done = run(*words, tmp_path / "a.dcm", "--patient-id", "P7")
    assert done.code == 0, done.err
    heads = [pydicom.dcmread(file) for file in sorted((tmp_path / "a_sd.dcm").iterdir())]
    assert [head.PatientID for head in heads] == ["P7", "P7"]
    stored = heads[1].pixel_array * float(heads[1].RescaleSlope)
    assert np.abs(stored - values[1].nan_to_num().numpy()).max() < float(heads[1].RescaleSlope)
    again = run(*words, tmp_path / "a.dcm", "--patient-id", "P7")
    assert again.records[0]["status"] == "skipped"


def test_a_dry_run_writes_nothing(run, series, table, tmp_path):
    done = run("fit", series, "--times", table, "--out-dir", tmp_path / "x", "--dry-run", "--json")
    assert done.records[0]["status"] == "planned"
    assert not (tmp_path / "x").exists()


def test_numbers_that_are_not_finite_are_reported(run, series, table, tmp_path):
    images = formats.read_images(series)
    images[0, 0, 24, 32] = torch.nan
    np.save(tmp_path / "T1map.npy", images.numpy())
    done = run("fit", tmp_path / "T1map.npy", "--times", table, "--json")
    assert (done.code, done.records[0]["not_finite"]) == (0, 1)
    assert "warning" in done.err


@pytest.mark.parametrize(
    ("code", "exit_code", "words"),
    [
        ("times-missing", 3, ()),
        ("times-missing", 3, ("--times", "nowhere.csv")),
        ("unknown-model", 2, ("--times", "{table}", "--model", "moli")),
        ("options-conflict", 2, ("--times", "{table}", "--noise-floor")),
        ("option-value", 2, ("--times", "{table}", "--threshold", 2)),
        ("option-needs", 2, ("--times", "{table}", "--levels", "basal,mid")),
        ("option-value", 2, ("--times", "{table}", "--insertion", "1,2,3")),
        ("file-missing", 3, ("--times", "{table}", "--labels", "nowhere.npy")),
        ("output-format", 2, ("--times", "{table}", "--format", "gif")),
        ("output-format", 2, ("--times", "{table}", "-o", "t1.docx")),
        ("options-conflict", 2, ("--times", "{table}", "-o", "t1.h5", "--format", "npy")),
        ("options-conflict", 2, ("--times", "{table}", "-o", "-")),
        ("option-value", 2, ("--times", "{table}", "--window", "5")),
        ("window-range", 2, ("--times", "{table}", "--window", "5,5")),
    ],
)
def test_refusals_have_codes(run, series, table, tmp_path, monkeypatch, code, exit_code, words):
    monkeypatch.chdir(tmp_path)
    done = run("fit", series, *(str(word).format(table=table) for word in words))
    assert (done.codes, done.code) == ([code], exit_code)
    assert not list(tmp_path.iterdir())


def test_a_series_of_another_kind_needs_a_model(run, scans, table):
    cine = next(scans.rglob("cine_sax_zero-filled.h5"))
    assert run("fit", cine, "--times", table).codes == ["option-needs"]
    assert run("fit", cine, "--times", table, "--model", "t2").codes == ["times-shape"]


def test_one_bad_series_does_not_stop_the_others(run, scans, series, table, tmp_path):
    (tmp_path / "T1map.h5").write_bytes(series.read_bytes()[:5000])
    (tmp_path / "T1mappost.h5").write_bytes(series.read_bytes())
    done = run("fit", tmp_path, "--times", table, "--json")
    assert done.code == 1
    assert sorted(record["status"] for record in done.records) == ["done", "failed"]
