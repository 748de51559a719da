"""The networks by name, and how one is made from a configuration that JSON can hold."""

import importlib
import inspect
import math
from collections.abc import Mapping
from dataclasses import dataclass, fields, is_dataclass
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, Literal, get_args, get_origin, get_type_hints

from cmrrecon.errors import UsageError, nearest

if TYPE_CHECKING:
    from torch import nn

# The largest whole number in a configuration: configurations come from files too, and a wrong one must not use up the machine.
LARGEST = 4096


@dataclass(frozen=True)
class Network:
    """A named network.

    Attributes
    ----------
    name : as on the command line and in checkpoints
    target : "module:Class", imported when first needed
    summary : one line for lists
    source : the paper
    discriminator : whether it judges images in training, and reconstructs none
    """

    name: str
    target: str
    summary: str
    source: str
    discriminator: bool = False

    def kind(self) -> "type[nn.Module]":
        """The class behind the name."""
        module, _, name = self.target.partition(":")
        loaded: type[nn.Module] = getattr(importlib.import_module(module), name)
        return loaded

    def options(self) -> dict[str, Any]:
        """The names of the configuration and their types. A class that passes all parameters on has those of its base."""
        for base in self.kind().__mro__:
            init: Any = vars(base).get("__init__")
            parameters = list(inspect.signature(init).parameters.values())[1:] if init else []
            if init and all(parameter.kind is not parameter.VAR_KEYWORD for parameter in parameters):
                kinds = get_type_hints(init)
                return {parameter.name: kinds[parameter.name] for parameter in parameters}
        return {}


def get_network(name: str) -> Network:
    """The network of that name.

    Raises
    ------
    UsageError : there is none
    """
    if name not in NETWORKS:
        raise UsageError(
            f"There is no network {name!r}", f"The networks are: {', '.join(NETWORKS)}", _perhaps(name, NETWORKS, "Choose one of them")
        )
    return NETWORKS[name]


def name_of(network: "nn.Module") -> str:
    """The name under which `build` makes networks of this class.

    Raises
    ------
    UsageError : it is not in the catalogue
    """
    target = f"{type(network).__module__}:{type(network).__qualname__}"
    for entry in NETWORKS.values():
        if entry.target == target:
            return entry.name
    raise UsageError(
        f"{type(network).__name__} is no network of the catalogue", f"It has: {', '.join(NETWORKS)}", "Use one that `build` made"
    )


def build(name: str, config: Mapping[str, Any] | None = None) -> "nn.Module":
    """A network with fresh parameters.

    Parameters
    ----------
    name : see `NETWORKS`
    config : its parameters; mappings stand for nested configurations, lists for sequences. What is left out has its default

    Raises
    ------
    UsageError : there is no such network or parameter, or a value of the wrong kind
    """
    network = get_network(name)
    settings = _checked_mapping(f"The network {name}", config or {}, network.options())
    try:
        return network.kind()(**settings)
    except (ValueError, IndexError, ArithmeticError, RuntimeError, TypeError) as error:
        raise UsageError(
            f"The network {name} cannot be made with this configuration ({error})",
            "Its parameters must fit each other",
            "Change the configuration, or leave it out for the default",
        ) from error


def _checked_mapping(owner: str, values: Mapping[str, Any], kinds: Mapping[str, Any]) -> dict[str, Any]:
    for key in values:
        if key not in kinds:
            raise UsageError(
                f"{owner} has no parameter {key!r}",
                f"Its parameters are: {', '.join(kinds) or 'none'}",
                _perhaps(key, kinds, "Leave it out"),
            )
    return {key: _checked(f"{key} of {owner[0].lower()}{owner[1:]}", value, kinds[key]) for key, value in values.items()}


def _checked(owner: str, value: Any, kind: Any) -> Any:
    """The value as the declared kind. Kinds that are not known here are the network's own business."""
    for nested in (kind, *get_args(kind)):
        if is_dataclass(nested) and isinstance(nested, type):
            return value if isinstance(value, nested) else _checked_nested(owner, value, nested)
    if get_origin(kind) is Literal:
        fits, wanted = value in get_args(kind), f"one of {', '.join(map(str, get_args(kind)))}"
    elif kind is bool:
        fits, wanted = isinstance(value, bool), "true or false"
    elif kind is int:
        fits, wanted = _is_whole(value), f"a whole number from 0 to {LARGEST}"
    elif kind is float:
        fits, wanted = isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value), "a finite number"
    elif int in get_args(kind):
        fits, wanted = isinstance(value, list | tuple) and all(map(_is_whole, value)), f"a list of whole numbers from 0 to {LARGEST}"
        value = tuple(value) if fits else value
    else:
        return value
    if not fits:
        raise _wrong(owner, value, wanted)
    return value


def _checked_nested(owner: str, values: Any, kind: type) -> Any:
    """A dataclass from a mapping; its sequences have as many entries as their defaults."""
    if not isinstance(values, Mapping):
        raise _wrong(owner, values, "a mapping")
    checked = _checked_mapping(f"{owner[0].upper()}{owner[1:]}", values, get_type_hints(kind))
    for field in fields(kind):
        value, default = checked.get(field.name), field.default
        if isinstance(value, tuple) and isinstance(default, tuple) and len(value) != len(default):
            raise _wrong(f"{field.name} of {owner}", value, f"{len(default)} numbers")
    return kind(**checked)


def _is_whole(value: Any) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and 0 <= value <= LARGEST


def _wrong(owner: str, value: Any, wanted: str) -> UsageError:
    return UsageError(f"The parameter {owner} was given {value!r:.80}", f"It must be {wanted}", "Change the value, or leave it out")


def _perhaps(name: str, known: Mapping[str, Any], otherwise: str) -> str:
    near = nearest(name, known)
    return f"Perhaps {near} was meant" if near else otherwise


def _network(name: str, target: str, summary: str, source: str, *, discriminator: bool = False) -> Network:
    return Network(name, f"cmrrecon.networks.{target}", summary, source, discriminator)


NETWORKS: Mapping[str, Network] = MappingProxyType(
    {
        network.name: network
        for network in (
            _network(
                "promptmr",
                "promptmr:PromptMR",
                "unrolled, U-Nets with prompts, adjacent frames",
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
                "unrolled with residual connections between cascades",
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
                "PromptMR for losses in k-space and image",
                "Xu et al., STACOM 2024, arXiv 2410.03624",
            ),
            _network(
                "e2e-varnet",
                "e2e_varnet:E2EVarNet",
                "unrolled with plain U-Nets, single frames: the common yardstick",
                "Sriram et al., MICCAI 2020, arXiv 2004.06688",
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
                "residual U-Net and fidelity network in stages of shared weights",
                "J. Clin. Med. Imaging 2024",
            ),
            _network(
                "lf-mri",
                "lf_mri:LFMRI",
                "lesion-focused reconstruction guided by a classifier",
                "Ju et al., Med. Image Anal. 2026",
            ),
            _network(
                "patch-gan",
                "patch_gan:PatchGAN",
                "judges patches of images, for sr-gan and genre-cmr",
                "Isola et al., CVPR 2017, arXiv 1611.07004",
                discriminator=True,
            ),
        )
    }
)
