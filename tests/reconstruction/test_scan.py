"""`reconstruct`: a scan in, a `Result` out."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from refusals import refused

import cmrrecon
from cmrrecon import formats
from cmrrecon.classical.prepared import PreparedSeries
from cmrrecon.data import LineMask, MaskSource
from cmrrecon.methods.base import Weights
from cmrrecon.methods.direct import DirectMethod
from cmrrecon.methods.registry import find_method
from cmrrecon.methods.window_network import WindowNetworkMethod
from cmrrecon.networks.checkpoints import weights
from cmrrecon.networks.e2e_varnet import E2EVarNet
from cmrrecon.networks.kt_unrolled import KtUnrolled
from cmrrecon.reconstruction.listener import Listener
from cmrrecon.reconstruction.scan import find
from cmrrecon.reconstruction.slices import run
from cmrrecon.reconstruction.store import InMemory
from cmrrecon.reconstruction.task import Task
from cmrrecon.simulation import simulate

QUICK = {"weight": 0.01, "iterations": 4}


def reconstruct(scan, method="sense", **more):
    """Reconstruct with little to compute, unless more is requested."""
    settings = QUICK if method == "sense" else {}
    return cmrrecon.reconstruct(scan, method, device="cpu", **{**settings, **more})


class Heard(Listener):
    """Records all events."""

    def __init__(self):
        self.calls = []

    def started(self, slices, done):
        self.calls.append(("started", slices, done))

    def adapting(self, step, steps, loss):
        self.calls.append(("adapting", step, steps))

    def adapted(self, record):
        self.calls.append(("adapted", record["slice"]))

    def decided(self, index, decision):
        self.calls.append(("decided", index, decision.method))

    def solving(self):
        self.calls.append(("solving",))

    def finished(self, index):
        self.calls.append(("finished", index))

    def warned(self, text):
        self.calls.append(("warned",))


@pytest.fixture(scope="module")
def kspace(scan):
    """The k-space as an array (frame, slice, coil, y, x)."""
    return np.stack([scan.series(index).kspace.numpy() for index in range(3)], 1)


@pytest.fixture(scope="module")
def mask(scan):
    return scan.mask.samples.numpy()


@pytest.fixture(scope="module")
def expected(scan):
    return reconstruct(scan)


def test_the_result_is_complete(scan, expected):
    assert expected.images.shape == (3, 3, 48, 48)
    assert expected.images.dtype == torch.complex64
    assert expected.indices == (0, 1, 2)
    assert [maps.shape for maps in expected.maps] == [(3, 48, 48)] * 3
    assert (expected.decision.method, expected.decision.weight) == ("sense", 0.01)
    assert len(expected.residuals) == 3
    assert all(0 < residual < 10 for residual in expected.residuals)
    assert list(expected.uncertainty) == []
    assert (expected.warnings, expected.sources) == ((), ())
    made = expected.provenance
    assert made["config"]["method"] == "sense"
    assert made["config"]["options"] == {**QUICK, "coils": "auto"}
    assert made["choice"]["slice"] == 1
    assert (made["pattern"], made["acceleration"]) == ("kt-gaussian", 4.0)
    assert made["effective_acceleration"] == round(scan.mask.effective_acceleration(), 2)
    assert made["data_residual"] == list(expected.residuals)


def test_every_slice_is_the_outcome_of_the_method(scan, expected):
    method = find_method("sense")
    for index in range(3):
        whole = PreparedSeries(scan.series(index))
        images = method.reconstruct(whole, method.options(QUICK)).images
        assert torch.equal(expected.slices[index], images)


def test_arrays_are_scans(kspace, mask, expected):
    for given in (mask, mask[..., 0], np.broadcast_to(mask, (3, 48, 48)), None):
        found = reconstruct(kspace, mask=given)
        assert torch.equal(found.images, expected.images)
    assert torch.equal(reconstruct(torch.from_numpy(kspace)).images, expected.images)


@pytest.mark.parametrize("shape", [(48,), (1, 48), (1, 48, 48)])
def test_masks_of_arrays_that_hold_for_all_frames(kspace, mask, shape):
    """Frames share their lines: (y), (1, y) and (1, y, x) are equivalent."""
    alike, lines = np.repeat(kspace[:1, :1], 2, axis=0), mask[0, :, 0]
    given = np.broadcast_to(lines[:, None], shape) if len(shape) == 3 else lines.reshape(shape)
    expected = cmrrecon.Scan.from_kspace(torch.from_numpy(alike), torch.from_numpy(mask[:1]))
    found = reconstruct(alike, mask=given)
    assert torch.equal(found.images, reconstruct(expected).images)


def test_files_are_scans(scan, expected, tmp_path):
    path = tmp_path / "scan.h5"
    formats.write_scan(path, scan)
    found = reconstruct(path)
    assert torch.equal(found.images, expected.images)
    assert found.sources[0] == path
    assert [entry["name"] for entry in found.provenance["inputs"]] == ["scan.h5"]


def test_by_default_everything_is_automatic(scan):
    result = cmrrecon.reconstruct(scan, slices=[1], device="cpu")
    assert result.provenance["config"]["method"] == "auto"
    assert result.decision.trials
    assert set(result.provenance["config"]["options"].values()) == {"auto"}


def test_none_is_automatic(scan):
    first = reconstruct(scan, "llr", weight=0.02, iterations=None, slices=[0])
    assert {trial.weight for trial in first.decision.trials} == {0.02}
    assert torch.equal(first.images, reconstruct(scan, "llr", weight=0.02, slices=[0]).images)


def test_selected_slices_only(scan, expected):
    found = reconstruct(scan, slices=[2, 0, 2])
    assert found.indices == (0, 2)
    assert torch.equal(found.images, expected.images[:, [0, 2]])
    assert found.provenance["choice"]["slice"] == 2


def test_magnitudes_have_no_maps_and_no_residual(scan):
    found = reconstruct(scan, "zero-filled")
    assert found.images.dtype == torch.float32
    assert (list(found.maps), found.decision) == ([], None)
    assert found.residuals == (None, None, None)
    assert "choice" not in found.provenance


def test_uncertainties_come_beside_the_images(scan, expected):
    found = reconstruct(scan, uncertainty=2, slices=[0, 1])
    assert torch.equal(found.images, expected.images[:, :2])
    assert [deviation.shape for deviation in found.uncertainty] == [(3, 48, 48)] * 2
    assert all(float(deviation.max()) > 0 for deviation in found.uncertainty)
    assert found.provenance["config"]["uncertainty"] == 2


def test_a_checkpoint_is_a_method(scan, tmp_path):
    torch.manual_seed(0)
    path = tmp_path / "run" / "mine.safetensors"
    path.parent.mkdir()
    weights.save(path, KtUnrolled(cascades=1, channels=4, blocks=1, solver_steps=1))
    found = reconstruct(scan, None, checkpoint=path, slices=[1])
    assert found.provenance["config"]["method"] == "kt-unrolled"
    assert len(found.provenance["config"]["weights"]) == 64
    assert found.provenance["run"] == "run"
    assert found.decision is None


def test_a_custom_method(scan):
    own = DirectMethod("own", "a test", lambda series: torch.ones(3, 48, 48))
    assert float(reconstruct(scan, own).images.min()) > 0


@pytest.mark.parametrize(
    ("code", "more"),
    [
        ("unknown-method", {"method": "sens"}),
        ("unknown-option", {"wieght": 1}),
        ("option-value", {"weight": -1}),
        ("option-value", {"weight": "auto"}),
        ("option-value", {"iterations": 0}),
        ("option-value", {"iterations": 2.5}),
        ("option-value", {"uncertainty": 1}),
        ("option-value", {"uncertainty": -2}),
        ("slice-missing", {"slices": [3]}),
        ("option-value", {"slices": [-1]}),
        ("slice-missing", {"slices": []}),
        ("not-adaptable", {"adapt": 5}),
        ("not-adaptable", {"method": "zero-filled", "adapt": 5}),
        ("not-adaptable", {"method": "auto", "adapt": 5, "weight": 0.1}),
        ("device-missing", {"device": "cuda:99"}),
        ("options-conflict", {"method": "sense", "checkpoint": "some.ckpt"}),
        ("options-conflict", {"axes": "x,y"}),
        ("options-conflict", {"mask": np.ones(48, bool)}),
    ],
)
def test_invalid_arguments_are_refused_before_anything_is_read(counted, code, more):
    counting, read, _ = counted
    with refused(code):
        cmrrecon.reconstruct(counting, **{"method": "sense", "device": "cpu", **more})
    assert read == []


@pytest.mark.parametrize(
    ("code", "nearest", "more"),
    [
        ("unknown-method", "sense", {"method": "sens"}),
        ("unknown-option", "weight", {"method": "sense", "wieght": 1}),
        ("unknown-option", "kernel", {"method": "grappa", "kernal": 5}),
    ],
)
def test_the_nearest_name_is_proposed(scan, code, nearest, more):
    with refused(code) as error:
        cmrrecon.reconstruct(scan, **more)
    assert nearest in error.value.remedy


def test_wrong_arrays_are_refused(kspace, mask):
    for code, given, its_mask in (
        ("kspace-axes", kspace[0], None),
        ("kspace-real", abs(kspace), None),
        ("mask-shape", kspace, mask[:, :-1]),
        ("mask-values", kspace, 3 * mask),
        ("mask-disagrees", kspace, np.arange(48) > 40),
        ("array-type", kspace.tolist(), None),
    ):
        with refused(code):
            reconstruct(given, mask=its_mask)


def test_a_missing_file_is_refused(tmp_path):
    with refused("file-missing"):
        reconstruct(tmp_path / "none.h5")


def test_a_file_that_is_not_a_scan_is_refused(tmp_path):
    (tmp_path / "text.mat").write_text("no scan")
    with refused("file-format"):
        reconstruct(tmp_path / "text.mat")


AUTOMATIC = {"method": "kt-wavelet", "weight": None, "iterations": None}


@pytest.mark.parametrize(
    "more",
    [
        {"method": "auto"},
        AUTOMATIC,
        {"method": "sense"},
        {"method": "sense", "coils": 2},
        {"method": "kt-unrolled"},
        {"method": "auto", "adapt": 1},
    ],
)
def test_every_slice_is_read_once_and_has_its_maps_estimated_once(counted, more):
    counting, read, calibrated = counted
    if more["method"] == "auto":
        more = {**more, "method": small("series")}
    reconstruct(counting, **more)
    assert read == [1, 0, 2]
    assert calibrated == [more.get("coils")] * 3


@pytest.mark.parametrize("method", ["zero-filled", "grappa"])
def test_methods_that_decide_nothing_estimate_no_maps(counted, method):
    counting, read, calibrated = counted
    reconstruct(counting, method)
    assert sorted(read) == [0, 1, 2]
    assert calibrated == []


@pytest.mark.parametrize("method", ["zero-filled", "sense"])
def test_without_a_mask_every_slice_is_still_read_once(counted, method):
    counting, read, _ = counted
    found = reconstruct(replace(counting, mask=None), method)
    assert sorted(read) == [0, 1, 2]
    assert found.provenance["effective_acceleration"] > 1


def test_the_middle_slice_comes_first_and_every_event_is_reported(scan):
    heard = Heard()
    reconstruct(scan, listener=heard)
    assert heard.calls == [
        ("started", 3, 0),
        ("decided", 1, "sense"),
        ("solving",),
        *(("finished", index) for index in (1, 0, 2)),
    ]


def small(kind):
    torch.manual_seed(0)
    if kind == "series":
        made = KtUnrolled(cascades=1, channels=4, blocks=1, solver_steps=1)
        return replace(
            find_method("auto"), trained=replace(find_method("auto").trained, network=made)
        )
    made = E2EVarNet(cascades=1, channels=4, pools=1, sensitivity_channels=4, sensitivity_pools=1)
    return WindowNetworkMethod("varnet", "a test", made, Weights("digest"))


@pytest.mark.parametrize("kind", ["series", "window"])
def test_a_network_is_adapted_first(scan, kind):
    heard, method = Heard(), small(kind)
    found = reconstruct(scan, method, adapt=2, slices=[0, 1], listener=heard)
    assert heard.calls[:4] == [
        ("started", 2, 0),
        ("adapting", 1, 2),
        ("adapting", 2, 2),
        ("adapted", 1),
    ]
    record = found.provenance["adapted"]
    assert set(record) == {"slice", "steps", "before", "after"}
    assert record["after"] <= record["before"]
    assert found.provenance["config"]["adapt"] == 2


def test_there_is_nothing_to_adapt_to_in_a_complete_scan():
    made = simulate("cine", frames=2, slices=1, coils=3, y=48, x=48, seed=1).scan
    found = reconstruct(made, small("series"), adapt=5)
    assert found.provenance["adapted"] == {"slice": 0, "steps": 0}
    assert len(found.warnings) == 1


def test_a_network_without_kspace_is_not_adapted(scan):
    class Silent(E2EVarNet):
        gives_kspace = False

    torch.manual_seed(0)
    sizes = {"channels": 4, "pools": 1, "sensitivity_channels": 4, "sensitivity_pools": 1}
    method = WindowNetworkMethod("silent", "", Silent(cascades=1, **sizes), Weights(""))
    with refused("not-adaptable"):
        reconstruct(scan, method, adapt=2)


def test_a_scan_outside_the_training_range_causes_a_warning(scan):
    facts = {"envelope": '{"frames": [8, 14], "effective_acceleration": [1, 20]}'}
    method = replace(small("window"), of=Weights("digest", facts))
    found = reconstruct(scan, method, slices=[0])
    assert len(found.warnings) == 1
    assert found.provenance["outside"] == ["frames 3 (trained on 8 to 14)"]
    assert found.provenance["warnings"] == list(found.warnings)
    inside = replace(method, of=Weights("digest", {"envelope": '{"frames": [1, 14]}'}))
    assert reconstruct(scan, inside, slices=[0]).warnings == ()


def test_predictions_no_better_than_an_empty_image_cause_a_warning(scan):
    """Lines of noise outside the calibration region cannot be predicted."""
    noise = torch.randn(
        (3, 3, 48, 48), dtype=torch.complex64, generator=torch.Generator().manual_seed(0)
    )
    outer = scan.mask.samples.clone()
    outer[:, 18:30] = False

    def read_slice(index):
        return torch.where(outer[:, None], noise, scan.read_slice(index))

    found = reconstruct(replace(scan, read_slice=read_slice), weight=None, slices=[0])
    assert found.decision.warning() in found.warnings


def test_an_error_in_one_slice_names_the_slice(scan):
    def read_slice(index):
        return scan.read_slice(index) * (float("nan") if index == 2 else 1)

    with refused("kspace-not-finite") as error:
        reconstruct(replace(scan, read_slice=read_slice))
    assert "Slice 2" in str(error.value)


def test_a_task_is_checked_and_runs_again(scan, expected):
    task = Task.of(scan, find("sense"), QUICK, slices=[2, 1], device="cpu")
    assert (task.slices, task.inputs) == ((1, 2), [])
    store, heard = InMemory(task.slices), Heard()
    first = run(task, store, heard)
    again = run(task, store, heard)
    assert torch.equal(first.images, expected.images[:, 1:])
    assert torch.equal(again.images, first.images)
    assert ("started", 2, 2) in heard.calls
    assert sum(call[0] == "finished" for call in heard.calls) == 2


def test_methods_without_a_gpu_stay_on_the_cpu(scan, monkeypatch):
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 1)
    for method, kind in (("sigpy-tv", "cpu"), ("sense", "cuda")):
        assert Task.of(scan, find(method), {}, device="cuda").device.type == kind


def test_a_task_predicts_its_cost(scan):
    assert Task.of(scan, find("sense"), {}, device="cpu").predict() is None
    cost = Task.of(scan, small("window"), {}, device="cpu").predict()
    assert cost.flops > 0


def test_a_mask_with_its_origin_is_kept(kspace, mask):
    known = LineMask(torch.from_numpy(mask), MaskSource.FILE)
    task = Task.of(
        cmrrecon.Scan.from_kspace(torch.from_numpy(kspace), known), find(None), {}, device="cpu"
    )
    assert task.scan.mask is known
    assert task.method.name == "auto"


def test_spokes_found_slice_by_slice_give_the_true_acceleration():
    made = cmrrecon.simulate(slices=1, frames=2, coils=2, y=32, x=64, spokes=6).scan
    kspace = made.read_slice(0)
    kspace[:, :, 3:] = 0
    mask = replace(made.mask, source=MaskSource.NON_ZERO)
    scan = replace(made, read_slice=lambda index: kspace, mask=mask)
    result = cmrrecon.reconstruct(scan, "zero-filled")
    whole = cmrrecon.reconstruct(made, "zero-filled").provenance["effective_acceleration"]
    assert result.provenance["effective_acceleration"] == pytest.approx(2 * whole, rel=0.01)


def test_stored_warnings_do_not_name_the_file(tmp_path):
    full = simulate("cine", frames=2, slices=1, coils=3, y=48, x=48, seed=1).scan
    sampled = cmrrecon.undersample(full, "uniform", 4, seed=1)
    path = tmp_path / "Quixote" / "cine.mat"
    formats.write_scan(path, sampled)
    # The mask says that a line was measured, but it holds only zeros.
    mask = sampled.mask.samples.clone()
    mask[:, int((~mask[0, :, 0]).nonzero()[0])] = True
    formats.write_mask(path.with_name("cine_mask.mat"), mask, 48)

    found = reconstruct(path, "zero-filled")
    assert any(str(path) in text for text in found.warnings)
    assert found.provenance["warnings"]
    assert not any("Quixote" in text for text in found.provenance["warnings"])
