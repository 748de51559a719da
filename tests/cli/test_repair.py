"""Damaged files of an unfinished run, a store or a training are noticed and made again."""

import json
import os

import pytest
import torch
from refusals import refused

from cmrrecon.reconstruction.resume import OnDisk
from cmrrecon.training import checkpoint
from cmrrecon.training.identity import _known
from cmrrecon.training.log import forget_later


@pytest.fixture
def store(tmp_path):
    """A store with three finished slices of two layers, and a note."""
    paths = {name: tmp_path / f"{name}.h5" for name in ("images", "uncertainty")}

    def opened():
        return OnDisk(paths, "0123456789abcdef", (0, 1, 2))

    made = opened()
    made.keep_note({"method": "sense"})
    for index in range(3):
        made.save(index, {name: torch.ones(2, 4, 4) for name in paths}, {"data_residual": 1.0})
    return opened


@pytest.mark.parametrize(
    ("layer", "name"),
    [
        ("images", "slice-0001.npy"),
        ("images", "slice-0001.json"),
        ("uncertainty", "slice-0001.npy"),
    ],
)
@pytest.mark.parametrize("damage", [os.unlink, lambda p: os.truncate(p, 0), "half"])
def test_a_damaged_part_is_made_again(store, name, damage, layer):
    assert store().missing() == []
    path = store().layers[layer].folder / name
    if damage == "half":
        os.truncate(path, path.stat().st_size // 2)
    else:
        damage(path)
    assert store().missing() == [1]
    assert store().note() == {"method": "sense"}


@pytest.mark.parametrize("text", ["", "[]", '{"a"'])
def test_all_slices_are_made_again_if_the_decision_is_damaged(store, text):
    (store().images.folder / "note.json").write_text(text)
    assert store().missing() == [0, 1, 2]
    assert store().note() is None


def test_a_killed_run_with_a_damaged_slice_gives_the_same_images(run, full, tmp_path, monkeypatch):
    from cmrrecon import formats

    words = ("reconstruct", full, "-m", "zero-filled", "-o", tmp_path / "a.h5")
    with monkeypatch.context() as patch:
        patch.setattr("cmrrecon.formats.writing.IMAGE_WRITERS", {".h5": interrupted})
        assert run(*words).code == 130
    part = next(tmp_path.glob(".a.h5.*.parts/slice-0000.npy"))
    os.truncate(part, 100)
    assert "1 of 2 slices" in run(*words).err
    assert run("reconstruct", full, "-m", "zero-filled", "-o", tmp_path / "b.h5").code == 0
    assert torch.equal(*(formats.read_images(tmp_path / name) for name in ("a.h5", "b.h5")))


def interrupted(*words, **named):
    raise KeyboardInterrupt


@pytest.mark.parametrize("text", ["", "[]", "{}"])
def test_overwrite_mends_a_damaged_entry_of_a_store(run, full, tmp_path, text):
    words = ("preprocess", full, "--out-dir", tmp_path / "store")
    assert run(*words).code == 0
    note = tmp_path / "store" / "cine_sax.json"
    whole = json.loads(note.read_text())
    note.write_text(text)
    assert set(run(*words).codes) == {"store-damaged"}
    assert run(*words, "--overwrite").code == 0
    assert json.loads(note.read_text()) == whole


def test_a_state_with_other_weights_is_refused(tmp_path):
    path = tmp_path / "last.pt"
    state = {"step": 3, "best": -1.0, "parts": {"network": {"a": torch.arange(64.0)}, "o": [1, ()]}}
    checkpoint.save(path, state)
    loaded = checkpoint.load(path)
    assert torch.equal(loaded["parts"]["network"].pop("a"), state["parts"]["network"].pop("a"))
    assert loaded == state

    kept = torch.load(path, weights_only=True)
    kept["parts"]["network"]["a"][5] = -5
    torch.save(kept, path)
    with refused("checkpoint-damaged"):
        checkpoint.load(path)
    del kept["digest"]
    torch.save(kept, path)
    assert checkpoint.load(path)["step"] == 3

    checkpoint.save(path, {"step": 1, "a": torch.arange(64.0)})
    data = bytearray(path.read_bytes())
    place = data.index(torch.arange(64.0).numpy().tobytes())
    data[place + 9] ^= 1
    path.write_bytes(data)
    with refused("checkpoint-damaged"):
        checkpoint.load(path)


def test_a_full_disk_while_saving_a_state_has_its_code(tmp_path, monkeypatch):
    def full_disk(*words):
        raise RuntimeError("PytorchStreamWriter failed writing file data/0: file write failed")

    (tmp_path / "last.pt").write_text("old")
    monkeypatch.setattr(torch, "save", full_disk)
    with refused("output-unwritable"):
        checkpoint.save(tmp_path / "last.pt", {"step": 1})
    assert os.listdir(tmp_path) == ["last.pt"]


@pytest.mark.parametrize("text", ["", "[]", "{}", '{"recipe": {}}', "[" * 10_000])
def test_a_damaged_description_of_a_run_is_refused(tmp_path, text):
    (tmp_path / "run.json").write_text(text)
    with refused("run-damaged"):
        _known(tmp_path / "run.json")


def test_damaged_lines_of_a_log_are_left_out(tmp_path):
    log = tmp_path / "log.jsonl"
    good = json.dumps({"epoch": 0, "position": 1})
    log.write_bytes(f"{good}\nx\n[]\n".encode() + b"\xff\n" + f"{good}\n".encode())
    forget_later(log, 1, 0)
    assert log.read_text() == f"{good}\n{good}\n"


def test_weights_in_use_do_not_change_with_their_file(tmp_path):
    from cmrrecon.networks.checkpoints import weights

    path = tmp_path / "w.safetensors"
    path.write_bytes(weights.installed_file("kt-unrolled").read_bytes())
    network = weights.load(path).network
    before = {key: value.clone() for key, value in network.state_dict().items()}
    with open(path, "r+b") as file:
        file.write(bytes(path.stat().st_size))
    assert all(torch.equal(value, before[key]) for key, value in network.state_dict().items())
    os.truncate(path, 10)
    assert all(torch.equal(value, before[key]) for key, value in network.state_dict().items())


@pytest.mark.parametrize("length", [249, 255, 256])
def test_long_names_of_outputs(run, full, tmp_path, length):
    target = tmp_path / ("n" * (length - 3) + ".h5")
    done = run("reconstruct", full, "-m", "zero-filled", "-o", target)
    assert (done.code, done.codes) == ((0, []) if length < 256 else (1, ["output-unwritable"]))
    assert os.listdir(tmp_path) == ([target.name] if length < 256 else [])
