"""BART's files and ISMRMRD through the commands."""

import torch

from cmrrecon import formats


def test_a_scan_goes_through_bart_files_unchanged(run, full, tmp_path):
    sampled, direct = tmp_path / "low.cfl", tmp_path / "low.h5"
    for target in (sampled, direct):
        done = run("undersample", full, "-p", "uniform", "-R", 4, "-o", target, "--json")
        assert done.code == 0, done.err
        known = done.records[0]
        assert known.get("mask") == (str(tmp_path / "low_mask.cfl") if target == sampled else None)
    words = ("-m", "sense", "--slices", 1, "--json")
    for source, target in ((sampled, "a.cfl"), (tmp_path / "low.hdr", "b.h5"), (direct, "c.h5")):
        done = run("reconstruct", source, *words, "-o", tmp_path / target)
        assert done.code == 0, done.err
    expected = formats.read_images(tmp_path / "c.h5")
    for name in ("a.cfl", "b.h5"):
        assert torch.equal(formats.read_images(tmp_path / name), expected)
    again = run("reconstruct", sampled, *words, "-o", tmp_path / "a.cfl")
    assert again.records[0]["status"] == "skipped"
    assert formats.read_provenance(tmp_path / "a.cfl")["config"]["method"] == "sense"


def test_a_folder_of_bart_files_has_its_scans_once(run, full, tmp_path):
    run("undersample", full, "-p", "uniform", "-R", 4, "-o", tmp_path / "low.cfl")
    said = run("info", tmp_path, "--json").records
    assert [record["kind"] for record in said] == ["scan", "mask"]
    assert said[0]["acceleration"] == 4
    done = run("reconstruct", tmp_path, "-m", "zero-filled", "--slices", 0, "--json", "--dry-run")
    assert len(done.records) == 1


def test_supplied_maps_are_used_and_belong_to_the_recipe(run, undersampled, tmp_path):
    scan = formats.read(undersampled)
    maps = torch.randn(1, *scan.shape[2:], dtype=torch.complex64)
    formats.write_maps(tmp_path / "maps.cfl", maps)
    words = ("reconstruct", undersampled, "-m", "sense", "--slices", 0, "--json")
    for name, more in (("a.h5", ()), ("b.h5", ("--maps", tmp_path / "maps.cfl"))):
        done = run(*words, *more, "-o", tmp_path / name)
        assert done.code == 0, done.err
    images = [formats.read_images(tmp_path / name) for name in ("a.h5", "b.h5")]
    assert not torch.allclose(*images, rtol=0.1)
    stamp = formats.read_provenance(tmp_path / "b.h5")
    assert "maps.cfl" in [entry["name"] for entry in stamp["inputs"]]


def test_ismrmrd_out_and_in_again(run, full, tmp_path):
    done = run("undersample", full, "-p", "uniform", "-R", 4, "-o", tmp_path / "low.mrd", "--json")
    assert done.code == 0, done.err
    (said,) = run("info", tmp_path / "low.mrd", "--json").records
    assert (said["pattern"], said["acceleration"], said["mask_kind"]) == ("uniform", 4, "lines")
    done = run("undersample", full, "-p", "kt-radial", "-R", 4, "-o", tmp_path / "radial.mrd")
    assert (done.code, done.codes) == (2, ["mrd-samples"])
    assert not (tmp_path / "radial.mrd").exists()
