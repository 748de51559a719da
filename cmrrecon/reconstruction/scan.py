"""`reconstruct`: a scan in, a `Result` out. The command line makes this very call."""

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import torch

from cmrrecon.data import Scan
from cmrrecon.methods.base import Method, Prediction, described
from cmrrecon.methods.registry import DEFAULT_METHOD, find_method, from_checkpoint
from cmrrecon.reconstruction.inputs import as_scan
from cmrrecon.reconstruction.listener import Listener
from cmrrecon.reconstruction.result import Result
from cmrrecon.reconstruction.slices import Run
from cmrrecon.reconstruction.store import InMemory, Store
from cmrrecon.tools import provenance
from cmrrecon.tools.configuration import checked_mapping
from cmrrecon.tools.devices import choose_device
from cmrrecon.tools.errors import UsageError


def reconstruct(
    scan: Any,
    method: str | Method | None = None,
    *,
    checkpoint: str | Path | None = None,
    mask: Any = None,
    axes: str | None = None,
    slices: Sequence[int] | None = None,
    device: str | torch.device = "auto",
    adapt: int = 0,
    uncertainty: int = 0,
    listener: Listener | None = None,
    **options: Any,
) -> Result:
    """Reconstruct a scan, slice by slice.

    Parameters
    ----------
    scan : path of a k-space file, `Scan`, what `simulate` gives, or NumPy array or tensor (frame, slice, coil, y, x),
        complex, zero where not measured, k-space centred at (y // 2, x // 2)
    method : a name (see `cmrrecon reconstruct --list-methods`), or a `Method`; None: `auto`
    checkpoint : file with the weights of a network, which then is the method
    mask : an array of zeros and ones: (y), (frame, y) or (frame or 1, y, x or 1); for a path also
        that of a mask file. None: the file's own, or what is non-zero in all coils
    axes : names of the stored axes, for unusual files, such as "x,y,coil"
    slices : the slices wanted, from 0; None: all
    device : `auto`, `cpu`, `cuda` or `cuda:N`, or a torch.device
    adapt : train the network on the scan itself first, for at most so many steps
    uncertainty : also reconstruct so many random parts of the samples (0, or 2 and more), for the
        standard deviation of the images
    listener : told of the progress
    **options : of the method, such as `weight` or `iterations`; what is left out or None is
        automatic. `cmrrecon reconstruct --list-methods` shows the options of each

    Returns
    -------
    Result

    Raises
    ------
    UsageError : `unknown-method`, `unknown-option`, `option-value`, `kspace-axes`, `kspace-real`,
        `mask-shape`, `slice-missing`, `device-missing`, and what the method refuses
    InputError : `file-missing` and others: the file cannot be read as k-space
    NumericalError, MemoryShortage : see `Method.reconstruct`

    Examples
    --------
    >>> result = reconstruct("cine_sax_kus_ktGaussian8.mat")        # doctest: +SKIP
    >>> result.images.shape, result.decision.method                # doctest: +SKIP
    >>> result.save("cine.h5")                                      # doctest: +SKIP
    """
    task = Task.of(
        as_scan(scan, mask, axes),
        find(method, checkpoint),
        options,
        slices=slices,
        device=device,
        adapt=adapt,
        uncertainty=uncertainty,
        axes=axes,
        folder=None if checkpoint is None else Path(checkpoint).absolute().parent.name,
    )
    return task.run(listener=listener)


def find(method: str | Method | None, checkpoint: str | Path | None = None) -> Method:
    """The method of a name or a checkpoint; the default for neither.

    Raises
    ------
    UsageError : `options-conflict` for both, `unknown-method`, `weights-missing`
    """
    if method is not None and checkpoint is not None:
        raise UsageError(
            "options-conflict",
            "Both a method and a checkpoint were given",
            "A checkpoint is a method of its own",
            "Leave one of them out",
        )
    if checkpoint is not None:
        return from_checkpoint(Path(checkpoint))
    if isinstance(method, Method):
        return method
    return find_method(DEFAULT_METHOD if method is None else str(method))


@dataclass(frozen=True, eq=False)
class Task:
    """One scan to reconstruct, everything checked; `run` does it.

    Attributes
    ----------
    scan, method : what, and how
    options : of `method.Options`
    slices : the scan's slice numbers
    device : where it is computed
    adapt, uncertainty : see `reconstruct`
    axes : names of stored axes that were given
    folder : the folder that the weights of a network lie in
    """

    scan: Scan
    method: Method
    options: Any
    slices: tuple[int, ...]
    device: torch.device
    adapt: int = 0
    uncertainty: int = 0
    axes: str | None = None
    folder: str | None = None

    @staticmethod
    def of(
        scan: Scan,
        method: Method,
        options: dict[str, Any],
        *,
        slices: Sequence[int] | None = None,
        device: str | torch.device = "auto",
        adapt: int = 0,
        uncertainty: int = 0,
        axes: str | None = None,
        folder: str | None = None,
    ) -> "Task":
        """The task, its parts checked; parameters and errors as of `reconstruct`."""
        chosen = method.options(options)
        counts = {"adapt": adapt, "uncertainty": uncertainty}
        counts = checked_mapping("The reconstruction", counts, dict.fromkeys(counts, int))
        adapt, uncertainty = counts["adapt"], counts["uncertainty"]
        _check_replicates(uncertainty)
        if adapt:
            check_adaptable(method, chosen)
        where = choose_device(str(device))
        return Task(
            scan,
            method,
            chosen,
            _checked_slices(scan, slices),
            where if method.on_gpu else torch.device("cpu"),
            adapt,
            uncertainty,
            axes,
            folder,
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
        }
        folder: dict[str, Any] = {"run": self.folder} if self.folder else {}
        return provenance.make(
            command or ("cmrrecon.reconstruct",),
            config={
                "method": self.method.name,
                "options": described(self.options),
                "slices": list(self.slices),
                "axes": self.axes,
                **{key: value for key, value in asked.items() if value},
            },
            inputs=self.inputs,
            device=str(self.device),
            acquisition=asdict(self.scan.acquisition),
            **folder,
        )

    @property
    def inputs(self) -> list[Path]:
        """The files that the result is made from; none for a scan in memory."""
        return [Path(path) for path in (self.scan.path, self.scan.mask_path) if path]

    def predict(self) -> Prediction | None:
        """What a slice will cost; None where it is not known."""
        series = self.scan.series(self.slices[0]).to(self.device)
        return self.method.predict(series, self.options)

    def run(
        self,
        store: Store | None = None,
        listener: Listener | None = None,
        stamp: dict[str, Any] | None = None,
    ) -> Result:
        """Reconstruct the slices that the store misses, and put all together.

        Parameters
        ----------
        store : where finished slices go; None: memory
        listener : told of the progress
        stamp : `provenance()`, if it was made before
        """
        kept = InMemory(self.slices) if store is None else store
        return Run(self, kept, listener or Listener()).result(stamp or self.provenance())


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


def _check_replicates(uncertainty: int) -> None:
    if uncertainty == 1:
        raise UsageError(
            "option-value",
            f"The uncertainty was to come from {uncertainty} replicates",
            "It takes two or more, or 0 for none",
            "Give for example 8",
        )


def check_adaptable(method: Method, options: Any) -> None:
    """Refuse adaptation where no network would be used.

    Raises
    ------
    UsageError : `not-adaptable`
    """
    if method.network(options) is None:
        raise UsageError(
            "not-adaptable",
            f"Adaptation was asked of the method {method.name} with {described(options)}",
            "Only networks can be adapted to a scan, and auto leaves its network out if a weight or "
            "a number of iterations is given",
            "Leave out --adapt, or the method and its settings, or give --checkpoint",
        )
