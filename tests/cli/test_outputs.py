"""Outputs are never stale, never replaced unasked, and scored against their own scan only."""

import errno
import os
import shutil
from contextlib import contextmanager
from pathlib import Path

import pytest
import torch

from cmrrecon import formats


def read_bytes(folder: Path) -> dict[str, bytes]:
    return {str(p.relative_to(folder)): p.read_bytes() for p in folder.rglob("*") if p.is_file()}


def test_another_mask_beside_the_data_makes_the_result_anew(run, full, tmp_path):
    run("undersample", full, "-R", 4, "--seed", 1, "-p", "kt-gaussian", "--out-dir", tmp_path)
    kus, mask = (
        tmp_path / "cine_sax_kus_ktGaussian4.mat",
        tmp_path / "cine_sax_mask_ktGaussian4.mat",
    )
    words = ("reconstruct", kus, "-m", "zero-filled", "-o", tmp_path / "a.h5", "--json")
    assert run(*words).records[0]["status"] == "done"
    wider = formats.read_mask(mask).samples.clone()
    wider[:, 0] = True
    formats.write_mask(mask, wider, x=96)
    done = run(*words)
    assert (done.code, done.codes) == (1, ["output-exists"])
    names = [entry["name"] for entry in formats.read_provenance(tmp_path / "a.h5")["inputs"]]
    assert names == [kus.name, mask.name]


def test_a_mask_that_is_there_is_not_replaced(run, full, tmp_path):
    mask = tmp_path / "cine_sax_mask_ktGaussian4.mat"
    formats.write_mask(mask, torch.ones((1, 64, 1), dtype=torch.bool), x=96)
    before = read_bytes(tmp_path)
    done = run("undersample", full, "-R", 4, "--out-dir", tmp_path)
    assert (done.code, done.codes) == (1, ["output-exists"])
    assert mask.name in done.err
    assert read_bytes(tmp_path) == before


def test_a_lost_mask_is_written_again(run, full, tmp_path):
    words = ("undersample", full, "-R", 4, "--out-dir", tmp_path, "--json")
    mask = Path(run(*words).records[0]["mask"])
    mask.unlink()
    assert run(*words).records[0]["status"] == "done"
    assert mask.exists()


def test_undersampled_scans_are_not_undersampled_again(run, undersampled, tmp_path):
    alone = tmp_path / "cine_sax_kus_ktGaussian4.mat"
    shutil.copy(undersampled, alone)
    done = run("undersample", alone, "-p", "uniform", "-R", 2, "-o", tmp_path / "a.h5")
    assert (done.code, done.codes) == (3, ["kspace-undersampled"])


def test_suffixes_may_be_in_capitals(run, full, tmp_path):
    done = run("undersample", full, "-R", 4, "-o", tmp_path / "A.MAT", "--json")
    assert Path(done.records[0]["mask"]).exists()


def test_a_reconstruction_is_not_scored_against_another_subject(
    run, full, truth, undersampled, tmp_path
):
    run("reconstruct", undersampled, "-m", "zero-filled", "-o", tmp_path / "a.h5")
    other = tmp_path / "truth/P006"
    other.mkdir(parents=True)
    shutil.copy(truth, other)
    for reference, code in (
        (tmp_path / "truth", "reference-missing"),
        (other / truth.name, "reference-mismatch"),
    ):
        done = run("evaluate", tmp_path / "a.h5", "--truth", reference)
        assert (done.code, done.codes) == (3, [code]), done.err
        assert "P00" in done.err


def test_slices_are_scored_by_their_number(run, undersampled, truth, tmp_path):
    run("reconstruct", undersampled, "-m", "zero-filled", "-o", tmp_path / "all.h5")
    run("reconstruct", undersampled, "-m", "zero-filled", "--slices", 1, "-o", tmp_path / "one.h5")
    (one, _) = run("evaluate", tmp_path / "one.h5", "--truth", truth, "--json").records
    both = formats.read_images(truth)
    second = formats.read_images(tmp_path / "one.h5")
    expected = (second[:, 0] * both[:, 1].abs()).sum() / second[:, 0].square().sum()
    assert one["slices"] == 1
    assert expected == pytest.approx(1, abs=0.2)
    formats.write_images(tmp_path / "part_truth.h5", [both[:, 1]], {"config": {"slices": [1]}})
    (again, _) = run(
        "evaluate", tmp_path / "one.h5", "--truth", tmp_path / "part_truth.h5", "--json"
    ).records
    assert again["psnr"] == pytest.approx(one["psnr"], abs=1e-6)
    missing = run("evaluate", tmp_path / "all.h5", "--truth", tmp_path / "part_truth.h5")
    assert (missing.code, missing.codes) == (3, ["slice-missing"])
    compared = run(
        "compare",
        undersampled,
        "-m",
        "zero-filled",
        "--truth",
        tmp_path / "part_truth.h5",
        "--slice",
        0,
    )
    assert (compared.code, compared.codes) == (3, ["slice-missing"])


def test_part_of_a_scan_is_not_scored_with_the_ranking_crop(run, tmp_path):
    scan = run(
        "simulate",
        "--frames",
        3,
        "--slices",
        4,
        "--coils",
        2,
        "--size",
        "48x64",
        "--out-dir",
        tmp_path / "s",
    ).out.strip()
    run("reconstruct", scan, "-m", "zero-filled", "--slices", "2,3", "-o", tmp_path / "part.h5")
    done = run("evaluate", tmp_path / "part.h5", "--truth", scan, "--protocol", "2025")
    assert (done.code, done.codes) == (3, ["slice-missing"])
    assert (
        run(
            "evaluate", tmp_path / "part.h5", "--truth", scan, "--protocol", "2025", "--no-crop"
        ).code
        == 0
    )


def test_final_values_are_given_only_for_what_the_challenge_scores(
    run, undersampled, full, tmp_path
):
    run("reconstruct", undersampled, "-m", "zero-filled", "-o", tmp_path / "a.h5")
    words = (
        "evaluate",
        tmp_path / "a.h5",
        "--truth",
        full,
        "--protocol",
        "cmrxrecon2025",
        "--json",
    )
    assert run(*words).records[-1]["final"]["zero-filled"]
    for more in (["--order", "textbook"], ["--no-crop"], ["--shard", "1/1"]):
        assert run(*words, *more).records[-1]["final"] == {}
    (tmp_path / "bad.h5").write_bytes(b"no")
    failed = run("evaluate", tmp_path, "--truth", full, "--protocol", "cmrxrecon2025", "--json")
    assert failed.code == 1
    assert failed.records[-1]["final"] == {}


def test_foreign_files_are_in_the_way_but_do_no_harm(run, undersampled, tmp_path):
    target = tmp_path / "a.npy"
    target.write_bytes(b"mine")
    (tmp_path / "a.npy.json").write_text('{"a": 1}')
    done = run("reconstruct", undersampled, "-m", "zero-filled", "-o", target)
    assert (done.code, done.codes) == (1, ["output-exists"])
    assert target.read_bytes() == b"mine"


def test_slurm_arrays_with_steps(run, full, tmp_path):
    names = [tmp_path / f"P{i}/cine_sax.mat" for i in range(3)]
    for name in names:
        name.parent.mkdir()
        os.link(full, name)
    seen = []
    for task in (2, 4, 6):
        slurm = {"ID": task, "MIN": 2, "STEP": 2, "COUNT": 3}
        env = {f"SLURM_ARRAY_TASK_{key}": str(value) for key, value in slurm.items()}
        seen += run(
            "reconstruct", tmp_path, "--dry-run", "--json", "--shard", "auto", env=env
        ).records
    assert sorted(r["input"] for r in seen) == [str(name) for name in names]
    holes = {
        "SLURM_ARRAY_TASK_ID": "9",
        "SLURM_ARRAY_TASK_MIN": "1",
        "SLURM_ARRAY_TASK_STEP": "1",
        "SLURM_ARRAY_TASK_COUNT": "2",
    }
    assert run("reconstruct", tmp_path, "--shard", "auto", env=holes).codes == [
        "slurm-array-uneven"
    ]


def test_slices_survive_a_disk_that_is_full_at_the_end(run, full, tmp_path, monkeypatch):
    from cmrrecon.tools.errors import OutputError

    def no_room(*words, **named):
        raise OutputError("output-unwritable", "The disk is full", "Room is needed", "Make room")

    target = tmp_path / "a.h5"
    with monkeypatch.context() as patch:
        patch.setattr("cmrrecon.formats.writing.IMAGE_WRITERS", {".h5": no_room})
        failed = run("reconstruct", full, "-m", "zero-filled", "-o", target)
    assert (failed.code, failed.codes) == (1, ["output-unwritable"])
    assert "warning" in failed.err
    done = run("reconstruct", full, "-m", "zero-filled", "-o", target)
    assert "2 of 2 slices" in done.err
    assert os.listdir(tmp_path) == ["a.h5"]


@pytest.fixture
def full_disk(monkeypatch):
    """Within the block, the disk has no room for files whose names contain the given text."""

    @contextmanager
    def disk(text):
        replace = os.replace

        def without_room(source, target):
            if text in Path(target).name:
                raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
            replace(source, target)

        def without_links(source, target):
            raise OSError(errno.EPERM, os.strerror(errno.EPERM))

        with monkeypatch.context() as patch:
            patch.setattr("cmrrecon.tools.atomic.os.replace", without_room)
            # New files are linked; without links they are renamed.
            patch.setattr("cmrrecon.tools.atomic.os.link", without_links)
            yield

    return disk


@pytest.mark.parametrize("again", [(), ("--overwrite",)])
def test_a_mask_without_room_is_a_failure(run, full, tmp_path, full_disk, again):
    words = ("undersample", full, "-R", 4, "--out-dir", tmp_path, "--json")
    if again:
        assert run(*words).code == 0
    with full_disk("_mask_"):
        failed = run(*words, *again)
    assert (failed.code, failed.codes) == (1, ["output-unwritable"])
    assert [record["status"] for record in failed.records] == ["failed"]
    assert run(*words, *again).records[0]["status"] == "done"


@pytest.mark.parametrize("again", [(), ("--overwrite",)])
def test_uncertainties_without_room_are_a_failure_that_keeps_the_slices(
    run, full, tmp_path, full_disk, again
):
    words = ("reconstruct", full, "-m", "zero-filled", "--uncertainty", 2, "--json")
    words = (*words, "-o", tmp_path / "a.h5")
    if again:
        assert run(*words).code == 0
    with full_disk("a_uncertainty.h5"):
        failed = run(*words, *again)
    assert (failed.code, failed.codes) == (1, ["output-unwritable"])
    assert [record["status"] for record in failed.records] == ["failed"]
    done = run(*words, *again)
    assert done.records[0]["status"] == "done"
    assert "2 of 2 slices" in done.err
    assert sorted(os.listdir(tmp_path)) == ["a.h5", "a_uncertainty.h5"]


@pytest.mark.parametrize("again", [(), ("--overwrite",)])
def test_slices_that_vanish_without_another_output_are_a_failure(
    run, full, tmp_path, monkeypatch, again
):
    from cmrrecon.reconstruction.result import Result

    words = ("reconstruct", full, "-m", "zero-filled", "-o", tmp_path / "a.h5", "--json")
    if again:
        assert run(*words).code == 0
    write = Result.write

    def too_late(self, path, export):
        for folder in tmp_path.glob(".*.parts"):
            shutil.rmtree(folder)
        return write(self, path, export)

    monkeypatch.setattr(Result, "write", too_late)
    failed = run(*words, *again)
    assert (failed.code, failed.codes) == (1, ["parts-missing"])


def test_what_was_chosen_survives_an_interruption_before_the_first_slice(
    run, undersampled, tmp_path, monkeypatch
):
    def interrupted(*words):
        raise KeyboardInterrupt

    words = ("reconstruct", undersampled, "-m", "temporal-tv", "-o", tmp_path / "a.h5")
    with monkeypatch.context() as patch:
        patch.setattr("cmrrecon.reconstruction.resume.Parts.save", interrupted)
        assert run(*words).code == 130
    with monkeypatch.context() as patch:
        patch.setattr("cmrrecon.methods.iterative.IterativeMethod.decide", interrupted)
        done = run(*words)
    assert done.code == 0, done.err
    assert os.listdir(tmp_path) == ["a.h5"]


def test_memory_that_runs_out_anywhere_gives_its_code(run, undersampled, tmp_path, monkeypatch):
    def shortage(self, device):
        raise torch.OutOfMemoryError("CUDA out of memory")

    monkeypatch.setattr("cmrrecon.data.scan.Series.to", shortage)
    done = run("reconstruct", undersampled, "-m", "zero-filled", "-o", tmp_path / "a.h5")
    assert (done.code, done.codes) == (4, ["memory-shortage"])
    assert os.listdir(tmp_path) == []


def test_timeless_images_lose_their_frame_axis_whatever_the_file_is_called(tmp_path):
    import scipy.io

    formats.write_images(
        tmp_path / "mine.mat",
        torch.rand(2, 1, 8, 6),
        {"config": {}, "acquisition": {"base": "blackblood"}},
    )
    assert scipy.io.loadmat(tmp_path / "mine.mat")["img4ranking"].shape == (6, 8, 2)


def test_an_unknown_year_is_reported_and_the_one_used_is_kept(run, full, tmp_path):
    scan = formats.read(full)
    formats.write_scan(tmp_path / "cine_sax.mat", scan, variable="kspace_full")
    done = run("undersample", tmp_path / "cine_sax.mat", "-R", 4)
    assert "2025" in done.err
    assert (
        formats.read_provenance(tmp_path / "cine_sax_kus_ktGaussian4.mat")["config"]["year"] == 2025
    )
    assert (
        "2024"
        not in run(
            "undersample",
            tmp_path / "cine_sax.mat",
            "-R",
            4,
            "--year",
            2024,
            "--out-dir",
            tmp_path / "b",
        ).err
    )


def test_an_output_never_replaces_an_input(run, full, undersampled, tmp_path):
    mine = tmp_path / "cine_sax.mat"
    shutil.copy(full, mine)
    for name in (undersampled.name, "cine_sax_mask_ktGaussian4.mat"):
        shutil.copy(undersampled.with_name(name), tmp_path)
    before = read_bytes(tmp_path)
    for words in (
        ("undersample", mine, "-R", 4, "-o", mine),
        (
            "reconstruct",
            tmp_path / undersampled.name,
            "-m",
            "zero-filled",
            "-o",
            tmp_path / "cine_sax_mask_ktGaussian4.mat",
        ),
        ("reconstruct", mine, "-m", "zero-filled", "-o", tmp_path / "x/../cine_sax.mat"),
    ):
        done = run(*words, "--overwrite")
        assert (done.code, done.codes) == (2, ["output-is-input"]), done.err
    assert read_bytes(tmp_path) == before


def test_reconstructions_are_not_taken_for_kspace(run, undersampled, tmp_path):
    codes = {
        ".npy": "axes-unknown",
        ".npz": "variable-kind",
        ".h5": "variable-kind",
        ".mat": "variable-kind",
    }
    for suffix, code in codes.items():
        run("reconstruct", undersampled, "-m", "sense", "-o", tmp_path / f"r{suffix}")
        for command in ("reconstruct", "undersample"):
            done = run(command, tmp_path / f"r{suffix}", "-o", tmp_path / "x.h5")
            assert (done.code, done.codes) == (3, [code]), done.err
    assert not (tmp_path / "x.h5").exists()


def test_where_a_scan_comes_from_is_not_lost_on_the_way(run, simulated, full, truth, tmp_path):
    run("undersample", full, "-R", 4, "--seed", 5, "--out-dir", tmp_path)
    (facts,) = run("info", tmp_path / "cine_sax_kus_ktGaussian4.mat", "--json").records
    assert (facts["subject"], facts["year"], facts["acs"], facts["seed"]) == ("P001", 2025, 20, 5)
    run(
        "reconstruct",
        tmp_path / "cine_sax_kus_ktGaussian4.mat",
        "-m",
        "zero-filled",
        "-o",
        tmp_path / "r.h5",
    )
    (record, _) = run("evaluate", tmp_path / "r.h5", "--truth", simulated, "--json").records
    assert (record["subject"], record["centre"], record["vendor"]) == (
        "P001",
        "Center000",
        "Simulated_30T_phantom",
    )


def test_an_unknown_subject_is_scored_with_a_warning(run, full, truth, tmp_path):
    formats.write_scan(tmp_path / "mine.h5", formats.read(full))
    images = formats.read_images(truth).abs()
    formats.write_images(tmp_path / "r.h5", list(images.unbind(1)))
    done = run("evaluate", tmp_path / "r.h5", "--truth", truth, "--quiet")
    assert done.code == 0
    assert done.err.startswith("warning: ")
    assert "r.h5" in done.err


def test_faulty_samples_are_not_undersampled(run, full, tmp_path):
    scan = formats.read(full)
    data = torch.stack([scan.read_slice(z) for z in range(2)], 1)
    data[1, 1, 0, 0, 0] = float("nan")
    from cmrrecon.data import Scan

    formats.write_scan(tmp_path / "nan.mat", Scan.from_kspace(data), variable="kspace_full")
    assert run("undersample", tmp_path / "nan.mat", "-R", 4).codes == ["kspace-not-finite"]
    assert os.listdir(tmp_path) == ["nan.mat"]


def test_contradicting_options_are_refused(run, full, undersampled, tmp_path):
    mask = undersampled.with_name("cine_sax_mask_ktGaussian4.mat")
    for words in (
        ("undersample", full, "--mask", mask, "-R", 4, "-o", tmp_path / "a.h5"),
        ("evaluate", full, "--truth", full, "--protocol", "2024", "--heart", "0,1,0,1"),
    ):
        done = run(*words)
        assert (done.code, done.codes) == (2, ["options-conflict"])


def test_standard_input_is_named_so(run):
    done = run("reconstruct", "-", "-o", "x.h5", stdin=b"")
    assert (done.code, done.codes) == (3, ["file-empty"])
    assert "standard input" in done.err
    assert "/tmp" not in done.err


def test_a_finished_output_leaves_no_parts_of_earlier_runs(run, undersampled, tmp_path):
    from cmrrecon.reconstruction.resume import Parts

    Parts(tmp_path / "a.h5", "0" * 64, [0]).save(0, torch.zeros(1, 2, 2))
    assert run("reconstruct", undersampled, "-m", "zero-filled", "-o", tmp_path / "a.h5").code == 0
    assert os.listdir(tmp_path) == ["a.h5"]


def test_the_same_subject_number_of_another_set_is_another_subject(
    run, full, undersampled, tmp_path
):
    case = tmp_path / "ValidationSet/P001" / undersampled.name
    case.parent.mkdir(parents=True)
    shutil.copy(undersampled, case)
    kspace = formats.read(undersampled)
    formats.write_scan(case, kspace, {"config": {}})
    run("reconstruct", case, "-m", "zero-filled", "-o", tmp_path / "r.h5")
    done = run("evaluate", tmp_path / "r.h5", "--truth", full)
    assert (done.code, done.codes) == (3, ["reference-mismatch"])
    assert "TrainingSet" in done.err


def test_own_masks_and_sidecars_are_found_again(run, full, tmp_path):
    run("undersample", full, "-R", 4, "--seed", 9, "-o", tmp_path / "x_kus.mat")
    facts = run("info", tmp_path / "x_kus.mat", "--json").records[0]
    assert facts["notes"] == []
    assert facts["pattern"] == "kt-gaussian"
    assert run("info", tmp_path / "x_kus_mask.mat", "--json").records[0]["seed"] == 9
    run("undersample", full, "-R", 4, "--seed", 9, "-o", tmp_path / "x.npy")
    assert run("info", tmp_path / "x.npy", "--json").records[0]["pattern"] == "kt-gaussian"


def test_a_mask_beside_the_data_can_be_put_on_it(run, full, undersampled, tmp_path):
    shutil.copy(full, tmp_path / "cine_sax.mat")
    mask = shutil.copy(undersampled.with_name("cine_sax_mask_ktGaussian4.mat"), tmp_path)
    before = Path(mask).read_bytes()
    assert run("undersample", tmp_path / "cine_sax.mat", "--mask", mask).code == 0
    assert Path(mask).read_bytes() == before
    assert (tmp_path / undersampled.name).exists()


def test_info_of_a_folder_lists_mapping_times_too(run, tmp_path):
    run(
        "simulate",
        "--kind",
        "t2map",
        "--slices",
        1,
        "--coils",
        2,
        "--size",
        "48x64",
        "--out-dir",
        tmp_path,
    )
    assert sorted(record["kind"] for record in run("info", tmp_path, "--json").records) == [
        "images",
        "scan",
        "times",
    ]


def test_compare_searches_a_folder_for_its_truth(run, simulated, undersampled, tmp_path):
    done = run(
        "compare",
        undersampled,
        "-m",
        "zero-filled",
        "--truth",
        simulated,
        "-o",
        tmp_path / "c.png",
        "--json",
    )
    assert done.records[0]["status"] == "scored"


def test_a_mask_of_no_official_name_put_on_data_in_the_folder_of_full_ones(run, full, tmp_path):
    folder = tmp_path / "FullSample/P001"
    folder.mkdir(parents=True)
    shutil.copy(full, folder)
    lines = torch.zeros((1, 64, 1), dtype=torch.bool)
    lines[:, ::3] = True
    lines[:, 24:40] = True
    formats.write_mask(tmp_path / "mine.mat", lines, x=96)
    assert run("undersample", folder / "cine_sax.mat", "--mask", tmp_path / "mine.mat").code == 0
    kus = formats.read(folder / "cine_sax_kus.mat")
    assert torch.equal(kus.mask.samples, lines)
    done = run(
        "reconstruct", folder / "cine_sax_kus.mat", "-m", "zero-filled", "-o", tmp_path / "r.h5"
    )
    assert done.code == 0, done.err
    (record, _) = run(
        "evaluate", tmp_path / "r.h5", "--truth", tmp_path / "FullSample", "--json"
    ).records
    assert record["reference"] == str(folder / "cine_sax.mat")


@pytest.fixture
def twins(full, tmp_path):
    """A folder with two scans whose names differ only in their suffix."""
    folder = tmp_path / "d"
    folder.mkdir()
    for name in ("a.h5", "a.npz"):
        formats.write_scan(folder / name, formats.read(full))
    return folder


@pytest.mark.parametrize(
    "more",
    [
        (),
        ("--workers", 2),
        ("--overwrite",),
        ("--shard", "1/2"),
        ("--shard", "2/2"),
        ("-o", "x.h5"),
    ],
)
def test_reconstructions_never_share_an_output(run, twins, monkeypatch, more):
    monkeypatch.chdir(twins.parent)
    # One path is absolute, the other relative.
    done = run("reconstruct", twins / "a.h5", "d/a.npz", "-m", "zero-filled", *more)
    assert (done.code, done.codes) == (2, ["output-shared"])
    assert sorted(os.listdir(twins)) == ["a.h5", "a.npz"]
    assert os.listdir() == ["d"]


@pytest.mark.parametrize("more", [(), ("--workers", 2), ("--overwrite",), ("--dry-run",)])
def test_undersampled_scans_never_share_an_output(run, twins, more):
    """Their names come from the headers, so only the second of them can be refused."""
    done = run("undersample", twins, "-R", 4, "--json", *more)
    assert (done.code, done.codes) == (1, ["output-shared"])
    planned = "--dry-run" in more
    by_status = {record["status"]: record for record in done.records}
    assert set(by_status) == {"planned" if planned else "done", "failed"}
    assert by_status["failed"]["exit_code"] == 2
    written = [f"cine_sax_{kind}_ktGaussian4.mat" for kind in ("kus", "mask")]
    assert sorted(os.listdir(twins)) == ["a.h5", "a.npz", *([] if planned else written)]


def test_one_name_for_the_outputs_of_all_shards_is_refused(run, twins, tmp_path):
    for shard in ("1/2", "2/2"):
        words = ("undersample", twins, "-R", 4, "-o", tmp_path / "u.h5", "--shard", shard)
        assert run(*words).codes == ["output-shared"]
    assert sorted(os.listdir(tmp_path)) == ["d"]
