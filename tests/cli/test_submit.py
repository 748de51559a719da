"""`cmrrecon submit`: names, crop, checks, and the entry script of the container."""

import json
import os
import shutil
import subprocess
import sys
import zipfile
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from scipy.io import loadmat

from cmrrecon import Scan, formats
from cmrrecon.data import Acquisition
from cmrrecon.evaluation.ranking import ranking_crop
from cmrrecon.formats.submission import member_name
from cmrrecon.tools.errors import InputError

FRAMES, SLICES, Y, X = 4, 3, 20, 24
VALIDATION = "TaskR1/MultiCoil/Cine/ValidationSet/UnderSample_TaskR1/Center001/UIH_30T_umr780"
CASES = [f"{VALIDATION}/P00{n}/cine_sax_kus_Uniform8.mat" for n in (1, 2, 3)]
ENTRY = Path(__file__).parents[2] / "examples" / "docker" / "entry.sh"
NO_NETWORK = """
import socket

def refuse(*_):
    raise SystemExit("the network was used")

socket.socket.connect = refuse
"""


def write_kspace(path, seed=0):
    draw = torch.Generator().manual_seed(seed)
    kspace = torch.randn(FRAMES, SLICES, 2, Y, X, dtype=torch.complex64, generator=draw)
    formats.write_scan(path, Scan.from_kspace(kspace, acquisition=formats.parse_name(path)))


@pytest.fixture(scope="module")
def validation(tmp_path_factory):
    folder = tmp_path_factory.mktemp("set") / "ChallengeData_ValSet"
    for seed, case in enumerate(CASES):
        write_kspace(folder / case, seed)
    return folder


@pytest.fixture(scope="module")
def made(run, validation, tmp_path_factory):
    """Zero-filled results of the validation set, as `reconstruct --out-dir` writes them."""
    folder = tmp_path_factory.mktemp("rec")
    done = run("reconstruct", validation, "-m", "zero-filled", "--out-dir", folder, "-q")
    assert done.code == 0, done.err
    return folder


@pytest.fixture
def rec(made, tmp_path):
    return Path(shutil.copytree(made, tmp_path / "rec"))


def result_of(rec, number):
    return next(rec.rglob(f"P00{number}/*.h5"))


def submit(run, *words, **options):
    return run("submit", *words, "--year", 2025, "--json", **options)


def test_results_become_the_official_package(run, validation, rec, tmp_path):
    target = tmp_path / "Submission.zip"
    done = submit(run, rec, "--validation", validation, "-o", target)
    assert done.code == 0, done.err
    with zipfile.ZipFile(target) as package:
        assert package.namelist() == CASES
        package.extractall(tmp_path / "out")

    for number, case in enumerate(CASES, 1):
        images = formats.read_images(result_of(rec, number)).abs()
        wanted = ranking_crop(images, base="cine_sax", year=2025).permute(3, 2, 1, 0)
        stored = loadmat(tmp_path / "out" / case)["img4ranking"]
        assert stored.dtype == np.float32
        assert stored.shape == (8, 10, 2, 3)
        np.testing.assert_array_equal(stored, wanted.numpy())


@pytest.mark.parametrize("target", ["Submission.zip", "folder"])
@pytest.mark.parametrize("fact", ["base", "centre", "vendor", "subject"])
def test_names_stored_in_a_file_never_lead_out_of_the_package(run, tmp_path, fact, target):
    """The k-space of a stranger states a path where a name belongs."""
    own = formats.parse_name(tmp_path / CASES[0])
    path = tmp_path / "set" / "cine_sax_kus_Uniform8.h5"
    kspace = torch.randn(FRAMES, SLICES, 2, Y, X, dtype=torch.complex64)
    scan = Scan.from_kspace(kspace, acquisition=replace(own, **{fact: "../../../../../../x"}))
    formats.write_scan(path, scan)

    words = (path, "-m", "zero-filled", "--task", "TaskR1", "-o", tmp_path / "out" / target)
    done = submit(run, *words)
    assert done.code == 3
    assert "name-unsafe" in done.codes
    assert [file for file in tmp_path.rglob("*") if file.is_file()] == [path]


@pytest.mark.parametrize("value", ["../x", "/abs/x", "..", "a\\b", ""])
@pytest.mark.parametrize("year", [2023, 2024, 2025])
def test_a_member_never_has_a_path_as_a_part(year, value):
    facts = Acquisition("cine_sax", None, year, "Center001", "UIH_30T_umr780", value, "uniform", 8)
    with pytest.raises(InputError) as error:
        member_name(facts, year, {2023: None, 2024: "Task1", 2025: "TaskR1"}[year])
    assert error.value.code == "submission-place"


def test_the_same_results_give_the_same_bytes(run, validation, rec, tmp_path):
    for name in ("a.zip", "b.zip"):
        assert submit(run, rec, "--validation", validation, "-o", tmp_path / name).code == 0
    assert (tmp_path / "a.zip").read_bytes() == (tmp_path / "b.zip").read_bytes()


def test_the_manifest_has_the_digest_of_every_file(run, validation, rec, tmp_path):
    target = tmp_path / "Submission.zip"
    submit(run, rec, "--validation", validation, "-o", target)
    manifest = json.loads((tmp_path / "Submission.manifest.json").read_text())
    digest = subprocess.run(["sha256sum", target], capture_output=True, text=True, check=True)
    assert manifest["sha256"] == digest.stdout.split()[0]
    assert manifest["missing"] == []
    assert [file["member"] for file in manifest["files"]] == CASES
    assert {file["method"] for file in manifest["files"]} == {"zero-filled"}


def test_a_validation_set_is_reconstructed_first(run, validation, tmp_path):
    words = (validation, "-m", "zero-filled", "--results", tmp_path / "r", "--limit", 0)
    one = submit(run, *words, "-o", tmp_path / "a.zip")
    assert one.code == 0, one.err
    assert one.records[-1]["over_limit"] == CASES
    assert one.records[-1]["seconds_longest"] > 0

    # Finished results are not made again, and their seconds are remembered.
    two = submit(run, *words, "-o", tmp_path / "b.zip")
    assert two.records[-1]["files"] == one.records[-1]["files"]
    assert two.records[-1]["sha256"] == one.records[-1]["sha256"]

    # To replace the package does not mean to reconstruct again.
    made = {path: path.stat().st_mtime_ns for path in (tmp_path / "r").rglob("*.h5")}
    assert submit(run, *words, "-o", tmp_path / "b.zip", "--overwrite").code == 0
    assert made == {path: path.stat().st_mtime_ns for path in (tmp_path / "r").rglob("*.h5")}


def test_a_second_run_in_the_folder_of_the_results(run, validation, tmp_path):
    folder = Path(shutil.copytree(validation, tmp_path / "set"))
    for _ in range(2):
        words = ("-m", "zero-filled", "-o", folder / "s.zip", "--overwrite")
        done = submit(run, folder, *words)
        assert done.code == 0, done.err


def test_the_folder_of_the_results_is_an_input_too(run, validation, rec, tmp_path):
    results = rec.rename(tmp_path / "s_results")
    done = submit(run, results, "--validation", validation, "-o", tmp_path / "s.zip")
    assert done.code == 0, done.err
    assert done.records[-1]["seconds_longest"] is None


def test_neither_images_nor_scans(run, validation, tmp_path):
    np.savez(tmp_path / "cine_sax_truth.npz", image=np.ones((1, 1, 4, 4)))
    done = submit(run, tmp_path, "--validation", validation, "-o", tmp_path / "s.zip")
    assert done.codes == ["file-missing"]


def test_scans_without_a_place(run, rec, tmp_path):
    write_kspace(tmp_path / "P001" / "cine_sax_kus_Uniform8.mat")
    done = submit(run, rec, "--validation", tmp_path / "P001", "-o", tmp_path / "s.zip")
    assert done.codes == ["submission-place", "validation-missing"]


def test_whole_images_without_the_crop(run, validation, rec, tmp_path):
    target = tmp_path / "out"
    done = submit(run, rec, "--validation", validation, "--no-crop", "-o", target)
    assert done.code == 0, done.err
    assert sorted(str(p.relative_to(target)) for p in target.rglob("*.*")) == CASES
    assert loadmat(target / CASES[0])["img4ranking"].shape == (X, Y, SLICES, FRAMES)


@pytest.mark.parametrize("fault", ["missing", "nan", "zero", "shape", "slices", "damaged", "twice"])
def test_one_faulty_file_is_listed_and_the_rest_is_packed_on_request(
    run, validation, rec, tmp_path, fault
):
    path, code = result_of(rec, 2), None
    images = formats.read_images(path)
    stamp = formats.read_provenance(path)
    if fault == "missing":
        path.unlink()
    elif fault == "damaged":
        path.write_bytes(path.read_bytes()[:3000])
        code = "file-damaged"
    elif fault == "twice":
        formats.write_images(path.with_name("other.h5"), list(images.unbind(1)), stamp)
        code = "submission-repeated"
    else:
        if fault == "nan":
            images[0, 1, Y // 2, X // 2] = torch.nan
            code = "images-not-finite"
        elif fault == "zero":
            images, code = 0 * images, "images-flat"
        elif fault == "shape":
            images, code = images[:3], "shape-mismatch"
        else:
            stamp["config"]["slices"], code = [1], "slice-missing"
            images = images[:, 1:2]
        formats.write_images(path, list(images.unbind(1)), stamp)

    target = tmp_path / "s.zip"
    words = (rec, "--validation", validation, "-o", target)
    refused = submit(run, *words)
    assert refused.code == 3
    assert refused.codes[-1] == "submission-incomplete"
    assert code is None or refused.codes[0] == code
    assert f"missing: {CASES[1]}" in refused.err.replace("\n", "")
    assert not target.exists()

    partial = submit(run, *words, "--allow-missing")
    assert partial.code == 1
    assert zipfile.ZipFile(target).namelist() == [CASES[0], CASES[2]]
    assert partial.records[-1]["missing"] == [CASES[1]]


def test_a_folder_gets_everything_that_is_right(run, validation, rec, tmp_path):
    result_of(rec, 1).unlink()
    done = submit(run, rec, "--validation", validation, "-o", tmp_path / "out")
    assert done.code == 1
    found = (tmp_path / "out").rglob("*.mat")
    assert sorted(str(path.relative_to(tmp_path / "out")) for path in found) == CASES[1:]


def test_results_of_other_scans_are_left_out(run, validation, rec, tmp_path):
    other = result_of(rec, 1).parent.with_name("P009") / "cine_sax.h5"
    stamp = formats.read_provenance(result_of(rec, 1))
    stamp["acquisition"]["subject"] = "P009"
    formats.write_images(other, [torch.ones(FRAMES, Y, X)] * SLICES, stamp)
    done = submit(run, rec, "--validation", validation, "-o", tmp_path / "s.zip")
    assert done.code == 0, done.err
    assert "P009" in done.err
    assert zipfile.ZipFile(tmp_path / "s.zip").namelist() == CASES


def test_two_subjects_of_one_name_are_refused(run, validation, rec, tmp_path):
    for part in ("a", "b"):
        write_kspace(tmp_path / "sets" / part / CASES[0])
    done = submit(run, rec, "--validation", tmp_path / "sets", "-o", tmp_path / "s.zip")
    assert done.codes[0] == "submission-repeated"
    assert done.code == 3


def test_the_training_set_beside_it_is_not_expected(run, validation, rec, tmp_path):
    both = Path(shutil.copytree(validation, tmp_path / "both"))
    write_kspace(both / CASES[0].replace("ValidationSet", "TrainingSet"))
    done = submit(run, rec, "--validation", both, "-o", tmp_path / "s.zip")
    assert done.code == 0, done.err


def test_results_of_two_models_are_reported(run, validation, rec, tmp_path):
    path = result_of(rec, 3)
    stamp = formats.read_provenance(path)
    stamp["config"]["method"] = "sense"
    images = formats.read_images(path)
    formats.write_images(path, list(images.unbind(1)), stamp)
    done = submit(run, rec, "--validation", validation, "-o", tmp_path / "s.zip")
    assert done.code == 0
    assert "TaskR1 allows one model" in done.err


@pytest.mark.parametrize(
    ("words", "code"),
    [
        (("--year", 2022), "option-value"),
        (("--year", 2024, "--task", "TaskR1"), "option-value"),
        (("--year", 2025, "-m", "sense"), "options-conflict"),
        (("--year", 2025), "validation-missing"),
    ],
)
def test_refused_options(run, rec, words, code, tmp_path):
    done = run("submit", rec, *words, "-o", tmp_path / "s.zip")
    assert done.codes == [code]
    assert not (tmp_path / "s.zip").exists()


def test_an_existing_package_is_kept(run, validation, rec, tmp_path):
    target = tmp_path / "s.zip"
    target.write_bytes(b"mine")
    done = submit(run, rec, "--validation", validation, "-o", target)
    assert done.codes == ["output-exists"]
    assert target.read_bytes() == b"mine"


@pytest.mark.parametrize(
    ("year", "case", "member"),
    [
        (
            2023,
            "MultiCoil/Mapping/ValidationSet/AccFactor04/P001/T1map.mat",
            "Submission/MultiCoil/Mapping/ValidationSet/AccFactor04/P001/T1map.mat",
        ),
        (
            2023,
            "SingleCoil/Cine/ValidationSet/AccFactor10/P011/cine_lax.mat",
            "Submission/SingleCoil/Cine/ValidationSet/AccFactor10/P011/cine_lax.mat",
        ),
        (
            2024,
            "MultiCoil/Cine/ValidationSet/UnderSample_Task2/P002/cine_lvot_kus_ktRadial20.mat",
            "Cine/ValidationSet/Task2/P002/cine_lvot_kus_ktRadial20.mat",
        ),
        (2025, CASES[0], CASES[0]),
    ],
)
def test_names_of_each_year(year, case, member):
    facts = formats.parse_name(Path("/data") / case)
    task = {2023: None, 2024: None, 2025: "TaskR1"}[year]
    assert member_name(facts, year, task) == member


def test_names_agree_with_the_official_examples(golden):
    files = list((golden / "matfiles" / "submission").rglob("*.mat"))
    assert files
    for path in files:
        year = int(path.relative_to(golden / "matfiles" / "submission").parts[0])
        inside = path.relative_to(golden / "matfiles" / "submission" / str(year))
        facts = formats.parse_name(Path("/", inside))
        task = next(part for part in inside.parts if part.startswith("Task"))
        assert member_name(facts, year, task) == str(inside)


@pytest.mark.parametrize(
    ("year", "facts"),
    [
        (2023, Acquisition("cine_sax", subject="P001", acceleration=5.0)),
        (2024, Acquisition("cine_sax", subject="P001")),
        (2025, Acquisition("cine_sax", subject="P001", pattern="uniform", acceleration=8.0)),
        (2024, Acquisition("scan", subject="P001", pattern="uniform", acceleration=8.0)),
        (2023, Acquisition("cine_sax", year=2025, subject="P001", acceleration=4.0)),
    ],
)
def test_unknown_places_are_refused(year, facts):
    with pytest.raises(InputError) as refused:
        member_name(facts, year, "TaskR1" if year == 2025 else None)
    assert refused.value.code == "submission-place"


def test_the_entry_script_reads_input_and_writes_output(validation, tmp_path):
    if os.name != "posix":
        pytest.skip("the container runs on Linux")
    one = tmp_path / "input" / CASES[0]
    one.parent.mkdir(parents=True)
    shutil.copy(validation / CASES[0], one)
    program = tmp_path / "bin" / "cmrrecon"
    program.parent.mkdir()
    program.write_text(f'#!/bin/sh\nexec "{sys.executable}" -m cmrrecon "$@"\n')
    program.chmod(0o755)

    # No network, and no folder of its own for the user.
    (program.parent / "sitecustomize.py").write_text(NO_NETWORK)
    settings = {
        "PATH": f"{program.parent}:{os.environ['PATH']}",
        "PYTHONPATH": f"{program.parent}:{ENTRY.parents[2]}",
        "HOME": "/nonexistent",
        "OMP_NUM_THREADS": "1",
        "CMRRECON_YEAR": "2025",
        "CMRRECON_METHOD": "zero-filled",
    }
    done = subprocess.run(
        [ENTRY, tmp_path / "input", tmp_path / "output"],
        env=settings,
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr
    files = [path for path in (tmp_path / "output").rglob("*") if path.is_file()]
    assert [str(path.relative_to(tmp_path / "output")) for path in files] == [CASES[0]]
    assert loadmat(files[0])["img4ranking"].shape == (X, Y, SLICES, FRAMES)
