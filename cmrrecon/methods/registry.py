"""All methods by name. To add a method, add an entry to `CLASSICAL`."""

from collections.abc import Callable, Mapping
from functools import partial
from pathlib import Path
from types import MappingProxyType

from cmrrecon.classical import sigpy_baselines
from cmrrecon.classical.grappa import GrappaOptions, cautions, grappa
from cmrrecon.classical.low_rank import llr, low_rank_sparse
from cmrrecon.classical.sense import sense
from cmrrecon.classical.temporal_fourier import temporal_fourier
from cmrrecon.classical.total_variation import temporal_tv, tv
from cmrrecon.classical.wavelets import kt_wavelet, l1_wavelet
from cmrrecon.classical.zero_filled import zero_filled
from cmrrecon.methods.auto import Auto
from cmrrecon.methods.base import Method, Weights
from cmrrecon.methods.direct import DirectMethod
from cmrrecon.methods.iterative import IterativeMethod
from cmrrecon.methods.labelled_network import LabelledNetworkMethod
from cmrrecon.methods.network import NetworkMethod
from cmrrecon.methods.series_network import ProblemNetworkMethod, SeriesNetworkMethod
from cmrrecon.methods.shipped import NAME as SHIPPED
from cmrrecon.methods.shipped import load_shipped
from cmrrecon.methods.window_network import WindowNetworkMethod
from cmrrecon.networks.base import SeriesNetwork, WindowNetwork
from cmrrecon.networks.catalog import NETWORKS, name_of
from cmrrecon.networks.checkpoints import weights
from cmrrecon.networks.labelled import LabelledNetwork
from cmrrecon.networks.problem_network import ProblemNetwork
from cmrrecon.tools.errors import UsageError, suggestion
from cmrrecon.tools.provenance import file_digest
from cmrrecon.tools.unchanged import Unchanged

DEFAULT_METHOD = "auto"

_L1_WAVELET = IterativeMethod("l1-wavelet", "compressed sensing, wavelets in space", l1_wavelet)
_TV = IterativeMethod("tv", "compressed sensing, total variation in space", tv)
_KT_WAVELET = IterativeMethod(
    "kt-wavelet", "compressed sensing, wavelets in time and space", kt_wavelet
)
_LLR = IterativeMethod("llr", "locally low rank", llr)


def _same(method: Method) -> Method:
    return method


def auto() -> Auto:
    """Build the default method, with the installed network loaded."""
    return Auto(
        DEFAULT_METHOD,
        "the best of a network, kt-wavelet and llr for the scan, or a blend of two",
        (_KT_WAVELET, _LLR),
        (_L1_WAVELET, _TV),
        load_shipped(),
    )


# Methods without state between series.
CLASSICAL: tuple[Method, ...] = (
    DirectMethod(
        "zero-filled",
        "inverse Fourier transform and root-sum-of-squares",
        zero_filled,
        edges="the missing part stays zero",
    ),
    DirectMethod(
        "grappa",
        "GRAPPA by the official rule, root-sum-of-squares",
        grappa,
        GrappaOptions,
        warns=cautions,
        edges="only lines within the measured extent are filled; the missing part stays zero",
    ),
    IterativeMethod("sense", "conjugate-gradient SENSE with ESPIRiT maps", sense, from_start=False),
    _L1_WAVELET,
    _TV,
    _KT_WAVELET,
    IterativeMethod("temporal-tv", "compressed sensing, total variation in time", temporal_tv),
    IterativeMethod("temporal-fourier", "k-t sparse, Fourier transform in time", temporal_fourier),
    _LLR,
    IterativeMethod("low-rank-sparse", "low rank plus sparse (L+S)", low_rank_sparse),
    DirectMethod(
        "sigpy-sense",
        "SigPy's conjugate-gradient SENSE",
        sigpy_baselines.sigpy_sense,
        sigpy_baselines.SenseOptions,
        on_gpu=False,
    ),
    DirectMethod(
        "sigpy-l1-wavelet",
        "SigPy's wavelet compressed sensing",
        sigpy_baselines.sigpy_l1_wavelet,
        sigpy_baselines.WaveletOptions,
        on_gpu=False,
    ),
    DirectMethod(
        "sigpy-tv",
        "SigPy's total-variation compressed sensing",
        sigpy_baselines.sigpy_tv,
        sigpy_baselines.VariationOptions,
        on_gpu=False,
    ),
    DirectMethod(
        "sigpy-jsense",
        "SENSE with SigPy's JSENSE maps",
        sigpy_baselines.sigpy_jsense,
        sigpy_baselines.SenseOptions,
        on_gpu=False,
    ),
)
# Methods with a network are built anew for each caller, who owns them.
METHODS: Mapping[str, Callable[[], Method]] = MappingProxyType(
    {DEFAULT_METHOD: auto, **{method.name: partial(_same, method) for method in CLASSICAL}}
)


def find_method(name: str) -> Method:
    """Find a method by name, or a network by name with the installed weights.

    Raises
    ------
    UsageError
        If there is no such method (`unknown-method`; the message suggests the nearest name), or no
        weights are installed for the network (`weights-missing`).
    """
    if name in METHODS:
        return METHODS[name]()
    if name not in NETWORKS or NETWORKS[name].discriminator:
        known = (*METHODS, SHIPPED)
        raise UsageError(
            "unknown-method",
            f"There is no method {name!r}",
            f"The methods are: {', '.join(known)}",
            suggestion(name, known, "Choose one of them"),
        )
    return from_checkpoint(_installed(name), name)


def _installed(name: str) -> Path:
    """Return the installed weights of a network; UsageError if there are none."""
    path = weights.installed_file(name)
    if not path.is_file():
        raise UsageError(
            "weights-missing",
            f"No weights are installed for the network {name}",
            "A network needs trained weights to reconstruct",
            "Give a file with --checkpoint, or choose another method",
        )
    return path


def from_checkpoint(path: Path, name: str | None = None) -> NetworkMethod:
    """Make a method from the network in a checkpoint, by default with the network's name.

    If `path` is the name of a network and not a file, its installed weights are loaded. Errors are
    those of `weights.load`, and `network-kind` for a discriminator.
    """
    if name is None and str(path) in NETWORKS and not path.exists():
        path = _installed(str(path))

    before = Unchanged.of([path])
    loaded = weights.load(path)
    kind = name_of(loaded.network)
    summary = f"{kind} with the weights of {path.name}"
    known = Weights(file_digest(path), loaded.metadata)
    before.check()

    if isinstance(loaded.network, ProblemNetwork):
        return ProblemNetworkMethod(name or kind, summary, loaded.network, known)
    if isinstance(loaded.network, SeriesNetwork):
        return SeriesNetworkMethod(name or kind, summary, loaded.network, known)
    if isinstance(loaded.network, LabelledNetwork):
        return LabelledNetworkMethod(name or kind, summary, loaded.network, known)
    if isinstance(loaded.network, WindowNetwork):
        return WindowNetworkMethod(name or kind, summary, loaded.network, known)

    raise UsageError(
        "network-kind",
        f"{path.name} contains {kind}, a discriminator",
        "A discriminator judges images and does not reconstruct them",
        "Give a reconstruction network",
    )
