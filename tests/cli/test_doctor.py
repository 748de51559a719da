"""`cmrrecon doctor`: the report, what it leaves out, and how it fails."""

import getpass
import json
import os
import platform
import re
import tomllib
from pathlib import Path

import pytest

from cmrrecon.cli import doctor
from cmrrecon.tools.errors import UsageError

ROOT = Path(__file__).parents[2]


def test_a_working_installation_passes(run):
    done = run("doctor", "--json")
    assert done.code == 0, done.err
    (record,) = done.records
    assert (record["status"], record["problems"]) == ("done", [])
    assert record["python"] == platform.python_version()
    assert all(record["packages"].values())
    (test,) = [test for test in record["self_test"] if test["device"] == "cpu"]
    assert 39 <= test["psnr"] <= 42
    assert test["seconds"] > 0
    assert record["memory_gb"] > 0
    assert "kt-unrolled" in record["weights"]


def test_the_report_names_no_people_and_no_folders(run, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(doctor, "_score", lambda device: 40.0)
    secret = {"SLURM_JOB_USER": "somebody", "SLURM_SUBMIT_DIR": "/home/somebody/secret"}
    env = {**secret, "OMP_NUM_THREADS": "3", "MKL_NUM_THREADS": "/home/somebody"}
    for words in (["doctor"], ["doctor", "--json"]):
        text = run(*words, env=env).out
        assert "somebody" not in text
        assert "/" not in re.sub(r"PyTorch|n/a", "", text).replace("\\/", "")
        assert "SLURM_JOB_USER" in text
        assert "OMP_NUM_THREADS" in text
        assert str(tmp_path) not in text
        assert not re.search(rf"\b{re.escape(platform.node())}\b", text)
        if getpass.getuser() != "root":
            assert getpass.getuser() not in text
    assert os.listdir(tmp_path) == []


def failing(device):
    raise UsageError("file-missing", "/home/somebody/scan.mat", "", "")


@pytest.mark.parametrize(
    ("name", "value", "said"),
    [
        ("_score", lambda device: 20.0, "20.0 dB"),
        ("_score", failing, "file-missing"),
        ("_score", lambda device: 1 / 0, "ZeroDivisionError"),
        ("_version", lambda package: None if package == "h5py" else "1.0", "h5py"),
    ],
)
def test_a_check_that_fails_is_an_error(run, monkeypatch, name, value, said):
    monkeypatch.setattr(doctor, name, value)
    done = run("doctor", "--json")
    report, failure = done.records
    assert (done.code, done.codes) == (1, ["installation-broken"])
    assert (report["status"], failure["error"]["code"]) == ("failed", "installation-broken")
    assert said in json.dumps(report["problems"])
    assert "somebody" not in done.out + done.err
    assert said in run("doctor").out


def test_every_dependency_is_reported():
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    needed = [re.match(r"[\w.-]+", text)[0] for text in project["dependencies"]]
    assert sorted(doctor.REQUIRED) == sorted(needed)
    # Users of the program need neither the tests' packages nor those that build the documentation.
    extras = {k: v for k, v in project["optional-dependencies"].items() if k not in ("dev", "docs")}
    assert set(doctor.OPTIONAL) == set(extras)
    for extra, (package, use) in doctor.OPTIONAL.items():
        assert re.match(r"[\w.-]+", extras[extra][0])[0] == package
        assert use
