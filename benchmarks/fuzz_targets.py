"""The files that `fuzz.py` damages: a tiny one of every format, and how it is read."""

import contextlib
import dataclasses
import hashlib
import sys
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import h5py
import nibabel
import numpy as np
import scipy.io
import torch
from PIL import Image

sys.path.insert(0, str(Path(__file__).parents[1] / "tests"))

import format_samples

from cmrrecon import formats
from cmrrecon.formats import label_maps, labels, reading_arrays, times
from cmrrecon.networks.catalog import build
from cmrrecon.networks.checkpoints import torch_files, weights
from cmrrecon.tools.errors import CmrreconError
from cmrrecon.training import dataset, entries, recipe, store

Maker = Callable[[Path], Path]


@dataclass(frozen=True)
class Target:
    """A file to damage, and how to read it.

    Attributes
    ----------
    name : str
        The format.
    make : callable
        Writes files into an empty folder; returns the one to damage.
    read : callable
        Takes the path of the damaged file; returns everything that was read.
    text : bool
        Whether tokens of text are exchanged too.
    checked : bool
        Whether the format has checksums, so that every change of a value must be noticed.
    """

    name: str
    make: Maker
    read: Callable[[Path], Any]
    text: bool = False
    checked: bool = False


def digest(value: Any) -> str:
    """Return a digest of nested values and arrays."""
    found = hashlib.sha256()
    for piece in _pieces(value):
        found.update(piece)
    return found.hexdigest()[:16]


def _pieces(value: Any) -> Iterable[bytes]:
    if isinstance(value, torch.Tensor):
        value = value.detach().cpu().numpy()
    if isinstance(value, np.ndarray):
        yield f"{value.shape} {value.dtype}".encode()
        yield np.ascontiguousarray(value).tobytes()
    elif isinstance(value, dict):
        for key in sorted(value, key=repr):
            yield repr(key).encode()
            yield from _pieces(value[key])
    elif isinstance(value, list | tuple):
        yield f"{len(value)}".encode()
        for one in value:
            yield from _pieces(one)
    elif dataclasses.is_dataclass(value) and not isinstance(value, type):
        yield from _pieces(
            {each.name: getattr(value, each.name) for each in dataclasses.fields(value)}
        )
    else:
        yield repr(value).encode(errors="replace")


def scan_in(path: Path) -> Any:
    """Read everything in a file of k-space that a command would use."""
    scan = formats.read(path)
    mask = None if scan.mask is None else scan.mask.samples
    slices = [scan.series(index).kspace for index in range(scan.shape[1])]
    return scan.shape, mask, slices, scan.acquisition, scan.geometry


def own_file_in(path: Path) -> Any:
    return scan_in(path), formats.read_provenance(path)


def images_in(path: Path) -> Any:
    return reading_arrays.read_images(path), formats.read_provenance(path)


def beside(read: Callable[[Path], Any], name: str) -> Callable[[Path], Any]:
    """Read the file of this name in the folder of the damaged one."""
    return lambda path: read(path.parent / name)


def other(make: Maker, name: str) -> Maker:
    """Damage another one of the files that were made."""
    return lambda folder: make(folder).with_name(name)


def network_in(path: Path) -> Any:
    loaded = weights.load(path)
    return loaded.network.state_dict(), loaded.metadata


def safetensors_file(folder: Path) -> Path:
    torch.manual_seed(0)
    path = folder / "small.safetensors"
    weights.save(path, build("unet", {"channels": 1}), {"steps": 3})
    return path


def torch_file(folder: Path, *, legacy: bool = False) -> Path:
    torch.manual_seed(0)
    path = folder / "small.pt"
    state = torch.nn.Conv2d(2, 4, 3).state_dict()
    content = {"state_dict": state, "epoch": 1, "hyper_parameters": {"cascades": 2}}
    torch.save(content, path, _use_new_zipfile_serialization=not legacy)
    return path


def tensors_in(path: Path) -> Any:
    """Read the tensors, or pass them to a network that they do not fit."""
    tensors, others, _ = torch_files.read(path, lambda shapes: None)
    with contextlib.suppress(CmrreconError):
        weights.load(path)
    return tensors, dict(others)


def recipe_file(folder: Path) -> Path:
    path = folder / "recipe.toml"
    path.write_text((recipe.RECIPES / f"{recipe.names()[0]}.toml").read_text())
    return path


def store_folder(folder: Path) -> Path:
    """A store of one scan; returns its fingerprint."""
    source = folder / "source.h5"
    formats.write_scan(source, format_samples.scan())
    (folder / "store").mkdir()
    store.add_scan(source, folder / "store" / "scan.h5")
    return store.write_fingerprint(folder / "store")


def sample_in(path: Path) -> Any:
    """Read a training sample of the store in the folder of the file."""
    found = entries.read_entries(path.parent)
    entries.split(found, 0.5, 0)
    data = recipe.Data()
    domains = [entries.domain_of(entry, data.domain) for entry in found]
    sampling = recipe.Sampling(patterns=("uniform",), accelerations=(2.0,), acs=4)
    windows = dataset.Windows(path.parent, found, 1, sampling, data, seed=0, fixed=True)
    return found, domains, [vars(windows.sample(place, 0)) for place in windows.places[:2]]


def nifti_labels(folder: Path) -> Path:
    path = folder / "cine_label.nii.gz"
    values = np.zeros((16, 12, 2), np.uint8)
    values[4:9, 3:8] = 1
    nibabel.save(nibabel.Nifti1Image(values, np.eye(4)), path)
    return path


def png_labels(folder: Path) -> Path:
    path = folder / "cine_label.png"
    values = np.zeros((16, 12), np.uint8)
    values[4:9, 3:8] = 2
    Image.fromarray(values).save(path)
    return path


def labels_in(path: Path) -> Any:
    return label_maps.read_label_map(path), label_maps.voxel_of(path)


def labels_table(folder: Path) -> Path:
    path = folder / "labels.csv"
    rows = [labels.LabelRow(f"P{n:03}/cine.mat", n, "lesion", (1, 9, 2, 8)) for n in range(4)]
    labels.write_labels(path, rows)
    return path


def times_table(folder: Path) -> Path:
    path = folder / "T1map.csv"
    times.write_times(path, torch.tensor([[100.0, 110], [180, 190], [350.5, 360], [0, 0]]))
    return path


def info_table(folder: Path) -> Path:
    scipy.io.savemat(
        folder / "cine_sax.mat", {"kspace_full": format_samples.KSPACE.numpy().transpose()}
    )
    path = folder / "cine_sax_info.csv"
    path.write_text("Pixel spacing (mm),Slice thickness (mm),Field strength\n1.5 1.5,8,3\n")
    return path


def images_npy(folder: Path) -> Path:
    path = folder / "image.npy"
    formats.write_images(path, [torch.ones(2, 6, 5)], {"config": {"method": "sense"}, "seed": 1})
    return path


def foreign_h5(folder: Path) -> Path:
    """A file of MATLAB v7.3 with a struct of real and imaginary parts, and text."""
    path = folder / "kspace.mat"
    with h5py.File(path, "w", userblock_size=512) as file:
        group = file.create_group("kspace")
        group["real"] = format_samples.KSPACE.numpy().real
        group["imag"] = format_samples.KSPACE.numpy().imag
        file["note"] = np.frombuffer(b"scan", np.uint8)
    return path


def plain_matlab5(folder: Path) -> Path:
    path = folder / "cine_sax.mat"
    kspace = format_samples.KSPACE.numpy().transpose()
    scipy.io.savemat(path, {"kus": kspace, "other": [1, 2]}, do_compression=True)
    return path


SAMPLES = format_samples.SAMPLES
TARGETS = {
    target.name: target
    for target in (
        Target("MATLAB 5", SAMPLES["MATLAB 5 .mat"], scan_in),
        Target("MATLAB 5 (compressed)", plain_matlab5, scan_in, checked=True),
        Target("MATLAB v7.3", SAMPLES["CMRxRecon .mat (v7.3)"], own_file_in),
        Target("MATLAB v7.3 (struct)", foreign_h5, scan_in),
        Target("own .h5", SAMPLES["cmrrecon .h5"], own_file_in, checked=True),
        Target(".npz", SAMPLES["NumPy .npz"], own_file_in, checked=True),
        Target(".npy", SAMPLES["NumPy .npy"], own_file_in),
        Target(".npy.json", other(images_npy, "image.npy.json"), beside(images_in, "image.npy"),
               True),
        Target(".cfl", SAMPLES["BART .cfl"], own_file_in),
        Target(".hdr", other(SAMPLES["BART .cfl"], "scan.hdr"), beside(own_file_in, "scan.cfl"),
               True),
        Target("ISMRMRD", SAMPLES["ISMRMRD"], scan_in),
        Target("fastMRI", SAMPLES["fastMRI"], scan_in),
        Target("twix", SAMPLES["Siemens twix"], scan_in),
        Target("4-D flow table", other(SAMPLES["4-D flow"], "params.csv"),
               beside(scan_in, "kdata_full.mat"), True),
        Target("safetensors", safetensors_file, network_in),
        Target("torch", torch_file, tensors_in),
        Target("torch (old)", lambda folder: torch_file(folder, legacy=True), tensors_in),
        Target("recipe", recipe_file, lambda path: recipe.load(str(path)), True),
        Target("store fingerprint", store_folder, sample_in, True, True),
        Target("store entry", lambda folder: store_folder(folder).with_name("scan.json"),
               sample_in, True, True),
        Target("store scan", lambda folder: store_folder(folder).with_name("scan.h5"),
               sample_in, checked=True),
        Target("labels .nii.gz", nifti_labels, labels_in, checked=True),
        Target("labels .png", png_labels, labels_in, checked=True),
        Target("labels .csv", labels_table, labels.read_labels, True),
        Target("times .csv", times_table, times.read_times, True),
        Target("info .csv", info_table, beside(scan_in, "cine_sax.mat"), True),
    )
}  # fmt: skip
