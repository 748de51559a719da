"""Trees of files: numbered lines, one short line a scan, skipped files, the official trees."""

import json
import os
import re
import shutil

import numpy as np
import pytest

from cmrrecon import formats
from cmrrecon.formats.reading import NO_MASK
from cmrrecon.simulation import simulate

Y, X = 48, 64


@pytest.fixture
def tree(full, undersampled, tmp_path):
    """A full scan, and files that are undersampled by name, folder, provenance and data."""
    places = ("full", "named", "UnderSample_Task1/P001", "ours", "data")
    for place in places:
        (tmp_path / "tree" / place).mkdir(parents=True)
    root = tmp_path / "tree"
    shutil.copy(full, root / "full/cine_sax.mat")
    shutil.copy(full, root / "named/cine_lax_kus.mat")
    shutil.copy(full, root / "UnderSample_Task1/P001/cine_sax.mat")
    formats.write_scan(root / "ours/scan.h5", formats.read(undersampled))
    made = simulate(slices=1, frames=2, coils=2, y=Y, x=X)
    kspace = made.scan.read_slice(0)[:, None].numpy()
    kspace[..., 1::2, :] = 0
    np.savez(root / "data/scan.npz", kspace=kspace)
    shutil.copy(undersampled.with_name("cine_sax_mask_ktGaussian4.mat"), root / "named")
    return root


@pytest.mark.parametrize(
    ("command", "workers"), [("undersample", 1), ("preprocess", 1), ("preprocess", 2)]
)
def test_undersampled_files_of_a_tree_are_skipped(run, tree, tmp_path, command, workers):
    more = ("-R", 2, "--acs", 8) if command == "undersample" else ()
    words = (command, tree, "--out-dir", tmp_path / "out", "--workers", workers, "--json", *more)
    done = run(*words)
    assert done.code == 0, done.err
    skipped = [record for record in done.records if record["status"] == "skipped"]
    assert {record["reason"] for record in skipped} == {"undersampled"}
    names = {os.path.relpath(record["input"], tree) for record in skipped}
    expected = {"named/cine_lax_kus.mat", "UnderSample_Task1/P001/cine_sax.mat"}
    assert names == expected | {"ours/scan.h5", "data/scan.npz"}
    assert [record["status"] for record in done.records].count("done") == 1
    assert len(skipped) == 4
    assert "warning" not in done.err


@pytest.mark.parametrize("name", ["*.npz", "."])
def test_a_tree_without_anything_left_to_do_says_so(run, tree, tmp_path, name):
    done = run("undersample", tree / "data" / name, "-R", 2, "--out-dir", tmp_path / "out")
    assert (done.code, done.out) == (0, "")
    assert "warning: " in done.err
    assert not (tmp_path / "out").exists()


def test_undersampled_files_that_are_named_are_refused(run, tree):
    names = ("data/scan.npz", "ours/scan.h5")
    files = [tree / name for name in names]
    done = run("undersample", *files, "-R", 2, "--out-dir", tree / "out")
    assert (done.code, done.codes) == (1, ["kspace-undersampled"] * 2)
    assert run("undersample", files[0], tree, "-R", 2).codes == ["kspace-undersampled"]


def test_named_files_enter_a_store_without_a_reference(run, tree, tmp_path):
    done = run("preprocess", tree / "data/scan.npz", "--out-dir", tmp_path / "store", "--json")
    (record,) = done.records
    assert (record["status"], record["fully_sampled"]) == ("done", False)


SHORT = r"\d/3 .*: (\S+), effective R [\d.]+, [\d.]+ s, residual [\d.]+( to [\d.]+)?"


def test_one_short_line_a_scan_and_details_on_request(run, undersampled, tmp_path):
    for i in range(3):
        (tmp_path / f"P{i}").mkdir()
        shutil.copy(undersampled, tmp_path / f"P{i}")
    mask = undersampled.with_name("cine_sax_mask_ktGaussian4.mat")
    words = ("reconstruct", tmp_path, "-m", "temporal-tv", "--set", "iterations=3", "--mask", mask)
    plain = run(*words, "--out-dir", tmp_path / "a")
    lines = plain.err.splitlines()
    assert lines[0].startswith("method temporal-tv")
    assert len(lines) == 4
    for number, line in enumerate(lines[1:], 1):
        assert line.startswith(f"{number}/3 ")
        assert re.fullmatch(SHORT, line)[1] == "temporal-tv", line

    more = run(*words, "--out-dir", tmp_path / "b", "--verbose")
    numbered = more.err.splitlines()[1:]
    assert len(numbered) > 9
    assert all(re.match(r"[123]/3 ", line) for line in numbered)
    assert "temporal-tv 0." in more.err
    assert "temporal-tv 0." not in plain.err
    stamp = formats.read_provenance(tmp_path / "a/P0" / f"{undersampled.stem}_temporal-tv.h5")
    assert stamp["choice"]["trials"]


def test_a_single_scan_has_no_number(run, undersampled, tmp_path):
    done = run("reconstruct", undersampled, "-m", "zero-filled", "-o", tmp_path / "a.h5")
    assert done.err.splitlines()[-1].startswith(str(undersampled))


def test_a_missing_mask_is_not_noted_of_full_scans(run, tmp_path):
    kspace = simulate(slices=1, frames=2, coils=4, y=Y, x=X, seed=1).scan.read_slice(0)[:, None]
    np.savez(tmp_path / "full.npz", kspace=kspace)
    kspace[..., 1:8:2, :] = 0
    np.savez(tmp_path / "gaps.npz", kspace=kspace)
    for name, noted in (("full", False), ("gaps", True)):
        path = tmp_path / f"{name}.npz"
        for words in (
            ("info", path),
            ("reconstruct", path, "-m", "zero-filled", "-o", tmp_path / f"{name}.h5"),
            ("undersample", path, "-R", 2, "--acs", 8, "-o", tmp_path / f"{name}_kus.h5"),
        ):
            done = run(*words)
            assert done.code == 0, done.err
            assert (NO_MASK in done.err) == noted, words


def official(root, year):
    """A small tree in the layout of a year; returns its number of fully sampled files."""
    where = "Center001/UIH_30T_umr780/P001" if year == 2025 else "P001"
    head = root / ("MultiCoil" if year == 2023 else "ChallengeData/MultiCoil")
    bases = {"Cine/cine_sax": 3, "Mapping/T2map": 3}
    bases |= {} if year == 2023 else {"BlackBlood/blackblood": 1}
    for seed, (name, frames) in enumerate(bases.items()):
        modality, base = name.split("/")
        made = simulate(slices=2, frames=frames, coils=3, y=Y, x=X, seed=seed)
        path = head / modality / "TrainingSet/FullSample" / where / f"{base}.mat"
        path.parent.mkdir(parents=True)
        formats.write_scan(path, made.scan, variable="kspace" if year == 2025 else "kspace_full")
        if modality == "Mapping":
            path.with_suffix(".csv").write_text(",z1,z2\n1,0,0\n2,35,35\n3,55,55\n")

    full = head / "Cine/TrainingSet/FullSample" / where / "cine_sax.mat"
    scan = formats.read(full)
    lines = np.zeros((1, Y, 1), bool)
    lines[:, ::4] = lines[:, Y // 2 - 8 : Y // 2 + 8] = True
    kus = np.stack([scan.read_slice(z).numpy() for z in range(2)], 1) * lines[:, None, None]
    set_, task = head / "Cine/TrainingSet", {2024: "Task1", 2025: "TaskR1"}.get(year)
    if year == 2023:
        data, mask = set_ / f"AccFactor04/{where}/cine_sax", "cine_sax_mask"
        folder = data.parent
    else:
        data = set_ / f"UnderSample_{task}/{where}/cine_sax_kus_Uniform4"
        mask, folder = "cine_sax_mask_Uniform4", set_ / f"Mask_{task}" / where
    import h5py

    for path, variable, values in (
        (data.with_suffix(".mat"), "kspace_sub04" if year == 2023 else "kus", kus),
        (folder / f"{mask}.mat", "mask04" if year == 2023 else "mask", lines[0] * np.ones(X)),
    ):
        path.parent.mkdir(parents=True, exist_ok=True)
        with h5py.File(path, "w") as file:
            file[variable] = values
    return len(bases)


@pytest.mark.parametrize("year", [2023, 2024, 2025])
def test_the_commands_of_the_readme_run_through_official_trees(run, tmp_path, year):
    tree, under, images = (tmp_path / name for name in (f"CMRxRecon{year}", "under", "rec"))
    full = official(tree, year)
    made = run("undersample", tree, "-R", 4, "--acs", 12, "--out-dir", under, "--json")
    assert made.code == 0, made.err
    statuses = sorted(record["status"] for record in made.records)
    assert statuses == [*["done"] * full, "skipped"]

    words = ("-m", "zero-filled", "--out-dir", images, "--json")
    assert run("reconstruct", under, *words).code == 0
    of_tree = run("reconstruct", tree, *words)
    assert of_tree.code == 0, of_tree.err
    assert NO_MASK not in of_tree.err
    patterns = [record["pattern"] for record in of_tree.records]
    assert sorted(map(str, patterns)) == [*["None"] * full, "uniform"]

    scored = run("evaluate", images, "--truth", tree, "--protocol", f"cmrxrecon{year}", "--json")
    assert scored.code == 0, scored.err
    records = [json.loads(line) for line in scored.out.splitlines()]
    references = [record["reference"] for record in records if record["status"] == "done"]
    assert len(references) == 2 * full + 1
    assert all("FullSample" in reference for reference in references)

    store = run("preprocess", tree, "--out-dir", tmp_path / "store", "--json")
    assert store.code == 0, store.err
    assert [record.get("fully_sampled") for record in store.records].count(True) == full
