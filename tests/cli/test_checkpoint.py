"""`cmrrecon reconstruct --checkpoint`."""

import pytest
import torch
from small_networks import SMALL

from cmrrecon import formats
from cmrrecon.networks.catalog import NETWORKS, build
from cmrrecon.networks.checkpoints import weights
from cmrrecon.sampling.apply import undersample
from cmrrecon.simulation import simulate


@pytest.fixture(scope="module")
def scan(tmp_path_factory):
    folder = tmp_path_factory.mktemp("scan")
    made = simulate("cine", frames=4, slices=2, coils=4, y=40, x=48, seed=0).scan
    formats.write_scan(folder / "under.h5", undersample(made, "kt-gaussian", 4, acs=16, seed=1), {})
    return folder / "under.h5"


def checkpoint(folder, name="promptmr"):
    torch.manual_seed(0)
    path = folder / f"{name}.safetensors"
    weights.save(path, build(name, SMALL[name]), {})
    return path


@pytest.mark.parametrize(
    "name", [name for name, network in NETWORKS.items() if not network.discriminator]
)
def test_every_network_reconstructs_a_scan(scan, run, tmp_path, name):
    done = run(
        "reconstruct",
        scan,
        "--checkpoint",
        checkpoint(tmp_path, name),
        "-o",
        tmp_path / "out.h5",
        "--json",
    )
    assert done.code == 0, done.err
    (record,) = done.records
    assert (record["method"], record["status"], record["default_method"]) == (name, "done", False)
    images = formats.read_images(tmp_path / "out.h5")
    assert images.shape == (4, 2, 40, 48)
    assert torch.isfinite(images).all()
    assert images.abs().max() > 0


def test_what_it_will_cost_is_shown_before(scan, run, tmp_path):
    done = run("reconstruct", scan, "--checkpoint", checkpoint(tmp_path), "--dry-run", "--json")
    (record,) = done.records
    assert record["status"] == "planned"
    assert set(record["predicted"]) == {"gigabytes", "tflop_per_slice", "seconds"}
    assert min(record["predicted"].values()) >= 0
    assert record["predicted"]["tflop_per_slice"] > 0


def test_other_weights_are_another_recipe(scan, run, tmp_path):
    first = checkpoint(tmp_path)
    run("reconstruct", scan, "--checkpoint", first, "-o", tmp_path / "out.h5")
    again = run("reconstruct", scan, "--checkpoint", first, "-o", tmp_path / "out.h5", "--json")
    assert again.records[0]["status"] == "skipped"
    torch.manual_seed(1)
    weights.save(first, build("promptmr", SMALL["promptmr"]), {})
    other = run("reconstruct", scan, "--checkpoint", first, "-o", tmp_path / "out.h5")
    assert (other.code, other.codes) == (1, ["output-exists"])


@pytest.mark.parametrize(
    ("words", "exit_code", "code"),
    [
        (["--checkpoint", "absent.safetensors"], 3, "file-missing"),
        (["--checkpoint", "{weights}", "--method", "sense"], 2, "options-conflict"),
        (["--checkpoint", "{weights}", "--set", "weight=1"], 2, "unknown-option"),
        (["--checkpoint", "{scan}"], 3, "checkpoint-format"),
        (["--method", "promptmr"], 2, "weights-missing"),
        (["--method", "sense", "--compile"], 2, "unknown-option"),
    ],
)
def test_mistakes_are_reported(scan, run, tmp_path, words, exit_code, code):
    words = [word.format(weights=checkpoint(tmp_path), scan=scan) for word in words]
    done = run("reconstruct", scan, *words, "-o", tmp_path / "out.h5")
    assert (done.code, done.codes) == (exit_code, [code]), done.err
    assert not (tmp_path / "out.h5").exists()


def test_the_copy_of_the_weights_is_said_and_recorded(scan, run, tmp_path):
    state = build("promptmr", SMALL["promptmr"]).state_dict()
    torch.save({"ema": state, "state_dict": state}, tmp_path / "a.pt")
    done = run("reconstruct", scan, "--checkpoint", tmp_path / "a.pt", "-o", tmp_path / "out.h5")
    assert done.code == 0, done.err
    copy = formats.read_provenance(tmp_path / "out.h5")["weights_copy"]
    assert "ema" in copy
    assert copy in done.err
