"""What every reconstruction method is: options and a prepared series in, images out.

A method may first decide something for a whole scan, on one of its series (`decide`); what was
decided is then given back with every series (`reconstruct`).
"""

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field, replace
from typing import Any

import torch
from torch import Tensor

from cmrrecon.classical.coils import Coils
from cmrrecon.classical.prepared import PreparedSeries
from cmrrecon.classical.problem import LeastSquares
from cmrrecon.data import Series
from cmrrecon.methods.decision import Decision
from cmrrecon.methods.edges import is_one_sided
from cmrrecon.networks.base import AnyNetwork
from cmrrecon.operators.centre import restored
from cmrrecon.tools.configuration import from_mapping
from cmrrecon.tools.errors import MemoryShortage, NumericalError, is_memory_shortage


@dataclass(frozen=True, eq=False)
class Fit:
    """A least-squares term and the images that answer it.

    Attributes
    ----------
    prepared : the series that was fitted, whitened if the method whitens
    coils : with whose maps
    term : of the normalised series
    x : Tensor (frame, n y, x'), normalised images of all sets of maps, on the columns of the term
    """

    prepared: PreparedSeries
    coils: Coils
    term: LeastSquares
    x: Tensor


@dataclass(frozen=True, eq=False)
class Outcome:
    """What a method made of a series.

    Attributes
    ----------
    images : Tensor (frame, y, x): complex64, or float32 from methods that return magnitudes only;
        of the prepared series, the centre of whose k-space lies in the middle
    maps : Tensor (coil, y, x), those of the measured coils; None from methods that use none of ours
    fit : what the images answer; None from methods without a least-squares term
    edges : what was done about a missing side of k-space, in words; "" without one
    """

    images: Tensor
    maps: Tensor | None = None
    fit: Fit | None = None
    edges: str = ""


@dataclass(frozen=True)
class Weights:
    """Which trained weights are in a method.

    Attributes
    ----------
    digest : SHA-256 of their file
    metadata : what the file says of them
    """

    digest: str
    metadata: Mapping[str, str] = field(default_factory=dict, repr=False)


@dataclass(frozen=True)
class Prediction:
    """What a series will cost: operations, bytes beyond the network and the libraries, seconds."""

    flops: int
    nbytes: int
    seconds: float


@dataclass(frozen=True, eq=False)
class Adaptable:
    """A network in a method that can be adapted to a scan.

    Attributes
    ----------
    network : as it is
    adopt : gives the method with another network of the same class in its place
    """

    network: AnyNetwork
    adopt: Callable[[Any], "Method"]


class Method(ABC):
    """A named way to turn a series into images.

    Subclasses are final. They define `Options`, a frozen dataclass whose field None means
    automatic, and `_images`; some also what else is declared here.

    Attributes
    ----------
    name : as on the command line
    summary : one line for lists
    Options : the dataclass of the method's options
    on_gpu : whether it works on a GPU
    predicts : whether it knows what a series will cost, see `predict`
    advice : what to try when images are not finite
    decides : whether there is anything to decide for a scan
    whitens : whether it works on whitened coils where these help, see `classical.whitening`
    edges : what it does about a missing side of k-space, in words
    """

    name: str
    summary: str
    Options: type[Any]
    on_gpu: bool = True
    predicts: bool = False
    advice: str = "Try its default options, or another method"
    decides: bool = False
    whitens: bool = False
    edges: str = "the missing part is left to the method's own model"

    def options(self, given: Mapping[str, Any] | None = None) -> Any:
        """All options of the method: those given, checked, and the defaults of the others.

        Raises
        ------
        UsageError : `unknown-option` (with the nearest name), `option-value`
        """
        return from_mapping(self.Options, given or {}, f"The method {self.name}")

    def decide(self, prepared: PreparedSeries, options: Any) -> Decision | None:
        """What holds for all series of a scan, found on this one; None if there is nothing to decide."""
        return None

    def cautions(self, prepared: PreparedSeries, options: Any) -> tuple[str, ...]:
        """What the user should know before such a series is reconstructed; nothing as a rule."""
        return ()

    @abstractmethod
    def _images(self, prepared: PreparedSeries, options: Any, decision: Decision | None) -> Outcome:
        """Images of a series on the scale of its k-space."""

    def reconstruct(
        self, prepared: PreparedSeries, options: Any, decision: Decision | None = None
    ) -> Outcome:
        """Images of a series, on the scale of its k-space.

        Parameters
        ----------
        prepared : the series, of any scale
        options : of `Options`
        decision : what `decide` gave for the scan

        Raises
        ------
        UsageError : a series that the method cannot take
        NumericalError : `result-not-finite`
        MemoryShortage : `memory-shortage`
        """
        with self.guarded(prepared.series):
            outcome = self._images(prepared, options, decision)
        if not finite(outcome.images):
            raise NumericalError(
                "result-not-finite",
                f"The method {self.name} gave NaN or infinity",
                "All pixels must be finite numbers",
                self.advice,
            )

        if is_one_sided(prepared.mask) and not outcome.edges:
            return replace(outcome, edges=self.edges)
        return outcome

    @contextmanager
    def guarded(self, series: Series) -> Iterator[None]:
        """A `with` block in which running out of memory becomes a `MemoryShortage`."""
        try:
            yield
        except Exception as error:
            if is_memory_shortage(error):
                raise memory_shortage(self.name, series) from error
            raise

    def __call__(
        self,
        series: Series,
        options: Mapping[str, Any] | None = None,
        decision: Decision | None = None,
    ) -> Tensor:
        """Images (frame, y, x) of a single series: prepares, decides if need be, and reconstructs."""
        chosen = self.options(options)
        prepared = PreparedSeries(series)
        if decision is None:
            with self.guarded(series):
                decision = self.decide(prepared, chosen)
        return restored(self.reconstruct(prepared, chosen, decision).images, prepared.series)

    def weights(self) -> Weights | None:
        """The trained weights that the method may use; None without a network."""
        return None

    def training_facts(self, decision: Decision | None) -> Mapping[str, str]:
        """Metadata of the weights that images of this decision come from; empty without a network."""
        return {}

    def adaptable(self, options: Any) -> Adaptable | None:
        """The network that can be adapted to a scan under these options; None without one."""
        return None

    def predict(self, series: Series, options: Any) -> Prediction | None:
        """What a series will cost; None where it is not known."""
        return None


def described(options: Any) -> dict[str, Any]:
    """Options as JSON and provenance hold them: what is automatic is "auto"."""
    return {name: "auto" if value is None else value for name, value in asdict(options).items()}


def finite(images: Tensor) -> bool:
    """Whether all pixels, complex or real, are finite numbers."""
    return bool(torch.isfinite(torch.view_as_real(images) if images.is_complex() else images).all())


def memory_shortage(name: str, series: Series) -> MemoryShortage:
    """What to raise when a method has run out of memory."""
    frames, coils, y, x = series.kspace.shape
    size = series.kspace.nbytes / 2**20
    return MemoryShortage(
        "memory-shortage",
        f"The method {name} ran out of memory on {series.kspace.device} "
        f"({frames} frames, {coils} coils, y {y}, x {x})",
        f"The k-space alone takes {size:.0f} MiB, the method at least as much again",
        "Use a machine or a device with more memory, or --device cpu",
    )
