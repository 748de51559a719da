"""Outputs are never stale, never replaced unasked, and scored against their own scan only."""

import os
import shutil
from pathlib import Path

import pytest
import torch

from cmrrecon import formats


def read_bytes(folder: Path) -> dict[str, bytes]:
    return {str(p.relative_to(folder)): p.read_bytes() for p in folder.rglob("*") if p.is_file()}


def test_another_mask_beside_the_data_makes_the_result_anew(run, full, tmp_path):
    run("undersample", full, "-R", 4, "--seed", 1, "-p", "kt-gaussian", "--out-dir", tmp_path)
    kus, mask = tmp_path / "cine_sax_kus_ktGaussian4.mat", tmp_path / "cine_sax_mask_ktGaussian4.mat"
    words = ("reconstruct", kus, "-m", "zero-filled", "-o", tmp_path / "a.h5", "--json")
    assert run(*words).records[0]["status"] == "done"
    wider = formats.read_mask(mask)
    wider[:, 0] = True
    formats.write_mask(mask, wider, x=96)
    done = run(*words)
    assert done.code == 1
    assert "--overwrite" in done.err
    names = [entry["name"] for entry in formats.read_provenance(tmp_path / "a.h5")["inputs"]]
    assert names == [kus.name, mask.name]


def test_a_mask_that_is_there_is_not_replaced(run, full, tmp_path):
    mask = tmp_path / "cine_sax_mask_ktGaussian4.mat"
    formats.write_mask(mask, torch.ones((1, 64, 1), dtype=torch.bool), x=96)
    before = read_bytes(tmp_path)
    done = run("undersample", full, "-R", 4, "--out-dir", tmp_path)
    assert done.code == 1
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
    assert done.code == 3
    assert "undersampled already" in done.err


def test_suffixes_may_be_in_capitals(run, full, tmp_path):
    done = run("undersample", full, "-R", 4, "-o", tmp_path / "A.MAT", "--json")
    assert Path(done.records[0]["mask"]).exists()


def test_a_reconstruction_is_not_scored_against_another_subject(run, full, truth, undersampled, tmp_path):
    run("reconstruct", undersampled, "-m", "zero-filled", "-o", tmp_path / "a.h5")
    other = tmp_path / "truth/P006"
    other.mkdir(parents=True)
    shutil.copy(truth, other)
    for reference in (tmp_path / "truth", other / truth.name):
        done = run("evaluate", tmp_path / "a.h5", "--truth", reference)
        assert done.code == 3, done.err
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
    (again, _) = run("evaluate", tmp_path / "one.h5", "--truth", tmp_path / "part_truth.h5", "--json").records
    assert again["psnr"] == pytest.approx(one["psnr"], abs=1e-6)
    missing = run("evaluate", tmp_path / "all.h5", "--truth", tmp_path / "part_truth.h5")
    assert missing.code == 3
    assert "no slice 0" in missing.err
    assert run("compare", undersampled, "-m", "zero-filled", "--truth", tmp_path / "part_truth.h5", "--slice", 0).code == 3


def test_part_of_a_scan_is_not_scored_with_the_ranking_crop(run, tmp_path):
    scan = run("simulate", "--frames", 3, "--slices", 4, "--coils", 2, "--size", "48x64", "--out-dir", tmp_path / "s").out.strip()
    run("reconstruct", scan, "-m", "zero-filled", "--slices", "2,3", "-o", tmp_path / "part.h5")
    done = run("evaluate", tmp_path / "part.h5", "--truth", scan, "--protocol", "2025")
    assert done.code == 3
    assert "2 of the 4 slices" in done.err
    assert run("evaluate", tmp_path / "part.h5", "--truth", scan, "--protocol", "2025", "--no-crop").code == 0


def test_final_values_are_given_only_for_what_the_challenge_scores(run, undersampled, full, tmp_path):
    run("reconstruct", undersampled, "-m", "zero-filled", "-o", tmp_path / "a.h5")
    words = ("evaluate", tmp_path / "a.h5", "--truth", full, "--protocol", "cmrxrecon2025", "--json")
    assert run(*words).records[-1]["final"]["zero-filled"]
    for more in (["--order", "textbook"], ["--no-crop"], ["--shard", "1/1"]):
        assert run(*words, *more).records[-1]["final"] == {}
    (tmp_path / "bad.h5").write_bytes(b"no")
    failed = run("evaluate", tmp_path, "--truth", full, "--protocol", "cmrxrecon2025", "--json")
    assert failed.code == 1
    assert failed.records[-1]["final"] == {}


def test_preprocess_refuses_inputs_that_share_an_output(run, full, tmp_path):
    for folder in ("a", "b"):
        (tmp_path / folder).mkdir()
        shutil.copy(full, tmp_path / folder)
    done = run("preprocess", tmp_path / "a", tmp_path / "b", "--out-dir", tmp_path / "store")
    assert done.code == 2
    assert "would both become" in done.err
    assert not (tmp_path / "store").exists()


def test_preprocess_in_parallel_and_empty_shards(run, full, tmp_path):
    for folder in ("P001", "P002"):
        (tmp_path / folder).mkdir()
        shutil.copy(full, tmp_path / folder)
    done = run("preprocess", tmp_path, "--out-dir", tmp_path / "store", "--workers", 2, "--json")
    assert [r["status"] for r in done.records] == ["done", "done"]
    assert run("preprocess", full, "--out-dir", tmp_path / "store2", "--shard", "2/2").code == 0
    assert run("preprocess", "-", "--out-dir", tmp_path / "store2").code == 2


def test_foreign_files_are_in_the_way_but_do_no_harm(run, undersampled, tmp_path):
    target = tmp_path / "a.npy"
    target.write_bytes(b"mine")
    (tmp_path / "a.npy.json").write_text('{"a": 1}')
    done = run("reconstruct", undersampled, "-m", "zero-filled", "-o", target)
    assert done.code == 1
    assert "--overwrite" in done.err
    assert "Traceback" not in done.err
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
        seen += run("reconstruct", tmp_path, "--dry-run", "--json", "--shard", "auto", env=env).records
    assert sorted(r["input"] for r in seen) == [str(name) for name in names]
    holes = {"SLURM_ARRAY_TASK_ID": "9", "SLURM_ARRAY_TASK_MIN": "1", "SLURM_ARRAY_TASK_STEP": "1", "SLURM_ARRAY_TASK_COUNT": "2"}
    assert "evenly spaced" in run("reconstruct", tmp_path, "--shard", "auto", env=holes).err


def test_slices_survive_a_disk_that_is_full_at_the_end(run, full, tmp_path, monkeypatch):
    from cmrrecon.errors import OutputError

    def no_room(*words, **named):
        raise OutputError("The disk is full", "Room is needed", "Make room")

    target = tmp_path / "a.h5"
    with monkeypatch.context() as patch:
        patch.setattr("cmrrecon.formats.files.IMAGE_WRITERS", {".h5": no_room})
        failed = run("reconstruct", full, "-m", "zero-filled", "-o", target)
    assert failed.code == 1
    assert "finished slices are kept" in failed.err
    done = run("reconstruct", full, "-m", "zero-filled", "-o", target)
    assert "2 of 2 slices were finished before" in done.err
    assert os.listdir(tmp_path) == ["a.h5"]


def test_memory_that_runs_out_anywhere_gives_its_code(run, undersampled, tmp_path, monkeypatch):
    def shortage(self, device):
        raise torch.OutOfMemoryError("CUDA out of memory")

    monkeypatch.setattr("cmrrecon.scan.Series.to", shortage)
    assert run("reconstruct", undersampled, "-m", "zero-filled", "-o", tmp_path / "a.h5").code == 4
    assert os.listdir(tmp_path) == []


def test_timeless_images_lose_their_frame_axis_whatever_the_file_is_called(tmp_path):
    import scipy.io

    formats.write_images(tmp_path / "mine.mat", torch.rand(2, 1, 8, 6), {"config": {}, "acquisition": {"base": "blackblood"}})
    assert scipy.io.loadmat(tmp_path / "mine.mat")["img4ranking"].shape == (6, 8, 2)


def test_an_unknown_year_is_told_and_the_one_used_is_kept(run, full, tmp_path):
    scan = formats.read(full)
    formats.write_scan(tmp_path / "cine_sax.mat", scan, variable="kspace_full")
    done = run("undersample", tmp_path / "cine_sax.mat", "-R", 4)
    assert "the rules of 2025 are taken" in done.err
    assert formats.read_provenance(tmp_path / "cine_sax_kus_ktGaussian4.mat")["config"]["year"] == 2025
    assert "2024" not in run("undersample", tmp_path / "cine_sax.mat", "-R", 4, "--year", 2024, "--out-dir", tmp_path / "b").err
