import json

import pytest
import torch
from refusals import refused

from cmrrecon import formats
from cmrrecon.data import Scan
from cmrrecon.operators.coils import rss
from cmrrecon.operators.fourier import ifft2c
from cmrrecon.sampling import undersample
from cmrrecon.tools.atomic import atomic
from cmrrecon.tools.errors import InputError
from cmrrecon.training import entries as entries_module
from cmrrecon.training import store as store_module
from cmrrecon.training.entries import index_scans
from cmrrecon.training.store import add_scan, fingerprint, write_fingerprint


def scan(empty=()):
    generator = torch.Generator().manual_seed(0)
    kspace = torch.randn((2, 3, 4, 32, 24), dtype=torch.complex64, generator=generator)
    kspace[:, list(empty)] = 0
    return Scan.from_kspace(kspace)


@pytest.fixture
def source(tmp_path):
    def write(made, name="cine_sax.mat"):
        formats.write_scan(tmp_path / name, made, variable="kspace")
        return tmp_path / name

    return write


def test_stored_scan_equals_its_source_and_has_rss_references(source, tmp_path):
    original = scan()
    entry = add_scan(source(original), tmp_path / "store/cine_sax.h5")
    stored = formats.read(tmp_path / "store/cine_sax.h5")
    assert entry["shape"] == [2, 3, 4, 32, 24]
    assert entry["fully_sampled"]
    assert stored.acquisition.base == "cine_sax"
    for z in range(3):
        assert torch.equal(stored.series(z).kspace, original.read_slice(z))
    references = formats.read_images(tmp_path / "store/cine_sax.h5")
    assert torch.allclose(references[:, 1], rss(ifft2c(original.read_slice(1))), atol=1e-6)


def without_lines(lines, slices=slice(None)):
    """The scan without some lines in some slices."""
    kspace = torch.stack([scan().read_slice(z) for z in range(3)], 1)
    kspace[:, slices, :, lines] = 0
    return Scan.from_kspace(kspace)


@pytest.mark.parametrize("allow_partial", [False, True])
def test_aliased_kspace_makes_no_references(source, tmp_path, allow_partial):
    made = without_lines(slice(3, None, 6))
    entry = add_scan(source(made), tmp_path / "a.h5", allow_partial=allow_partial)
    assert not entry["fully_sampled"]
    assert entry["coverage"] == "undersampled"
    assert entry["remarks"]
    with pytest.raises(InputError):
        formats.read_images(tmp_path / "a.h5")


def test_partial_fourier_makes_references_if_allowed(source, tmp_path):
    path = source(without_lines(slice(0, 8)))
    refusing = add_scan(path, tmp_path / "a.h5")
    assert not refusing["fully_sampled"]
    entry = add_scan(path, tmp_path / "b.h5", allow_partial=True)
    assert entry["fully_sampled"]
    assert entry["coverage"] == "partial Fourier"
    assert entry["effective_acceleration"] == round(32 / 24, 3)
    assert formats.read(tmp_path / "b.h5").mask.samples.sum() == 24


def test_partial_fourier_of_the_challenge_makes_references(source, tmp_path):
    (tmp_path / "FullSample").mkdir()
    entry = add_scan(
        source(without_lines(slice(0, 8)), "FullSample/cine_sax.mat"), tmp_path / "a.h5"
    )
    assert entry["fully_sampled"]
    assert "rule of its challenge" in entry["remarks"][0]


def test_slices_with_fewer_samples_make_no_references(source, tmp_path):
    for lines, code in (
        (slice(0, 8), "kspace-partial"),
        (slice(3, None, 6), "kspace-undersampled"),
    ):
        with refused(code):
            add_scan(source(without_lines(lines, 1)), tmp_path / "a.h5")
        assert not (tmp_path / "a.h5").exists()


def test_slices_with_more_samples_are_cut_to_the_first(source, tmp_path):
    path = source(without_lines(slice(0, 8), 0))
    add_scan(path, tmp_path / "a.h5", allow_partial=True)
    stored = formats.read(tmp_path / "a.h5")
    assert (stored.read_slice(1)[..., :8, :] == 0).all()
    assert torch.equal(stored.series(1).mask.samples, stored.series(0).mask.samples)


def test_an_integer_scan_is_fully_sampled(source, tmp_path):
    kspace = torch.view_as_complex(torch.view_as_real(scan().read_slice(0) * 40).round())
    assert (kspace == 0).any()
    entry = add_scan(source(Scan.from_kspace(kspace[:, None])), tmp_path / "a.h5")
    assert entry["fully_sampled"]
    assert entry["remarks"] == []


def test_empty_slices_are_listed_and_kept(source, tmp_path):
    entry = add_scan(source(scan(empty=[0, 2])), tmp_path / "store/a.h5")
    assert entry["empty_slices"] == [0, 2]
    assert not formats.read_images(tmp_path / "store/a.h5")[:, 0].any()
    with refused("kspace-empty"):
        add_scan(source(scan(empty=[0, 1, 2]), "b.mat"), tmp_path / "store/b.h5")
    assert not list((tmp_path / "store").glob("b*"))


def test_compression_gives_the_requested_number_of_virtual_coils(source, tmp_path):
    entry = add_scan(source(scan()), tmp_path / "a.h5", coils=2)
    assert formats.read(tmp_path / "a.h5").shape == tuple(entry["shape"]) == (2, 3, 2, 32, 24)
    many = add_scan(source(scan()), tmp_path / "b.h5", coils=99)
    assert many["shape"][2] == 4


def test_undersampled_scans_keep_their_mask_and_get_no_reference(source, tmp_path):
    kus = undersample(scan(), "kt-gaussian", 4, acs=8, seed=3)
    formats.write_scan(tmp_path / "cine_sax_kus_ktGaussian4.mat", kus)
    formats.write_mask(tmp_path / "cine_sax_mask_ktGaussian4.mat", kus.mask.samples, x=24)
    entry = add_scan(tmp_path / "cine_sax_kus_ktGaussian4.mat", tmp_path / "store/a.h5")
    assert not entry["fully_sampled"]
    assert entry["pattern"] == "kt-gaussian"
    assert torch.equal(formats.read(tmp_path / "store/a.h5").mask.samples, kus.mask.samples)
    with pytest.raises(InputError):
        formats.read_images(tmp_path / "store/a.h5")


def test_finished_files_are_not_read_again_unless_the_recipe_changes(source, tmp_path):
    path, target = source(scan()), tmp_path / "store/a.h5"
    assert add_scan(path, target)["status"] == "done"
    before = target.stat().st_mtime_ns
    assert add_scan(path, target)["status"] == "skipped"
    assert target.stat().st_mtime_ns == before
    with refused("output-exists"):
        add_scan(path, target, coils=2)
    assert add_scan(path, target, coils=2, overwrite=True)["status"] == "done"


def test_an_interrupted_file_is_made_again(source, tmp_path):
    path, target = source(scan()), tmp_path / "store/a.h5"
    add_scan(path, target)
    target.with_suffix(".json").unlink()  # written last, so its absence means unfinished
    assert add_scan(path, target)["status"] == "done"


def test_the_fingerprint_summarises_the_store(source, tmp_path):
    store = tmp_path / "store"
    add_scan(source(scan(empty=[1])), store / "P001/cine_sax.h5")
    add_scan(source(scan(), "T1map.mat"), store / "P002/T1map.h5")
    made = json.loads(write_fingerprint(store).read_text())
    assert made["scans"] == 2
    assert made["slices"] == 6
    assert made["empty_slices"] == 1
    assert made["modality"] == {"Cine": 1, "Mapping": 1}
    assert made["matrix_y_x"] == {"32x24": 2}
    assert sorted(made["files"]) == ["P001/cine_sax.h5", "P002/T1map.h5"]
    assert made["scale"]["min"] <= made["scale"]["median"] <= made["scale"]["max"]
    assert fingerprint([])["scale"] is None


class Stopped(Exception):
    """What stops an index in a test."""


@pytest.fixture
def indexed(source, tmp_path):
    """Index files; returns the subjects found, the bar's steps, the warnings and the cache."""
    files = [source(scan(), f"P00{number}.mat") for number in (1, 2, 3)]
    files[1].write_bytes(b"damaged")
    folder, cache = files[0].parent, tmp_path / "run/index.json"

    def index(stop_after=None):
        steps, warnings = [], []

        def advance():
            steps.append(1)
            if len(steps) == stop_after:
                raise Stopped

        entries = index_scans(folder, files, cache, advance, warnings.append)
        return [entry["path"] for entry in entries], len(steps), len(warnings)

    return index, cache


def test_the_bar_counts_files_that_cannot_be_read(indexed):
    index, _ = indexed
    assert index() == (["P001.mat", "P003.mat"], 3, 1)


@pytest.mark.parametrize("damage", [b"{", b"[]", b'{"P001.mat": 1}', b'{"P001.mat": {}}', b"\xff"])
def test_a_damaged_index_is_made_again(indexed, damage):
    index, cache = indexed
    cache.parent.mkdir()
    cache.write_bytes(damage)
    assert index() == (["P001.mat", "P003.mat"], 3, 1)
    assert list(json.loads(cache.read_text())) == ["P001.mat", "P003.mat"]


def test_the_index_is_written_once(indexed, monkeypatch):
    index, cache = indexed
    writes = []
    monkeypatch.setattr(
        entries_module, "atomic", lambda path: (writes.append(path), atomic(path))[1]
    )
    assert index() == index()
    assert writes == [cache]


@pytest.mark.parametrize("every", [1, 50])
def test_an_index_that_is_stopped_keeps_what_it_found(indexed, monkeypatch, every):
    index, cache = indexed
    monkeypatch.setattr(entries_module, "FILES_A_WRITE", every)
    with pytest.raises(Stopped):
        index(stop_after=1)
    assert list(json.loads(cache.read_text())) == ["P001.mat"]


def test_a_stop_is_reported_even_if_the_index_cannot_be_written(indexed):
    index, cache = indexed
    cache.parent.write_text("a file in place of the folder")
    with pytest.raises(Stopped):
        index(stop_after=1)


def test_a_fingerprint_lists_scans_that_another_shard_finishes_meanwhile(
    source, tmp_path, monkeypatch
):
    store, path = tmp_path / "store", source(scan())
    add_scan(path, store / "a.h5")
    summarise = store_module.fingerprint

    def slowly(entries):
        if not (store / "b.h5").exists():
            add_scan(path, store / "b.h5")
        return summarise(entries)

    monkeypatch.setattr(store_module, "fingerprint", slowly)
    assert json.loads(write_fingerprint(store).read_text())["files"] == ["a.h5", "b.h5"]
