"""Which part of the encoded images is shown, and on which grid."""

from collections.abc import Sequence
from dataclasses import dataclass, replace

from cmrrecon.data.geometry import Geometry
from cmrrecon.tools.errors import UsageError

Size = tuple[int, int]


@dataclass(frozen=True)
class View:
    """Which part of the encoded images is shown; by default the field of view, on its own grid.

    Attributes
    ----------
    keep_oversampling : bool
        Whether to show the whole encoded images.
    recon_matrix : bool
        Whether to interpolate the field of view to the matrix of the scanner's images.
    """

    keep_oversampling: bool = False
    recon_matrix: bool = False

    def check(self, geometry: Geometry | None, where: str) -> None:
        """Refuse a view that contradicts itself or that the scan does not support.

        Parameters
        ----------
        geometry : Geometry or None
            Geometry of the scan.
        where : str
            Name of the file, for the message.

        Raises
        ------
        UsageError
            If both options are set (`options-conflict`), or the file does not state the matrix
            (`recon-matrix-missing`).
        """
        if self.keep_oversampling and self.recon_matrix:
            raise UsageError(
                "options-conflict",
                "Both the oversampling and the scanner's matrix were requested",
                "The scanner's matrix covers the field of view alone",
                "Leave out --keep-oversampling or --recon-matrix",
            )
        if self.recon_matrix and (geometry is None or geometry.recon_matrix is None):
            raise UsageError(
                "recon-matrix-missing",
                f"{where} does not state the matrix of the scanner's images",
                "Images can only be interpolated to a matrix that the file states",
                "Leave out --recon-matrix",
            )

    def part(self, geometry: Geometry | None, encoded: Size) -> Size:
        """Return the size (y, x) of the central part that is shown of images of size `encoded`."""
        field_of_view = None if geometry is None else geometry.field_of_view
        if self.keep_oversampling or field_of_view is None:
            return encoded
        return min(encoded[0], field_of_view[0]), min(encoded[1], field_of_view[1])

    def size(self, geometry: Geometry | None, encoded: Size) -> Size:
        """Return the size (y, x) of the images shown."""
        if self.recon_matrix and geometry is not None and geometry.recon_matrix is not None:
            return geometry.recon_matrix
        return self.part(geometry, encoded)

    def geometry(
        self, geometry: Geometry | None, encoded: Size, slices: Sequence[int]
    ) -> Geometry | None:
        """Return the geometry of the images shown, for the given slices."""
        if geometry is None:
            return None
        part, size = self.part(geometry, encoded), self.size(geometry, encoded)
        voxel = geometry.voxel_mm

        if voxel is not None:
            y, x, thickness = voxel
            voxel = y * part[0] / size[0], x * part[1] / size[1], thickness
        inside = geometry.field_of_view
        if self.recon_matrix or (inside is not None and not self.keep_oversampling):
            inside = size
        return replace(geometry.of_slices(slices), voxel_mm=voxel, field_of_view=inside)
