"""`reconstruct --format`: names, formats, finished outputs, and options of NIfTI and DICOM."""

import numpy as np
import pytest

from cmrrecon import formats
from cmrrecon.cli import choices, environment
from cmrrecon.formats.writing import IMAGE_WRITERS

METHOD = ("-m", "sense", "--set", "iterations=2", "--set", "weight=0.01")


def snapshot(folder):
    return {
        str(path.relative_to(folder)): path.stat().st_mtime_ns
        for path in folder.rglob("*")
        if path.is_file()
    }


def test_completion_knows_every_format():
    assert sorted(f".{name}" for name in choices.IMAGE_FORMATS) == sorted(IMAGE_WRITERS)


@pytest.mark.parametrize("name", choices.IMAGE_FORMATS)
def test_a_folder_of_scans_in_every_format(run, full, simulated, name, tmp_path):
    pytest.importorskip("nibabel")
    pytest.importorskip("pydicom")
    words = ("reconstruct", simulated, "-m", "zero-filled", "--out-dir", tmp_path, "--format", name)
    done = run(*words, "--json")
    assert done.code == 0, done.err
    tree = full.relative_to(simulated).parent
    expected = "cine_sax.mat" if name == "mat" else f"cine_sax_zero-filled.{name}"
    assert done.records[0]["output"] == str(tmp_path / tree / expected)

    before = snapshot(tmp_path)
    again = run(*words, "--json")
    assert again.records[0]["status"] == "skipped"
    other = run(*words, "--slices", "0")
    assert (other.code, other.codes) == (1, ["output-exists"])
    assert snapshot(tmp_path) == before
    replaced = run(*words, "--slices", "0", "--overwrite", "--json")
    assert replaced.records[0]["status"] == "done", replaced.err
    kept = formats.read_provenance(replaced.records[0]["output"])
    assert kept["config"]["slices"] == [0]


def test_official_names_never_replace_the_input(run, full, simulated, tmp_path):
    before = full.read_bytes()
    done = run(
        *("reconstruct", simulated, "-m", "zero-filled", "--out-dir", simulated, "--format", "mat")
    )
    assert (done.code, done.codes) == (2, ["output-is-input"])
    assert full.read_bytes() == before
    assert full.exists()


@pytest.mark.parametrize("suffix", [".nii.gz", ".dcm"])
def test_the_suffix_of_an_output_chooses_the_format(run, undersampled, suffix, tmp_path):
    pytest.importorskip("nibabel")
    pytest.importorskip("pydicom")
    target = tmp_path / f"a{suffix}"
    words = ("reconstruct", undersampled, *METHOD, "-o", target, "--also", "phase", "--json")
    done = run(*words, "--uncertainty", 2)
    assert done.code == 0, done.err
    record = done.records[0]
    assert record["also"] == str(tmp_path / f"a_phase{suffix}")
    assert record["uncertainty"] == str(tmp_path / "a_uncertainty.h5")
    found = sorted(path.name for path in tmp_path.iterdir())
    assert found == sorted(["a_uncertainty.h5", f"a{suffix}", f"a_phase{suffix}"])
    assert run(*words, "--uncertainty", 2).records[0]["status"] == "skipped"
    # Without one of its files an output is not finished.
    (tmp_path / "a_uncertainty.h5").unlink()
    assert run(*words, "--uncertainty", 2).records[0]["status"] == "done"


def test_nifti_and_dicom_state_the_given_voxel_size(run, undersampled, tmp_path):
    nibabel = pytest.importorskip("nibabel")
    pydicom = pytest.importorskip("pydicom")
    words = ("reconstruct", undersampled, "-m", "zero-filled")
    sized = ("--voxel-size", "1.5,2,8")
    unknown = run(*words, "-o", tmp_path / "a.nii")
    known = run(*words, "-o", tmp_path / "b.nii", *sized)
    assert unknown.err.count("warning: ") == 1 + known.err.count("warning: ")
    assert nibabel.load(tmp_path / "a.nii").header["pixdim"][1:4].tolist() == [1, 1, 1]
    assert nibabel.load(tmp_path / "b.nii").header["pixdim"][1:4].tolist() == [2, 1.5, 8]

    assert run(*words, "-o", tmp_path / "a.dcm", "--enhanced", *sized).code == 0
    made = pydicom.dcmread(tmp_path / "a.dcm")
    measures = made.SharedFunctionalGroupsSequence[0].PixelMeasuresSequence[0]
    assert measures.PixelSpacing == [1.5, 2]
    assert np.allclose(made.pixel_array.reshape(3, 2, 64, 96).max(), 65535)
    for changed in (("--voxel-size", "1,1,8"), (*sized, "--patient-id", "P1"), ()):
        other = run(*words, "-o", tmp_path / "a.dcm", "--enhanced", *changed)
        assert (other.code, other.codes) == (1, ["output-exists"])


def test_folders_of_other_files_survive_overwrite(run, undersampled, tmp_path):
    pytest.importorskip("pydicom")
    folder = tmp_path / "a.dcm"
    folder.mkdir()
    (folder / "IM0001").write_bytes(b"patient")
    done = run("reconstruct", undersampled, "-m", "zero-filled", "-o", folder, "--overwrite")
    assert (done.code, done.codes) == (1, ["output-foreign"])
    assert (folder / "IM0001").read_bytes() == b"patient"


@pytest.mark.parametrize(
    ("words", "code"),
    [
        (("--format", "tiff"), "option-value"),
        (("--format", "dcm", "-o", "a.h5"), "options-conflict"),
        (("--format", "dcm", "-o", "-"), "options-conflict"),
        (("--format", "h5", "--enhanced"), "options-conflict"),
        (("--enhanced",), "options-conflict"),
        (("--format", "nii", "--patient-id", "P1"), "options-conflict"),
        (("--format", "dcm", "--also", "complex"), "options-conflict"),
        (("--format", "dcm", "--also", "both"), "option-value"),
        (("--format", "nii", "--voxel-size", "1,2"), "option-value"),
        (("--format", "nii", "--voxel-size", "a,b,c"), "option-value"),
        (("--format", "nii", "--voxel-size", "1,2,-8"), "option-value"),
        (("--format", "dcm", "--patient-id", "Smith^John"), "option-value"),
    ],
)
def test_options_that_do_not_fit_are_refused_first(
    run, undersampled, words, code, tmp_path, monkeypatch
):
    monkeypatch.chdir(tmp_path)
    done = run("reconstruct", undersampled, "-m", "zero-filled", *words)
    assert (done.code, done.codes) == (2, [code])
    assert "Smith" not in done.err
    assert not list(tmp_path.iterdir())


def test_a_suffix_that_agrees_with_the_format_is_accepted(run, undersampled, tmp_path):
    words = ("reconstruct", undersampled, "-m", "zero-filled", "--format", "npy")
    assert run(*words, "-o", tmp_path / "a.npy").code == 0


def test_magnitudes_have_no_phase(run, undersampled, tmp_path):
    pytest.importorskip("nibabel")
    done = run(
        *("reconstruct", undersampled, "-m", "zero-filled"),
        *("-o", tmp_path / "a.nii", "--also", "phase"),
    )
    assert (done.code, done.codes) == (2, ["phase-missing"])
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("words", [["--patient-id", "Smith"], ["--patient-id=Smith"]])
def test_the_stored_command_line_does_not_name_the_patient(words, monkeypatch):
    monkeypatch.setattr("sys.argv", ["cmrrecon", "reconstruct", *words, "-o", "a.dcm"])
    shown = environment.command_line()
    assert "Smith" not in " ".join(shown)
    assert shown[-2:] == ["-o", "a.dcm"]
