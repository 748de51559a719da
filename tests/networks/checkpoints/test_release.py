"""The YAML file of a release, which is not trusted."""

import importlib
from types import SimpleNamespace

import pytest
import torch
from refusals import refused

from cmrrecon.networks.checkpoints import layouts, release, weights
from cmrrecon.networks.checkpoints.facts import Given, Inferred

PLAIN = "model:\n  num_steps: 2\n  channels: [4, 6]\n  norm: false\n"


@pytest.fixture
def written(tmp_path):
    def write(text):
        path = tmp_path / "a.yaml"
        path.write_bytes(text if isinstance(text, bytes) else text.encode())
        return path

    return write


def test_settings_are_read(written):
    pytest.importorskip("yaml")
    assert release.read_release(written(PLAIN)) == {
        "model": {"num_steps": 2, "channels": [4, 6], "norm": False}
    }


BOMB = "a0: &a0 [1, 1]\n" + "".join(f"a{i}: &a{i} [*a{i - 1}, *a{i - 1}]\n" for i in range(1, 40))


@pytest.mark.parametrize(
    "text",
    [
        BOMB,
        "a: &a 1\n",
        "a: *b\n",
        "a: !!python/object/apply:os.system [touch marker]\n",
        "a: !!python/name:os.system\n",
        "- 1\n",
        "1: 2\n",
        "",
        "text",
        "a: [",
        "a: " + "[" * 5000,
        "a: 2001-99-99\n",
        "a: b\n---\na: c\n",
        b"a: \xff\n",
        "a: " + "x" * release.MOST_BYTES,
        "? {a: 1}\n: 2\n",
    ],
    ids=[
        "bomb", "anchor", "alias", "call", "name", "list", "number", "empty", "text", "open",
        "deep", "date", "two", "bytes", "long", "mapping as key",
    ],
)  # fmt: skip
def test_hostile_files_are_refused(written, tmp_path, monkeypatch, text):
    pytest.importorskip("yaml")
    monkeypatch.chdir(tmp_path)
    with refused("release-damaged"):
        release.read_release(written(text))
    assert not (tmp_path / "marker").exists()


def test_a_missing_file_is_reported(tmp_path):
    pytest.importorskip("yaml")
    with refused("file-missing"):
        release.read_release(tmp_path / "none.yaml")


def test_without_the_package_its_name_is_reported(written, monkeypatch):
    original = importlib.import_module

    def without(name, *more):
        if name == "yaml":
            raise ImportError
        return original(name, *more)

    monkeypatch.setattr(importlib, "import_module", without)
    with refused("package-missing"):
        release.read_release(written(PLAIN))


def test_the_file_beside_a_checkpoint_is_found(tmp_path):
    assert release.release_beside(tmp_path / "a.pt") is None
    (tmp_path / "a.yml").touch()
    assert release.release_beside(tmp_path / "a.pt").path == tmp_path / "a.yml"
    (tmp_path / "a.yaml").touch()
    assert release.release_beside(tmp_path / "a.pt").path == tmp_path / "a.yaml"
    assert release.release_beside(tmp_path / "a.yaml").path == tmp_path / "a.yml"


@pytest.fixture
def layout(monkeypatch):
    """A layout whose number of channels only its release states."""

    def infer(shapes, given):
        channels = given.configuration("its channels")["channels"]
        names = {key: key.removeprefix("theirs.") for key in shapes}
        return Inferred("unet", {"channels": channels}, names)

    made = SimpleNamespace(
        PRESETS={"small": {"channels": 4}},
        recognises=lambda shapes: any(key.startswith("theirs.") for key in shapes),
        infer=infer,
    )
    monkeypatch.setattr(layouts, "LAYOUTS", (*layouts.LAYOUTS, made))


@pytest.fixture
def checkpoint(networks, tmp_path):
    state = {f"theirs.{key}": value for key, value in networks["unet"].state_dict().items()}
    torch.save(state, tmp_path / "a.pt")
    return tmp_path / "a.pt"


def test_the_configuration_is_needed_only_where_tensors_do_not_show_it(layout, checkpoint):
    with refused("release-missing") as error:
        weights.load(checkpoint)
    assert "channels" in str(error.value)
    loaded = weights.load(checkpoint, release=layouts.preset("small"))
    assert loaded.network.config["channels"] == 4
    with refused("unknown-preset"):
        layouts.preset("smal")


def test_the_file_beside_a_checkpoint_is_used(layout, checkpoint, networks):
    pytest.importorskip("yaml")
    checkpoint.with_suffix(".yaml").write_text("channels: 4\n")
    assert weights.load(checkpoint).network.config["channels"] == 4
    checkpoint.with_suffix(".yaml").write_text("channels: 8\n")
    with refused("checkpoint-mismatch"):
        weights.load(checkpoint)
    torch.save(networks["promptmr"].state_dict(), checkpoint)
    checkpoint.with_suffix(".yaml").write_text("[")
    assert weights.load(checkpoint).metadata["network"] == "promptmr"


def test_the_file_beside_a_checkpoint_is_read_once(layout, checkpoint, monkeypatch):
    read = []
    monkeypatch.setattr(release, "read_release", lambda path: read.append(path) or {"channels": 4})
    checkpoint.with_suffix(".yaml").write_text("channels: 4\n")
    weights.load(checkpoint)
    assert read == [checkpoint.with_suffix(".yaml")]


def test_a_tensor_under_two_names_is_refused(layout, checkpoint, networks):
    state = networks["unet"].state_dict()
    both = {f"theirs.{key}": value.clone() for key, value in state.items()} | state
    torch.save(both, checkpoint)
    with refused("checkpoint-mismatch"):
        weights.load(checkpoint, release={"channels": 4})


def test_tensors_that_no_network_has_are_named(layout, checkpoint, networks):
    state = {f"theirs.{key}": value for key, value in networks["unet"].state_dict().items()}
    torch.save({**state, "theirs.surplus": torch.ones(1)}, checkpoint)
    with refused("checkpoint-mismatch") as error:
        weights.load(checkpoint, release={"channels": 4})
    assert "surplus" in str(error.value)


def test_a_variant_needs_a_network_with_variants(layout, checkpoint):
    with refused("unknown-variant"):
        weights.load(checkpoint, "image", {"channels": 4})


def test_given_reads_a_path(written):
    pytest.importorskip("yaml")
    given = Given("It", release=release.ReleaseFile(written(PLAIN)))
    assert given.configuration("anything")["model"]["num_steps"] == 2


@pytest.mark.parametrize(
    "text",
    ["{}", "a: !!int ''", "a: !!float ''", "a: !!bool maybe", "a: " + "1:" * 400 + "1.5",
     'a: "\\UFFFFFFFF"'],
    ids=["empty", "integer", "float", "boolean", "sexagesimal", "character"],
)  # fmt: skip
def test_values_that_the_yaml_reader_cannot_build_are_refused(written, text):
    pytest.importorskip("yaml")
    with refused("release-damaged"):
        release.read_release(written(text))
