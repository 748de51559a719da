"""`cmrrecon evaluate --roi` on simulated scans, names of runs, and what is refused."""

import sys

import h5py
import numpy as np
import pytest
import torch

from cmrrecon import formats
from cmrrecon.evaluation.protocols import score
from cmrrecon.evaluation.regions import Region, average, focused
from cmrrecon.formats.labels import LabelRow, write_labels
from cmrrecon.operators.coils import rss_images
from cmrrecon.simulation.heart import Heart, heart_layers
from cmrrecon.simulation.phantoms import DIASTASIS, positions
from cmrrecon.simulation.shapes import grid

Y, X, SLICES = 96, 112, 2
VALUES = {"left blood": 1, "myocardium": 2, "ischaemia": 2, "right blood": 3}


def heart_labels():
    """The challenge's labels of subject P001 at diastasis, (slice, y, x)."""
    rows, columns = grid(Y, X)
    labels = np.zeros((SLICES, Y, X), "uint8")
    for z, position in enumerate(positions(SLICES)):
        for layer in heart_layers(
            Heart.draw(0), position, torch.tensor([DIASTASIS]), rows, columns
        ):
            cover = layer.cover[0].numpy()
            labels[z][cover > 0.01] = 0
            labels[z][cover > 0.99] = VALUES.get(layer.tissue, 0)
    return labels


@pytest.fixture(scope="module")
def mapping(run, tmp_path_factory):
    """T1map and T2map of P001: truth in `data`, SENSE images in `rec`, label maps in `labels`."""
    folder = tmp_path_factory.mktemp("mapping")
    for kind, base in (("t1map", "T1map"), ("t2map", "T2map")):
        words = (
            "--slices",
            SLICES,
            "--coils",
            4,
            "--size",
            f"{Y}x{X}",
            "--snr",
            40,
            "--out-dir",
            folder / "data",
            "-q",
        )
        assert run("simulate", "-k", kind, *words).code == 0
        full = next((folder / "data").rglob(f"{base}.mat"))
        run(
            "undersample",
            full,
            "-R",
            2,
            "--pattern",
            "uniform",
            "--out-dir",
            folder / "under",
            "-q",
        )
        under = next((folder / "under").rglob(f"{base}_kus*.mat"))
        done = run("reconstruct", under, "-m", "sense", "-o", folder / "rec" / f"{base}.h5", "-q")
        assert done.code == 0, done.err
    labels = folder / "labels" / "P001"
    labels.mkdir(parents=True)
    for base in ("T1map", "T2map"):
        np.save(labels / f"{base}_label.npy", heart_labels())
    return folder


@pytest.fixture(scope="module")
def cine(run, undersampled, tmp_path_factory):
    """Zero-filled and SENSE images of the simulated cine scan, 3 frames, 2 slices, 64 x 96."""
    folder = tmp_path_factory.mktemp("cine")
    for method in ("zero-filled", "sense"):
        run("reconstruct", undersampled, "-m", method, "-o", folder / f"{method}.h5", "-q")
    return folder


def test_maps_are_fitted_inside_the_myocardium(run, mapping):
    done = run(
        "evaluate",
        mapping / "rec",
        "--truth",
        mapping / "data",
        "--roi",
        mapping / "labels",
        "--json",
    )
    assert done.code == 0, done.err
    *records, summary = done.records
    found = {record["base"]: record["roi"]["map"] for record in records}
    assert found["T1map"]["reference_mean"] == pytest.approx(1200, rel=0.01)
    assert found["T1map"]["mean"] == pytest.approx(1200, rel=0.05)
    assert found["T2map"]["reference_mean"] == pytest.approx(46, rel=0.02)
    assert found["T2map"]["mean"] == pytest.approx(46, rel=0.15)
    assert all(0 < scores["rmse"] < 0.2 * scores["reference_mean"] for scores in found.values())
    assert all("1000" in scores["rule"] for scores in found.values())
    assert {row["region"]: row["n"] for row in summary["maps"]} == {"T1": 1, "T2": 1}
    assert set(records[0]["roi"]["regions"]) == {"1", "2", "3"}
    assert "CMRxRecon2023" in done.err
    assert "fullfov" in done.err


def test_a_part_of_the_slices_takes_its_own_labels_and_times(run, mapping, tmp_path):
    under = next((mapping / "under").rglob("T1map_kus*.mat"))
    run("reconstruct", under, "-m", "sense", "--slices", 1, "-o", tmp_path / "one.h5", "-q")
    words = (
        "--truth",
        mapping / "data",
        "--roi",
        mapping / "labels/P001/T1map_label.npy",
        "--json",
    )
    one = run("evaluate", tmp_path / "one.h5", *words).records[0]["roi"]["map"]
    assert one["pixels"] == int((heart_labels()[1] == 2).sum())
    whole = run("evaluate", mapping / "rec/T1map.h5", *words).records[0]["roi"]["map"]
    assert whole["pixels"] == int((heart_labels() == 2).sum())
    assert one["reference_mean"] == pytest.approx(1200, rel=0.01)


def test_missing_times_say_where_they_are_looked_for_and_can_be_given(run, mapping, tmp_path):
    truth = tmp_path / "P001/T1map_truth.npz"
    truth.parent.mkdir()
    truth.write_bytes(next((mapping / "data").rglob("T1map_truth.npz")).read_bytes())
    words = ("evaluate", mapping / "rec/T1map.h5", "--truth", truth, "--roi", mapping / "labels")
    done = run(*words)
    assert (done.code, done.codes) == (3, ["times-missing"])
    assert "P001/T1map.csv" in done.err
    beside = next((mapping / "data").rglob("T1map.csv"))
    given = run(*words, "--times", beside, "--json")
    assert given.code == 0, given.err
    formats.write_times(tmp_path / "five.csv", formats.read_times(beside)[:5])
    assert run(*words, "--times", tmp_path / "five.csv").codes == ["times-shape"]
    formats.write_times(tmp_path / "one.csv", formats.read_times(beside)[:, :1])
    same = run(*words, "--times", tmp_path / "one.csv", "--json").records[0]["roi"]["map"]
    assert same == given.records[0]["roi"]["map"]
    formats.write_times(tmp_path / "many.csv", formats.read_times(beside)[:, :1].repeat(1, 4))
    assert run(*words, "--times", tmp_path / "many.csv").code == 0
    assert run(*words, "--times", tmp_path / "absent.csv").codes == ["file-missing"]


def test_label_maps_of_other_scans_are_refused(run, mapping, tmp_path):
    reconstruction, truth = mapping / "rec/T1map.h5", mapping / "data"
    done = run(
        "evaluate",
        reconstruction,
        "--truth",
        truth,
        "--roi",
        mapping / "labels/P001/T2map_label.npy",
    )
    assert (done.code, done.codes) == (3, ["labels-mismatch"])
    assert "T2map" in done.err
    other = tmp_path / "P002/T1map_label.npy"
    other.parent.mkdir()
    np.save(other, heart_labels())
    done = run("evaluate", reconstruction, "--truth", truth, "--roi", other)
    assert done.codes == ["labels-mismatch"]
    assert "P002" in done.err
    done = run("evaluate", reconstruction, "--truth", truth, "--roi", tmp_path)
    assert (done.code, done.codes) == (3, ["labels-missing"])


def test_one_label_map_is_not_laid_over_two_subjects(run, tmp_path):
    np.save(tmp_path / "mine.npy", np.ones((48, 64), "uint8"))
    for seed in (0, 1):
        words = ("--frames", 1, "--slices", 1, "--coils", 2, "--size", "48x64", "--seed", seed)
        full = run("simulate", *words, "--out-dir", tmp_path / "data").out.strip()
        run("reconstruct", full, "-m", "zero-filled", "-o", tmp_path / f"rec/{seed}.h5", "-q")
    done = run(
        "evaluate", tmp_path / "rec", "--truth", tmp_path / "data", "--roi", tmp_path / "mine.npy"
    )
    assert (done.code, done.codes) == (1, ["labels-ambiguous"])
    assert "P001 and Center000/Simulated_30T_phantom/P002" in done.err


def test_signal_and_contrast_to_noise_of_both_images(run, cine, full, tmp_path):
    labels = np.zeros((64, 96), "uint8")
    labels[20:30, 40:50], labels[35:45, 30:40], labels[5:15, 5:15] = 1, 4, 9
    np.save(tmp_path / "roi.npy", labels)
    done = run(
        "evaluate",
        cine / "zero-filled.h5",
        "--truth",
        full,
        "--roi",
        tmp_path / "roi.npy",
        "--background",
        "9",
        "--json",
    )
    assert done.code == 0, done.err
    record, summary = done.records
    roi = record["roi"]
    assert list(roi["regions"]) == ["1", "4"]
    assert list(roi["contrasts"]) == ["1, 4"]
    images = {
        "": formats.read_images(cine / "zero-filled.h5").abs(),
        "reference_": torch.stack(
            [rss_images(formats.read(full).read_slice(z)) for z in range(2)], 1
        ),
    }
    for of, series in images.items():
        levels = series.double().numpy()
        noise = levels[..., 5:15, 5:15].std((-2, -1))
        first, second = (
            levels[..., 20:30, 40:50].mean((-2, -1)),
            levels[..., 35:45, 30:40].mean((-2, -1)),
        )
        assert roi["regions"]["1"][f"{of}snr"] == pytest.approx((first / noise).mean())
        assert roi["contrasts"]["1, 4"][f"{of}cnr"] == pytest.approx(
            abs(((first - second) / noise).mean())
        )
    assert summary["signal"][0]["snr"] == roi["regions"]["1"]["snr"]
    assert summary["contrasts"][0]["cnr"] == roi["contrasts"]["1, 4"]["cnr"]
    wrong = run(
        "evaluate",
        cine / "zero-filled.h5",
        "--truth",
        full,
        "--roi",
        tmp_path / "roi.npy",
        "--background",
        "8",
    )
    assert (wrong.code, wrong.codes) == (2, ["unknown-region"])
    assert "1, 4, 9" in wrong.err


def test_regions_on_different_slices_have_no_contrast(run, cine, full, tmp_path):
    names = {
        "one": (0, (20, 30, 40, 50)),
        "two": (1, (20, 30, 40, 50)),
        "three": (1, (35, 45, 30, 40)),
        "background": (None, (5, 15, 5, 15)),
    }
    write_labels(
        tmp_path / "labels.csv",
        [LabelRow("cine_sax", z, name, box) for name, (z, box) in names.items()],
    )
    done = run(
        "evaluate",
        cine / "zero-filled.h5",
        "--truth",
        full,
        "--roi",
        tmp_path / "labels.csv",
        "--json",
    )
    assert done.code == 0, done.err
    roi = done.records[0]["roi"]
    assert list(roi["regions"]) == ["one", "two", "three"]
    assert all(scores["snr"] > 1 for scores in roi["regions"].values())
    assert list(roi["contrasts"]) == ["two, three"]
    assert roi["lesions"]["boxes"] == 3


def test_a_blank_background_gives_no_ratio_and_says_so(run, cine, full, tmp_path):
    images = formats.read_images(cine / "sense.h5")
    images[..., :16, :16] = 0
    formats.write_images(tmp_path / "r.h5", list(images.unbind(1)))
    labels = np.zeros((64, 96), "uint8")
    labels[20:30, 40:50], labels[5:15, 5:15] = 1, 2
    np.save(tmp_path / "roi.npy", labels)
    done = run(
        "evaluate",
        tmp_path / "r.h5",
        "--truth",
        full,
        "--roi",
        tmp_path / "roi.npy",
        "--background",
        "2",
        "--json",
    )
    assert done.code == 0, done.err
    scores = done.records[0]["roi"]["regions"]["1"]
    assert scores["snr"] is None
    assert scores["reference_snr"] > 0
    assert f"warning: {tmp_path / 'r.h5'}: " in done.err


def test_lesion_boxes_of_a_table(run, cine, simulated, full, truth, tmp_path):
    rows = [
        LabelRow("P001/cine_sax.mat", 0, "lesion", (20, 30, 40, 50)),
        LabelRow("P001/cine_sax.mat", None, "scar", (40, 46, 30, 37)),
    ]
    other = LabelRow("P007/cine_sax.mat", 0, "lesion", (0, 500, 0, 500))
    write_labels(tmp_path / "labels.csv", [*rows, other])
    done = run("evaluate", cine, "--truth", simulated, "--roi", tmp_path / "labels.csv", "--json")
    assert done.code == 0, done.err
    *records, summary = done.records
    expected = formats.read_images(truth).abs()
    masks = torch.zeros((2, 1, 2, 64, 96), dtype=torch.bool)
    masks[0, :, 0, 20:30, 40:50], masks[1, ..., 40:46, 30:37] = True, True
    regions = [Region("lesion", masks[0]), Region("scar", masks[1])]
    for record in records:
        table = focused(
            formats.read_images(cine / record["input"].split("/")[-1]), expected, regions
        )
        roi = record["roi"]
        assert roi["lesions"] == {
            "boxes": 2,
            "lf_psnr": pytest.approx(average(table, [0, 1])[0]),
            "lf_ssim": pytest.approx(average(table, [0, 1])[1]),
        }
        assert roi["regions"]["scar"]["lf_psnr"] == pytest.approx(average(table, [1])[0])
    assert "snr" not in records[0]["roi"]["regions"]["scar"]
    assert [(row["method"], row["region"], row["n"]) for row in summary["regions"]][:3] == [
        ("sense", "lesion", 1), ("sense", "scar", 1), ("sense", "all boxes", 1),
    ]  # fmt: skip
    # The same from the k-space itself, and beside a challenge's scores.
    done = run(
        "evaluate",
        cine,
        "--truth",
        full,
        "--roi",
        tmp_path / "labels.csv",
        "--protocol",
        "2025",
        "--json",
    )
    assert done.code == 0, done.err
    assert done.records[0]["cropped"]
    assert done.records[0]["roi"]["lesions"]["boxes"] == 2


def test_simulated_lesions_are_scored(run, tmp_path):
    words = (
        "--frames",
        2,
        "--slices",
        4,
        "--coils",
        3,
        "--size",
        "96x112",
        "--lesions",
        "--out-dir",
        tmp_path / "data",
    )
    done = run("simulate", *words)
    assert done.code == 0, done.err
    run("reconstruct", done.out.split()[0], "-m", "zero-filled", "-o", tmp_path / "rec.h5", "-q")
    done = run(
        "evaluate",
        tmp_path / "rec.h5",
        "--truth",
        tmp_path / "data",
        "--roi",
        tmp_path / "data/labels.csv",
        "--json",
    )
    assert done.code == 0, done.err
    lesions = done.records[0]["roi"]["lesions"]
    assert lesions["boxes"] >= 1
    assert lesions["lf_psnr"] > 20
    assert 0.5 < lesions["lf_ssim"] <= 1


def test_a_table_without_boxes_of_the_scans_is_refused(run, cine, truth, tmp_path):
    write_labels(
        tmp_path / "labels.csv",
        [
            LabelRow("P001/cine_sax.mat", None, "normal", None),
            LabelRow("P007/x.mat", 0, "a", (1, 9, 1, 9)),
        ],
    )
    done = run(
        "evaluate", cine / "sense.h5", "--truth", truth, "--roi", tmp_path / "labels.csv", "--json"
    )
    assert (done.code, done.codes) == (3, ["labels-missing"])
    assert done.records[0]["roi"] is None
    assert done.records[0]["psnr"] > 10


def test_a_shard_without_boxes_is_not_refused(run, cine, truth, tmp_path):
    """The boxes may be on the scans of other shards."""
    write_labels(tmp_path / "labels.csv", [LabelRow("P001/cine_sax.mat", None, "normal", None)])
    words = ("--truth", truth, "--roi", tmp_path / "labels.csv", "--json", "--shard")
    shards = [run("evaluate", cine / "sense.h5", *words, f"{part}/2") for part in (1, 2)]
    assert [(done.code, len(done.records)) for done in shards] == [(0, 2), (0, 0)]


@pytest.mark.parametrize(
    ("labels", "code"),
    [
        (np.ones((2, 96, 64), "uint8"), "shape-mismatch"),
        (np.ones((2, 64, 90), "uint8"), "shape-mismatch"),
        (np.ones((5, 64, 96), "uint8"), "shape-mismatch"),
        (np.zeros((2, 64, 96), "uint8"), "labels-empty"),
        (np.full((2, 64, 96), 0.5), "labels-values"),
    ],
)
def test_labels_that_do_not_fit_are_refused(run, cine, truth, tmp_path, labels, code):
    np.save(tmp_path / "roi.npy", labels)
    done = run("evaluate", cine / "sense.h5", "--truth", truth, "--roi", tmp_path / "roi.npy")
    assert (done.code, done.codes) == (3, [code])
    if code == "shape-mismatch":
        assert str(labels.shape) in done.err
        assert "(3, 2, 64, 96)" in done.err


def test_mistakes_on_the_command_line_are_refused(run, cine, truth, tmp_path, monkeypatch):
    (tmp_path / "P001").mkdir()
    (tmp_path / "P001/cine_sax_label.nii.gz").write_bytes(b"x")
    monkeypatch.setitem(sys.modules, "nibabel", None)
    np.save(tmp_path / "all.npy", np.ones((64, 96), "uint8"))
    write_labels(tmp_path / "labels.csv", [LabelRow("P001/cine_sax", 0, "lesion", (0, 9, 90, 99))])
    for words, exit_code, code, said in (
        (("--background", "1"), 2, "option-needs", "--roi"),
        (("--times", truth), 2, "option-needs", "--roi"),
        (("--roi", tmp_path / "absent.npy"), 3, "file-missing", "absent.npy"),
        (
            ("--roi", tmp_path / "all.npy", "--times", tmp_path / "absent.csv"),
            3,
            "file-missing",
            "absent.csv",
        ),
        (
            ("--roi", tmp_path / "P001/cine_sax_label.nii.gz"),
            2,
            "package-missing",
            "cmrrecon[nifti]",
        ),
        (("--roi", tmp_path / "all.npy", "--background", "1"), 3, "labels-empty", "all.npy"),
        (("--roi", tmp_path / "labels.csv"), 3, "box-outside", "64 x 96"),
    ):
        done = run("evaluate", cine / "sense.h5", "--truth", truth, *words)
        assert (done.code, done.codes) == (exit_code, [code]), done.err
        assert said in done.err


def test_a_submission_that_is_cropped_already_has_no_regions(run, cine, full, tmp_path):
    images = formats.read_images(cine / "sense.h5")
    formats.write_images(
        tmp_path / "r.h5",
        list(images[..., 16:48, 32:64].unbind(1)),
        formats.read_provenance(cine / "sense.h5"),
    )
    np.save(tmp_path / "roi.npy", np.ones((64, 96), "uint8"))
    words = ("evaluate", tmp_path / "r.h5", "--truth", full, "--protocol", "2025")
    assert run(*words).code == 0
    done = run(*words, "--roi", tmp_path / "roi.npy")
    assert (done.code, done.codes) == (3, ["shape-mismatch"])


def with_weights(source, target, digest, run_folder):
    """Images as a checkpoint would have made them."""
    stamp = formats.read_provenance(source)
    stamp["config"] |= {"method": "genre-cmr", "weights": digest}
    formats.write_images(
        target, list(formats.read_images(source).unbind(1)), {**stamp, "run": run_folder}
    )


def test_two_checkpoints_of_one_network_are_two_methods(run, cine, truth, tmp_path):
    with_weights(cine / "sense.h5", tmp_path / "a.h5", "a" * 64, "first")
    with_weights(cine / "zero-filled.h5", tmp_path / "b.h5", "b" * 64, "second")
    words = ("evaluate", tmp_path, "--truth", truth)
    one = run("evaluate", tmp_path / "a.h5", "--truth", truth, "--json").records
    assert list(one[1]["groups"]["method"]) == ["genre-cmr"]
    *records, summary = run(
        *words, "--against", "genre-cmr (first)", "--by", "domain", "--json"
    ).records
    assert [record["weights"] for record in records] == ["a" * 64, "b" * 64]
    assert set(summary["groups"]["method"]) == {"genre-cmr (first)", "genre-cmr (second)"}
    difference = next(
        row
        for row in summary["against"]
        if (row["domain"], row["method"]) == ("all", "genre-cmr (second)")
    )["psnr"]
    assert difference["mean"] == pytest.approx(records[1]["psnr"] - records[0]["psnr"])
    assert [row["method"] for row in summary["by"]] == ["genre-cmr (first)", "genre-cmr (second)"]
    wrong = run(*words, "--against", "genre-cmr")
    assert (wrong.code, wrong.codes) == (2, ["unknown-method"])
    assert "genre-cmr (first), genre-cmr (second)" in wrong.err
    with_weights(cine / "zero-filled.h5", tmp_path / "b.h5", "b" * 64, "first")
    assert set(run(*words, "--json").records[-1]["groups"]["method"]) == {
        "genre-cmr (aaaaaaaa)",
        "genre-cmr (bbbbbbbb)",
    }


def test_domains_that_no_file_is_of_are_warned_of(run, cine, truth):
    words = ("evaluate", cine / "sense.h5", "--truth", truth, "--quiet")
    done = run(*words, "--by", "seen", "--unseen", "Center099")
    assert done.code == 0
    assert "warning: --unseen Center099" in done.err
    assert "Center000/Simulated_30T_phantom" in done.err
    assert "warning: --by seen" in run(*words, "--by", "seen").err
    assert "warning" not in run(*words, "--by", "seen", "--unseen", "Center000").err


def test_matlab_label_maps_have_the_axes_of_matlab(run, cine, truth, tmp_path):
    labels = np.zeros((2, 64, 96), "uint8")
    labels[1, 20:30, 40:60] = 5
    np.save(tmp_path / "roi.npy", labels)
    with h5py.File(tmp_path / "roi.mat", "w") as file:
        file["label"] = labels
    words = ("evaluate", cine / "sense.h5", "--truth", truth, "--json", "--roi")
    done = [run(*words, tmp_path / f"roi.{kind}") for kind in ("npy", "mat")]
    found = [one.records[0]["roi"]["regions"] for one in done]
    assert found[0] == found[1]
    assert list(found[0]) == ["5"]


def test_the_scores_of_the_whole_image_stay_as_they_were(run, cine, truth, tmp_path):
    np.save(tmp_path / "roi.npy", np.ones((64, 96), "uint8"))
    record = run(
        "evaluate", cine / "sense.h5", "--truth", truth, "--roi", tmp_path / "roi.npy", "--json"
    ).records[0]
    expected = score(
        formats.read_images(cine / "sense.h5"), formats.read_images(truth), protocol="fullfov"
    )
    assert record["psnr"] == pytest.approx(expected.psnr)
    assert record["roi"]["regions"]["1"]["lf_ssim"] == pytest.approx(expected.ssim, abs=1e-9)
