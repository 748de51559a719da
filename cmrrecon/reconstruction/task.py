"""One scan to reconstruct, with everything that was asked for checked."""

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
    """One scan to reconstruct, everything checked.

    Attributes
    ----------
    scan, method : what, and how
    options : of `method.Options`
    slices : the scan's slice numbers
    device : where it is computed
    adapt, uncertainty : see `reconstruct`
    axes, dataset : names of stored axes, and of a data set, that were given
    folder : the folder that the weights of a network lie in
    whiten : see `reconstruct`
    view : what of the encoded images is given
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
        """The task, its parts checked; parameters and errors as of `reconstruct`."""
        chosen = checked_options(method, options, adapt, uncertainty)

        kinds = {"keep_oversampling": bool, "recon_matrix": bool, "whiten": bool | None}
        asked = dict(zip(kinds, (keep_oversampling, recon_matrix, whiten), strict=True))
        checked = checked_mapping("The reconstruction", asked, kinds)
        whiten = checked.pop("whiten")

        view = View(**checked)
        view.check(scan.geometry, scan.path or "The scan")
        size = view.size(scan.geometry, scan.image_shape)
        check_size((scan.shape[0], *size), 8, f"An image series of {scan.path or 'the scan'}")

        where = choose_device(str(device))
        return Task(
            scan,
            method,
            options=chosen,
            slices=_checked_slices(scan, slices),
            device=where if method.on_gpu else torch.device("cpu"),
            adapt=int(adapt),
            uncertainty=int(uncertainty),
            axes=axes,
            dataset=dataset,
            folder=folder,
            whiten=whiten,
            view=view,
        )

    def provenance(self, command: Sequence[str] = ()) -> dict[str, Any]:
        """Where the result comes from, as far as it is known before: see `tools.provenance.make`.

        Parameters
        ----------
        command : the words of the command line; empty for a call from Python
        """
        weights = self.method.weights()
        asked = {
            "weights": weights and weights.digest,
            "adapt": self.adapt,
            "uncertainty": self.uncertainty,
            "dataset": self.dataset,
            **asdict(self.view),
        }

        # False is asked for too.
        whiten = {} if self.whiten is None else {"whiten": self.whiten}
        folder: dict[str, Any] = {"run": self.folder} if self.folder else {}

        return provenance.make(
            command or ("cmrrecon.reconstruct",),
            config={
                "method": self.method.name,
                "options": described(self.options),
                "slices": list(self.slices),
                "axes": self.axes,
                **{key: value for key, value in asked.items() if value},
                **whiten,
            },
            inputs=self.inputs,
            device=str(self.device),
            acquisition=asdict(self.scan.acquisition),
            geometry=None if self.geometry is None else asdict(self.geometry),
            **folder,
        )

    @property
    def image_shape(self) -> tuple[int, int]:
        """(y, x) of the images that are given."""
        return self.view.size(self.scan.geometry, self.scan.image_shape)

    @property
    def geometry(self) -> Geometry | None:
        """That of the images that are given."""
        return self.view.geometry(self.scan.geometry, self.scan.image_shape, self.slices)

    @property
    def inputs(self) -> list[Path]:
        """The files that the result is made from; none for a scan in memory."""
        scan = self.scan
        return [Path(path) for path in (scan.path, scan.mask_path, scan.maps_path) if path]

    def predict(self) -> Prediction | None:
        """What a slice will cost; None where it is not known."""
        if not self.method.predicts:
            return None
        series = self.scan.series(self.slices[0]).to(self.device)
        return self.method.predict(series, self.options)


def _checked_slices(scan: Scan, slices: Sequence[int] | None) -> tuple[int, ...]:
    """The slice numbers, sorted; refuses those that the scan has not got."""
    count = scan.shape[1]
    given = {"slices": tuple(range(count)) if slices is None else slices}
    checked = checked_mapping("The reconstruction", given, {"slices": Sequence[int]})
    wanted = tuple(sorted(set(checked["slices"])))

    if not wanted or wanted[-1] >= count:
        raise UsageError(
            "slice-missing",
            f"Slices {', '.join(map(str, wanted))} were asked for"
            if wanted
            else "No slice was asked for",
            f"The scan has {count} slices, 0 to {count - 1}",
            "Choose among these",
        )

    return wanted


def checked_options(
    method: Method, options: Mapping[str, Any], adapt: int = 0, uncertainty: int = 0
) -> Any:
    """The options of a method, checked, together with what else can be asked of any method.

    Raises
    ------
    UsageError : `unknown-option`, `option-value`, `not-adaptable`
    """
    chosen = method.options(options)
    counts = {"adapt": adapt, "uncertainty": uncertainty}
    checked_mapping("The reconstruction", counts, dict.fromkeys(counts, int))
    if uncertainty == 1:
        raise UsageError(
            "option-value",
            "The uncertainty was to come from one replicate",
            "A standard deviation takes two or more, or 0 for none",
            "Give for example 8",
        )

    if adapt and method.adaptable(chosen) is None:
        raise UsageError(
            "not-adaptable",
            f"The method {method.name} has no network to adapt under these options",
            "Only networks can be adapted to a scan; auto leaves its network out if a weight or a "
            "number of iterations is given",
            "Leave out the adaptation, or the method and its settings, or give a checkpoint",
        )

    return chosen
