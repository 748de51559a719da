"""The reconstruction methods by name. Every method is called alike: a series in, images (frame, y, x) out."""

import importlib
import inspect
import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any, Literal, get_args, get_origin, get_type_hints

import torch
from torch import Tensor

from cmrrecon.errors import MemoryShortage, NumericalError, UsageError, is_memory_shortage, nearest
from cmrrecon.scan import Series


@dataclass(frozen=True)
class Method:
    """A named way to turn a series into images.

    Attributes
    ----------
    name : as on the command line
    target : "module:function", imported when first needed
    summary : one line for lists
    gpu : whether it works on a GPU; SigPy does not here
    """

    name: str
    target: str
    summary: str
    gpu: bool = True

    def function(self) -> Callable[..., Tensor]:
        """The function behind the method."""
        module, _, function = self.target.partition(":")
        loaded: Callable[..., Tensor] = getattr(importlib.import_module(module), function)
        return loaded

    def defaults(self) -> dict[str, Any]:
        """The options of the method and their default values."""
        parameters = inspect.signature(self.function()).parameters.values()
        return {p.name: p.default for p in parameters if p.kind is p.KEYWORD_ONLY}

    def check(self, options: Mapping[str, Any]) -> dict[str, Any]:
        """All options of the method: those given, checked, and the defaults of the others.

        Raises
        ------
        UsageError : an option that the method does not have, or a value of the wrong kind
        """
        checked = self.defaults()
        kinds = get_type_hints(self.function())
        for key, value in options.items():
            if key not in checked:
                known = ", ".join(checked) or "none"
                raise UsageError(
                    f"The method {self.name} has no option {key!r}",
                    f"Its options are: {known}",
                    _perhaps(key, checked, "Leave the option out"),
                )
            checked[key] = _checked_value(self.name, key, value, kinds[key])
        return checked

    def __call__(self, series: Series, options: Mapping[str, Any] | None = None) -> Tensor:
        """Reconstruct a series: normalised by the shared rule before, scaled back after, so images scale with k-space.

        Parameters
        ----------
        series : k-space (frame, coil, y, x) of any scale
        options : see `defaults`

        Returns
        -------
        Tensor (frame, y, x): complex64, or float32 magnitudes from methods that lose the phase

        Raises
        ------
        UsageError : wrong options, or a series that the method cannot take
        NumericalError : k-space that cannot be normalised, or a result with NaN or infinity
        MemoryShortage : the machine or the device has too little memory
        """
        settings = self.check(options or {})
        try:
            scale = series.scale()
            images = self.function()(series.scaled(1 / scale), **settings) * scale
        except Exception as error:
            if is_memory_shortage(error):
                raise self._memory_shortage(series) from error
            raise
        if not bool(torch.isfinite(images).all()):
            raise NumericalError(
                f"The method {self.name} gave NaN or infinity",
                "All pixels must be finite numbers",
                "Try its default options, or another method",
            )
        return images

    def _memory_shortage(self, series: Series) -> MemoryShortage:
        frames, coils, y, x = series.kspace.shape
        return MemoryShortage(
            f"The method {self.name} ran out of memory on {series.kspace.device} ({frames} frames, {coils} coils, y {y}, x {x})",
            f"The k-space alone takes {series.kspace.nbytes / 2**20:.0f} MiB, the method about as much again",
            "Use a machine or a device with more memory, or --device cpu",
        )


def _checked_value(method: str, key: str, value: object, kind: Any) -> object:
    """The value as the kind that the function declares. Whole numbers count something, so they start at 1; others at 0."""
    if get_origin(kind) is Literal:
        if value in get_args(kind):
            return value
        wanted = f"one of {', '.join(map(str, get_args(kind)))}"
    elif kind is int:
        if isinstance(value, int) and not isinstance(value, bool) and value >= 1:
            return value
        wanted = "a whole number of at least 1"
    else:
        if isinstance(value, (int, float)) and not isinstance(value, bool) and math.isfinite(value) and value >= 0:
            return float(value)
        wanted = "a number that is finite and not negative"
    raise UsageError(
        f"The option {key} of {method} was given {value!r}", f"It must be {wanted}", "Change the value, or leave the option out"
    )


def _perhaps(name: str, known: Mapping[str, Any], otherwise: str) -> str:
    near = nearest(name, known)
    return f"Perhaps {near} was meant" if near else otherwise


def get_method(name: str) -> Method:
    """The method of that name.

    Raises
    ------
    UsageError : there is none
    """
    if name not in METHODS:
        raise UsageError(
            f"There is no method {name!r}",
            f"The methods are: {', '.join(METHODS)}",
            _perhaps(name, METHODS, "Choose one of them"),
        )
    return METHODS[name]


METHODS: Mapping[str, Method] = MappingProxyType(
    {
        method.name: method
        for method in (
            Method("zero-filled", "cmrrecon.classical.zero_filled:zero_filled", "inverse Fourier transform and root-sum-of-squares"),
            Method("sense", "cmrrecon.classical.sense:sense", "conjugate-gradient SENSE with ESPIRiT maps"),
            Method("grappa", "cmrrecon.classical.grappa:grappa", "GRAPPA by the official rule, root-sum-of-squares"),
            Method("sigpy-sense", "cmrrecon.classical.sigpy_baselines:sigpy_sense", "SigPy's conjugate-gradient SENSE", gpu=False),
            Method(
                "sigpy-l1-wavelet", "cmrrecon.classical.sigpy_baselines:sigpy_l1_wavelet", "SigPy's wavelet compressed sensing", gpu=False
            ),
            Method("sigpy-tv", "cmrrecon.classical.sigpy_baselines:sigpy_tv", "SigPy's total-variation compressed sensing", gpu=False),
            Method("sigpy-jsense", "cmrrecon.classical.sigpy_baselines:sigpy_jsense", "SENSE with SigPy's JSENSE maps", gpu=False),
        )
    }
)
# The best of them by the table in the README (benchmarks/methods_semireal.py), and closest to the scanner's own image of measured
# k-space (tests/classical/test_measured_heart.py).
DEFAULT_METHOD = "sigpy-tv"
