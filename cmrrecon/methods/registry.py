"""The reconstruction methods by name. Every method is called alike: a series in, images (frame, y, x) out."""

import importlib
import inspect
import math
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from types import MappingProxyType
from typing import Any, Literal, get_args, get_origin, get_type_hints

import torch
from torch import Tensor

from cmrrecon.classical.problem import Coils
from cmrrecon.data.scan import Series
from cmrrecon.methods.auto import AUTO, Choice, choose, solve
from cmrrecon.methods.shipped import NAME as NETWORK
from cmrrecon.methods.shipped import shipped_network
from cmrrecon.networks.kt_unrolled import KtUnrolled
from cmrrecon.tools.errors import MemoryShortage, NumericalError, UsageError, is_memory_shortage, perhaps


@dataclass(frozen=True)
class Solved:
    """Images (frame, y, x), and the coils whose maps they were made with; None from methods that do not tell them."""

    images: Tensor
    coils: Coils | None = None


def finite(images: Tensor) -> bool:
    """Whether all pixels, complex or real, are finite numbers."""
    return bool(torch.isfinite(torch.view_as_real(images) if images.is_complex() else images).all())


@dataclass(frozen=True)
class Method:
    """A named way to turn a series into images.

    Attributes
    ----------
    name : as on the command line
    target : "module:function", imported when first needed; "" for `auto`, which chooses among its candidates
    summary : one line for lists
    gpu : whether it works on a GPU; SigPy does not here
    candidates : names of the iterative methods it chooses from: itself, or several. Their weight and iterations are chosen per scan (see
        `reconstruct.auto`); empty for methods of fixed settings
    network : of `auto`: stands in for the shipped one
    """

    name: str
    target: str
    summary: str
    gpu: bool = True
    candidates: tuple[str, ...] = ()
    network: KtUnrolled | None = field(default=None, repr=False, compare=False)

    def function(self) -> Callable[..., Any]:
        """The function behind the method: of a series to images, or of a problem to a solution."""
        module, _, function = self.target.partition(":")
        loaded: Callable[..., Any] = getattr(importlib.import_module(module), function)
        return loaded

    def defaults(self) -> dict[str, Any]:
        """The options of the method and their default values."""
        if self.candidates:
            return {"weight": AUTO, "iterations": AUTO, "coils": AUTO}
        parameters = inspect.signature(self.function()).parameters.values()
        return {p.name: p.default for p in parameters if p.kind is p.KEYWORD_ONLY}

    def kinds(self) -> dict[str, Any]:
        """The types of the options."""
        return {"weight": float, "iterations": int, "coils": int} if self.candidates else get_type_hints(self.function())

    def check(self, options: Mapping[str, Any]) -> dict[str, Any]:
        """All options of the method: those given, checked, and the defaults of the others.

        Raises
        ------
        UsageError : an option that the method does not have, or a value of the wrong kind
        """
        return checked_options(self.name, options, self.defaults(), self.kinds())

    def choose(self, series: Series, options: Mapping[str, Any] | None = None) -> Choice:
        """The method, weight and iterations for series like this one, by hidden samples; for methods with candidates only.

        Errors as `__call__`.
        """
        settings = self.check(options or {})
        with self._shortage_told(series):
            return choose(series, series.scale(), self._solvers(series, settings), settings, refine=self._refines(series))

    def _refines(self, series: Series) -> bool:
        return self.name == DEFAULT_METHOD and series.trajectory is None

    def _solvers(self, series: Series, settings: Mapping[str, Any]) -> dict[str, Callable[..., Any]]:
        """The functions of the candidates; a single frame has no time, so spatial methods stand in for several dynamic ones.

        `auto` has the network among them, unless a weight or a number of iterations was given, which are meant for the others.
        """
        names = self.candidates if len(series.kspace) > 1 or len(self.candidates) == 1 else SINGLE_FRAME
        solvers = {name: METHODS[name].function() for name in names}
        if self.name == DEFAULT_METHOD and series.trajectory is None and settings["weight"] == settings["iterations"] == AUTO:
            network = self.network or shipped_network()
            if network is not None:
                solvers[NETWORK] = network.to(series.kspace.device).solve
        return solvers

    def __call__(self, series: Series, options: Mapping[str, Any] | None = None, choice: Choice | None = None) -> Tensor:
        """Images (frame, y, x) of a series, see `solved`."""
        return self.solved(series, options, choice).images

    def solved(self, series: Series, options: Mapping[str, Any] | None = None, choice: Choice | None = None) -> Solved:
        """Reconstruct a series: normalised by the shared rule before, scaled back after, so images scale with k-space.

        Parameters
        ----------
        series : k-space (frame, coil, y, x) of any scale
        options : see `defaults`
        choice : what `choose` chose for this scan; chosen on the series itself by default

        Returns
        -------
        Images (frame, y, x): complex64, or float32 magnitudes from methods that lose the phase. If the network has broken on this series,
        those of the best classical method of the choice

        Raises
        ------
        UsageError : wrong options, or a series that the method cannot take
        NumericalError : k-space that cannot be normalised, or a result with NaN or infinity
        MemoryShortage : the machine or the device has too little memory
        """
        settings = self.check(options or {})
        with self._shortage_told(series):
            scale, coils = series.scale(), None
            if self.candidates:
                solvers = self._solvers(series, settings)
                choice = choice or choose(series, scale, solvers, settings, refine=self._refines(series))
                images, coils = solve(series, scale, solvers, choice, settings)
                contest = choice.contest()
                if contest is not None and not finite(images):
                    best = contest[1]
                    safe = replace(choice, method=best.method, weight=best.weight, iterations=best.iterations, partner=None)
                    images, coils = solve(series, scale, solvers, safe, settings)
            else:
                images = self.function()(series.scaled(1 / scale), **settings)
            images = images * scale
        if not finite(images):
            raise NumericalError(
                "todo",
                f"The method {self.name} gave NaN or infinity",
                "All pixels must be finite numbers",
                "Try its default options, or another method",
            )
        return Solved(images, coils)

    @contextmanager
    def _shortage_told(self, series: Series) -> Iterator[None]:
        try:
            yield
        except Exception as error:
            if is_memory_shortage(error):
                raise memory_shortage(self.name, series) from error
            raise


def memory_shortage(name: str, series: Series) -> MemoryShortage:
    """What to raise when a method has run out of memory."""
    frames, coils, y, x = series.kspace.shape
    return MemoryShortage(
        "todo",
        f"The method {name} ran out of memory on {series.kspace.device} ({frames} frames, {coils} coils, y {y}, x {x})",
        f"The k-space alone takes {series.kspace.nbytes / 2**20:.0f} MiB, the method at least as much again",
        "Use a machine or a device with more memory, or --device cpu",
    )


def checked_options(name: str, options: Mapping[str, Any], defaults: Mapping[str, Any], kinds: Mapping[str, Any]) -> dict[str, Any]:
    """All options of a method: those given, checked, and the defaults of the others.

    Raises
    ------
    UsageError : an option that the method does not have, or a value of the wrong kind
    """
    checked = dict(defaults)
    for key, value in options.items():
        if key not in checked:
            known = ", ".join(checked) or "none"
            raise UsageError(
                "todo",
                f"The method {name} has no option {key!r}",
                f"Its options are: {known}",
                perhaps(key, checked, "Leave the option out"),
            )
        if not (value == AUTO and defaults[key] == AUTO):
            checked[key] = _checked_value(name, key, value, kinds[key], ", or auto" if defaults[key] == AUTO else "")
    return checked


def _checked_value(method: str, key: str, value: object, kind: Any, alternative: str) -> object:
    """The value as the kind that the function declares. Whole numbers count something, so they start at 1; others at 0."""
    if get_origin(kind) is Literal:
        if value in get_args(kind):
            return value
        wanted = f"one of {', '.join(map(str, get_args(kind)))}"
    elif kind is bool:
        if isinstance(value, bool):
            return value
        wanted = "true or false"
    elif kind is int:
        if isinstance(value, int) and not isinstance(value, bool) and value >= 1:
            return value
        wanted = "a whole number of at least 1"
    else:
        if isinstance(value, (int, float)) and not isinstance(value, bool) and math.isfinite(value) and value >= 0:
            return float(value)
        wanted = "a number that is finite and not negative"
    raise UsageError(
        "todo",
        f"The option {key} of {method} was given {value!r}",
        f"It must be {wanted}{alternative}",
        "Change the value, or leave the option out",
    )


def get_method(name: str) -> Method:
    """The method of that name.

    Raises
    ------
    UsageError : there is none
    """
    if name not in METHODS:
        known = (*METHODS, NETWORK)
        raise UsageError(
            "todo", f"There is no method {name!r}", f"The methods are: {', '.join(known)}", perhaps(name, known, "Choose one of them")
        )
    return METHODS[name]


def _iterative(name: str, target: str, summary: str) -> Method:
    return Method(name, f"cmrrecon.classical.{target}", summary, candidates=(name,))


def _sigpy(name: str, function: str, summary: str) -> Method:
    return Method(name, f"cmrrecon.classical.sigpy_baselines:{function}", summary, gpu=False)


METHODS: Mapping[str, Method] = MappingProxyType(
    {
        method.name: method
        for method in (
            Method(
                "auto",
                "",
                "the best of a network, kt-wavelet, llr and temporal-tv for the scan, or a blend of two",
                candidates=("kt-wavelet", "llr", "temporal-tv"),
            ),
            Method("zero-filled", "cmrrecon.classical.zero_filled:zero_filled", "inverse Fourier transform and root-sum-of-squares"),
            Method("grappa", "cmrrecon.classical.grappa:grappa", "GRAPPA by the official rule, root-sum-of-squares"),
            _iterative("sense", "sense:sense", "conjugate-gradient SENSE with ESPIRiT maps"),
            _iterative("l1-wavelet", "wavelets:l1_wavelet", "compressed sensing, wavelets in space"),
            _iterative("tv", "total_variation:tv", "compressed sensing, total variation in space"),
            _iterative("kt-wavelet", "wavelets:kt_wavelet", "compressed sensing, wavelets in time and space"),
            _iterative("temporal-tv", "total_variation:temporal_tv", "compressed sensing, total variation in time"),
            _iterative("temporal-fourier", "temporal_fourier:temporal_fourier", "k-t sparse, Fourier transform in time"),
            _iterative("llr", "low_rank:llr", "locally low rank"),
            _iterative("low-rank-sparse", "low_rank:low_rank_sparse", "low rank plus sparse (L+S)"),
            _sigpy("sigpy-sense", "sigpy_sense", "SigPy's conjugate-gradient SENSE"),
            _sigpy("sigpy-l1-wavelet", "sigpy_l1_wavelet", "SigPy's wavelet compressed sensing"),
            _sigpy("sigpy-tv", "sigpy_tv", "SigPy's total-variation compressed sensing"),
            _sigpy("sigpy-jsense", "sigpy_jsense", "SENSE with SigPy's JSENSE maps"),
        )
    }
)
DEFAULT_METHOD = "auto"
# What `auto` chooses from for a single frame.
SINGLE_FRAME = ("l1-wavelet", "tv")
