"""Finished slices on disk are kept, found again and removed, also those of earlier builds."""

import json
import os
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from refusals import refused

from cmrrecon.methods.decision import Decision, Trial
from cmrrecon.methods.registry import find_method
from cmrrecon.networks.kt_unrolled import KtUnrolled
from cmrrecon.reconstruction import slices
from cmrrecon.reconstruction.listener import Listener
from cmrrecon.reconstruction.resume import OnDisk, Parts
from cmrrecon.reconstruction.slices import run
from cmrrecon.reconstruction.task import Task
from cmrrecon.tools.errors import InputError, MemoryShortage, OutputError

RECIPE = "0123456789abcdef" * 4
QUICK = {"weight": 0.01, "iterations": 3}


def on_disk(folder, slices=(0, 1, 2), recipe=RECIPE, **more):
    return OnDisk({"images": folder / "out.h5", **more}, recipe, slices)


def task_of(scan, method="sense", options=None, **more):
    return Task.of(scan, find_method(method), options or {}, device="cpu", **more)


class Stopped(Listener):
    """Interrupts after the given number of slices; keeps the decision."""

    def __init__(self, after=10):
        self.after, self.decisions = after, []

    def decided(self, index, decision):
        self.decisions.append((index, decision))

    def finished(self, index):
        self.after -= 1
        if not self.after:
            raise KeyboardInterrupt


def test_parts_are_a_sequence_of_the_slices_in_order(tmp_path):
    parts = Parts(tmp_path / "out.h5", "a" * 64, [4, 1])
    assert parts.missing() == [4, 1]
    images = {z: torch.full((2, 3, 4), float(z)) for z in (4, 1)}
    parts.save(1, images[1])
    assert parts.missing() == [4]
    parts.save(4, images[4])
    assert [part.flatten()[0].item() for part in parts] == [4, 1]
    assert torch.equal(parts[1], images[1])
    assert [part.shape for part in parts[:]] == [(2, 3, 4)] * 2
    parts.remove()
    assert os.listdir(tmp_path) == []


def test_another_recipe_starts_from_scratch(tmp_path):
    Parts(tmp_path / "out.h5", "a" * 64, [0]).save(0, torch.zeros(1, 2, 2))
    assert Parts(tmp_path / "out.h5", "b" * 64, [0]).missing() == [0]
    assert Parts(tmp_path / "other.h5", "a" * 64, [0]).missing() == [0]


def test_leftovers_of_any_run_are_removed(tmp_path):
    kept = Parts(tmp_path / "out1.h5", "a" * 64, [0])
    for recipe in "ab":
        Parts(tmp_path / "out[1].h5", recipe * 64, [0]).save(0, torch.zeros(1))
    kept.save(0, torch.zeros(1))
    Parts.forget(tmp_path / "out[1].h5")
    assert os.listdir(tmp_path) == [kept.folder.name]


def test_a_store_keeps_layers_facts_and_a_note(tmp_path):
    store = on_disk(tmp_path, (2, 5), uncertainty=tmp_path / "out_uncertainty.h5")
    assert not store.anything()
    assert store.note() is None
    store.keep_note({"method": "own"})
    assert store.anything()
    for index in (2, 5):
        layers = {"images": torch.full((1, 2, 2), index), "uncertainty": torch.ones(1, 2, 2)}
        store.save(index, {**layers, "maps": torch.ones(3)}, {"data_residual": index / 2})
    assert store.missing() == []
    assert [int(part.max()) for part in store.layer("images")] == [2, 5]
    assert len(store.layer("uncertainty")) == 2
    assert list(store.layer("maps")) == []
    assert store.facts() == [{"data_residual": 1.0}, {"data_residual": 2.5}]
    again = on_disk(tmp_path, (2, 5))
    assert (again.missing(), again.note()) == ([], {"method": "own"})
    store.clear()
    assert os.listdir(tmp_path) == []
    with refused("parts-missing"):
        store.facts()
    for name in ("images", "uncertainty"):
        with refused("parts-missing"):
            store.layer(name)[0]


def test_a_slice_whose_folder_is_removed_meanwhile_is_missing(tmp_path, monkeypatch):
    """Another process finished the output and cleared the folder in the meantime."""
    store, save = on_disk(tmp_path), np.save

    def removed(file, array):
        save(file, array)
        store.clear()

    monkeypatch.setattr(np, "save", removed)
    with refused("parts-missing"):
        store.save(1, {"images": torch.zeros(1, 2, 2)}, {})


def test_a_slice_counts_only_when_its_images_are_there(tmp_path):
    """They are written last; a run that was killed before makes the slice again."""
    store = on_disk(tmp_path)
    store.save(1, {"images": torch.zeros(1, 2, 2)}, {"data_residual": None})
    store.images.path(1).unlink()
    assert store.missing() == [0, 1, 2]


@pytest.mark.parametrize("text", [b"", b'{"weight": 0.', b"\xff\xfe", b"null", b"[1]"])
def test_a_damaged_note_is_refused_and_kept(tmp_path, text):
    store = on_disk(tmp_path)
    store.save(1, {"images": torch.zeros(1, 2, 2)}, {})
    note = store.images.folder / "note.json"
    note.write_bytes(text)
    with refused("parts-damaged"):
        store.note()
    with refused("parts-damaged"), store.kept_if_resumable():
        store.keep_note({"weight": 0.1})
    assert note.read_bytes() == text
    assert store.missing() == [0, 2]


def test_damaged_facts_are_refused(tmp_path):
    store = on_disk(tmp_path, [1])
    store.save(1, {"images": torch.zeros(1, 2, 2)}, {})
    store.images.path(1, "json").write_text('{"data_')
    with refused("parts-damaged"):
        store.facts()


def test_a_note_that_another_shard_clears_meanwhile_is_none(tmp_path, monkeypatch):
    store = on_disk(tmp_path)
    store.keep_note({"weight": 0.1})
    read = Path.read_text

    def cleared(path, *words, **named):
        store.clear()
        return read(path, *words, **named)

    monkeypatch.setattr(Path, "read_text", cleared)
    assert store.note() is None


def test_a_note_that_cannot_be_read_is_an_error_of_the_output(tmp_path):
    store = on_disk(tmp_path)
    (store.images.folder / "note.json").mkdir(parents=True)
    with refused("output-unwritable"):
        store.note()


@pytest.mark.parametrize(
    ("method", "options", "more"),
    [
        ("zero-filled", {}, {}),
        ("sense", QUICK, {}),
        ("sense", QUICK, {"uncertainty": 2}),
        ("llr", {"iterations": 10}, {}),
    ],
)
def test_an_interrupted_run_resumes_to_the_same_result(scan, tmp_path, method, options, more):
    task = task_of(scan, method, options, **more)
    beside = {"uncertainty": tmp_path / "out_uncertainty.h5"} if more else {}
    with pytest.raises(KeyboardInterrupt):
        run(task, on_disk(tmp_path, **beside), Stopped(1))
    store = on_disk(tmp_path, **beside)
    assert store.missing() == [0, 2]
    found, whole = run(task, store, Stopped()), run(task)
    assert torch.equal(found.images, whole.images)
    assert found.residuals == whole.residuals
    assert found.decision == whole.decision
    assert len(found.uncertainty) == (3 if more else 0)
    assert all(map(torch.equal, found.uncertainty, whole.uncertainty))


def test_only_missing_slices_are_read(counted, tmp_path):
    counting, read, _ = counted
    store = on_disk(tmp_path)
    store.save(1, {"images": torch.zeros(3, 48, 48)}, {"data_residual": None})
    result = run(task_of(counting, "zero-filled"), store, Stopped())
    assert read == [0, 2]
    assert not result.slices[1].any()
    assert result.slices[2].any()


@pytest.mark.parametrize("method", ["zero-filled", "sense"])
def test_nothing_is_read_if_all_is_finished(counted, tmp_path, method):
    counting, read, calibrated = counted
    task = task_of(counting, method)
    first = run(task, on_disk(tmp_path))
    images = first.images
    read.clear()
    calibrated.clear()
    again = run(task, on_disk(tmp_path))
    assert (read, calibrated) == ([], [])
    assert torch.equal(again.images, images)


def test_the_decision_is_kept_for_a_resumed_run(scan, tmp_path):
    task = task_of(scan, "llr", {"iterations": 5})
    first, second = Stopped(1), Stopped()
    with pytest.raises(KeyboardInterrupt):
        run(task, on_disk(tmp_path), first)
    note = next(tmp_path.glob(".out*/note.json"))
    kept = json.loads(note.read_text())
    note.write_text(json.dumps({**kept, "weight": 0.5}))
    result = run(task, on_disk(tmp_path), second)
    ((slice_of_first, decided),), ((slice_of_second, resumed),) = first.decisions, second.decisions
    assert slice_of_first == slice_of_second == 1
    assert decided.weight == kept["weight"]
    assert resumed == replace(decided, weight=0.5) == result.decision


def test_a_kept_decision_is_not_made_again(counted, tmp_path):
    counting, read, calibrated = counted
    task = task_of(counting, "llr", {"iterations": 5})
    with pytest.raises(KeyboardInterrupt):
        run(task, on_disk(tmp_path), Stopped(1))
    read.clear()
    calibrated.clear()
    run(task, on_disk(tmp_path))
    assert (read, len(calibrated)) == ([0, 2], 2)


def test_adapted_slices_are_made_again(scan, tmp_path):
    """Adapted weights are not kept, and another run's need not be bitwise identical."""
    store = on_disk(tmp_path)
    store.save(0, {"images": torch.zeros(3, 48, 48)}, {"data_residual": None})
    auto = find_method("auto")
    network = KtUnrolled(cascades=1, channels=4, blocks=1, solver_steps=1)
    small = replace(auto, trained=replace(auto.trained, network=network))
    result = run(Task.of(scan, small, {}, device="cpu", adapt=1), store)
    assert all(image.any() for image in result.slices)


def old_folder(folder, decision, slices, shape=(3, 48, 48)):
    """The folder that an earlier build left after an interrupted run."""
    made = folder / ".out.h5.0123456789ab.parts"
    made.mkdir()
    for index in slices:
        np.save(made / f"slice-{index:04d}.npy", np.full(shape, index + 1, np.complex64))
        (made / f"slice-{index:04d}.json").write_text(json.dumps({"data_residual": 0.5 + index}))
    if decision is not None:
        (made / "note.json").write_text(json.dumps(decision))
    return made


TRIALS = [
    {"method": "kt-wavelet", "weight": 0.01, "iterations": 5, "error": 0.3},
    {"method": "llr", "weight": 0.02, "iterations": 10, "error": 0.2},
]
OLD_NOTE = {
    "method": "llr",
    "weight": 0.02,
    "iterations": 10,
    "trials": TRIALS,
    "hidden": "12 lines",
    "partner": TRIALS[0],
    "share": 0.25,
    "noise": 0.02,
    "maps": "refined",
    "maps_errors": [0.31, 0.3],
    "error": 0.19,
}


def test_folders_of_an_earlier_build_are_resumed(counted, tmp_path):
    counting, read, calibrated = counted
    folder = old_folder(tmp_path, OLD_NOTE, [1, 2])
    store = on_disk(tmp_path)
    assert store.missing() == [0]
    result = run(task_of(counting, "auto"), store)
    first, second = (Trial(**trial) for trial in TRIALS)
    assert result.decision == Decision(
        "llr",
        0.02,
        10,
        (first, second),
        "12 lines",
        first,
        0.25,
        0.02,
        "refined",
        (0.31, 0.3),
        0.19,
    )
    assert read == [0]
    assert len(calibrated) == 1
    assert [float(part.abs().max()) for part in result.slices[1:]] == [2.0, 3.0]
    assert result.residuals[1:] == (1.5, 2.5)
    assert result.slices[0].any()
    assert sorted(path.name for path in folder.glob("slice-0000.*")) == [
        "slice-0000.json",
        "slice-0000.npy",
    ]


@pytest.mark.parametrize("missing", ["maps", "maps_errors", "error", "noise"])
def test_notes_of_still_earlier_builds_are_read(missing):
    """Their notes do not mention coil maps."""
    note = {key: value for key, value in OLD_NOTE.items() if key != missing}
    assert Decision.from_dict(note).method == "llr"


def test_old_folders_of_methods_that_decide_nothing_are_resumed(counted, tmp_path):
    counting, read, _ = counted
    old_folder(tmp_path, None, [0, 1])
    result = run(task_of(counting, "zero-filled"), on_disk(tmp_path))
    assert read == [2]
    assert result.residuals == (0.5, 1.5, None)


def test_old_uncertainties_are_resumed(scan, tmp_path):
    old_folder(tmp_path, None, [0, 1])
    beside = tmp_path / ".out_uncertainty.h5.0123456789ab.parts"
    beside.mkdir()
    for index in (0, 1):
        np.save(beside / f"slice-{index:04d}.npy", np.full((3, 48, 48), index + 3, np.float32))
    store = on_disk(tmp_path, uncertainty=tmp_path / "out_uncertainty.h5")
    result = run(task_of(scan, "zero-filled", uncertainty=2), store)
    assert [float(part.max()) for part in result.uncertainty[:2]] == [3.0, 4.0]
    assert float(result.uncertainty[2].max()) > 0


FAULTS = [
    (KeyboardInterrupt(), True),
    (MemoryShortage("memory-shortage", "a", "b", "c"), True),
    (OutputError("output-unwritable", "a", "b", "c"), True),
    (InputError("file-damaged", "a", "b", "c"), False),
    (RuntimeError("a defect"), False),
]


@pytest.mark.parametrize(("fault", "overcome"), FAULTS)
@pytest.mark.parametrize("lasting", [True, False])
def test_parts_outlive_faults_that_may_pass(tmp_path, fault, overcome, lasting):
    store, kept = on_disk(tmp_path), []
    store.save(1, {"images": torch.zeros(1, 2, 2)}, {})
    with (
        pytest.raises(type(fault)),
        store.kept_if_resumable(lasting, lambda: kept.append("kept")),
    ):
        raise fault
    assert bool(kept) == store.anything() == (overcome and lasting)


def test_parts_are_removed_when_the_output_is_finished(tmp_path):
    store = on_disk(tmp_path)
    with store.kept_if_resumable():
        store.save(1, {"images": torch.zeros(1, 2, 2)}, {})
    assert os.listdir(tmp_path) == []


def test_an_empty_store_is_not_kept(tmp_path):
    kept = []
    with (
        pytest.raises(KeyboardInterrupt),
        on_disk(tmp_path).kept_if_resumable(True, lambda: kept.append("kept")),
    ):
        raise KeyboardInterrupt
    assert kept == []


def test_a_resumed_run_holds_one_series_at_a_time(scan, tmp_path, monkeypatch):
    """The middle slice, read for the training range, is released before the others are solved."""
    folder = old_folder(tmp_path, OLD_NOTE, [1, 2])
    held = []
    work = slices.Run._work
    monkeypatch.setattr(slices, "envelope_of", lambda metadata: {"frames": (1.0, 99.0)})
    monkeypatch.setattr(
        slices.Run,
        "_work",
        lambda self, *given: held.append("prepared" in vars(self)) or work(self, *given),
    )
    run(task_of(scan, "auto"), on_disk(tmp_path))
    assert folder.name
    assert held == [False]
