"""The command and the call from Python are one: same bits, decisions, residuals and warnings."""

import pytest
import torch

import cmrrecon
from cmrrecon import formats
from cmrrecon.methods.registry import METHODS
from cmrrecon.networks.catalog import build
from cmrrecon.networks.checkpoints import weights
from cmrrecon.networks.kt_unrolled import KtUnrolled
from cmrrecon.reconstruction.result import uncertainty_path


@pytest.fixture(scope="module")
def networks(tmp_path_factory):
    """Small networks: one for series, named like the shipped one, and one for windows."""
    folder = tmp_path_factory.mktemp("weights")
    torch.manual_seed(0)
    series = KtUnrolled(cascades=2, channels=8, blocks=1, solver_steps=2).eval()
    with torch.no_grad():
        series.unet.last.weight.normal_(std=0.02)
    weights.save(folder / "kt-unrolled.safetensors", series, {"envelope": {"frames": [8, 14]}})
    windows = build("e2e-varnet", {"cascades": 1, "channels": 2, "sensitivity_channels": 2})
    weights.save(folder / "windows.safetensors", windows)
    return folder


@pytest.fixture(autouse=True)
def installed(networks, monkeypatch):
    monkeypatch.setattr(weights, "PRETRAINED", networks)


def both(run, scan, target, words=(), **given):
    """What the command wrote and said, and what the call gave."""
    done = run("reconstruct", scan, "-o", target, "--json", *words)
    assert done.code == 0, done.err
    result = cmrrecon.reconstruct(scan, **given)
    assert torch.equal(formats.read_images(target), result.images)
    kept = formats.read_provenance(target)
    assert done.records[0]["data_residual"] == kept["data_residual"] == list(result.residuals)
    for key in ("config_hash", "choice", "adapted", "outside"):
        assert kept.get(key) == result.provenance.get(key)
    assert all(warning in done.err for warning in result.warnings)
    return done, result


@pytest.mark.parametrize("method", [*METHODS, "kt-unrolled"])
def test_every_method(run, undersampled, tmp_path, method):
    _, result = both(run, undersampled, tmp_path / "a.h5", ("-m", method), method=method)
    assert len(result.maps) in (0, len(result.indices))


def test_a_checkpoint_with_options_and_slices(run, undersampled, networks, tmp_path):
    path = networks / "windows.safetensors"
    words = ("--checkpoint", path, "--set", "acs=8", "--slices", "1")
    _, result = both(
        run, undersampled, tmp_path / "a.h5", words, checkpoint=path, acs=8, slices=[1]
    )
    assert result.indices == (1,)


def test_adaptation_and_uncertainty(run, undersampled, tmp_path):
    words = ("--adapt", 6, "--uncertainty", 2)
    target = tmp_path / "a.h5"
    done, result = both(run, undersampled, target, words, adapt=6, uncertainty=2)
    assert torch.equal(
        formats.read_images(uncertainty_path(target)), torch.stack(list(result.uncertainty), 1)
    )
    assert result.provenance["adapted"]["slice"] == 1
    assert done.records[0]["adapted"] == result.provenance["adapted"]


def test_a_network_outside_of_its_range_warns_both(run, undersampled, tmp_path):
    _, result = both(
        run, undersampled, tmp_path / "a.h5", ("-m", "kt-unrolled"), method="kt-unrolled"
    )
    assert "trained on 8 to 14" in result.warnings[0]


@pytest.mark.parametrize(
    ("code", "words", "given"),
    [
        ("unknown-method", ("-m", "sens"), {"method": "sens"}),
        ("unknown-option", ("-m", "sense", "--set", "wieght=1"), {"method": "sense", "wieght": 1}),
        ("option-value", ("-m", "sense", "--set", "weight=-1"), {"method": "sense", "weight": -1}),
        ("slice-missing", ("--slices", "7"), {"slices": [7]}),
        ("not-adaptable", ("-m", "sense", "--adapt", 3), {"method": "sense", "adapt": 3}),
        ("unknown-device", ("--device", "tpu"), {"device": "tpu"}),
        ("file-missing", ("--mask", "nowhere.mat"), {"mask": "nowhere.mat"}),
    ],
)
def test_errors_have_the_same_code(run, undersampled, tmp_path, code, words, given):
    done = run("reconstruct", undersampled, "-o", tmp_path / "a.h5", "--json", *words)
    assert done.records[0]["error"]["code"] == code
    with pytest.raises(cmrrecon.CmrreconError) as error:
        cmrrecon.reconstruct(undersampled, **given)
    assert error.value.code == code
    assert error.value.exit_code == done.code
