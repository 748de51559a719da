"""The result of `fit`: a map of a relaxation time, with its deviation and its residual."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from torch import Tensor

from cmrrecon import formats
from cmrrecon.evaluation.map_figures import check_window, write_map_figure
from cmrrecon.evaluation.segments import Segment
from cmrrecon.formats.export import DICOM, NIFTI, PLAIN, Export, beside_path
from cmrrecon.formats.names import suffix_of
from cmrrecon.tools.errors import UsageError
from cmrrecon.tools.files import as_path

PICTURE = ".png"
SUFFIXES = (".h5", ".mat", ".npy", ".npz", *NIFTI, DICOM, PICTURE)


@dataclass(frozen=True, repr=False)
class ParametricMap:
    """A fitted relaxation time of each pixel. Pixels that were not fitted are NaN in all maps.

    Attributes
    ----------
    parameter : str
        `T1`, `T2` or `T2*`.
    model : str
        Name of the model.
    noise_floor : bool
        Whether a noise floor was fitted.
    values : Tensor of shape (slice, y, x), float32
        Relaxation time in ms.
    deviation : Tensor of shape (slice, y, x), float32
        Standard deviation of each value in ms, from the Jacobian and the residual; NaN if there
        are only as many times as parameters.
    residual : Tensor of shape (slice, y, x), float32
        Root mean square residual over the weightings, in the unit of the images.
    times : Tensor of shape (frame, slice), float64
        Times in ms.
    fitted, failed, air, broken : int
        Number of pixels that were fitted, that could not be fitted, that are air, and that have
        samples that are not finite.
    segments : tuple of Segment
        Mean and deviation in the AHA segments; empty without a label map.
    provenance : mapping
        JSON values that `save` stores.
    """

    parameter: str
    model: str
    noise_floor: bool
    values: Tensor
    deviation: Tensor
    residual: Tensor
    times: Tensor
    fitted: int
    failed: int
    air: int
    broken: int
    segments: tuple[Segment, ...] = ()
    provenance: Mapping[str, Any] = field(default_factory=dict)

    def __repr__(self) -> str:
        """Return one line, whatever the size of the map."""
        return f"ParametricMap({self.parameter}, {tuple(self.values.shape)}, {self.fitted} fitted)"

    def save(self, path: str | Path, *, window: tuple[float, float] | None = None) -> list[Path]:
        """Write the map, and beside it `<name>_sd` and `<name>_residual`.

        Parameters
        ----------
        path : path
            The suffix chooses the format. `.png` is a picture with a colour bar in ms; the others
            are those of images, with the axes (frame 1, slice, y, x).
        window : (float, float), optional
            Values in ms at the ends of the colour bar; None for `WINDOWS`.

        Returns
        -------
        list of Path
            The files written.

        Raises
        ------
        UsageError
            If the suffix is unknown (`output-format`) or the window is not valid (`window-range`).
        OutputError
            If a file cannot be written.
        """
        target = as_path(path, "output")
        check_map_suffix(target)
        check_window(window)
        files = map_files(target)
        for file, part in zip(files, PARTS, strict=True):
            self.write(file, part, self.provenance, window=window)
        return files

    def write(
        self,
        path: Path,
        part: str,
        provenance: Mapping[str, Any],
        *,
        window: tuple[float, float] | None = None,
        export: Export = PLAIN,
    ) -> None:
        """Write one of the maps, see `save`.

        Parameters
        ----------
        path : Path
            The output.
        part : {"values", "deviation", "residual"}
            The map.
        provenance : mapping
            JSON values to store in the file.
        window : (float, float), optional
            As in `save`.
        export : Export
            Options of NIfTI and DICOM files.

        Raises
        ------
        UsageError
            As in `save`.
        OutputError
            If the file cannot be written.
        """
        quantity = QUANTITIES[part].format(self.parameter)
        stamp = {**provenance, "quantity": quantity}
        image: Tensor = getattr(self, part)
        if suffix_of(path) == PICTURE:
            write_map_figure(path, image, self.parameter, part, quantity, stamp, window)
            return
        if suffix_of(path) == DICOM:
            image = image.nan_to_num(0.0)  # its integers have no NaN
        formats.write_images(path, [layer[None] for layer in image], stamp, export=export)


# Endings of the files of a map, and what each contains.
PARTS = {"values": "", "deviation": "sd", "residual": "residual"}
QUANTITIES = {
    "values": "{}",
    "deviation": "standard deviation of {}",
    "residual": "residual of the {} fit",
}


def map_files(target: Path) -> list[Path]:
    """Return the files of a map: `T1.nii.gz`, `T1_sd.nii.gz` and `T1_residual.nii.gz`."""
    return [target if not part else beside_path(target, part) for part in PARTS.values()]


def check_map_suffix(path: Path) -> None:
    """Refuse an output name with a suffix that maps do not have (`output-format`)."""
    if suffix_of(path) not in SUFFIXES:
        raise UsageError(
            "output-format",
            f"The suffix {suffix_of(path) or '(none)'} of {path.name} is not supported for maps",
            f"Supported suffixes are {', '.join(SUFFIXES)}",
            "Use a file name with one of these suffixes",
        )
