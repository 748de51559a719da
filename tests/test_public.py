"""The public interface: `import cmrrecon` and what it gives."""

import importlib
import pkgutil
import subprocess
import sys
from dataclasses import replace

import numpy as np
import pytest
import torch
from refusals import refused

import cmrrecon
from cmrrecon.data import Acquisition

FUNCTIONS = ("read", "write", "simulate", "undersample", "reconstruct", "evaluate", "fit")


@pytest.fixture(scope="module")
def made():
    return cmrrecon.simulate(slices=2, coils=4, frames=4, y=48, x=64)


@pytest.fixture(scope="module")
def scan(made):
    return cmrrecon.undersample(made.scan, "kt-gaussian", 3, acs=12)


def test_importing_it_loads_no_library():
    code = (
        "import sys, cmrrecon\n"
        "assert set(cmrrecon.__all__) <= set(dir(cmrrecon))\n"
        "heavy = {'torch', 'numpy', 'h5py', 'scipy', 'sigpy', 'typer', 'rich'} & set(sys.modules)\n"
        "print(sorted(heavy), [m for m in sys.modules if m.startswith('cmrrecon.')])\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert done.stdout.split("\n")[0] == "[] []", done.stderr


def test_every_public_name_is_there_and_lazy_ones_are_cached():
    for name in cmrrecon.__all__:
        assert getattr(cmrrecon, name) is getattr(cmrrecon, name)
    with pytest.raises(AttributeError, match="reconstrct"):
        cmrrecon.reconstrct  # noqa: B018


def test_functions_work_after_every_submodule_was_imported(made, scan, tmp_path):
    for module in pkgutil.walk_packages(cmrrecon.__path__, "cmrrecon."):
        if not module.name.endswith("__main__"):
            importlib.import_module(module.name)
    assert not {module.name for module in pkgutil.iter_modules(cmrrecon.__path__)} & set(
        cmrrecon.__all__
    )
    assert all(callable(getattr(cmrrecon, name)) for name in FUNCTIONS)
    cmrrecon.write(tmp_path / "scan.h5", scan)
    again = cmrrecon.read(tmp_path / "scan.h5")
    result = cmrrecon.reconstruct(again, "sense", iterations=3, weight=0.01)
    assert result.images.shape == (4, 2, 48, 64)
    assert cmrrecon.evaluate(result, made).psnr > 20
    result.save(tmp_path / "images.h5")
    assert (
        cmrrecon.evaluate(tmp_path / "images.h5", made).psnr == cmrrecon.evaluate(result, made).psnr
    )


def test_a_result_says_what_was_done(scan):
    result = cmrrecon.reconstruct(scan, "llr", slices=[1], iterations=5)
    assert result.indices == (1,)
    assert result.decision.method == "llr"
    assert result.decision.iterations == 5
    assert result.provenance["config"]["options"] == {
        "weight": "auto",
        "iterations": 5,
        "coils": "auto",
    }
    assert result.provenance["config"]["method"] == "llr"
    assert len(result.maps) == len(result.residuals) == 1
    assert result.maps[0].shape == (4, 48, 64)
    assert 0 < result.residuals[0] < 3


def test_arrays_and_their_scan_give_the_same_bits(scan):
    """An array has no name that shows gating, so the scan must not have one either."""
    scan = replace(scan, acquisition=Acquisition())
    kspace = torch.stack([scan.read_slice(z) for z in range(2)], 1)
    samples = scan.mask.samples
    wanted = cmrrecon.reconstruct(scan, "sense", iterations=3).images
    for mask in (samples, samples.numpy(), samples[..., 0].numpy().astype(np.uint8)):
        assert torch.equal(
            cmrrecon.reconstruct(kspace.numpy(), "sense", mask=mask, iterations=3).images, wanted
        )


def test_an_undersampled_file_has_the_seed_that_the_command_takes(made, tmp_path):
    cmrrecon.write(tmp_path / "cine_sax.mat", made.scan)
    first, second = (
        cmrrecon.undersample(tmp_path / "cine_sax.mat", "kt-gaussian", 4) for _ in range(2)
    )
    assert first.acquisition.seed == second.acquisition.seed is not None
    assert torch.equal(first.mask.samples, second.mask.samples)
    assert cmrrecon.undersample(made.scan, "uniform", 4).acquisition.seed is None


@pytest.mark.parametrize(
    ("code", "call"),
    [
        ("file-missing", lambda scan: cmrrecon.reconstruct("nowhere/cine.mat")),
        ("unknown-method", lambda scan: cmrrecon.reconstruct(scan, "sens")),
        ("unknown-option", lambda scan: cmrrecon.reconstruct(scan, "sense", wieght=1)),
        ("option-value", lambda scan: cmrrecon.reconstruct(scan, "sense", iterations=0)),
        ("option-value", lambda scan: cmrrecon.reconstruct(scan, uncertainty=1)),
        ("options-conflict", lambda scan: cmrrecon.reconstruct(scan, mask=np.ones(48))),
        ("slice-missing", lambda scan: cmrrecon.reconstruct(scan, slices=[2])),
        ("kspace-axes", lambda scan: cmrrecon.reconstruct(np.zeros((4, 48, 64), complex))),
        ("kspace-real", lambda scan: cmrrecon.reconstruct(np.zeros((4, 1, 4, 48, 64)))),
        ("array-type", lambda scan: cmrrecon.reconstruct([[1, 2], [3, 4]])),
        (
            "mask-shape",
            lambda scan: cmrrecon.reconstruct(
                np.ones((4, 1, 4, 48, 64), complex), mask=np.ones((4, 47))
            ),
        ),
        (
            "mask-values",
            lambda scan: cmrrecon.reconstruct(
                np.ones((4, 1, 4, 48, 64), complex), mask=np.full(48, 0.5)
            ),
        ),
        ("unknown-pattern", lambda scan: cmrrecon.undersample(scan, "kt-gauss", 4)),
        ("kspace-undersampled", lambda scan: cmrrecon.undersample(scan, "uniform", 4)),
        ("unknown-kind", lambda scan: cmrrecon.simulate("cin")),
        ("output-format", lambda scan: cmrrecon.write("scan.docx", scan)),
    ],
)
def test_bad_input_has_a_code(code, call, scan):
    with refused(code):
        call(scan)


def test_near_names_are_proposed(scan):
    with refused("unknown-option") as error:
        cmrrecon.reconstruct(scan, "sense", wieght=1)
    assert "weight" in error.value.remedy
    with refused("unknown-method") as error:
        cmrrecon.reconstruct(scan, "kt-wavlet")
    assert "kt-wavelet" in error.value.remedy


def test_a_result_is_not_saved_where_nobody_may_write(scan, tmp_path):
    result = cmrrecon.reconstruct(scan, "zero-filled")
    (tmp_path / "file").write_text("in the way")
    with refused("output-unwritable"):
        result.save(tmp_path / "file" / "cine.h5")
    with refused("output-format"):
        result.save(tmp_path / "cine.docx")


def test_equal_masks_of_other_shapes_give_equal_images(made):
    full = made.scan
    kspace = torch.stack([full.read_slice(z) for z in range(2)], 1)
    lines = np.zeros(48, bool)
    lines[::3] = lines[18:30] = True
    masked = kspace.numpy() * lines[:, None]
    shapes = (lines, np.repeat(lines[None], 4, 0), np.broadcast_to(lines[:, None], (4, 48, 64)))
    first, *others = (cmrrecon.reconstruct(masked, "llr", mask=mask).images for mask in shapes)
    assert all(torch.equal(first, other) for other in others)


def test_numbers_and_arrays_of_numpy_are_numbers_and_arrays(scan):
    kspace = np.stack([scan.read_slice(z).numpy() for z in range(2)], 1)
    scan = replace(scan, acquisition=Acquisition())
    wanted = cmrrecon.reconstruct(scan, "sense", iterations=3, weight=0.5, slices=[1]).images
    stored = (kspace.astype(">c16"), kspace.astype(np.clongdouble), np.asfortranarray(kspace))
    for array in (*stored, torch.from_numpy(kspace).requires_grad_()):
        given = {
            "iterations": np.int64(3),
            "weight": np.float32(0.5),
            "slices": np.array([1]).tolist(),
        }
        found = cmrrecon.reconstruct(array, "sense", mask=scan.mask.samples, **given).images
        assert torch.equal(found, wanted)


def test_a_simulated_scan_and_a_mask_in_an_array_for_a_file(made, tmp_path):
    assert cmrrecon.reconstruct(made, "zero-filled").images.shape == (4, 2, 48, 64)
    cmrrecon.write(tmp_path / "cine_sax.h5", cmrrecon.undersample(made.scan, "uniform", 4))
    lines = cmrrecon.read(tmp_path / "cine_sax.h5").mask.samples[0, :, 0]
    by_file = cmrrecon.reconstruct(tmp_path / "cine_sax.h5", "sense", iterations=3).images
    by_array = cmrrecon.reconstruct(tmp_path / "cine_sax.h5", "sense", mask=lines, iterations=3)
    assert torch.equal(by_array.images, by_file)


def test_a_result_is_shown_in_a_line(scan):
    result = cmrrecon.reconstruct(scan, "zero-filled")
    assert repr(result) == "Result(method='zero-filled', images=(4, 2, 48, 64))"


@pytest.mark.parametrize(
    ("code", "call"),
    [
        ("array-empty", lambda scan: cmrrecon.reconstruct(np.zeros((0, 1, 4, 8, 8), complex))),
        ("array-empty", lambda scan: cmrrecon.write("a.h5", np.zeros((0, 1, 8, 8)))),
        ("array-type", lambda scan: cmrrecon.reconstruct(None)),
        ("array-type", lambda scan: cmrrecon.reconstruct(np.array(["a"]))),
        ("path-type", lambda scan: cmrrecon.read(None)),
        ("path-type", lambda scan: cmrrecon.reconstruct("a\0b")),
        ("path-type", lambda scan: cmrrecon.write(5, scan)),
        ("option-value", lambda scan: cmrrecon.reconstruct(scan, slices=0)),
        ("option-value", lambda scan: cmrrecon.reconstruct(scan, slices=[0.5])),
        ("option-value", lambda scan: cmrrecon.reconstruct(scan, slices=[True])),
        ("option-value", lambda scan: cmrrecon.reconstruct(scan, adapt=-1)),
        ("option-value", lambda scan: cmrrecon.reconstruct(scan, uncertainty=2.5)),
        ("unknown-device", lambda scan: cmrrecon.reconstruct(scan, device=3)),
        ("unknown-method", lambda scan: cmrrecon.reconstruct(scan, "")),
        ("unknown-method", lambda scan: cmrrecon.reconstruct(scan, 3)),
        ("option-value", lambda scan: cmrrecon.undersample(scan, "uniform", "4")),
        ("option-value", lambda scan: cmrrecon.simulate(frames=2.5)),
        ("option-value", lambda scan: cmrrecon.simulate(seed="a")),
        (
            "mask-values",
            lambda scan: cmrrecon.reconstruct(np.ones((1, 1, 2, 8, 8), complex), mask=np.zeros(8)),
        ),
    ],
)
def test_arguments_of_the_wrong_type_have_a_code(code, call, scan):
    with refused(code):
        call(scan)


def test_trajectories_are_not_undersampled():
    with refused("needs-cartesian"):
        cmrrecon.undersample(cmrrecon.simulate(slices=1, y=32, x=64, spokes=8).scan, "uniform", 2)
