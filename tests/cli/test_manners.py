"""How the program behaves in a shell: streams, exit codes, JSON, shards, interruptions."""

import json
import os
import time

import h5py
import numpy as np
import pytest

from cmrrecon import formats
from cmrrecon.cli.console import Console
from cmrrecon.cli.progress import ShownProgress


def test_stdout_holds_the_path_and_nothing_else(run, undersampled, tmp_path):
    done = run("reconstruct", undersampled, "-m", "zero-filled", "-o", tmp_path / "a.h5")
    assert done.code == 0
    assert done.out == f"{tmp_path / 'a.h5'}\n"
    assert "zero-filled" in done.err


def test_json_lines_are_one_object_a_result(run, undersampled, tmp_path):
    done = run("reconstruct", undersampled, "-m", "zero-filled", "-o", tmp_path / "a.h5", "--json")
    (record,) = done.records
    assert record["schema"] == 1
    assert record["status"] == "done"
    assert record["acceleration"] == 4
    assert 1 < record["effective_acceleration"] < 4
    assert record["shape"] == [3, 2, 64, 96]


def test_quiet_says_nothing(run, undersampled, tmp_path):
    done = run("reconstruct", undersampled, "-m", "zero-filled", "-o", tmp_path / "a.h5", "--quiet")
    assert done.err == ""


def test_a_scan_flows_through_pipes(run, full, tmp_path):
    first = run("undersample", full, "--pattern", "kt-radial", "-R", 4, "-o", "-")
    assert first.code == 0, first.err
    second = run(
        "reconstruct", "-", "-m", "zero-filled", "-o", tmp_path / "out.h5", stdin=first.raw
    )
    assert second.code == 0, second.err
    assert second.out.strip() == str(tmp_path / "out.h5")
    third = run("reconstruct", "-", "-m", "zero-filled", "-o", "-", stdin=first.raw)
    assert third.code == 0, third.err
    (tmp_path / "piped.h5").write_bytes(third.raw)
    images = formats.read_images(tmp_path / "out.h5")
    assert images.shape == (3, 2, 64, 96)
    np.testing.assert_array_equal(
        formats.read_images(tmp_path / "piped.h5").numpy(), images.numpy()
    )


def test_default_output_lies_beside_the_input(run, undersampled):
    done = run("reconstruct", undersampled, "-m", "zero-filled")
    assert done.out.strip() == str(
        undersampled.with_name("cine_sax_kus_ktGaussian4_zero-filled.h5")
    )
    assert (
        run("reconstruct", undersampled, "-m", "zero-filled", "--json").records[0]["status"]
        == "skipped"
    )


def test_finished_output_is_skipped_and_overwrite_makes_it_again(run, undersampled, tmp_path):
    words = ("reconstruct", undersampled, "-m", "zero-filled", "-o", tmp_path / "a.h5", "--json")
    assert [run(*words).records[0]["status"] for _ in range(2)] == ["done", "skipped"]
    assert run(*words, "--overwrite").records[0]["status"] == "done"


def test_another_recipe_does_not_replace_an_output(run, undersampled, tmp_path):
    run("reconstruct", undersampled, "-m", "zero-filled", "-o", tmp_path / "a.h5")
    before = (tmp_path / "a.h5").read_bytes()
    done = run("reconstruct", undersampled, "-m", "sense", "-o", tmp_path / "a.h5")
    assert (done.code, done.codes) == (1, ["output-exists"])
    assert (tmp_path / "a.h5").read_bytes() == before


def test_one_bad_input_does_not_harm_the_others(run, undersampled, tmp_path):
    bad = tmp_path / "bad.mat"
    bad.write_bytes(b"not a scan")
    done = run(
        "reconstruct",
        bad,
        undersampled,
        "-m",
        "zero-filled",
        "--out-dir",
        tmp_path / "out",
        "--json",
    )
    assert done.code == 1
    assert [record["status"] for record in done.records] == ["failed", "done"]
    assert done.records[0]["exit_code"] == 3
    assert done.records[0]["error"]["code"] == "file-format"
    assert f"warning: 1 of 2 inputs failed: {bad}" in done.err
    assert len(list((tmp_path / "out").rglob("*.h5"))) == 1


def test_fail_fast_stops_at_the_first_failure(run, undersampled, tmp_path):
    bad = tmp_path / "bad.mat"
    bad.write_bytes(b"not a scan")
    done = run(
        "reconstruct",
        bad,
        undersampled,
        "-m",
        "zero-filled",
        "--out-dir",
        tmp_path / "out",
        "--json",
        "--fail-fast",
    )
    assert done.code == 1
    assert len(done.records) == 1


def test_single_bad_input_gives_its_own_code(run, tmp_path):
    bad = tmp_path / "bad.mat"
    bad.write_bytes(b"not a scan")
    done = run("reconstruct", bad, "-m", "zero-filled")
    assert (done.code, done.codes) == (3, ["file-format"])
    assert os.listdir(tmp_path) == ["bad.mat"]


@pytest.mark.parametrize(
    ("words", "exit_code", "code", "said"),
    [
        (["reconstruct", "{scan}", "-m", "sens"], 2, "unknown-method", "sense"),
        (["reconstruct", "{scan}", "--set", "weigth=1"], 2, "unknown-option", "weight"),
        (["reconstruct", "{scan}", "--set", "weight"], 2, "option-value", "--set"),
        (["reconstruct", "{scan}", "--device", "tpu"], 2, "unknown-device", "tpu"),
        (["reconstruct", "{scan}", "--slices", "7"], 2, "slice-missing", "0 to 1"),
        (["reconstruct", "{scan}", "--shard", "3/2"], 2, "option-value", "3/2"),
        (["reconstruct", "{scan}", "--shard", "auto"], 2, "slurm-array-missing", "--shard"),
        (["reconstruct", "{scan}", "-o", "a.xyz"], 2, "output-format", ".h5"),
        (
            ["reconstruct", "{scan}", "-o", "a.h5", "--out-dir", "b"],
            2,
            "options-conflict",
            "--out-dir",
        ),
        (["reconstruct", "{scan}", "{scan}.mat", "-o", "a.h5"], 2, "output-shared", "-o"),
        (["reconstruct", "{scan}", "-o", "-", "--json"], 2, "options-conflict", "--json"),
        (["reconstruct", "nowhere.mat"], 3, "file-missing", "nowhere.mat"),
        (
            ["undersample", "{scan}", "-p", "kt-gausian", "-R", "4"],
            2,
            "unknown-pattern",
            "kt-gaussian",
        ),
        (["simulate", "--size", "big"], 2, "option-value", "--size"),
        (["simulate", "--lesions", "-o", "a.h5"], 2, "options-conflict", "--lesions"),
        (["simulate", "--kind", "cinema"], 2, "unknown-kind", "cine"),
        (["evaluate", "{scan}", "--truth", "nowhere"], 3, "file-missing", "nowhere"),
        (
            ["evaluate", "{scan}", "--truth", "{scan}", "--protocol", "2022"],
            2,
            "unknown-protocol",
            "cmrxrecon2023",
        ),
        (["no-such-command"], 2, "unknown-command", "no-such-command"),
    ],
)
def test_mistakes_end_with_the_right_code_and_advice(
    run, full, tmp_path, monkeypatch, words, exit_code, code, said
):
    monkeypatch.chdir(tmp_path)
    done = run(*[word.format(scan=full) for word in words])
    assert (done.code, done.codes) == (exit_code, [code]), done.err
    assert said in done.err.replace("\n", " ")
    assert "Traceback" not in done.err
    assert os.listdir(tmp_path) == []


def test_dry_run_touches_nothing(run, undersampled, tmp_path):
    done = run("reconstruct", undersampled, "--out-dir", tmp_path / "new", "--dry-run", "--json")
    assert done.records[0]["status"] == "planned"
    assert not (tmp_path / "new").exists()


def test_shards_are_disjoint_and_complete(run, full, tmp_path):
    names = [f"P{i:03d}/cine_sax.mat" for i in range(5)]
    for name in names:
        (tmp_path / name).parent.mkdir()
        os.link(full, tmp_path / name)
    seen = []
    for i in (1, 2):
        done = run(
            "reconstruct",
            tmp_path,
            "--out-dir",
            tmp_path / "rec",
            "--dry-run",
            "--json",
            "--shard",
            f"{i}/2",
        )
        seen.append({record["input"] for record in done.records})
    assert len(seen[0]) == 3
    assert len(seen[1]) == 2
    assert seen[0] | seen[1] == {str(tmp_path / name) for name in names}
    env = {"SLURM_ARRAY_TASK_ID": "11", "SLURM_ARRAY_TASK_MIN": "10", "SLURM_ARRAY_TASK_COUNT": "2"}
    auto = run(
        "reconstruct",
        tmp_path,
        "--out-dir",
        tmp_path / "rec",
        "--dry-run",
        "--json",
        "--shard",
        "auto",
        env=env,
    )
    assert {record["input"] for record in auto.records} == seen[1]


def test_named_files_of_the_same_name_keep_their_folders(run, full, tmp_path):
    for folder in ("P001", "P002"):
        (tmp_path / folder).mkdir()
        os.link(full, tmp_path / folder / "cine_sax.mat")
    done = run(
        "reconstruct",
        *sorted(tmp_path.glob("*/cine_sax.mat")),
        "-m",
        "zero-filled",
        "--out-dir",
        tmp_path / "rec",
    )
    assert done.out.splitlines() == [
        str(tmp_path / "rec" / p / "cine_sax_zero-filled.h5") for p in ("P001", "P002")
    ]


def test_options_come_from_the_environment_too(run, undersampled, tmp_path):
    done = run(
        "reconstruct",
        undersampled,
        "-o",
        tmp_path / "a.h5",
        "--json",
        env={"CMRRECON_METHOD": "zero-filled"},
    )
    assert done.records[0]["method"] == "zero-filled"


def test_outputs_carry_their_provenance_but_no_folder_names(run, undersampled, tmp_path):
    for suffix in (".h5", ".mat", ".npy", ".png", ".gif"):
        target = tmp_path / f"out{suffix}"
        assert run("reconstruct", undersampled, "-m", "zero-filled", "-o", target).code == 0
        stamp = formats.read_provenance(target)
        assert stamp["config"]["method"] == "zero-filled"
        assert stamp["acceleration"] == 4
        assert "not for diagnosis" in json.dumps(stamp)
        assert str(tmp_path.parent) not in json.dumps(stamp)


def test_logs_get_a_heartbeat_line(capsys):
    with ShownProgress(Console(), "scan.mat", 4, "slice", heartbeat=0.05) as progress:
        progress.advance()
        time.sleep(0.2)
    lines = capsys.readouterr().err.splitlines()
    assert lines
    assert "scan.mat: 1/4 slices" in lines[-1]
    assert " s left" in lines[-1]


def test_disk_full_leaves_nothing_behind(run, undersampled, tmp_path, monkeypatch):
    import cmrrecon.tools.atomic as atomic_module

    def full_disk(*words, **named):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(atomic_module.os, "fsync", full_disk)
    done = run("reconstruct", undersampled, "-m", "zero-filled", "-o", tmp_path / "out.h5")
    assert (done.code, done.codes) == (1, ["output-unwritable"])
    assert "Traceback" not in done.err
    assert os.listdir(tmp_path) == []


def test_unreadable_input_is_reported(run, full, tmp_path, monkeypatch):
    secret = tmp_path / "secret.mat"
    secret.write_bytes(full.read_bytes())
    real_open = h5py.File

    def refuse(*words, **named):
        raise PermissionError(13, "Permission denied")

    secret.chmod(0)
    if os.access(secret, os.R_OK):  # the superuser reads everything
        monkeypatch.setattr(h5py, "File", refuse)
        monkeypatch.setattr("builtins.open", refuse)
    done = run("reconstruct", secret, "-m", "zero-filled")
    monkeypatch.setattr(h5py, "File", real_open)
    assert (done.code, done.codes) == (3, ["file-unreadable"])


@pytest.mark.parametrize("option", ["--keep-oversampling", "--recon-matrix", "--no-whiten"])
def test_options_are_named_whole_in_a_narrow_terminal(run, option):
    assert option in run("reconstruct", "-h", env={"COLUMNS": "80", "TERMINAL_WIDTH": "80"}).out
