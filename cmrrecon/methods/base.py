"""The interface of every reconstruction method: a prepared series and options in, images out.

A method may first use one series to decide settings for the whole scan (`decide`). The decision is
then passed to `reconstruct` with every series.
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
    """A least-squares term and the images that minimise it.

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
    """The result of a method for one series.

    Attributes
    ----------
    images : Tensor of shape (frame, y, x), complex64 or float32
        Images of the prepared series, whose k-space has its centre in the middle; float32 from
        methods that return only magnitudes.
    maps : Tensor of shape (coil, y, x), complex64, or None
        Maps of the measured coils; None for methods that do not use the package's own maps.
    fit : Fit or None
        The term that the images minimise; None for methods without a least-squares term.
    edges : str
        How a missing side of k-space was handled; empty if none is missing.
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
        SHA-256 of the file with the weights.
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
        Number of floating-point operations.
    nbytes : int
        Memory in bytes, without the network and the libraries.
    seconds : float
        Time in seconds.
    """

    flops: int
    nbytes: int
    seconds: float


@dataclass(frozen=True, eq=False)
class Adaptable:
    """A method's network that can be adapted to a scan.

    Attributes
    ----------
    network : AnyNetwork
        The network before adaptation.
    adopt : callable
        Takes another network of the same class, and returns the method with that network.
    """

    network: AnyNetwork
    adopt: Callable[[Any], "Method"]


class Method(ABC):
    """A named way to turn a series into images.

    Subclasses are final. They define `_images` and `Options`, a frozen dataclass in which None
    means automatic, and override other members as needed.

    Attributes
    ----------
    name : str
        Name on the command line.
    summary : str
        Description in one line, for lists.
    Options : type
        Dataclass of the method's options.
    on_gpu : bool
        Whether the method runs on a GPU.
    predicts : bool
        Whether the method can predict the cost of a series, see `predict`.
    advice : str
        What to try if images are not finite.
    decides : bool
        Whether the method decides settings for a scan.
    whitens : bool
        Whether the method uses whitened coils when they help, see `classical.whitening`.
    cyclic : bool
        Whether the method couples neighbouring frames, and treats the first frame of a gated scan
        as the next one after the last.
    edges : str
        How the method handles a missing side of k-space.
    """

    name: str
    summary: str
    Options: type[Any]
    on_gpu: bool = True
    predicts: bool = False
    advice: str = "Try its default options, or another method"
    decides: bool = False
    whitens: bool = False
    cyclic: bool = False
    edges: str = "the missing part is left to the method's own model"

    def options(self, given: Mapping[str, Any] | None = None) -> Any:
        """Check the given options, and set the others to their defaults.

        Raises
        ------
        UsageError
            If an option is unknown (`unknown-option`; the message suggests the nearest name) or its
            value is not allowed (`option-value`).
        """
        return from_mapping(self.Options, given or {}, f"The method {self.name}")

    def decide(self, prepared: PreparedSeries, options: Any) -> Decision | None:
        """Use this series to decide the settings for the scan; None if there are none to decide."""
        return None

    def cautions(self, prepared: PreparedSeries, options: Any) -> tuple[str, ...]:
        """Return warnings that the user should read before this series is reconstructed."""
        return ()

    @abstractmethod
    def _images(self, prepared: PreparedSeries, options: Any, decision: Decision | None) -> Outcome:
        """Reconstruct the images of a series on the scale of its k-space."""

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
            The result of `decide` for the scan.

        Returns
        -------
        Outcome
            The images, the maps and how they were made.

        Raises
        ------
        UsageError
            If the method cannot reconstruct such a series.
        NumericalError
            If the images contain NaN or infinity (`result-not-finite`).
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
        """Run a `with` block, and turn running out of memory into a `MemoryShortage`."""
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
        """Return the trained weights that the method may use; None without a network."""
        return None

    def training_facts(self, decision: Decision | None) -> Mapping[str, str]:
        """Return metadata of the weights that made the images; empty without a network."""
        return {}

    def adaptable(self, options: Any) -> Adaptable | None:
        """Return the network that can be adapted to a scan with these options; None without one."""
        return None

    def predict(self, series: Series, options: Any) -> Prediction | None:
        """Predict the cost of a series; None if it is unknown."""
        return None


def described(options: Any) -> dict[str, Any]:
    """Return options as stored in JSON and provenance, with "auto" for automatic ones."""
    return {name: "auto" if value is None else value for name, value in asdict(options).items()}


def finite(images: Tensor) -> bool:
    """Return whether all pixels, complex or real, are finite."""
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
