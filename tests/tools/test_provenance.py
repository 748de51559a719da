import getpass
import hashlib
import json
import socket
from pathlib import Path

import pytest
from refusals import refused

from cmrrecon import __version__
from cmrrecon.tools import provenance


@pytest.fixture
def source(tmp_path):
    path = tmp_path / "folder" / "cine_sax.mat"
    path.parent.mkdir()
    path.write_bytes(b"k-space" * 1000)
    return path


def make(source, **changes):
    given = {"config": {"method": "sense", "weight": 0.01}, "inputs": [source], "seed": 3} | changes
    return provenance.make(["reconstruct"], **given)


def test_provenance_has_all_documented_entries(source):
    stamp = make(source, device="cpu", effective_acceleration=3.2)
    assert stamp["cmrrecon"] == __version__
    assert stamp["command"] == "reconstruct"
    assert stamp["inputs"] == [
        {"name": "cine_sax.mat", "sha256": hashlib.sha256(source.read_bytes()).hexdigest()}
    ]
    assert stamp["seed"] == 3
    assert stamp["device"] == "cpu"
    assert stamp["effective_acceleration"] == 3.2
    assert stamp["notice"] == "research use only, not for diagnosis"
    assert stamp["created"].endswith("+00:00")
    assert stamp["python"].startswith("3.")
    assert stamp["torch"][0].isdigit()


def test_provenance_names_no_folder_user_or_host(source):
    weights = Path("/home/someone/weights.safetensors")
    stamp = provenance.make(
        ["reconstruct", str(source), f"--out-dir={source.parent}", "-o", "~/Jane Doe/x.h5"],
        config={"weights": weights, "all": ["/a/b.pt"]},
        inputs=[source],
    )
    text = provenance.to_json(stamp)
    assert stamp["command"] == "reconstruct cine_sax.mat --out-dir=folder -o x.h5"
    assert stamp["config"] == {"weights": "weights.safetensors", "all": ["b.pt"]}

    for secret in (str(source.parent), "someone", socket.gethostname()):
        assert secret not in text
    assert "user" not in stamp
    assert getpass.getuser() not in stamp["command"]


def test_plain_words_stay_and_relative_folders_are_removed():
    words = ["undersample", "-R", "8", "--shard", "1/4", "patients/Smith/a b.mat", "-o", "-"]
    assert (
        provenance.make(words, config={}, inputs=[])["command"]
        == "undersample -R 8 --shard 1/4 'a b.mat' -o -"
    )


def test_infinity_becomes_text(source):
    stamp = provenance.make(["simulate"], config={"snr_db": float("inf")}, inputs=[])
    assert stamp["config"]["snr_db"] == "inf"
    assert (
        json.loads(provenance.to_json(stamp), parse_constant=lambda name: pytest.fail(name))
        == stamp
    )


def test_json_is_stable_and_can_be_read_back(source):
    stamp = make(source)
    text = provenance.to_json(stamp)
    assert provenance.from_json(text) == stamp
    assert provenance.to_json(dict(reversed(stamp.items()))) == text
    assert text.isascii()


@pytest.mark.parametrize("text", ["", "{", "[1]", "null", "[" * 100_000, "{}", '{"a": 1}'])
def test_anything_but_a_provenance_object_is_refused(text):
    with refused("provenance-damaged"):
        provenance.from_json(text)


def test_recipe_hash_ignores_time_device_command_and_key_order(source):
    first = make(source, device="cpu")
    later = make(source, device="cuda", config={"weight": 0.01, "method": "sense"}) | {
        "created": "2000-01-01",
        "command": "other",
    }
    assert provenance.recipe_hash(first) == provenance.recipe_hash(later)
    assert provenance.recipe_hash(json.loads(provenance.to_json(first))) == provenance.recipe_hash(
        first
    )


def test_recipe_hash_depends_on_everything_that_determines_the_result(source, tmp_path):
    other = tmp_path / "other.mat"
    other.write_bytes(b"other")
    stamps = [
        make(source),
        make(source, seed=4),
        make(source, config={"method": "grappa"}),
        make(other),
        make(source, inputs=[source, other]),
    ]
    stamps += [make(source) | {"cmrrecon": "99"}]
    assert len({provenance.recipe_hash(stamp) for stamp in stamps}) == len(stamps)


def test_a_moved_input_has_the_same_recipe(source, tmp_path):
    moved = tmp_path / "elsewhere.mat"
    moved.write_bytes(source.read_bytes())
    assert provenance.recipe_hash(make(source)) == provenance.recipe_hash(make(moved))


def test_a_missing_input_is_refused(tmp_path):
    with refused("file-missing"):
        provenance.file_digest(tmp_path / "none.mat")
