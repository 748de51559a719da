"""The interface of every reconstruction method: a prepared series and options in, images out.

A method may first decide settings for a whole scan, on one of its series (`decide`). The decision
is then passed to `reconstruct` with every series.
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
    """A least-squares term and the images that solve it.

    Attributes
    ----------
    prepared : PreparedSeries
        The fitted series, whitened if the method whitens.
    coils : Coils
        The maps used.
    term : LeastSquares
        The term of the normalised series.
    x : Tensor of shape (frame, n y, x'), complex64
        Normalised images of all sets of maps, on the columns of the term.
    """

    prepared: PreparedSeries
    coils: Coils
    term: LeastSquares
    x: Tensor


@dataclass(frozen=True, eq=False)
class Outcome:
    """What a method makes of a series.

    Attributes
    ----------
    images : Tensor of shape (frame, y, x), complex64 or float32
        Images of the prepared series, whose k-space has its centre in the middle; float32 from
        methods that return only magnitudes.
    maps : Tensor of shape (coil, y, x), complex64, or None
        Maps of the measured coils; None from methods that do not use our maps.
    fit : Fit or None
        The term that the images solve; None from methods without a least-squares term.
    edges : str
        What was done about a missing side of k-space; empty if none is missing.
    """

    images: Tensor
    maps: Tensor | None = None
    fit: Fit | None = None
    edges: str = ""


@dataclass(frozen=True)
class Weights:
    """The trained weights of a method.

    Attributes
    ----------
    digest : str
        SHA-256 of their file.
    metadata : Mapping
        Metadata of the file.
    """

    digest: str
    metadata: Mapping[str, str] = field(default_factory=dict, repr=False)


@dataclass(frozen=True)
class Prediction:
    """The predicted cost of a series.

    Attributes
    ----------
    flops : int
        Operations.
    nbytes : int
        Bytes of memory beyond the network and the libraries.
    seconds : float
        Time in seconds.
    """

    flops: int
    nbytes: int
    seconds: float


@dataclass(frozen=True, eq=False)
class Adaptable:
    """A network in a method that can be adapted to a scan.

    Attributes
    ----------
    network : AnyNetwork
        The network as it is.
    adopt : callable
        Returns the method with another network of the same class in its place.
    """

    network: AnyNetwork
    adopt: Callable[[Any], "Method"]


class Method(ABC):
    """A named way to turn a series into images.

    Subclasses are final. They define `_images` and `Options`, a frozen dataclass in which None
    means automatic, and override other members where they differ.

    Attributes
    ----------
    name : str
        Name on the command line.
    summary : str
        One line for lists.
    Options : type
        Dataclass of the method's options.
    on_gpu : bool
        Whether it runs on a GPU.
    predicts : bool
        Whether it can predict the cost of a series, see `predict`.
    advice : str
        What to try if images are not finite.
    decides : bool
        Whether it decides settings for a scan.
    whitens : bool
        Whether it works on whitened coils where these help, see `classical.whitening`.
    edges : str
        What it does about a missing side of k-space.
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
        """All options of the method: the given ones, checked, and defaults for the others.

        Raises
        ------
        UsageError
            If an option is unknown (`unknown-option`, with the nearest name) or its value is not
            allowed (`option-value`).
        """
        return from_mapping(self.Options, given or {}, f"The method {self.name}")

    def decide(self, prepared: PreparedSeries, options: Any) -> Decision | None:
        """Decide settings for all series of a scan on this one; None if there are none."""
        return None

    def cautions(self, prepared: PreparedSeries, options: Any) -> tuple[str, ...]:
        """Sentences the user should read before this series is reconstructed; usually none."""
        return ()

    @abstractmethod
    def _images(self, prepared: PreparedSeries, options: Any, decision: Decision | None) -> Outcome:
        """Images of a series on the scale of its k-space."""

    def reconstruct(
        self, prepared: PreparedSeries, options: Any, decision: Decision | None = None
    ) -> Outcome:
        """Reconstruct the images of a series, on the scale of its k-space.

        Parameters
        ----------
        prepared : PreparedSeries
            The series, of any scale.
        options : Any
            An instance of `Options`.
        decision : Decision or None
            What `decide` returned for the scan.

        Returns
        -------
        Outcome
            Images, maps and what is known of them.

        Raises
        ------
        UsageError
            If the method cannot reconstruct such a series.
        NumericalError
            If the images hold NaN or infinity (`result-not-finite`).
        MemoryShortage
            If memory runs out (`memory-shortage`).
        """
        with self.guarded(prepared.series):
            outcome = self._images(prepared, options, decision)
        if not finite(outcome.images):
            raise NumericalError(
                "result-not-finite",
                f"The method {self.name} returned NaN or infinity",
                "All pixels must be finite numbers",
                self.advice,
            )

        if is_one_sided(prepared.mask) and not outcome.edges:
            return replace(outcome, edges=self.edges)
        return outcome

    @contextmanager
    def guarded(self, series: Series) -> Iterator[None]:
        """A `with` block that turns running out of memory into a `MemoryShortage`."""
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
        """Prepare a single series, decide if needed, and return its images (frame, y, x)."""
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
        """Metadata of the weights that made the images of a decision; empty without a network."""
        return {}

    def adaptable(self, options: Any) -> Adaptable | None:
        """The network that can be adapted to a scan under these options; None without one."""
        return None

    def predict(self, series: Series, options: Any) -> Prediction | None:
        """Predict the cost of a series; None if it is unknown."""
        return None


def described(options: Any) -> dict[str, Any]:
    """Options as stored in JSON and provenance, with "auto" for what is automatic."""
    return {name: "auto" if value is None else value for name, value in asdict(options).items()}


def finite(images: Tensor) -> bool:
    """Whether all pixels, complex or real, are finite."""
    return bool(torch.isfinite(torch.view_as_real(images) if images.is_complex() else images).all())


def memory_shortage(name: str, series: Series) -> MemoryShortage:
    """Make the error for a method that ran out of memory."""
    frames, coils, y, x = series.kspace.shape
    size = series.kspace.nbytes / 2**20
    return MemoryShortage(
        "memory-shortage",
        f"The method {name} ran out of memory on {series.kspace.device} "
        f"({frames} frames, {coils} coils, y {y}, x {x})",
        f"The k-space alone needs {size:.0f} MiB, the method at least as much again",
        "Use a machine or a device with more memory, or --device cpu",
    )
