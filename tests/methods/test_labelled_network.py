"""SDUM as a method: the official pipeline, its labels, and its windows."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from golden_sdum import arrays_of, facts_of, weights_of
from refusals import refused
from scipy.io import savemat
from small_networks import SMALL

import cmrrecon
from cmrrecon import formats
from cmrrecon.classical.prepared import PreparedSeries
from cmrrecon.data import Acquisition, Scan, Series
from cmrrecon.evaluation.ranking import ranking_crop
from cmrrecon.methods import registry
from cmrrecon.methods.labelled_network import LabelledNetworkMethod, LabelledOptions
from cmrrecon.methods.window_network import Batch
from cmrrecon.networks.catalog import build
from cmrrecon.networks.checkpoints import weights
from cmrrecon.networks.labelled import Labels
from cmrrecon.sampling import undersample
from cmrrecon.simulation import simulate


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory):
    torch.manual_seed(0)
    path = tmp_path_factory.mktemp("weights") / "sdum.safetensors"
    weights.save(path, build("sdum", SMALL["sdum"]).eval())
    return path


@pytest.fixture(scope="module")
def method(checkpoint):
    made = registry.from_checkpoint(checkpoint)
    assert isinstance(made, LabelledNetworkMethod)
    return made


@pytest.fixture(scope="module")
def series():
    scan = simulate("cine", frames=3, slices=1, coils=3, y=37, x=48, seed=0).scan
    return undersample(scan, "kt-gaussian", 8, acs=8, seed=1).series(0)


def labelled(series, **facts):
    return replace(series, acquisition=replace(series.acquisition, **facts))


def test_the_pipeline_agrees_with_the_official_one(golden, tmp_path):
    """From a file to magnitudes, and to the pixels that the challenge scores."""
    folder = golden / "sdum" / "series_single_frame"
    arrays, facts = arrays_of(folder), facts_of(folder)
    trained = weights_of(golden / "sdum" / facts["weights_of"])
    torch.save({"net_state_dict": trained}, tmp_path / "official.pt")
    loaded = weights.load(tmp_path / "official.pt", release=facts["config"]).network
    weights.save(tmp_path / "ours.safetensors", loaded)

    folder = tmp_path / "MultiCoil" / "T1w" / "UnderSample_TaskR1" / "Center001" / "P001"
    folder.mkdir(parents=True)
    kspace = arrays["kspace"] * arrays["mask"][:, None, None]
    name = folder / "T1w_kus_Uniform16.mat"
    savemat(name, {"kus": kspace[0].permute(3, 2, 1, 0).numpy()})
    mask = {"mask": arrays["mask"][0].mT.numpy().astype(np.float32)}
    savemat(folder / "T1w_mask_Uniform16.mat", mask)

    result = cmrrecon.reconstruct(name, checkpoint=tmp_path / "ours.safetensors")
    expected = arrays["images"]
    assert result.images.shape == expected.shape
    assert float((result.images - expected).abs().max()) <= 1e-5 * float(expected.max())
    assert not any("SDUM" in warning for warning in result.warnings)

    cropped = ranking_crop(result.images, base="T1w", year=2025)[0, 0].mT
    expected = arrays["img4ranking"]
    assert cropped.shape == expected.shape
    assert float((cropped - expected).abs().max()) <= 1e-5 * float(expected.max())


def test_every_window_is_plain_modulo_and_given_the_labels(method, series):
    """With 3 frames the windows differ from those of other networks."""
    labels = Labels("kt-gaussian", 8, "Cine")
    images = method(labelled(series, modality="Cine"))
    network, masks = method.trained, series.mask.samples
    for frame, rows in enumerate([[1, 2, 0, 1, 2], [2, 0, 1, 2, 0], [0, 1, 2, 0, 1]]):
        with torch.no_grad():
            alone = network(series.kspace[rows][None], masks[rows][None], labels=[labels]).image[0]
        assert float((images[frame] - alone).abs().max()) <= 1e-4 * float(alone.max())


def test_options_take_precedence_over_names(method, series):
    known = labelled(series, modality="Cine")
    same = method(series, {"modality": "cine"})
    torch.testing.assert_close(same, method(known))
    for option in ({"pattern": "ktRadial"}, {"acceleration": 24}, {"modality": "LGE"}):
        assert not torch.allclose(method(known, option), same)


def test_a_number_of_calibration_lines_is_refused(method, series):
    """The network finds its calibration samples itself."""
    with refused("option-value"):
        method(labelled(series, modality="Cine"), {"acs": 4})


def test_an_unknown_modality_is_an_error_and_an_unknown_pattern_a_warning(method, series):
    for modality in (None, "Brain"):
        with refused("unknown-modality"):
            method(labelled(series, modality=modality))
        with refused("unknown-modality"):
            method.predict(labelled(series, modality=modality), LabelledOptions())

    def cautions(**facts):
        known = labelled(series, **{"modality": "Cine", **facts})
        return method.cautions(PreparedSeries(known), LabelledOptions())

    assert cautions() == ()
    assert len(cautions(pattern="poisson")) == 1
    assert len(cautions(pattern=None, acceleration=None)) == 2


def test_a_warning_reaches_the_result(checkpoint, series):
    scan = Scan.from_kspace(series.kspace[:, None], series.mask)
    result = cmrrecon.reconstruct(scan, checkpoint=checkpoint, modality="Cine", acceleration=8)
    assert len([warning for warning in result.warnings if "pattern" in warning]) == 1


def test_the_mask_file_names_pattern_and_acceleration(tmp_path, series):
    folder = tmp_path / "MultiCoil" / "Cine" / "P001"
    folder.mkdir(parents=True)
    scan = Scan.from_kspace(series.kspace[:, None], series.mask)
    formats.write_scan(folder / "scan7.npz", scan)
    formats.write_mask(folder / "scan7_mask_ktRadial16.mat", series.mask.samples, 48)

    known = formats.read(folder / "scan7.npz", mask=folder / "scan7_mask_ktRadial16.mat")
    assert (known.acquisition.pattern, known.acquisition.acceleration) == ("kt-radial", 16)
    assert known.acquisition.modality == "Cine"


def test_windows_are_not_batched(method, series, monkeypatch):
    """The calibration region of a batch would be that of all its windows."""
    monkeypatch.setattr("cmrrecon.methods.window_network.device_memory", lambda device: 2**40)
    moved = Series(series.kspace.to("meta"), series.mask, acquisition=Acquisition(modality="Cine"))
    assert method.batch(moved, LabelledOptions()).windows == 1
    assert isinstance(method.batch(series, LabelledOptions()), Batch)


def test_the_cost_is_predicted(method, series):
    found = method.predict(labelled(series, modality="Cine"), LabelledOptions())
    one = method.trained.window_cost(3, 37, 48, lines=True, acs=8)
    assert found.flops == 3 * one.flops
    assert found.nbytes > one.nbytes
