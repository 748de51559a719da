"""The result of a reconstruction."""

import warnings
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

import torch
from torch import Tensor

from cmrrecon import formats
from cmrrecon.data import Geometry
from cmrrecon.data.geometry import Vector
from cmrrecon.methods.decision import Decision
from cmrrecon.tools.errors import UsageError
from cmrrecon.tools.files import as_path


@dataclass(frozen=True, eq=False, repr=False)
class Result:
    """The images of a scan, and how far to trust them.

    Attributes
    ----------
    slices : sequence of Tensor of shape (frame, y, x), complex64 or float32
        One tensor per slice, on the scale of the k-space; float32 from methods that return only
        magnitudes.
    indices : tuple of int
        Slice numbers in the scan.
    maps : sequence of Tensor of shape (coil, y, x), complex64
        Coil maps per slice. Empty for methods that do not use the package's own maps, and if
        finished slices are kept on disk.
    uncertainty : sequence of Tensor of shape (frame, y, x), float32
        Standard deviations per slice; empty unless requested.
    decision : Decision or None
        The decision for the scan; None for methods without one.
    residuals : tuple of float or None
        Root mean square of A x - y divided by the noise, one number per slice; None if unknown.
    warnings : tuple of str
        Sentences the user should read.
    provenance : Mapping
        How the result was made, as JSON values. It is stored in every output file.
    sources : tuple of Path
        The files from which the result was made.
    geometry : Geometry or None
        Geometry of these images; None if it is unknown. It is stored in the provenance.

    Examples
    --------
    >>> import cmrrecon
    >>> full = cmrrecon.simulate(frames=2, slices=2, coils=3, y=32, x=64).scan
    >>> result = cmrrecon.reconstruct(full, "zero-filled", device="cpu")
    >>> result
    Result(method='zero-filled', images=(2, 2, 32, 64))
    >>> len(result.slices), result.slices[0].shape
    (2, torch.Size([2, 32, 64]))
    >>> result.indices, result.residuals
    ((0, 1), (None, None))
    """

    slices: Sequence[Tensor]
    indices: tuple[int, ...]
    maps: Sequence[Tensor] = ()
    uncertainty: Sequence[Tensor] = ()
    decision: Decision | None = None
    residuals: tuple[float | None, ...] = ()
    warnings: tuple[str, ...] = ()
    provenance: Mapping[str, Any] = field(default_factory=dict)
    sources: tuple[Path, ...] = ()
    geometry: Geometry | None = None

    def __repr__(self) -> str:
        """Return one line, whatever the size of the images."""
        frames, y, x = self.slices[0].shape
        method = self.provenance.get("config", {}).get("method")
        return f"Result(method={method!r}, images=({frames}, {len(self.slices)}, {y}, {x}))"

    @property
    def images(self) -> Tensor:
        """All slices together: (frame, slice, y, x)."""
        return torch.stack(list(self.slices), 1)

    def save(
        self,
        path: str | Path,
        *,
        voxel_mm: Vector | None = None,
        also: Literal["phase", "complex"] | None = None,
        enhanced: bool = False,
        patient_id: str | None = None,
    ) -> list[Path]:
        """Write the images, and any uncertainties to `<name>_uncertainty.h5` in the same folder.

        An existing file is replaced in one step, so it is never incomplete. A folder of DICOM
        images is replaced only if it contains nothing else.

        Parameters
        ----------
        path : path
            The suffix chooses the format: `.h5` keeps the phase; `.mat` is MAT v5 with
            `img4ranking`; `.npy` and `.npz` are arrays; `.png` and `.gif` are pictures; `.nii` and
            `.nii.gz` are NIfTI; `.dcm` is a folder with one DICOM image per slice and frame.
        voxel_mm : (float, float, float) or None
            Voxel size (y, x, slice) in mm for NIfTI and DICOM if the geometry does not state it;
            None for 1 mm.
        also : {"phase", "complex"} or None
            What to write beside the magnitudes in NIfTI or DICOM: the phase in radians to
            `<name>_phase`, or, in NIfTI, complex images to `<name>_complex`.
        enhanced : bool
            Whether to write DICOM as one Enhanced MR file.
        patient_id : str or None
            Name and identifier of the patient in DICOM; None for anonymous.

        Returns
        -------
        list of Path
            The files and folders written.

        Raises
        ------
        UsageError
            If the suffix is unknown (`output-format`), the output would replace one of the sources
            (`output-is-input`), an option is not valid (`option-value`, `options-conflict`), a
            package is missing (`package-missing`), a NIfTI file cannot hold these slices
            (`slices-not-stacked`), or the images have no phase (`phase-missing`).
        OutputError
            If the file cannot be written (`output-unwritable`), or a folder of other files would be
            replaced (`output-foreign`).
        NumericalError
            If images with NaN or infinity are to be written as DICOM (`result-not-finite`).

        Warns
        -----
        UserWarning
            If NIfTI or DICOM has to assume a voxel size or an orientation.

        Examples
        --------
        >>> import tempfile
        >>> from pathlib import Path
        >>> import cmrrecon
        >>> full = cmrrecon.simulate(frames=1, slices=1, coils=2, y=32, x=64).scan
        >>> result = cmrrecon.reconstruct(full, "zero-filled", device="cpu")
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     [path.name for path in result.save(Path(folder) / "cine.h5")]
        ['cine.h5']
        """
        target = as_path(path, "output")
        export = formats.Export(voxel_mm, also, enhanced, patient_id)
        formats.check_suffix(target, "images")
        export.check(target)
        for note in formats.placement_notes(target, self.geometry, export):
            warnings.warn(note, stacklevel=2)
        return self.write(target, export)

    def write(self, target: Path, export: formats.Export) -> list[Path]:
        """Write the images like `save`, without warnings."""
        frames, y, x = self.slices[0].shape
        shape = (frames, len(self.slices), y, x)
        beside = beside_paths(target, export, uncertainty=bool(self.uncertainty))
        for path in [target, *beside]:
            formats.check_suffix(path, "images")
        self._refuse_sources([target, *beside])
        formats.check_export(target, self.geometry, shape, export)
        if export.also is not None:
            formats.check_phase(self.slices)

        stamp = {key: value for key, value in self.provenance.items() if key != "export"}
        options = export.record()
        marked = {**stamp, "export": options} if options else stamp
        formats.write_images(target, self.slices, marked, export=export)
        if export.also is not None:
            formats.write_images(beside[0], self.slices, marked, export=export, part=export.also)
        if self.uncertainty:
            # This file is written last: if it is missing, the whole output is made again.
            stamp["quantity"] = "standard deviation"
            formats.write_images(beside[-1], self.uncertainty, stamp)
        return [target, *beside]

    def _refuse_sources(self, targets: Sequence[Path]) -> None:
        """Refuse to overwrite the files from which the images were made."""
        sources = {source.resolve() for source in self.sources}
        for target in targets:
            if target.resolve() in sources:
                raise UsageError(
                    "output-is-input",
                    f"{target} is one of the files that were reconstructed",
                    "An output must not replace its own input",
                    "Choose another file name",
                )


def uncertainty_path(path: Path) -> Path:
    """Return the path of the uncertainties of an output."""
    return formats.beside_path(path, "uncertainty", ".h5")


def beside_paths(path: Path, export: formats.Export, *, uncertainty: bool) -> list[Path]:
    """Return the paths of the files that are written beside an output."""
    also = [] if export.also is None else [formats.beside_path(path, export.also)]
    return [*also, uncertainty_path(path)] if uncertainty else also
