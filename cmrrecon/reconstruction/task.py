"""One scan to reconstruct, with all arguments checked."""

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import torch

from cmrrecon.data import Geometry, Scan, View
from cmrrecon.formats.arrays import check_size
from cmrrecon.methods.base import Method, Prediction, described
from cmrrecon.tools import provenance
from cmrrecon.tools.configuration import checked_mapping
from cmrrecon.tools.devices import choose_device
from cmrrecon.tools.errors import UsageError


@dataclass(frozen=True, eq=False)
class Task:
    """One scan to reconstruct, with all arguments checked.

    Attributes
    ----------
    scan : Scan
        The scan.
    method : Method
        The method.
    options : Any
        An instance of `method.Options`.
    slices : tuple of int
        Slice numbers in the scan.
    device : torch.device
        Device to compute on.
    adapt : int
        See `reconstruct`.
    uncertainty : int
        See `reconstruct`.
    axes : str or None
        Names of the stored axes; None if not given.
    dataset : str or None
        Name of the data set; None if not given.
    folder : str or None
        Name of the folder with the weights of the network.
    whiten : bool or None
        See `reconstruct`.
    view : View
        The part of the encoded images to return.
    """

    scan: Scan
    method: Method
    options: Any
    slices: tuple[int, ...]
    device: torch.device
    adapt: int = 0
    uncertainty: int = 0
    axes: str | None = None
    dataset: str | None = None
    folder: str | None = None
    whiten: bool | None = None
    view: View = field(default_factory=View)

    @staticmethod
    def of(
        scan: Scan,
        method: Method,
        options: Mapping[str, Any],
        *,
        slices: Sequence[int] | None = None,
        device: str | torch.device = "auto",
        adapt: int = 0,
        uncertainty: int = 0,
        axes: str | None = None,
        dataset: str | None = None,
        folder: str | None = None,
        whiten: bool | None = None,
        keep_oversampling: bool = False,
        recon_matrix: bool = False,
    ) -> "Task":
        """Check all arguments and make the task.

        Parameters and errors are those of `reconstruct`.
        """
        chosen = checked_options(method, options, adapt, uncertainty)

        kinds = {"keep_oversampling": bool, "recon_matrix": bool, "whiten": bool | None}
        requested = dict(zip(kinds, (keep_oversampling, recon_matrix, whiten), strict=True))
        checked = checked_mapping("The reconstruction", requested, kinds)
        whiten = checked.pop("whiten")

        view = View(**checked)
        view.check(scan.geometry, scan.path or "The scan")
        size = view.size(scan.geometry, scan.image_shape)
        check_size((scan.shape[0], *size), 8, f"An image series of {scan.path or 'the scan'}")

        chosen_device = choose_device(str(device))
        return Task(
            scan,
            method,
            options=chosen,
            slices=_checked_slices(scan, slices),
            device=chosen_device if method.on_gpu else torch.device("cpu"),
            adapt=int(adapt),
            uncertainty=int(uncertainty),
            axes=axes,
            dataset=dataset,
            folder=folder,
            whiten=whiten,
            view=view,
        )

    def provenance(self, command: Sequence[str] = ()) -> dict[str, Any]:
        """Describe how the result is made, as far as this is known before the run.

        Parameters
        ----------
        command : sequence of str
            The words of the command line; empty for a call from Python.

        Returns
        -------
        dict
            JSON values, see `tools.provenance.make`.
        """
        weights = self.method.weights()
        requested = {
            "weights": weights and weights.digest,
            "adapt": self.adapt,
            "uncertainty": self.uncertainty,
            "dataset": self.dataset,
            **asdict(self.view),
        }

        # False is recorded too, because it differs from automatic.
        whiten = {} if self.whiten is None else {"whiten": self.whiten}
        folder: dict[str, Any] = {"run": self.folder} if self.folder else {}
        copy = weights.metadata.get("copy") if weights else None
        of_weights: dict[str, Any] = {"weights_copy": copy} if copy else {}

        return provenance.make(
            command or ("cmrrecon.reconstruct",),
            config={
                "method": self.method.name,
                "options": described(self.options),
                "slices": list(self.slices),
                "axes": self.axes,
                **{key: value for key, value in requested.items() if value},
                **whiten,
            },
            inputs=self.inputs,
            device=str(self.device),
            acquisition=asdict(self.scan.acquisition),
            geometry=None if self.geometry is None else asdict(self.geometry),
            **folder,
            **of_weights,
        )

    @property
    def image_shape(self) -> tuple[int, int]:
        """Size (y, x) of the returned images."""
        return self.view.size(self.scan.geometry, self.scan.image_shape)

    @property
    def geometry(self) -> Geometry | None:
        """Geometry of the returned images; None if it is unknown."""
        return self.view.geometry(self.scan.geometry, self.scan.image_shape, self.slices)

    @property
    def inputs(self) -> list[Path]:
        """The files from which the result is made; empty for a scan in memory."""
        scan = self.scan
        return [Path(path) for path in (scan.path, scan.mask_path, scan.maps_path) if path]

    def predict(self) -> Prediction | None:
        """Predict the cost of a slice; None if it is unknown."""
        if not self.method.predicts:
            return None
        series = self.scan.series(self.slices[0]).to(self.device)
        return self.method.predict(series, self.options)


def _checked_slices(scan: Scan, slices: Sequence[int] | None) -> tuple[int, ...]:
    """Return the slice numbers, sorted; refuse numbers that the scan lacks."""
    count = scan.shape[1]
    given = {"slices": tuple(range(count)) if slices is None else slices}
    checked = checked_mapping("The reconstruction", given, {"slices": Sequence[int]})
    wanted = tuple(sorted(set(checked["slices"])))

    if not wanted or wanted[-1] >= count:
        raise UsageError(
            "slice-missing",
            f"Slices {', '.join(map(str, wanted))} were requested"
            if wanted
            else "No slice was requested",
            f"The scan has {count} slices, 0 to {count - 1}",
            "Choose some of these",
        )

    return wanted


def checked_options(
    method: Method, options: Mapping[str, Any], adapt: int = 0, uncertainty: int = 0
) -> Any:
    """Check the options of a method, and the options that all methods share.

    Raises
    ------
    UsageError
        If an option is unknown (`unknown-option`), its value is not allowed (`option-value`), or
        the method cannot be adapted (`not-adaptable`).
    """
    chosen = method.options(options)
    counts = {"adapt": adapt, "uncertainty": uncertainty}
    checked_mapping("The reconstruction", counts, dict.fromkeys(counts, int))
    if uncertainty == 1:
        raise UsageError(
            "option-value",
            "A single replicate was requested for the uncertainty",
            "A standard deviation needs at least two; 0 switches it off",
            "Give, for example, 8",
        )

    if adapt and method.adaptable(chosen) is None:
        raise UsageError(
            "not-adaptable",
            f"The method {method.name} has no network to adapt under these options",
            "Only networks can be adapted to a scan, and auto does not use its network if a weight "
            "or a number of iterations is given",
            "Leave out the adaptation or these options, or give a checkpoint",
        )

    return chosen
