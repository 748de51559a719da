import json
import re
import subprocess
import sys

import h5py
import numpy as np
import pytest
import scipy.io
import torch
from refusals import refused

from cmrrecon import formats
from cmrrecon.data import LineMask, MaskSource, SampleMask, Scan
from cmrrecon.formats.names import is_timeless, parse_name


def five_axes(shape, variable, base):
    """(frame, slice, coil, y, x) from a MATLAB shape of the manifest."""
    if variable.startswith("kspace_single"):
        x, y, z, t = shape
        return t, z, 1, y, x
    if is_timeless(base):
        x, y, c, z = shape
        return 1, z, c, y, x
    return tuple(reversed(shape))


def check_against_manifest(folder, name, entry):
    path, variable = folder / name, entry.get("variable")
    if "CMRx4DFlow2026" in name:
        check_flow(path, variable, entry["h5py_shape"])
    elif path.suffix == ".csv":
        assert formats.kind(path) == "times"
        assert formats.read_times(path).shape[1] == 2
    elif variable == "img4ranking":
        assert formats.kind(path) == "images"
        x, y, z, t = (*entry["matlab_shape"], 1)[:4]
        stored = scipy.io.loadmat(path)["img4ranking"].reshape(x, y, z, t)
        np.testing.assert_array_equal(
            formats.read_images(path).numpy(), stored.transpose(3, 2, 1, 0)
        )
    elif variable.startswith("mask"):
        assert formats.kind(path) == "mask"
        with h5py.File(path) as file:
            full = torch.from_numpy(file[variable][()] != 0).reshape(-1, *file[variable].shape[-2:])
        mask = formats.read_mask(path)
        assert torch.equal(mask.samples.expand(full.shape), full)
        assert isinstance(mask, SampleMask if "ktRadial" in name else LineMask)
        assert mask.source is MaskSource.FILE
    else:
        check_kspace(path, variable, entry, name)
    return path.suffix == ".mat" and "2026" not in name


def check_flow(path, variable, shape):
    if variable.startswith("kdata"):
        v, t, c, spe, pe, fe = shape
        scan = formats.read(path)
        assert formats.kind(path) == "scan"
        assert scan.shape == (v * t, fe, c, spe, pe)
        assert scan.acquisition.year == 2026
        assert (variable == "kdata_full") == (scan.maps is not None)
    elif variable.startswith("usmask"):
        assert formats.read_mask(path).samples.shape == (shape[1], *shape[3:5])
    elif variable == "coilmap":
        assert formats.read_maps(path).shape == (shape[3], *shape[:3])
    else:
        with refused("variable-kind"):
            formats.read(path)


def check_kspace(path, variable, entry, name):
    assert formats.kind(path) == "scan"
    scan = formats.read(path)
    assert scan.shape == five_axes(entry["matlab_shape"], variable, scan.acquisition.base)
    assert scan.acquisition.year == int(name.removeprefix("CMRxRecon")[:4])
    known = "FullSample" in name or "full" in variable
    assert known == scan.full_by_rule
    assert scan.mask is None or not known
    unknown = scan.mask is None and not known
    assert unknown == bool(scan.notes) == (name == "CMRxRecon2025/mat_v5_variant/T1w.mat")
    last = scan.shape[1] - 1
    series = scan.series(last)
    assert series.kspace.dtype == torch.complex64
    if "h5py_shape" in entry:
        with h5py.File(path) as file:
            stored = file[variable][()]
        expected = stored["real"] + 1j * stored["imag"]
    else:
        expected = scipy.io.loadmat(path)[variable].transpose()
    np.testing.assert_array_equal(
        series.kspace.numpy(), expected.astype(np.complex64).reshape(scan.shape)[:, last]
    )


def test_official_files_in_the_repository(golden):
    folder = golden / "matfiles"
    manifest = json.loads((folder / "manifest.json").read_text())
    present = {name: entry for name, entry in manifest.items() if (folder / name).is_file()}
    assert len(present) >= 12
    for name, entry in present.items():
        check_against_manifest(folder, name, entry)


def test_every_official_file(all_golden):
    folder = all_golden / "matfiles"
    manifest = json.loads((folder / "manifest.json").read_text())
    assert (
        sum(check_against_manifest(folder, name, entry) for name, entry in manifest.items()) == 67
    )


def test_masks_of_undersampled_official_files_are_found(all_golden):
    folder = all_golden / "matfiles"
    found = 0
    for name, entry in json.loads((folder / "manifest.json").read_text()).items():
        if entry.get("variable", "").startswith(("kus", "kspace_sub", "kspace_single_sub")):
            mask = formats.mask_path_for(folder / name)
            assert parse_name(mask).acceleration == parse_name(folder / name).acceleration
            assert torch.equal(
                formats.read(folder / name).mask.samples, formats.read_mask(mask).samples
            )
            found += 1
    assert found == 10


def test_real_single_frame_with_reversed_axes(real_data):
    path = real_data / "CMRxRecon2025-P003-pair" / "underkslice.mat"
    scan = formats.read(path, axes="x,y,coil")
    assert scan.shape == (1, 1, 10, 162, 448)
    with h5py.File(path) as file:
        stored = file["underkspace"][()]
    expected = (stored["real"] + 1j * stored["imag"]).transpose(2, 1, 0).astype(np.complex64)
    series = scan.series(0)
    np.testing.assert_array_equal(series.kspace[0].numpy(), expected)
    lines = [28, 39, 40, 42, 44, 55, 63, 66, *range(71, 91), 97, 154, 157, 160]
    assert series.mask.samples[0, :, 0].nonzero().flatten().tolist() == lines
    assert len(scan.notes) == 2
    with refused("kspace-axes"):
        formats.read(path)


def test_real_demo_file_of_2024_and_its_mask(real_data):
    folder = real_data / "CMRxRecon2024-undersampleDemo"
    scan = formats.read(folder / "cine_sax.mat")
    assert scan.shape == (1, 1, 1, 246, 512)
    expected = scipy.io.loadmat(folder / "cine_sax.mat")["kspace_full"].T
    np.testing.assert_array_equal(scan.series(0).kspace[0, 0].numpy(), expected)
    assert scan.full_by_rule
    mask = formats.read_mask(folder / "cine_sax_mask_Uniform8.mat")
    assert mask.samples.shape == (1, 246, 1)
    assert mask.samples.sum() == 45


def test_real_arrays_of_other_laboratories(real_data):
    scan = formats.read(real_data / "mchiew-SENSE-tutorial" / "raw_data.mat", axes="coil,slice,y,x")
    assert scan.shape == (1, 1, 16, 96, 96)
    assert scan.series(0).mask.complete
    unnamed = real_data / "sigpy-mri-tutorial" / "cartesian_ksp.npy"
    assert formats.read(unnamed, axes="coil,y,x").shape == (1, 1, 8, 230, 180)
    with refused("axes-unknown"):
        formats.read(unnamed)
    pictures = next((real_data / "CMRxRecon2025-cine-pictures").glob("*.npz"))
    assert formats.read_images(pictures).shape[0] == 12


def test_a_given_mask_replaces_those_in_and_beside_the_file(tmp_path, scan):
    other = scan.mask.samples | True
    formats.write_mask(tmp_path / "other.mat", other, x=12)
    formats.write_mask(tmp_path / "cine_sax_mask.mat", scan.mask.samples, x=12)
    for name in ("cine_sax.h5", "cine_sax.mat", "cine_sax.npz"):
        formats.write_scan(tmp_path / name, scan)
        assert torch.equal(formats.read(tmp_path / name).mask.samples, scan.mask.samples)
        assert formats.read(tmp_path / name, mask=tmp_path / "other.mat").mask.complete


def test_a_mask_in_the_same_file_is_used_unless_the_data_are_full(tmp_path, scan):
    kspace = torch.stack([scan.read_slice(i) for i in range(2)], 1).numpy()
    mask = scan.mask.samples.numpy()
    np.savez(tmp_path / "a.npz", kspace=kspace, mask=mask)
    scipy.io.savemat(
        tmp_path / "b.mat", {"kus": kspace.transpose(), "mask": mask.repeat(12, 2).transpose()}
    )
    for name in ("a.npz", "b.mat"):
        assert torch.equal(formats.read(tmp_path / name).mask.samples, scan.mask.samples)
    scipy.io.savemat(
        tmp_path / "c.mat",
        {"kspace_full": kspace.transpose() + 1, "mask": mask.repeat(12, 2).transpose()},
    )
    assert formats.read(tmp_path / "c.mat").full_by_rule
    assert formats.read(tmp_path / "c.mat").series(0).mask.complete


def test_without_a_mask_file_the_notes_say_what_counts_as_measured(tmp_path, scan):
    formats.write_scan(tmp_path / "cine_sax_kus_Uniform4.mat", scan)
    back = formats.read(tmp_path / "cine_sax_kus_Uniform4.mat")
    assert back.mask is None
    assert len(back.notes) == 1
    assert "No mask file found" in back.notes[0]
    assert torch.equal(back.series(1).mask.samples, scan.mask.samples)


def test_several_variables_and_unknown_ones_are_noted(tmp_path):
    kspace = np.ones((6, 5, 2, 1, 3), np.complex64)
    scipy.io.savemat(tmp_path / "a.mat", {"kus": kspace, "kspace_full": kspace, "other": 1})
    assert any(
        re.search(r"\bkus\b.*\bkspace_full\b", note)
        for note in formats.read(tmp_path / "a.mat").notes
    )
    scipy.io.savemat(tmp_path / "b.mat", {"mine": kspace})
    assert any("mine, the only variable" in note for note in formats.read(tmp_path / "b.mat").notes)
    scipy.io.savemat(tmp_path / "c.mat", {"mine": kspace, "yours": kspace})
    with refused("variable-missing") as error:
        formats.read(tmp_path / "c.mat")
    assert "mine, yours" in str(error.value)


def test_names_from_files_cannot_write_to_the_terminal(tmp_path):
    with h5py.File(tmp_path / "a.mat", "w") as file:
        file["\x1b[2Jevil\n" + "x" * 500] = np.ones((4, 4), np.complex64)
        file["two"] = np.ones((4, 4))
    with refused("variable-missing") as caught:
        formats.read(tmp_path / "a.mat")
    assert "\x1b" not in str(caught.value)
    assert "\n" not in str(caught.value)
    assert len(str(caught.value)) < 500


@pytest.fixture
def kinds(tmp_path, scan, images):
    formats.write_scan(tmp_path / "scan.mat", scan)
    formats.write_mask(tmp_path / "mask.mat", scan.mask.samples, x=12)
    formats.write_images(tmp_path / "images.mat", images)
    return tmp_path


@pytest.mark.parametrize(
    ("read", "name", "held", "wanted"),
    [
        (formats.read, "mask.mat", "mask", "k-space"),
        (formats.read, "images.mat", "images", "k-space"),
        (formats.read_mask, "scan.mat", "k-space", "mask"),
        (formats.read_mask, "images.mat", "images", "mask"),
        (formats.read_images, "scan.mat", "k-space", "images"),
        (formats.read_images, "mask.mat", "mask", "images"),
    ],
)
def test_files_of_the_wrong_kind_are_refused(kinds, read, name, held, wanted):
    with refused("variable-kind") as error:
        read(kinds / name)
    assert held in error.value.found
    assert wanted in error.value.expected


@pytest.mark.parametrize(
    ("values", "code"),
    [
        (np.full((4, 5), 0.5), "mask-values"),
        (np.zeros((4, 5)), "mask-values"),
        (np.full((4, 5), np.nan), "mask-values"),
        (np.ones((4, 5), complex), "mask-shape"),
        (np.ones((2, 2, 4, 5)), "mask-shape"),
        (np.ones((1, 1, 1, 4, 5)), "mask-shape"),
    ],
)
def test_arrays_that_are_not_masks_are_refused(tmp_path, values, code):
    with h5py.File(tmp_path / "m.mat", "w") as file:
        file["mask"] = values
    with refused(code):
        formats.read_mask(tmp_path / "m.mat")


@pytest.mark.parametrize(
    ("values", "code"),
    [
        (np.ones((2, 4, 5)), "kspace-real"),
        (np.ones(5, complex), "kspace-axes"),
        (np.ones((1,) * 6, complex), "kspace-axes"),
        (np.ones((0, 4, 5), complex), "array-empty"),
    ],
)
def test_arrays_that_cannot_be_kspace_are_refused(tmp_path, values, code):
    with h5py.File(tmp_path / "a.mat", "w") as file:
        file["kspace"] = values
    with refused(code):
        formats.read(tmp_path / "a.mat")


def test_missing_empty_unknown_and_unreadable_files_are_refused(tmp_path, monkeypatch):
    cases = {
        "missing.mat": "file-missing",
        "folder": "file-is-folder",
        "empty.mat": "file-empty",
        "text.mat": "file-format",
    }
    (tmp_path / "folder").mkdir()
    (tmp_path / "empty.mat").touch()
    (tmp_path / "text.mat").write_text("no data " * 100)
    for name, code in cases.items():
        for read in (formats.read, formats.read_mask, formats.read_images, formats.read_provenance):
            with refused(code):
                read(tmp_path / name)
    (tmp_path / "scan.dat").write_text("no data")
    with refused("file-format"):
        formats.read(tmp_path / "scan.dat")

    def refuse(*arguments):
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr("builtins.open", refuse)
    with refused("file-unreadable"):
        formats.read(tmp_path / "text.mat")


def test_content_counts_more_than_the_suffix(tmp_path, scan):
    formats.write_scan(tmp_path / "a.h5", scan)
    for name in ("stdin", "b.mat", "c.npy"):
        (tmp_path / name).write_bytes((tmp_path / "a.h5").read_bytes())
        assert formats.read(tmp_path / name).acquisition == scan.acquisition


def test_unknown_suffixes_for_writing_list_the_known_ones(tmp_path, scan, images):
    with refused("output-format") as error:
        formats.write_scan(tmp_path / "a.png", scan)
    assert ".mat, .h5, .npz, .npy" in error.value.expected
    with refused("output-format") as error:
        formats.write_images(tmp_path / "a.tiff", images)
    assert ".png, .gif" in error.value.expected
    with refused("output-format") as error:
        formats.write_mask(tmp_path / "a", scan.mask.samples, x=12)
    assert ".mat" in error.value.expected


def test_images_of_the_wrong_shape_are_refused(tmp_path, images):
    for name in ("a.h5", "a.mat", "a.npy", "a.png"):
        with refused("images-axes"):
            formats.write_images(tmp_path / name, images[0])
    assert not list(tmp_path.iterdir())


def test_folders_are_searched_by_content(kinds):
    formats.write_times(kinds / "T1map.csv", torch.ones(2, 1))
    (kinds / "damaged.mat").write_text("no data")
    (kinds / "notes.txt").write_text("words")
    names = [path.name for path in sorted(kinds.iterdir())]
    assert [name for name in names if formats.is_scan(kinds / name)] == ["damaged.mat", "scan.mat"]
    assert [name for name in names if formats.is_images(kinds / name)] == [
        "damaged.mat",
        "images.mat",
    ]


def test_v73_images_are_read_in_matlab_order(tmp_path):
    values = np.random.default_rng(0).random((3, 2, 5, 6)).astype("f4")
    with h5py.File(tmp_path / "a.mat", "w") as file:
        file["img4ranking"] = values
    np.testing.assert_array_equal(formats.read_images(tmp_path / "a.mat").numpy(), values)
    with h5py.File(tmp_path / "blackblood.mat", "w") as file:
        file["img4ranking"] = values[0]
    np.testing.assert_array_equal(
        formats.read_images(tmp_path / "blackblood.mat").numpy(), values[:1]
    )


def test_a_broken_mask_beside_the_data_is_not_ignored(tmp_path, scan):
    formats.write_scan(tmp_path / "cine_sax_kus_Uniform4.mat", scan)
    (tmp_path / "cine_sax_mask_Uniform4.mat").write_text("no mask")
    with refused("file-format") as error:
        formats.read(tmp_path / "cine_sax_kus_Uniform4.mat")
    assert "cine_sax_mask_Uniform4" in str(error.value)


def test_scan_and_images_of_any_slice_count_keep_their_order(tmp_path):
    kspace = torch.arange(5).reshape(1, 5, 1, 1, 1) + torch.ones(2, 5, 1, 4, 4) + 0j
    scan = Scan.from_kspace(kspace.to(torch.complex64))
    for name in ("a.h5", "a.mat", "a.npz", "a.npy"):
        formats.write_scan(tmp_path / name, scan)
        back = formats.read(tmp_path / name)
        assert [back.read_slice(i)[1, 0, 0, 0].real.item() for i in range(5)] == [1, 2, 3, 4, 5]


def test_importing_formats_loads_neither_sigpy_nor_matplotlib_nor_scipy():
    code = (
        "import sys, cmrrecon.formats; "
        "print([m for m in ('sigpy', 'matplotlib', 'scipy') if m in sys.modules])"
    )
    assert (
        subprocess.run([sys.executable, "-c", code], capture_output=True, text=True).stdout.strip()
        == "[]"
    )


def test_a_mask_file_may_list_only_lines(tmp_path):
    lines = np.arange(12) % 3 == 0
    np.save(tmp_path / "mask.npy", lines.astype(np.uint8))
    mask = formats.read_mask(tmp_path / "mask.npy")
    assert isinstance(mask, LineMask)
    assert mask.samples.tolist() == [[[bool(line)] for line in lines]]
