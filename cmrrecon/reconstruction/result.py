"""What a reconstruction gives."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from cmrrecon import formats
from cmrrecon.data import Geometry
from cmrrecon.methods.decision import Decision
from cmrrecon.tools.errors import UsageError
from cmrrecon.tools.files import as_path


@dataclass(frozen=True, eq=False, repr=False)
class Result:
    """The images of a scan, and what tells how far to trust them.

    Attributes
    ----------
    slices : a sequence over slices of Tensors (frame, y, x): complex64, or float32 magnitudes from
        methods that return magnitudes only; on the scale of the k-space
    indices : the scan's numbers of these slices
    maps : a sequence over slices of coil maps (coil, y, x) complex64; empty from methods that use
        none of ours, and where finished slices are kept on disk
    uncertainty : a sequence over slices of standard deviations (frame, y, x); empty unless asked for
    decision : what was decided for the scan; None from methods that decide nothing
    residuals : one number a slice, root mean square of A x - y over the noise; None where not known
    warnings : what the user should know, in sentences
    provenance : where the result comes from, JSON values; it travels inside every file
    sources : the files that it was made from
    geometry : Geometry of these images, or None where it is not known; it travels in the provenance
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
        """A line, whatever the size of the images."""
        frames, y, x = self.slices[0].shape
        method = self.provenance.get("config", {}).get("method")
        return f"Result(method={method!r}, images=({frames}, {len(self.slices)}, {y}, {x}))"

    @property
    def images(self) -> Tensor:
        """All slices together: (frame, slice, y, x)."""
        return torch.stack(list(self.slices), 1)

    def save(self, path: str | Path) -> list[Path]:
        """Write the images, and uncertainties beside them as `<name>_uncertainty.h5`.

        Parameters
        ----------
        path : `.h5` keeps the phase; `.mat` is MAT v5 with `img4ranking`; `.npy`, `.npz`; `.png` and
            `.gif` to look at. An existing file is replaced, whole or not at all

        Returns
        -------
        The files written

        Raises
        ------
        UsageError : `output-format`, `output-is-input`
        OutputError : `output-unwritable`
        """
        target = as_path(path, "output")
        formats.check_suffix(target, "images")

        beside = uncertainty_path(target)
        written = [target, beside] if self.uncertainty else [target]
        self._refuse_sources(written)
        formats.write_images(target, self.slices, self.provenance)
        if not self.uncertainty:
            return written

        # Last: where it alone is missing, the whole output is made again.
        stamp = {**self.provenance, "quantity": "standard deviation"}
        formats.write_images(beside, self.uncertainty, stamp)
        return written

    def _refuse_sources(self, targets: Sequence[Path]) -> None:
        """Refuse to write over what the images are made from."""
        sources = {source.resolve() for source in self.sources}
        for target in targets:
            if target.resolve() in sources:
                raise UsageError(
                    "output-is-input",
                    f"{target} is one of the files that were reconstructed",
                    "An output must not replace what it is made from",
                    "Name another file",
                )


def uncertainty_path(path: Path) -> Path:
    """Where the uncertainties of an output go."""
    return path.with_name(f"{path.stem}_uncertainty.h5")
