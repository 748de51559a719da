"""Files out: the suffix of a name says the format."""

from collections.abc import Callable, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any, Literal

from torch import Tensor

from cmrrecon.data import Scan, SpokeMask
from cmrrecon.formats import cfl, hdf5, ismrmrd_output, matlab, matlab5, numpy_files, pictures
from cmrrecon.tools.arrays import as_tensor
from cmrrecon.tools.errors import UsageError
from cmrrecon.tools.files import as_path

SCAN_WRITERS: dict[str, Callable[..., None]] = {
    ".mat": matlab.write_scan,
    ".h5": hdf5.write_scan,
    ".npz": numpy_files.write_scan,
    ".npy": numpy_files.write_scan,
    ".cfl": cfl.write_scan,
    ".mrd": ismrmrd_output.write_scan,
}
IMAGE_WRITERS: dict[str, Callable[..., None]] = {
    ".h5": hdf5.write_images,
    ".mat": matlab5.write_images,
    ".npz": numpy_files.write_images,
    ".npy": numpy_files.write_images,
    ".cfl": cfl.write_images,
    ".png": pictures.write_png,
    ".gif": pictures.write_gif,
}


def write(
    path: str | Path, content: Scan | Tensor | Any, provenance: Mapping[str, Any] | None = None
) -> None:
    """Write a scan or images; the suffix says the format. A `Result` writes itself, see `Result.save`.

    Parameters
    ----------
    path : `.mat`, `.h5`, `.npz`, `.npy` or `.cfl`; for a scan also `.mrd` (ISMRMRD); for images
        also `.png` and `.gif`
    content : Scan; or Tensor or NumPy array of images (frame, slice, y, x), real or complex
    provenance : JSON values that travel inside the file

    Raises
    ------
    UsageError : `output-format`, `images-axes`, `array-type`
    OutputError : the file cannot be written
    """
    target = as_path(path, "output")
    if isinstance(content, Scan):
        write_scan(target, content, provenance)
        return

    images = as_tensor(content, "content", "of images (frame, slice, y, x), or a Scan,")
    if images.ndim != 4:
        raise UsageError(
            "images-axes",
            f"The images have shape {tuple(images.shape)}",
            "Four axes (frame, slice, y, x) are needed",
            "Add the missing axes of length 1, in that order",
        )
    write_images(target, images.unbind(1), provenance)


def write_scan(
    path: str | Path,
    scan: Scan,
    provenance: Mapping[str, Any] | None = None,
    *,
    variable: str | None = None,
    images: Sequence[Tensor] | None = None,
) -> None:
    """A scan, slice by slice where possible: `.mat` (v7.3, official layout, without the mask),
    `.h5`, `.npz`, `.npy`, `.cfl` (without the mask) or `.mrd` (ISMRMRD).

    Parameters
    ----------
    variable : name of the k-space in a `.mat` file; by default as the official files do
    images : reference images to keep in a `.h5` file, a sequence over slices of (frame, y, x); it is looked at after
        the last slice of k-space was read

    Raises
    ------
    OutputError : the file cannot be written
    UsageError : the suffix is unknown
    """
    path = Path(path)
    write = _by_suffix(path, SCAN_WRITERS, "a scan")
    if write is matlab.write_scan:
        write = partial(write, variable=variable)

    if isinstance(scan.mask, SpokeMask):
        _by_suffix(
            path,
            {suffix: SCAN_WRITERS[suffix] for suffix in (".h5", ".npz")},
            "k-space along a trajectory",
        )

    if images is not None:
        write = partial(
            _by_suffix(path, {".h5": hdf5.write_scan}, "a scan with images"), images=images
        )

    write(path, scan, provenance)


def write_mask(
    path: str | Path, mask: Tensor, x: int, provenance: Mapping[str, Any] | None = None
) -> None:
    """A mask (frame|1, y, x|1) bool as official `.mat` (v7.3) file or as `.cfl`; `x` is the number
    of readout samples.

    Raises
    ------
    OutputError : the file cannot be written
    UsageError : the suffix is unknown
    """
    path = Path(path)
    writers = {".mat": matlab.write_mask, ".cfl": cfl.write_mask}
    _by_suffix(path, writers, "a mask")(path, mask, x, provenance)


def write_maps(
    path: str | Path, maps: Sequence[Tensor] | Tensor, provenance: Mapping[str, Any] | None = None
) -> None:
    """Coil maps, a sequence over slices of (coil, y, x) complex such as `Result.maps`, as `.cfl`.

    Raises
    ------
    OutputError : the file cannot be written
    UsageError : the suffix is unknown
    """
    path = Path(path)
    _by_suffix(path, {".cfl": cfl.write_maps}, "coil maps")(path, maps, provenance)


def write_truth(
    path: str | Path, image: Tensor, maps: Tensor, provenance: Mapping[str, Any] | None = None
) -> None:
    """The noise-free truth of a simulated scan as `.npz`: image (frame, slice, y, x) and maps (coil, y, x).

    Raises
    ------
    OutputError : the file cannot be written
    UsageError : the suffix is unknown
    """
    path = Path(path)
    _by_suffix(path, {".npz": numpy_files.write_truth}, "a truth")(path, image, maps, provenance)


def check_suffix(path: str | Path, what: Literal["a scan", "images"]) -> None:
    """Refuse an output name whose suffix says no known format, before any work is done.

    Raises
    ------
    UsageError : the suffix is unknown for scans or images
    """
    _by_suffix(Path(path), SCAN_WRITERS if what == "a scan" else IMAGE_WRITERS, what)


def write_images(
    path: str | Path, images: Sequence[Tensor] | Tensor, provenance: Mapping[str, Any] | None = None
) -> None:
    """Images as `.h5`, `.mat` (`img4ranking`), `.npz`, `.npy`, `.cfl`, `.png` or `.gif`.

    Parameters
    ----------
    images : a sequence over slices of (frame, y, x) tensors, complex or real, each taken once and in order;
        a tensor (slice, frame, y, x) is one too
    provenance : travels in the file (beside it for .npy)

    Raises
    ------
    OutputError : the file cannot be written
    UsageError : the suffix is unknown
    """
    path = Path(path)
    _by_suffix(path, IMAGE_WRITERS, "images")(path, images, provenance)


def _by_suffix(
    path: Path, writers: Mapping[str, Callable[..., None]], what: str
) -> Callable[..., None]:
    writer = writers.get(path.suffix.lower())
    if writer is None:
        raise UsageError(
            "output-format",
            f"The suffix {path.suffix or '(none)'} of {path.name} is not known for {what}",
            f"Known are {', '.join(writers)}",
            "Give a file name with one of these",
        )
    return writer
