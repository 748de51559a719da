"""Scans without the edges of k-space, or with gaps, on the command line."""

import numpy as np
import pytest
import torch

from cmrrecon.simulation import simulate

Y = 48


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """Full, partial and aliased k-space without masks, and the truth."""
    place = tmp_path_factory.mktemp("partial")
    made = simulate(slices=1, frames=2, coils=4, y=Y, x=Y, seed=1)
    kspace = made.scan.read_slice(0)[:, None]
    np.savez(place / "scan_truth.npz", image=made.image.to(torch.complex64))
    for name, lines in (
        ("full", slice(0)),
        ("partial", slice(0, Y // 4)),
        ("low", [*range(6), *range(Y - 5, Y)]),
        ("gaps", slice(3, None, 6)),
    ):
        cut = kspace.clone()
        cut[..., lines, :] = 0
        np.savez(place / f"{name}.npz", kspace=cut)
    return place


@pytest.mark.parametrize(
    ("name", "coverage", "effective", "over_extent"),
    [
        ("full", "fully sampled", 1, 1),
        ("partial", "partial Fourier", 1.33, 1),
        ("low", "low resolution", 1.3, 1),
        ("gaps", "undersampled", 1.2, 1.2),
    ],
)
def test_info_labels_what_was_measured(run, folder, name, coverage, effective, over_extent):
    (record,) = run("info", folder / f"{name}.npz", "--json").records
    assert record["coverage"] == coverage
    assert record["effective_acceleration"] == effective
    assert record["effective_acceleration_extent"] == over_extent

    line = run("info", folder / f"{name}.npz").out
    assert (coverage in line) == (name != "gaps")
    assert (f"R {effective:g}" in line) == (name != "full")


def test_references_need_the_edges_or_to_be_allowed(run, folder, tmp_path):
    images = tmp_path / "scan.h5"
    done = run("reconstruct", folder / "partial.npz", "-m", "zero-filled", "-o", images, "--json")
    (record,) = done.records
    assert (record["coverage"], record["effective_acceleration"]) == ("partial Fourier", 1.33)
    assert done.err.count("warning: ") == 1
    for name, code in (("full", None), ("partial", "kspace-partial"), ("gaps", "kspace-undersamp")):
        done = run("evaluate", images, "--truth", folder / f"{name}.npz", "--json")
        assert [found[:16] for found in done.codes] == ([] if code is None else [code[:16]])
    allowed = ("--allow-partial", "--json")
    done = run("evaluate", images, "--truth", folder / "partial.npz", *allowed)
    (remark,) = done.records[0]["reference_remarks"]
    assert f"warning: {remark}" in done.err
    done = run("evaluate", images, "--truth", folder / "gaps.npz", *allowed)
    assert done.codes == ["kspace-undersampled"]


def test_compare_takes_partial_references_if_allowed(run, folder, tmp_path):
    words = ("compare", folder / "partial.npz", "-m", "zero-filled", "-o", tmp_path / "a.png")
    truth = ("--truth", folder / "partial.npz")
    assert run(*words, *truth).codes == ["kspace-partial"]
    assert run(*words, *truth, "--allow-partial").code == 0


def test_preprocess_takes_partial_targets_if_allowed(run, folder, tmp_path):
    files = [folder / f"{name}.npz" for name in ("full", "partial", "gaps")]
    for more, full in (((), [True, False, False]), (("--allow-partial",), [True, True, False])):
        store = tmp_path / f"store{len(more)}"
        done = run("preprocess", *files, "--out-dir", store, "--json", *more)
        found = {record["base"]: record["fully_sampled"] for record in done.records}
        assert [found[name] for name in ("full", "partial", "gaps")] == full
        assert "undersampled" in done.err


def test_undersampling_counts_what_was_measured(run, folder, tmp_path):
    target = tmp_path / "u.npz"
    words = ("-p", "uniform", "-R", 2, "--acs", 8, "-o", target, "--json")
    (record,) = run("undersample", folder / "partial.npz", *words).records
    stored = np.load(target)
    assert not stored["mask"][..., : Y // 4, :].any()
    assert record["effective_acceleration"] == round(Y / stored["mask"][0, :, 0].sum(), 2)
    assert record["coverage"] == "undersampled, partial Fourier"
