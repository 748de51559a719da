"""Labels, from a table to training: store, samples, losses, and a run of lf-mri."""

import json
import math
import random
from dataclasses import replace

import pytest
import torch
from refusals import refused
from typer.testing import CliRunner

from cmrrecon.cli.app import app
from cmrrecon.formats.labels import LabelRow, read_labels, rows_for, write_labels
from cmrrecon.operators.fourier import fft2c, ifft2c
from cmrrecon.training import loop, recipe
from cmrrecon.training.augment import augment
from cmrrecon.training.dataset import Windows
from cmrrecon.training.entries import read_entries
from cmrrecon.training.labels import inside_boxes, notes, presence
from cmrrecon.training.loss_terms import Losses, Term
from cmrrecon.training.plan import Plan
from cmrrecon.training.recipe import Data
from cmrrecon.training.store import add_scan

PLACE = "MultiCoil/Cine/TrainingSet/FullSample/Center000/Simulated_30T_phantom"


def command(*words):
    return CliRunner().invoke(app, [str(word) for word in words])


@pytest.fixture(scope="module")
def raw(tmp_path_factory):
    """Three simulated subjects with lesions; the third has no rows and is unlabelled."""
    folder = tmp_path_factory.mktemp("raw")
    for seed in range(3):
        words = (
            "--frames",
            2,
            "--slices",
            2,
            "--coils",
            3,
            "--size",
            "48x64",
            "--seed",
            seed,
            "--out-dir",
            folder,
            "--lesions",
        )
        assert command("simulate", *words).exit_code == 0
    rows = [row for row in read_labels(folder / "labels.csv") if "P003" not in row.file]
    write_labels(folder / "labels.csv", rows)
    return folder


@pytest.fixture(scope="module")
def store(raw, tmp_path_factory):
    folder = tmp_path_factory.mktemp("store")
    done = command("preprocess", raw, "--out-dir", folder, "--labels", raw / "labels.csv")
    assert done.exit_code == 0, done.output
    return folder


def entries(folder):
    return {
        path.parent.name: json.loads(path.read_text())
        for path in sorted(folder.rglob("cine_sax.json"))
    }


def test_every_entry_carries_its_labels(raw, store):
    found, rows = entries(store), read_labels(raw / "labels.csv")
    for subject in ("P001", "P002"):
        expected = [row for row in rows if subject in row.file]
        assert [
            (row["slice"], row["label"], row["box"] and tuple(row["box"]))
            for row in found[subject]["labels"]
        ] == [(row.slice, row.label, row.box) for row in expected]
        assert {row["label"] for row in found[subject]["labels"]} == {"lesion", "normal"}
    assert found["P003"]["labels"] is None
    known = json.loads((store / "fingerprint.json").read_text())
    assert (known["labelled"], known["labels"]) == (2, {"lesion": 2, "normal": 2})


def test_new_labels_change_only_the_entry(raw, tmp_path):
    source, target = raw / PLACE / "P001" / "cine_sax.mat", tmp_path / "P001" / "cine_sax.h5"
    rows = rows_for(read_labels(raw / "labels.csv"), source)
    normal = [LabelRow("cine_sax", None, "normal", None)]

    def add(status, **more):
        assert add_scan(source, target, **more)["status"] == status
        return entries(tmp_path)["P001"]["labels"]

    assert add("done") is None
    packed = target.stat().st_mtime_ns
    assert len(add("relabelled", labels=rows)) == 2
    assert add("skipped", labels=rows) == add("skipped")
    assert add("relabelled", labels=normal) == [{"slice": None, "label": "normal", "box": None}]
    assert add("relabelled", labels=[]) is None
    kept = add("relabelled", labels=rows)
    assert target.stat().st_mtime_ns == packed
    # A scan stored again without a table keeps its labels.
    assert add("done", overwrite=True) == kept


@pytest.mark.parametrize(
    ("row", "code"),
    [
        (LabelRow("P001/cine_sax.mat", 2, "lesion", None), "slice-missing"),
        (LabelRow("P001/cine_sax.mat", 0, "lesion", (40, 49, 0, 9)), "box-outside"),
        (LabelRow("P001/cine_sax.mat", 0, "lesion", (0, 9, 60, 65)), "box-outside"),
    ],
)
def test_labels_outside_the_scan_are_refused(raw, tmp_path, row, code):
    source, target = raw / PLACE / "P001" / "cine_sax.mat", tmp_path / "P001" / "cine_sax.h5"
    with refused(code):
        add_scan(source, target, labels=[row])
    assert not target.exists()
    add_scan(source, target)
    with refused(code):
        add_scan(source, target, labels=[row])
    assert entries(tmp_path)["P001"]["labels"] is None


def test_rows_that_match_no_file_or_several_are_reported(raw, tmp_path):
    table = tmp_path / "labels.csv"

    def plan(*words):
        return command(
            "preprocess",
            raw,
            "--out-dir",
            tmp_path / "store",
            "--labels",
            table,
            "--dry-run",
            *words,
        )

    write_labels(
        table, [LabelRow(f"P{n:03d}/cine_sax.mat", None, "normal", None) for n in (9, 1, 8)]
    )
    for words in ((), ("--shard", "2/3")):
        done = plan(*words)
        assert done.exit_code == 0
        assert "2 of 3 rows of" in done.stderr
        assert "P009/cine_sax.mat" in done.stderr
        assert "1 of 3 files have labels" in done.stderr
    write_labels(table, [LabelRow("cine_sax.mat", None, "normal", None)])
    done = plan()
    assert done.exit_code == 3


ENTRY = {
    "shape": [2, 3, 1, 6, 8],
    "labels": [
        {"slice": 0, "label": "Lesion", "box": [1, 3, 2, 5]},
        {"slice": 0, "label": "artefact", "box": [4, 6, 0, 8]},
        {"slice": 1, "label": "normal", "box": None},
    ],
}


def test_presence_follows_the_labels_of_a_slice():
    assert presence(ENTRY, 0, ["lesion", "scar"]).tolist() == [1, 0]
    assert presence(ENTRY, 1, ["lesion", "scar"]).tolist() == [0, 0]
    assert presence(ENTRY, 2, ["lesion", "scar"]).isnan().tolist() == [True, True]
    assert presence({**ENTRY, "labels": None}, 0, ["lesion"]).isnan().all()
    assert presence(ENTRY, 0, []).shape == (0,)
    everywhere = {**ENTRY, "labels": [{"slice": None, "label": "scar", "box": None}]}
    assert [presence(everywhere, index, ["lesion", "scar"]).tolist() for index in (0, 2)] == [
        [0, 1],
        [0, 1],
    ]


def test_boxes_of_the_classes_are_painted():
    expected = torch.zeros(6, 8, dtype=torch.bool)
    expected[1:3, 2:5] = True
    assert torch.equal(inside_boxes(ENTRY, 0, ["lesion"]), expected)
    expected[4:6] = True
    assert torch.equal(inside_boxes(ENTRY, 0, []), expected)
    assert not inside_boxes(ENTRY, 0, ["scar"]).any()
    assert not inside_boxes(ENTRY, 1, []).any()


def test_notes_name_losses_without_labels():
    both = Losses(classification=Term(weight=1.0), lesion=Term(weight=1.0))
    assert notes(Losses(), [], [{"labels": None}]) == []
    without = notes(both, ["lesion"], [{"labels": None}, {}])
    assert ["left out" in note for note in without] == [True, True]
    assert notes(both, ["lesion", "artefact"], [ENTRY]) == []
    (others,) = notes(both, ["lesion"], [ENTRY])
    assert others.endswith(": artefact")
    boxless = notes(
        both,
        ["scar", "lesion", "artefact"],
        [{"labels": [{"slice": 0, "label": "scar", "box": None}]}],
    )
    assert len(boxless) == 1
    assert "the lesion loss is left out" in boxless[0]


def test_the_classifier_has_one_class_per_label():
    assert recipe.load("lf-mri").network["classes"] == 1
    assert recipe.load("lf-mri", ["data.classes=['scar', 'oedema']"]).network["classes"] == 2
    assert (
        recipe.load("promptmr", ["data.classes=['scar']"]).network
        == recipe.load("promptmr").network
    )
    assert "classes" not in recipe.load("promptmr").network


@pytest.mark.parametrize(
    ("name", "overrides", "code"),
    [
        ("lf-mri", ["network.classes=2"], "classes-mismatch"),
        ("lf-mri", ["data.classes=[]"], "classes-mismatch"),
        ("lf-mri", ["data.classes=['lesion', 'Normal']"], "classes-mismatch"),
        ("promptmr", ["losses.classification.weight=1"], "classifier-missing"),
    ],
)
def test_classes_that_do_not_fit_are_refused(name, overrides, code):
    with refused(code):
        recipe.load(name, overrides)


UNET = "{features=4, dims=[4,8,8], prompt_dims=[4,4,4], prompt_lengths=[2,2,2], prompt_sizes=[4,4,4], encoder_blocks=[1,1,1], decoder_blocks=[1,1,1], skip_blocks=[1,1,1], bottleneck_blocks=1}"  # noqa: E501
SMALL = [
    "network.stages=1",
    "network.channels=[4,8]",
    "network.classifier_channels=[4,8]",
    f"network.sensitivity_unet={UNET}",
    "sampling.acs=12",
]


def windows(store, chosen, **more):
    kept = [entry for entry in read_entries(store) if entry["labels"]]
    return Windows(store, kept, 1, chosen.sampling, chosen.data, 1, **more)


def test_samples_carry_the_labels_of_their_slice(store):
    seen = windows(store, recipe.load("lf-mri", SMALL))
    for place in seen.places:
        sample, rows = (
            seen.sample(place, 0),
            [row for row in seen.entries[place.scan]["labels"] if row["slice"] == place.index],
        )
        assert sample.classes.tolist() == [float(rows[0]["label"] == "lesion")]
        assert sample.lesion.shape == sample.target.shape
        y0, y1, x0, x1 = rows[0]["box"] or (0, 0, 0, 0)
        assert sample.lesion.sum() == sample.lesion[y0:y1, x0:x1].sum() == (y1 - y0) * (x1 - x0)


@pytest.mark.parametrize("number", range(4))
def test_boxes_move_with_their_content(number):
    lesion = torch.zeros(40, 48, dtype=torch.bool)
    lesion[6:15, 10:26] = True
    kspace = fft2c(lesion[None, None].to(torch.complex64))

    def seen(**settings):
        changed, boxes, _ = augment(kspace, lesion, 1.0, Data(**settings), random.Random(number))
        return ifft2c(changed)[0, 0].abs() > 0.5, boxes

    image, boxes = seen(flip=1.0)
    assert torch.equal(image, boxes)
    assert torch.equal(boxes, lesion.flip(0, 1))
    image, boxes = seen(flip=0.5)
    assert torch.equal(image, boxes)
    image, boxes = seen(flip=1.0, fov=0.5)
    assert (image & boxes).sum() > 0.75 * (image | boxes).sum()
    assert 0 < boxes.sum() < lesion.sum()


def test_the_classifier_learns_a_batch_by_heart(store):
    chosen = recipe.load(
        "lf-mri",
        [
            *SMALL,
            "losses.classification.weight=1",
            "losses.l1.weight=0",
            "losses.ssim.weight=0",
            "optimiser.lr=1e-2",
        ],
    )
    seen, run = (
        windows(store, chosen, fixed=True),
        loop.Run(chosen, torch.device("cpu"), loop.ALONE, Plan()),
    )
    batch = [seen.sample(place, 0) for place in seen.places if place.scan == place.frame == 0]
    assert sorted(float(sample.classes) for sample in batch) == [0, 1]
    losses = [
        loop.take_step(run, batch, last=True, device=torch.device("cpu"))["classification"]
        for _ in range(30)
    ]
    assert losses[0] == pytest.approx(math.log(2), abs=0.4)
    assert losses[-1] < 0.5 * losses[0]


def test_unlabelled_scans_teach_the_classifier_nothing(store):
    chosen = recipe.load("lf-mri", SMALL)
    seen = windows(store, chosen, fixed=True)
    sample = seen.sample(seen.places[0], 0)
    unlabelled = replace(sample, classes=torch.full((1,), torch.nan))

    def bias_after(batch):
        run = loop.Run(chosen, torch.device("cpu"), loop.ALONE, Plan())
        record = loop.take_step(run, batch, last=True, device=torch.device("cpu"))
        return run.network.classifier.head.bias.detach().clone(), record

    start = loop.Run(chosen, torch.device("cpu"), loop.ALONE, Plan()).network.classifier.head.bias
    taught, record = bias_after([sample, unlabelled])
    assert not torch.equal(taught, start)
    _, same = bias_after([sample])
    assert record["classification"] == pytest.approx(same["classification"], rel=1e-4)
    untaught, silent = bias_after([unlabelled])
    assert torch.equal(untaught, start)
    assert "classification" not in silent


def test_the_lesion_loss_counts_batches_with_boxes(store):
    chosen = recipe.load(
        "lf-mri", [*SMALL, "losses.lesion.weight=2", "losses.classification.weight=0"]
    )
    seen = windows(store, chosen, fixed=True)
    for sample in (seen.sample(place, 0) for place in seen.places if place.frame == 0):
        record = loop.take_step(
            loop.Run(chosen, torch.device("cpu"), loop.ALONE, Plan()),
            [sample],
            last=True,
            device=torch.device("cpu"),
        )
        assert ("lesion" in record) == bool(sample.lesion.any())
        assert "classification" not in record
        assert record["loss"] == pytest.approx(
            record["l1"] + record["ssim"] + 2 * record.get("lesion", 0.0), rel=1e-5
        )


def train(store, out, *words):
    done = command(
        "train",
        "--recipe",
        "lf-mri",
        "--data",
        store,
        "--out",
        out,
        *words,
        *(w for text in SMALL for w in ("--set", text)),
    )
    assert done.exit_code == 0, done.output
    return done.stderr, [json.loads(line) for line in (out / "log.jsonl").read_text().splitlines()]


def test_lf_mri_trains_with_the_labels_of_a_store(store, tmp_path):
    messages, lines = train(
        store,
        tmp_path / "run",
        "--hold-out",
        "subject=P002",
        "--set",
        "schedule.epochs=1",
        "--set",
        "data.validation=0",
    )
    assert "left out" not in messages
    steps = [line for line in lines if "loss" in line]
    # P001 is labelled, P003 is not; each has two slices of two frames.
    assert [sum("classification" in step for step in steps), len(steps)] == [4, 8]
    validation = next(line["unseen"] for line in lines if "unseen" in line)
    assert 0 < validation["lesion_psnr"] < 60
    assert 0 < validation["lesion_ssim"] <= 1


def test_lf_mri_trains_without_labels_and_reports_it(store, tmp_path):
    messages, lines = train(
        store, tmp_path / "run", "--only", "subject=P003", "--set", "schedule.epochs=1"
    )
    assert messages.count("the classification loss is left out") == 1
    assert all("classification" not in line for line in lines)
    assert all(
        set(line["validation"]) <= {"psnr", "ssim", "nmse"}
        for line in lines
        if "validation" in line
    )
