"""The networks by name, built from a configuration of plain JSON values."""

import importlib
import inspect
from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, get_type_hints

from cmrrecon.tools.configuration import checked_mapping
from cmrrecon.tools.errors import UsageError, suggestion

if TYPE_CHECKING:
    from torch import nn

# The largest number in a configuration. Configurations also come from files, and a wrong number
# must not exhaust the machine.
LARGEST = 4096
# Parameters that count modules and must be at least one.
STEPS = ("cascades", "stages", "repeats")


@dataclass(frozen=True)
class Network:
    """A named network.

    Attributes
    ----------
    name : str
        The name on the command line and in checkpoints.
    target : str
        "module:Class", imported when first needed.
    summary : str
        One line for lists.
    source : str
        The paper.
    discriminator : bool
        Whether it is a discriminator for training, which does not reconstruct images.
    """

    name: str
    target: str
    summary: str
    source: str
    discriminator: bool = False

    def kind(self) -> "type[nn.Module]":
        """Import and return the class."""
        module, _, name = self.target.partition(":")
        loaded: type[nn.Module] = getattr(importlib.import_module(module), name)
        return loaded

    def options(self) -> dict[str, Any]:
        """Return the parameters of the configuration and their types.

        A class that passes all parameters on has the parameters of its base class.
        """
        for base in self.kind().__mro__:
            init: Any = vars(base).get("__init__")
            parameters = list(inspect.signature(init).parameters.values())[1:] if init else []
            if init and all(
                parameter.kind is not parameter.VAR_KEYWORD for parameter in parameters
            ):
                kinds = get_type_hints(init)
                return {parameter.name: kinds[parameter.name] for parameter in parameters}
        return {}


def get_network(name: str) -> Network:
    """Return the entry of a network by its name.

    Raises
    ------
    UsageError
        If there is no network with this name (`unknown-network`).
    """
    if name not in NETWORKS:
        raise UsageError(
            "unknown-network",
            f"There is no network {name!r}",
            f"The networks are: {', '.join(NETWORKS)}",
            suggestion(name, NETWORKS, "Choose one of them"),
        )
    return NETWORKS[name]


def name_of(network: "nn.Module") -> str:
    """Return the name under which `build` builds networks of this class.

    Raises
    ------
    UsageError
        If the class is not in the catalogue (`unknown-network`).
    """
    target = f"{type(network).__module__}:{type(network).__qualname__}"
    for entry in NETWORKS.values():
        if entry.target == target:
            return entry.name

    raise UsageError(
        "unknown-network",
        f"{type(network).__name__} is not in the catalogue of networks",
        f"The networks are: {', '.join(NETWORKS)}",
        "Use a network from `build`",
    )


def build(name: str, config: Mapping[str, Any] | None = None) -> "nn.Module":
    """Build a network with new parameters.

    Parameters
    ----------
    name : str
        A name in `NETWORKS`.
    config : mapping of str to any, or None
        The configuration. Mappings represent nested configurations, lists represent sequences.
        Omitted parameters have their default values.

    Returns
    -------
    nn.Module
        The network.

    Raises
    ------
    UsageError
        If the network (`unknown-network`) or a parameter (`unknown-option`) is unknown, or a value
        is wrong (`option-value`).
    """
    network = get_network(name)
    settings = checked_mapping(f"The network {name}", config or {}, network.options())
    if not _within_limits(config):
        raise UsageError(
            "option-value",
            f"A number in the configuration of the network {name} is larger than {LARGEST}",
            f"Numbers up to {LARGEST} are allowed",
            "Change the configuration, or leave it out for the default",
        )

    _check_counts(name, settings)
    try:
        return network.kind()(**settings)
    except (ValueError, IndexError, ArithmeticError, RuntimeError, TypeError) as error:
        raise UsageError(
            "option-value",
            f"The network {name} cannot be built from this configuration ({error})",
            "Its parameters must fit together",
            "Change the configuration, or leave it out for the default",
        ) from error


def _check_counts(name: str, settings: Mapping[str, Any]) -> None:
    """Refuse networks without steps, and windows without a middle frame."""
    for key in STEPS:
        if settings.get(key, 1) < 1:
            raise UsageError(
                "option-value",
                f"The network {name} was given {key} = 0",
                "It needs at least one",
                "Change the value, or leave it out",
            )

    if settings.get("frames", 1) % 2 == 0:
        raise UsageError(
            "option-value",
            f"The network {name} was given frames = {settings['frames']}",
            "A window has a middle frame, so the number must be odd",
            "Add or remove one frame",
        )


def _within_limits(value: Any) -> bool:
    """Return whether all numbers in a configuration are at most `LARGEST`."""
    if isinstance(value, Mapping):
        return all(map(_within_limits, value.values()))
    if isinstance(value, list | tuple):
        return all(map(_within_limits, value))
    return not isinstance(value, int | float) or value <= LARGEST


def _network(
    name: str, target: str, summary: str, source: str, *, discriminator: bool = False
) -> Network:
    return Network(name, f"cmrrecon.networks.{target}", summary, source, discriminator)


NETWORKS: Mapping[str, Network] = MappingProxyType(
    {
        network.name: network
        for network in (
            _network(
                "promptmr",
                "promptmr:PromptMR",
                "unrolled network for adjacent frames, with prompted U-Nets",
                "Xin et al., STACOM 2023, arXiv 2309.13839",
            ),
            _network(
                "promptmr-plus",
                "promptmr_plus:PromptMRPlus",
                "PromptMR with adaptive input and history",
                "Xin et al., ECCV 2024",
            ),
            _network(
                "genre-cmr",
                "genre_cmr:GenreCMR",
                "unrolled network with residual connections between cascades",
                "Anvari Hamedani et al., 2025",
            ),
            _network(
                "sr-gan",
                "sr_gan:SRGAN",
                "stepwise reconstruction, trained against a discriminator",
                "Anvari Hamedani et al., STACOM 2024, arXiv 2411.10787",
            ),
            _network(
                "hypercmr",
                "hypercmr:HyperCMR",
                "PromptMR with losses in k-space and in the image",
                "Xu et al., STACOM 2024, arXiv 2410.03624",
            ),
            _network(
                "e2e-varnet",
                "e2e_varnet:E2EVarNet",
                "unrolled network for single frames, with plain U-Nets: the common baseline",
                "Sriram et al., MICCAI 2020, arXiv 2004.06688",
            ),
            _network(
                "vsharp",
                "vsharp:VSharp",
                "unrolled ADMM for single frames, with plain U-Nets",
                "Yiasemis et al., Magn. Reson. Imaging 2025, arXiv 2309.09954",
            ),
            _network(
                "vsharp-3d",
                "vsharp:VSharp3D",
                "vSHARP for whole series, with time as the third axis",
                "Yiasemis et al., 2023, arXiv 2310.06628",
            ),
            _network(
                "unet",
                "unet:UNet",
                "a U-Net on the magnitude of CG-SENSE images",
                "Ronneberger et al., MICCAI 2015, arXiv 1505.04597",
            ),
            _network(
                "fidelity-unet",
                "fidelity_unet:FidelityUNet",
                "residual U-Net and fidelity network, alternating with shared weights",
                "J. Clin. Med. Imaging 2024",
            ),
            _network(
                "lf-mri",
                "lf_mri:LFMRI",
                "lesion-focused reconstruction guided by a classifier; our interpretation",
                "Ju et al., Med. Image Anal. 2026",
            ),
            _network(
                "sdum",
                "sdum:SDUM",
                "deep unrolled network with Restormers, labelled by pattern, R and modality",
                "Wang et al., 2025, arXiv 2512.17137",
            ),
            _network(
                "kt-unrolled",
                "kt_unrolled:KtUnrolled",
                "refines compressed sensing, for whole series; our own",
                "cmrrecon",
            ),
            _network(
                "patch-gan",
                "patch_gan:PatchGAN",
                "discriminator of image patches, for sr-gan and genre-cmr",
                "Isola et al., CVPR 2017, arXiv 1611.07004",
                discriminator=True,
            ),
        )
    }
)
