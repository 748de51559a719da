"""`cmrrecon models`: the list, what checkpoints hold, and making safetensors of them."""

import json

import pytest
import torch
from safetensors.torch import load_file, save_file

from cmrrecon.networks.catalog import NETWORKS, build
from cmrrecon.networks.checkpoints import headers, weights
from cmrrecon.networks.licences import LICENCES, Licence
from cmrrecon.networks.sizes import SIZES
from cmrrecon.training import recipe as recipes

UNET = {
    "features": 4,
    "dims": [8, 12, 16],
    "prompt_dims": [4, 4, 8],
    "prompt_lengths": [3, 3, 3],
    "prompt_sizes": [8, 4, 2],
}


@pytest.fixture(scope="module")
def network():
    torch.manual_seed(0)
    return build("promptmr", {"cascades": 2, "frames": 3, "unet": UNET, "sensitivity_unet": UNET})


@pytest.fixture
def official(network, tmp_path):
    """A file as the training of PromptMR leaves it."""
    state = {f"promptmr.{key}": value for key, value in network.state_dict().items()}
    torch.save(
        {
            "epoch": 11,
            "state_dict": {**state, "loss.w": torch.ones(1)},
            "hyper_parameters": {"num_cascades": 2},
        },
        tmp_path / "a.ckpt",
    )
    return tmp_path / "a.ckpt"


def test_list_has_every_network_with_its_size(run):
    done = run("models", "--json")
    assert done.code == 0, done.err
    rows = {row["network"]: row for row in done.records if row["kind"] not in ("recipe", "weights")}
    assert set(rows) == set(NETWORKS)
    assert (
        rows["promptmr"]["parameters"],
        rows["promptmr"]["trainable"],
        rows["promptmr"]["cascades"],
    ) == (81_528_317, 71_160_317, 12)
    assert (rows["promptmr-plus"]["parameters"], rows["promptmr-plus"]["trainable"]) == (
        92_859_005,
        82_491_005,
    )
    assert rows["patch-gan"]["kind"] == "discriminator"
    assert rows["patch-gan"]["parameters"] == 2_763_713
    assert all(row["source"] and row["summary"] for row in rows.values())
    trained = {row["recipe"]: row["network"] for row in done.records if row["kind"] == "recipe"}
    assert trained["genre-cmr-paper"] == "genre-cmr"
    assert set(trained) == set(recipes.names())
    assert set(trained.values()) <= set(NETWORKS)


def test_list_is_a_line_a_network_and_names_installed_weights(run, network, tmp_path, monkeypatch):
    weights.save(tmp_path / "mine.safetensors", network, {"recipe": "small"})
    monkeypatch.setattr(headers, "PRETRAINED", tmp_path)
    done = run("models")
    lines = done.out.splitlines()
    table = lines[len(NETWORKS) : -len(recipes.names()) - 1]
    assert [line.split()[0] for line in lines[: len(NETWORKS)]] == list(NETWORKS)
    assert [line.split()[0] for line in table[-len(NETWORKS) :]] == list(NETWORKS)
    assert max(map(len, table)) <= 80
    assert "12 cascades   81,528,317 parameters  311.0 MiB" in lines[0]
    assert "mine.safetensors" in lines[-1]
    records = run("models", "--json").records
    assert len(records) == len(NETWORKS) + len(recipes.names()) + 1
    record = records[-1]
    assert (record["kind"], record["metadata"]["network"], record["metadata"]["recipe"]) == (
        "weights",
        "promptmr",
        "small",
    )
    monkeypatch.setattr(headers, "PRETRAINED", tmp_path / "none")
    none = run("models")
    assert len(none.out.splitlines()) == len(lines) - 1
    assert len(none.err.splitlines()) == len(done.err.splitlines()) + 1
    assert run("models", "--quiet").err == ""


def test_licences_of_program_and_weights_are_listed_apart(run):
    rows = {
        row["network"]: row["licence"]
        for row in run("models", "--json").records
        if row.get("kind") == "network"
    }
    assert rows["promptmr"]["code"] == "MIT"
    assert rows["promptmr-plus"]["weights"] == "non-commercial"
    assert rows["kt-unrolled"]["weights"] == "Apache-2.0"
    assert rows["genre-cmr"]["published"] == "none known"
    assert all(row["use"] for row in rows.values())
    (shown,) = run("models", "show", "promptmr-plus", "--json").records
    assert shown["licence"] == rows["promptmr-plus"]
    assert rows["promptmr-plus"]["use"] in run("models", "show", "promptmr-plus").out


def test_every_network_has_a_licence():
    assert set(LICENCES) >= set(NETWORKS)


@pytest.mark.parametrize("name", NETWORKS)
def test_the_sizes_in_the_list_are_those_of_the_networks(name):
    with torch.device("meta"):
        network = build(name)
    config, parameters = network.config, list(network.parameters())
    assert SIZES[name] == (
        config.get("cascades", config.get("stages")),
        sum(parameter.numel() for parameter in parameters),
        sum(parameter.numel() for parameter in parameters if parameter.requires_grad),
    )
    assert SIZES[name].weights_mib == round(sum(p.nbytes for p in parameters) / 2**20, 1)


def test_a_network_without_weights_is_shown_by_name(run):
    (record,) = run("models", "show", "promptmr", "--json", "--variant", "image").records
    assert (record["kind"], record["network"]) == ("network", "promptmr")
    assert (record["config"]["variant"], record["parameters"]) == ("image", 81_528_317)
    assert "cascades: 12" in run("models", "show", "promptmr").out


def test_a_file_named_like_a_network_is_shown_as_weights(run, network, tmp_path, monkeypatch):
    weights.save(tmp_path / "a.safetensors", network, {})
    named = {
        key: headers.metadata(tmp_path / "a.safetensors")[key] for key in ("network", "config")
    }
    save_file(load_file(tmp_path / "a.safetensors"), tmp_path / "promptmr", named)
    monkeypatch.chdir(tmp_path)
    (record,) = run("models", "show", "promptmr", "--json").records
    assert (record["kind"], record["metadata"]) == ("weights", {})


def test_the_header_is_that_of_the_library(network, tmp_path):
    path = tmp_path / "a.safetensors"
    weights.save(path, network, {"recipe": "small"})
    assert headers.metadata(path) == weights.load(path).metadata
    path.write_bytes(b"\xff" * 20)
    assert headers.metadata(path) == {}
    assert headers.metadata(tmp_path / "none") == {}


def test_show_tells_network_configuration_and_metadata(run, official):
    done = run("models", "show", official)
    assert done.code == 0, done.err
    assert "promptmr, 2 cascades" in done.out
    assert "variant: kspace" in done.out
    for words in (("models", "show", official, "--json"), ("models", "--json", "show", official)):
        (record,) = run(*words).records
        assert record["config"]["frames"] == 3
        assert record["metadata"]["epoch"] == "11"
    (asked,) = run("models", "show", official, "--variant", "image", "--json").records
    assert asked["config"]["variant"] == "image"


def test_installed_weights_are_shown_by_name(run):
    (record,) = run("models", "show", "kt-unrolled", "--json").records
    assert record["network"] == "kt-unrolled"
    assert record["config"]["cascades"] == 2


def test_convert_makes_a_file_that_shows_the_same_and_where_it_comes_from(
    run, official, network, tmp_path
):
    output = tmp_path / "out" / "b.safetensors"
    done = run("models", "convert", official, output, "--variant", "image")
    assert done.code == 0, done.err
    assert done.out.strip() == str(output)
    loaded = weights.load(output)
    assert all(
        torch.equal(value, network.state_dict()[key])
        for key, value in loaded.network.state_dict().items()
    )
    assert loaded.network.variant == "image"
    assert "variant_from" in loaded.metadata
    stated = LICENCES["promptmr"].metadata()
    assert stated["weights_licence"]
    assert loaded.metadata.items() >= stated.items()
    assert stated["weights_licence"] in done.err
    (record,) = run("info", output, "--json").records
    assert (record["kind"], record["network"]) == ("weights", "promptmr")
    assert record["weights_licence"] == stated["weights_licence"]
    assert stated["weights_use"] in run("models", "show", output).out
    assert json.loads(loaded.metadata["converted_from"])["name"] == "a.ckpt"
    assert str(tmp_path) not in output.read_bytes()[:10_000].decode(errors="replace")


def test_convert_replaces_only_when_told(run, official, tmp_path):
    output = tmp_path / "b.safetensors"
    output.write_text("mine")
    done = run("models", "convert", official, output)
    assert (done.code, output.read_text()) == (1, "mine")
    assert done.codes == ["output-exists"]
    assert run("models", "convert", official, output, "--overwrite").code == 0
    weights.load(output)
    before = output.read_bytes()
    assert run("models", "convert", output, output, "--overwrite").code == 2
    assert output.read_bytes() == before


@pytest.mark.parametrize(
    ("words", "exit_code", "code"),
    [
        (("show", "missing.ckpt"), 3, "file-missing"),
        (("show", "text.ckpt"), 3, "checkpoint-format"),
        (("show", "text.ckpt", "--variant", "images"), 2, "unknown-variant"),
        (("convert", "text.ckpt", "out.ckpt"), 2, "output-format"),
        (("convert", "text.ckpt", "out.safetensors"), 3, "checkpoint-format"),
        (("shwo", "text.ckpt"), 2, "unknown-command"),
        (("show", "text.ckpt", "--preset", "none"), 2, "unknown-preset"),
        (("show", "text.ckpt", "--release-config", "missing.yaml"), 3, "file-missing"),
        (
            ("convert", "text.ckpt", "out.safetensors", "--preset", "a", "--release-config", "b"),
            2,
            "options-conflict",
        ),
    ],
)
def test_mistakes_are_told(run, tmp_path, monkeypatch, words, exit_code, code):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "text.ckpt").write_text("no weights at all")
    done = run("models", *words)
    assert (done.code, done.codes) == (exit_code, [code])
    assert "Traceback" not in done.err
    assert not (tmp_path / "out.safetensors").exists()


def test_a_release_that_is_not_needed_is_refused(run, official, tmp_path):
    """The network of a name, of our own file, and of a layout that shows everything."""
    ours = tmp_path / "ours.safetensors"
    assert run("models", "convert", official, ours).code == 0
    for file in ("promptmr", ours, official):
        done = run("models", "show", file, "--preset", "uniform")
        assert (done.code, done.codes) == (2, ["release-unused"])


def test_the_copy_of_the_weights_is_named(run, network, tmp_path):
    state = network.state_dict()
    average = {key: value + 1 for key, value in state.items()}
    torch.save({"model": state, "ema": average}, tmp_path / "a.pt")
    done = run("models", "convert", tmp_path / "a.pt", tmp_path / "a.safetensors")
    assert "ema, not model" in done.err
    assert "ema, not model" in run("models", "show", tmp_path / "a.safetensors").out


def test_the_notice_of_a_licence_travels_with_converted_files(run, official, tmp_path, monkeypatch):
    terms = Licence("MIT", "Own terms", "someone/weights", "Anything", "Licensed by someone")
    monkeypatch.setattr(weights, "LICENCES", {"promptmr": terms})
    for source, target in (
        (official, "a.safetensors"),
        (tmp_path / "a.safetensors", "b.safetensors"),
    ):
        assert run("models", "convert", source, tmp_path / target).code == 0
        metadata = headers.metadata(tmp_path / target)
        assert metadata["weights_notice"] == "Licensed by someone"
        assert "Own terms" in metadata["weights_licence"]
    assert "Licensed by someone" in run("info", tmp_path / "b.safetensors").out


def test_a_failure_is_a_json_line_too(run, tmp_path):
    (tmp_path / "text.ckpt").write_text("no weights at all")
    (record,) = run("models", "show", tmp_path / "text.ckpt", "--json").records
    assert (record["status"], record["exit_code"], record["error"]["code"]) == (
        "failed",
        3,
        "checkpoint-format",
    )


@pytest.mark.parametrize("wrapped", ["plain", "module", "model", "average"])
def test_info_names_the_network_of_torch_files_of_other_programs(run, golden, tmp_path, wrapped):
    release = golden / "vsharp" / "tiny_release" / "uniform_vsharp.pt"
    saved = torch.load(release, weights_only=True)
    parts = {key: saved[key] for key in ("model", "sensitivity_model")}
    if wrapped == "module":
        parts = {
            key: {f"module.{name}": value for name, value in part.items()}
            for key, part in parts.items()
        }
    content = {"model": parts} if wrapped == "model" else parts
    content = {"ema": parts, "state_dict": parts} if wrapped == "average" else content
    torch.save(content, tmp_path / "a.pt")
    (record,) = run("info", tmp_path / "a.pt", "--json").records
    assert (record["kind"], record["network"], record["holds"]) == ("weights", None, "vSHARP")
    assert bool(record["copy"]) == (wrapped == "average")


@pytest.mark.parametrize("suffix", ["pt", "safetensors"])
def test_info_says_that_a_network_is_unknown(run, tmp_path, suffix):
    tensors = {"bcrnn.weight": torch.ones(2)}
    path = tmp_path / f"a.{suffix}"
    torch.save(tensors, path) if suffix == "pt" else save_file(tensors, path)
    (record,) = run("info", path, "--json").records
    assert record["network"] is None
    assert "CRNN-MRI" in record["holds"]


def test_info_refuses_a_truncated_file(run, golden, tmp_path):
    release = golden / "vsharp" / "tiny_release" / "uniform_vsharp.pt"
    (tmp_path / "a.pt").write_bytes(release.read_bytes()[:3000])
    (record,) = run("info", tmp_path / "a.pt", "--json").records
    assert record["error"]["code"] == "checkpoint-damaged"
