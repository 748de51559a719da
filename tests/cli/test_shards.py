"""Shards: the task of a job array, its inputs and slices, and how it resumes."""

import json
import os
import shutil
import signal
import subprocess
import sys

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from refusals import refused

from cmrrecon import formats
from cmrrecon.cli.arrays import Shard, parse_shard
from cmrrecon.cli.environment import allotted_memory, allotted_threads, use_allotted_threads
from cmrrecon.cli.shards import Part, assign, predicted_cost, share_of
from cmrrecon.reconstruction import resume


@pytest.mark.parametrize(
    ("text", "environment", "shard"),
    [
        ("3/8", {}, Shard(3, 8)),
        ("auto", {"SLURM_ARRAY_TASK_ID": "0", "SLURM_ARRAY_TASK_COUNT": "4"}, Shard(1, 4)),
        (
            "auto",
            {
                "SLURM_ARRAY_TASK_ID": "14",
                "SLURM_ARRAY_TASK_MIN": "10",
                "SLURM_ARRAY_TASK_STEP": "2",
                "SLURM_ARRAY_TASK_COUNT": "5",
            },
            Shard(3, 5),
        ),
        # Some tasks of an array once more: the numbers are those of the whole array.
        (
            "auto/8",
            {
                "SLURM_ARRAY_TASK_ID": "7",
                "SLURM_ARRAY_TASK_MIN": "3",
                "SLURM_ARRAY_TASK_COUNT": "2",
            },
            Shard(7, 8),
        ),
        ("auto/8", {"PBS_ARRAY_INDEX": "2"}, Shard(2, 8)),
        ("auto/8", {"PBS_ARRAYID": "8"}, Shard(8, 8)),
        ("auto/8", {"LSB_JOBINDEX": "3", "LSB_JOBINDEX_END": "8"}, Shard(3, 8)),
        ("auto", {"LSB_JOBINDEX": "3", "LSB_JOBINDEX_END": "8"}, Shard(3, 8)),
        (
            "auto",
            {"LSB_JOBINDEX": "5", "LSB_JOBINDEX_END": "7", "LSB_JOBINDEX_STEP": "2"},
            Shard(3, 4),
        ),
        (
            "auto",
            {
                "SGE_TASK_ID": "15",
                "SGE_TASK_FIRST": "5",
                "SGE_TASK_LAST": "25",
                "SGE_TASK_STEPSIZE": "10",
            },
            Shard(2, 3),
        ),
        # Grid Engine sets it outside of arrays too.
        (
            "auto/2",
            {"SGE_TASK_ID": "undefined", "LSB_JOBINDEX": "1", "LSB_JOBINDEX_END": "2"},
            Shard(1, 2),
        ),
    ],
)
def test_the_task_of_a_job_array(text, environment, shard):
    assert parse_shard(text, environment) == shard


@pytest.mark.parametrize(
    ("text", "environment", "code"),
    [
        ("4/3", {}, "option-value"),
        ("0/3", {}, "option-value"),
        ("3", {}, "option-value"),
        ("auto/", {}, "option-value"),
        ("auto", {}, "slurm-array-missing"),
        ("auto", {"LSB_JOBINDEX": "0", "LSB_JOBINDEX_END": "0"}, "slurm-array-missing"),
        ("auto", {"SGE_TASK_ID": "undefined"}, "slurm-array-missing"),
        ("auto", {"PBS_ARRAY_INDEX": "1"}, "array-count-missing"),
        ("auto", {"PBS_ARRAYID": "1"}, "array-count-missing"),
        ("auto", {"LSB_JOBINDEX": "3"}, "array-count-missing"),
        ("auto/8", {"PBS_ARRAY_INDEX": "0"}, "slurm-array-uneven"),
        ("auto/8", {"PBS_ARRAY_INDEX": "9"}, "slurm-array-uneven"),
        (
            "auto",
            {
                "SLURM_ARRAY_TASK_ID": "4",
                "SLURM_ARRAY_TASK_MIN": "1",
                "SLURM_ARRAY_TASK_STEP": "2",
                "SLURM_ARRAY_TASK_COUNT": "5",
            },
            "slurm-array-uneven",
        ),
    ],
)
def test_job_arrays_that_do_not_fit_are_refused(text, environment, code):
    with refused(code):
        parse_shard(text, environment)


def test_the_most_costly_first_to_the_least_loaded():
    assert assign([1, 7, 2, 5, 3], 2) == [1, 0, 0, 1, 1]
    assert assign([0, 0, 4], 3) == [1, 1, 0]
    assert assign([], 3) == []


@given(st.lists(st.integers(0, 1000), max_size=12), st.integers(1, 9), st.booleans())
def test_every_slice_of_every_item_is_in_exactly_one_shard(costs, total, split):
    slices = [cost % 7 + 1 for cost in costs]
    done = [[0] * count for count in slices]
    for index in range(1, total + 1):
        mine = share_of(costs, Shard(index, total), slices.__getitem__ if split else None)
        assert list(mine) == sorted(mine)
        for item, part in mine.items():
            assert part is None or split
            wanted = range(slices[item]) if part is None else part.among(range(slices[item]))
            for place in wanted:
                done[item][place] += 1
    assert all(set(counts) == {1} for counts in done)


@pytest.mark.parametrize(
    ("costs", "total", "parts"),
    [
        ([10], 4, [4]),  # fewer scans than shards
        ([10, 10, 10], 3, [1, 1, 1]),
        ([11, 10, 9], 3, [1, 1, 1]),  # not worth a second decision
        ([100, 1, 1, 1], 4, [3, 1, 1, 1]),  # one dominates
        ([10], 40, [6]),  # no more parts than slices
        ([0, 0], 4, [1, 1]),
    ],
)
def test_scans_are_split_into_as_many_parts_as_even_shares(costs, total, parts):
    found = [1] * len(costs)
    for index in range(1, total + 1):
        for item, part in share_of(costs, Shard(index, total), lambda item: 6).items():
            found[item] = part.of if part else 1
    assert found == parts


def test_parts_are_consecutive_slices():
    assert Part((0,), 3).among(range(5)) == (0,)
    assert Part((1,), 3).among(range(5)) == (1, 2)
    assert Part((2,), 3).among([1, 3, 5, 7, 9]) == (7, 9)
    assert Part((0, 2), 3).among(range(5)) == (0, 3, 4)


def test_costs_come_from_the_header_alone(full, tmp_path):
    assert predicted_cost(full) == 3 * 2 * 4 * 64 * 96
    (tmp_path / "bad.mat").write_bytes(b"x" * 800)
    assert predicted_cost(tmp_path / "bad.mat") == 100
    assert predicted_cost(tmp_path / "missing.mat") == 1


def test_shards_balance_by_predicted_cost(run, full, tmp_path):
    for name in ("P001", "P002", "P003", "P004"):
        (tmp_path / name).mkdir()
        os.link(full, tmp_path / name / "cine_sax.mat")
    large = tmp_path / "P000" / "cine_sax.npz"
    large.parent.mkdir()
    np.savez(large, kspace=np.ones((9, 3, 4, 64, 96), np.complex64))
    words = ("reconstruct", tmp_path, "--out-dir", tmp_path / "rec", "--dry-run", "--json")
    first, second = (
        [record["input"] for record in run(*words, "--shard", f"{i}/2").records] for i in (1, 2)
    )
    assert first == [str(large)]
    assert len(second) == 4


@pytest.mark.parametrize(
    ("environment", "threads"),
    [
        ({}, None),
        ({"OMP_NUM_THREADS": "3", "SLURM_CPUS_PER_TASK": "8"}, None),
        ({"SLURM_CPUS_PER_TASK": "8", "SLURM_CPUS_ON_NODE": "64"}, 8),
        ({"SLURM_CPUS_ON_NODE": "16"}, 16),
        ({"SLURM_CPUS_ON_NODE": "16", "SLURM_NTASKS_PER_NODE": "4"}, 4),
        ({"SLURM_CPUS_ON_NODE": "16", "SLURM_TASKS_PER_NODE": "2(x3),1"}, 8),
        (
            {
                "SLURM_CPUS_ON_NODE": "16",
                "SLURM_TASKS_PER_NODE": "2(x3),1",
                "SLURM_NODEID": "3",
            },
            16,
        ),
        ({"SLURM_CPUS_ON_NODE": "2", "SLURM_NTASKS_PER_NODE": "4"}, 1),
        ({"NCPUS": "6", "PBS_JOBID": "1.server"}, 6),
        ({"NCPUS": "6"}, None),
        ({"LSB_DJOB_NUMPROC": "5"}, 5),
        ({"NSLOTS": "7"}, 7),
        ({"NSLOTS": "0"}, None),
    ],
)
def test_threads_follow_the_scheduler(environment, threads):
    assert allotted_threads(environment) == threads


def test_pytorch_gets_the_allotted_threads(monkeypatch):
    given = []
    monkeypatch.setattr("torch.set_num_threads", given.append)
    monkeypatch.delenv("OMP_NUM_THREADS", raising=False)
    use_allotted_threads()
    monkeypatch.setenv("SLURM_CPUS_ON_NODE", "3")
    use_allotted_threads()
    assert given == [3]


@pytest.mark.parametrize(
    ("environment", "megabytes"),
    [
        ({"SLURM_MEM_PER_NODE": "8192"}, 8192),
        ({"SLURM_MEM_PER_CPU": "2000", "SLURM_CPUS_ON_NODE": "4"}, 8000),
        ({"SLURM_MEM_PER_NODE": "0"}, None),
        ({}, None),
    ],
)
def test_memory_follows_the_scheduler(environment, megabytes):
    assert allotted_memory(environment) == (megabytes and megabytes * 2**20)


@pytest.fixture(scope="module")
def many_slices(tmp_path_factory, run):
    """An undersampled scan with five slices."""
    folder = tmp_path_factory.mktemp("many")
    words = ("--frames", 3, "--slices", 5, "--coils", 4, "--size", "48x64", "--quiet")
    scan = run("simulate", *words, "--out-dir", folder).out.strip()
    run("undersample", scan, "-R", 4, "--acs", 12, "--out-dir", folder)
    return folder / "cine_sax_kus_ktGaussian4.mat"


METHOD = ("-m", "llr", "--set", "iterations=3")


def images(path):
    return formats.read_images(path).numpy()


@pytest.mark.parametrize("more", [(), ("--uncertainty", 2, "--slices", "0-3")])
def test_shards_share_the_slices_of_a_scan(run, many_slices, tmp_path, more):
    words = ("reconstruct", many_slices, *METHOD, *more, "--json")
    run(*words, "-o", tmp_path / "whole.h5")
    split = (*words, "-o", tmp_path / "split.h5", "--split-slices", "--shard")
    records = [run(*split, f"{i}/3").records[0] for i in (3, 1, 2)]
    assert [record["status"] for record in records] == ["part", "part", "done"]
    assert set(records[0]["slices"]).isdisjoint(records[0]["slices_missing"])
    beside = ["split_uncertainty.h5", "whole_uncertainty.h5"] if more else []
    assert sorted(os.listdir(tmp_path)) == sorted(["split.h5", "whole.h5", *beside])
    for name in ("{}.h5", "{}_uncertainty.h5")[: 1 + bool(more)]:
        found, expected = (images(tmp_path / name.format(one)) for one in ("split", "whole"))
        np.testing.assert_array_equal(found, expected)
    made, whole = (formats.read_provenance(tmp_path / f"{one}.h5") for one in ("split", "whole"))
    for key in ("choice", "data_residual", "config", "inputs"):
        assert made[key] == whole[key]
    assert run(*split, "1/3").records[0]["status"] == "skipped"


def test_the_first_decision_holds_for_all_shards(run, many_slices, tmp_path, monkeypatch):
    """Another computer might decide otherwise, as its rounding differs."""
    words = ("reconstruct", many_slices, *METHOD, "-o", tmp_path / "a.h5", "--json")
    split = (*words, "--split-slices", "--shard")
    assert run(*split, "1/2").records[0]["status"] == "part"
    monkeypatch.setattr("cmrrecon.methods.iterative.IterativeMethod.decide", None)
    assert run(*split, "2/2").records[0]["status"] == "done"


def test_a_decision_that_comes_second_is_dropped(tmp_path):
    from cmrrecon.reconstruction.resume import OnDisk

    first, second = (OnDisk({"images": tmp_path / "a.h5"}, "0" * 64, [0]) for _ in range(2))
    assert first.keep_note({"weight": 0.1}) == {"weight": 0.1}
    assert second.keep_note({"weight": 0.2}) == {"weight": 0.1}
    assert second.note() == {"weight": 0.1}
    assert len(os.listdir(first.images.folder)) == 1


def test_a_failing_shard_leaves_the_slices_of_others(run, many_slices, tmp_path, monkeypatch):
    words = ("reconstruct", many_slices, *METHOD, "-o", tmp_path / "a.h5", "--json")
    split = (*words, "--split-slices", "--shard")
    run(*split, "1/2")
    with monkeypatch.context() as patch:
        patch.setattr("cmrrecon.reconstruction.resume.OnDisk.save", None)
        assert run(*split, "2/2").records[0]["error"]["code"] == "fault"
    assert run(*split, "2/2").records[0]["status"] == "done"


def test_two_shards_that_finish_at_once_both_succeed(run, many_slices, tmp_path, monkeypatch):
    """While one shard puts the slices together, another one does so too, and clears up."""
    from cmrrecon.reconstruction.result import Result

    words = ("reconstruct", many_slices, *METHOD, "-o", tmp_path / "a.h5", "--json")
    split = (*words, "--split-slices", "--overwrite", "--shard")
    run(*split, "1/2")
    write, other = Result.write, []

    def overtaken(self, path, export):
        monkeypatch.setattr(Result, "write", write)
        other.append(run(*split, "2/2"))
        return write(self, path, export)

    monkeypatch.setattr(Result, "write", overtaken)
    late = run(*split, "2/2")
    assert (late.code, other[0].code) == (0, 0), late.err + other[0].err
    assert other[0].records[0]["status"] == "done"
    assert late.records[0]["status"] == "skipped"
    assert os.listdir(tmp_path) == ["a.h5"]


def test_a_killed_shard_goes_on_where_it_stopped(run, many_slices, tmp_path, monkeypatch):
    words = ["reconstruct", str(many_slices), *METHOD, "-o", str(tmp_path / "a.h5")]
    split = [*words, "--split-slices", "--shard"]
    script = (
        "import sys, os, signal\n"
        "from cmrrecon.reconstruction import resume\n"
        "save = resume.OnDisk.save\n"
        "def once(self, *given):\n"
        "    save(self, *given)\n"
        "    os.kill(os.getpid(), signal.SIGKILL)\n"
        "resume.OnDisk.save = once\n"
        f"sys.argv = ['cmrrecon', *{[*split, '2/2']!r}]\n"
        "from cmrrecon.cli.app import main\n"
        "main()\n"
    )
    killed = subprocess.run([sys.executable, "-c", script], capture_output=True, timeout=120)
    assert killed.returncode == -signal.SIGKILL
    assert run(*split, "1/2", "--json").records[0]["status"] == "part"

    save, saved = resume.OnDisk.save, []

    def counted(store, index, *made):
        saved.append(index)
        save(store, index, *made)

    monkeypatch.setattr(resume.OnDisk, "save", counted)
    done = run(*split, "2/2", "--json")
    assert (done.records[0]["status"], len(saved)) == ("done", 2)
    assert os.listdir(tmp_path) == ["a.h5"]
    run(*words[:-1], tmp_path / "whole.h5")
    np.testing.assert_array_equal(images(tmp_path / "a.h5"), images(tmp_path / "whole.h5"))


@pytest.mark.parametrize(
    "words",
    [
        ("--split-slices",),
        ("--split-slices", "--shard", "1/2", "-o", "-"),
        ("--split-slices", "--shard", "1/2", "--adapt", "5", "-m", "kt-unrolled"),
    ],
)
def test_slices_are_split_only_where_shards_can_meet(run, undersampled, words):
    done = run("reconstruct", undersampled, *words)
    assert (done.code, done.codes) == (2, ["options-conflict"])


def test_shards_without_a_scan_say_so(run, undersampled, tmp_path):
    done = run("reconstruct", undersampled, "--shard", "2/2", "-o", tmp_path / "a.h5")
    assert done.code == 0
    assert "--split-slices" in done.err
    assert os.listdir(tmp_path) == []


def test_undersampled_files_that_appear_do_not_change_the_shards(run, full, tmp_path):
    """A shard that starts late sees what others have written into the tree."""
    for i in range(4):
        (tmp_path / f"P00{i}").mkdir()
        shutil.copy(full, tmp_path / f"P00{i}")
    words = ("undersample", tmp_path, "-R", 4, "--json", "--shard")
    first, second = run(*words, "1/2").records, run(*words, "2/2").records
    done = [record["input"] for record in (*first, *second) if record["status"] == "done"]
    assert sorted(done) == sorted(map(str, tmp_path.glob("*/cine_sax.mat")))
    assert len(done) == 4


def test_an_array_of_lsf_is_assumed_to_have_no_gaps_and_a_warning_says_so(run, tmp_path):
    for name in "abc":
        np.save(tmp_path / f"{name}.npy", np.ones((2, 1, 8, 8), "float32"))
    found = {}
    for index in (1, 3):
        environment = {"LSB_JOBINDEX": str(index), "LSB_JOBINDEX_END": "3"}
        done = run("info", tmp_path / "*.npy", "--shard", "auto", "--json", env=environment)
        assert done.err.count("warning: LSF") == 1
        found[index] = [json.loads(line)["input"] for line in done.out.splitlines()]
    assert all(len(names) == 1 for names in found.values())
    assert found[1] != found[3]
    done = run("info", tmp_path / "*.npy", "--shard", "auto/3", env={"LSB_JOBINDEX": "1"})
    assert "LSF" not in done.err
